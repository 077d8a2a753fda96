"""Readable pairs for exercises whose library version is a face of a fused kernel, or is spread over a head's methods.

A test asserts that each gives the numbers of the library's own.
"""
