"""Memory for arrays that runs out at any moment: NumPy's allocator, with a call at which there is none left.

Design: NumPy lets its allocator be replaced (NEP 49): a struct of functions in a capsule, set by an entry of its table
of C functions. Here it is NumPy's own, but for the functions that make room: those are Python's, through ctypes. What
frees has to stay in C: it is called while an exception is on its way, which a function of Python's would lose.
"""

from __future__ import annotations

import contextlib
import ctypes

from numpy._core import _multiarray_umath

SET_HANDLER, DEFAULT_HANDLER = 304, 306  # in NumPy's table, since 1.22
CAPSULE = b"mem_handler"

MALLOC = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
CALLOC = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
REALLOC = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

POINTER_OF = ctypes.pythonapi.PyCapsule_GetPointer
POINTER_OF.restype, POINTER_OF.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
NEW_CAPSULE = ctypes.pythonapi.PyCapsule_New
NEW_CAPSULE.restype, NEW_CAPSULE.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
TABLE = ctypes.cast(POINTER_OF(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))


class Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy's ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", MALLOC),
        ("calloc", CALLOC),
        ("realloc", REALLOC),
        ("free", ctypes.c_void_p),
    )


DEFAULT = ctypes.cast(TABLE[DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object))[0]
NUMPYS_OWN = Handler.from_address(POINTER_OF(DEFAULT, CAPSULE))


class FailingArrays:
    """An allocator that has nothing at call number `at` (0: never); it counts its calls."""

    def __init__(self, at: int = 0):
        own = NUMPYS_OWN
        self.at, self.calls = at, 0
        self.handler = Handler(
            b"failing",
            own.version,
            own.context,
            MALLOC(lambda context, size: self._unless_failing(own.malloc, context, size)),
            CALLOC(lambda context, n, size: self._unless_failing(own.calloc, context, n, size)),
            REALLOC(lambda context, old, size: self._unless_failing(own.realloc, context, old, size)),
            own.free,
        )

    def _unless_failing(self, function, *arguments):
        self.calls += 1
        return None if self.calls == self.at else function(*arguments)

    @contextlib.contextmanager
    def used(self):
        """Within it NumPy takes the memory of new arrays from here; self must outlive those arrays."""
        before = _set_handler(NEW_CAPSULE(ctypes.addressof(self.handler), CAPSULE, None))
        try:
            yield self
        finally:
            _set_handler(before)


def _set_handler(capsule):
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(TABLE[SET_HANDLER])(capsule)
