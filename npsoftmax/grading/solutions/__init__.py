"""The exercises, solved as a student would: what `--solution` shows, and what the stubs are cut from.

Each module is one student's file, in NumPy and with nothing but what that file imports. Tests hold it to the library:
the same signatures, the same caches, and every function passes for five seeds. In the docstring of a backward the
paragraph that begins with `Formula:` is what `npsoftmax assignments start --no-formulas` leaves out.
"""
