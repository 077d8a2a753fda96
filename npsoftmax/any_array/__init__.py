"""The pairs for arrays of other libraries: `any_array(softmax_forward)` takes tensors of PyTorch, and gives tensors.

Design: a pair speaks NumPy: z.sum(axis=1), p[rows, t] -= 1, a boolean times a float. The Python array API
(data-apis.org/array-api), which is what libraries have in common, has a function for most of this and methods for
nothing; it mixes no kinds of numbers, and it writes to no list of places. So at the door an array of another library is
put into a `Translated`, which says NumPy's words in those of the standard; what comes out of the pair is taken out of
it again. The formulas stay as one reads them, and NumPy's arrays never come here: they pay nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npsoftmax.any_array.translated import Translated
from npsoftmax.any_array.words import Words
from npsoftmax.errors import InputError

__all__ = ["any_array"]


def any_array(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, half of a pair, for arrays of any library with the Python array API, and for tensors of PyTorch.

    The results, and the arrays in the cache, are of the library that the arguments are of, on their device. All of it
    is computed by that library; compiled kernels are for NumPy's arrays, and the readable version runs here. Arrays of
    NumPy beside others become arrays of the other library. Raises InputError for numbers that NumPy does not have,
    for sparse arrays, and for arrays of several libraries or devices.

        forward, backward = any_array(softmax_forward), any_array(softmax_backward)
        p, cache = forward(torch.randn(4, 3))
        dz = backward(torch.ones(4, 3), cache)
    """

    if not callable(function):
        raise InputError(f"{function!r} was given, but a function was expected, as in any_array(softmax_forward).")

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        words = _words_of_all([*args, *options.values()])
        taken = [_taken(a, words) for a in args]
        return _given_back(function(*taken, **{name: _taken(a, words) for name, a in options.items()}))

    return call


def _words_of_all(values: list[Any]) -> Words | None:
    """The words of the arrays in `values`; InputError where they differ in library or device."""
    found, places = None, set()
    for value in values:
        for array in _flat(value):
            if (words := words_of(array)) is not None:
                found = found or words
                places.add(f"{words.library.__name__.removeprefix('array_api_compat.')} on {words.device}")
    if len(places) > 1:
        raise InputError(f"arrays of {' and '.join(sorted(places))} were given: move them to one library and device.")
    return found


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for v in value:
            yield from _flat(v)
    else:
        yield value


def words_of(x: Any) -> Words | None:
    """NumPy's words for the library that the array x is of; None for what is no array, and for NumPy's and CuPy's."""
    library = type(x).__module__.partition(".")[0]
    if isinstance(x, np.ndarray | type) or library in ("numpy", "cupy"):
        return None
    if hasattr(x, "__array_namespace__"):
        return Words(x.__array_namespace__(), x.device)
    if library == "torch" and hasattr(x, "requires_grad"):
        if x.is_meta or str(x.layout) != "torch.strided":
            raise InputError(
                "a tensor on the device meta was given, which has no numbers: move it to another."
                if x.is_meta
                else "a sparse tensor was given: pass x.to_dense()."
            )
        return Words(_torch_in_the_standards_words(), x.device)
    return None


def _torch_in_the_standards_words() -> Any:
    try:
        import array_api_compat.torch
    except ImportError as error:
        raise InputError(
            "a tensor of PyTorch was given, whose functions have other names than the Python array API; "
            "type pip install array-api-compat, which has both."
        ) from error
    return array_api_compat.torch


def _taken(value: Any, words: Words | None) -> Any:
    """`value` with all foreign arrays in it translated; a function of arrays takes and gives what it is used to."""
    if isinstance(value, tuple | list):
        return type(value)(_taken(v, None) for v in value)
    if isinstance(value, np.ndarray):
        return value if words is None else words.asarray(value)
    own = words_of(value)
    if own is not None:
        return Translated(value, own)
    if callable(value) and not isinstance(value, type):
        return lambda *args: _taken(value(*map(_given_back, args)), None)
    return value


def _given_back(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(_given_back, value))
    return value.native if isinstance(value, Translated) else value
