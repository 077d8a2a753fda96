"""Slow judges of the forward passes: written from the definition, number by number, and not from the library."""
