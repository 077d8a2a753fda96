"""The same thing twice, in NumPy and on a device, and the tables of what there is to compare."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np

from npsoftmax.params import SparseRows

TESTS = Path(__file__).parents[1]
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


@cache
def tests_in(path):
    file = TESTS / path
    spec = importlib.util.spec_from_file_location(f"tables_of_{file.stem}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def table(path, name):
    """A table of cases, or what makes them, of another test file."""
    return getattr(tests_in(path), name)


def moved(thing, backend):
    """NumPy arrays of 1 axis or more put on the device, in dicts, lists and tuples too."""
    if isinstance(thing, np.ndarray):
        return backend.asarray(thing)
    if isinstance(thing, dict):
        return {key: moved(value, backend) for key, value in thing.items()}
    return type(thing)(moved(value, backend) for value in thing) if type(thing) in (list, tuple) else thing


def move_tree(tree, backend):
    """In place, so that layers keep their dicts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            move_tree(value, backend)
        else:
            tree[name] = backend.asarray(value)


def without_repeats(gradient, backend):
    """Rows of a device in the order and number that those of the host have; at the places of repeats are zeros."""
    rows = gradient.rows.get()
    assert not gradient.values.get()[rows < 0].any() and len(np.unique(rows[rows >= 0])) == (rows >= 0).sum()
    order = backend.asarray(np.argsort(rows, kind="stable")[(rows < 0).sum() :])
    return SparseRows(gradient.rows[order], gradient.values[order], gradient.n_rows)


def assert_same(found, expected, backend, where="", **tolerance):
    """Equal up to rounding; and all arrays of `found` are on the device, with the types of those expected."""
    if isinstance(expected, SparseRows):
        assert isinstance(found, SparseRows), where
        expected, found = (
            {f.name: getattr(x, f.name) for f in fields(x)} for x in (expected, without_repeats(found, backend))
        )
    assert not is_dataclass(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name in expected:
            assert_same(found[name], expected[name], backend, f"{where}.{name}", **tolerance)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (f, e) in enumerate(zip(found, expected, strict=True)):
            assert_same(f, e, backend, f"{where}[{i}]", **tolerance)
    elif isinstance(expected, np.ndarray | np.floating):
        assert isinstance(found, backend.xp.ndarray), f"{where} is {type(found)}, not on the device"
        assert found.dtype == expected.dtype, f"{where} is {found.dtype}, not {expected.dtype}"
        np.testing.assert_allclose(found.get(), expected, err_msg=where, **(tolerance or TOLERANCE))
    else:
        assert found == expected, where
