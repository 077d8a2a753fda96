"""What crosses between the grader and the process that runs student code: as it was, or refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from npsoftmax.grading.wire import MOST, Packer, TooLarge, Unpacker


def crossed(value, layout=False):
    packer = Packer(layout)
    tree = json.loads(json.dumps(packer.pack(value)))
    return Unpacker([bytes(b) for b in packer.blobs], layout).unpack(tree)


PLAIN = [
    None, True, False, 0, -(10**40), 1.5, -0.0, float("inf"), "", "ŷ\ud800", (), [], {}, (1, [2.0, (None, "x")]),
    {"a": 1, 2: (3,), (4, 5): [6]}, [True, 1, 1.0], (()),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_come_back_as_they_were(value):
    got = crossed(value)
    assert repr(got) == repr(value)


ARRAYS = [
    np.arange(6.0).reshape(2, 3), np.float32([1, np.nan, -np.inf]), np.array(3.5), np.zeros((0, 4)),
    np.array([True, False]), np.arange(3, dtype=np.uint8),
    np.array([1 + 2j]), np.array(["a", "ŷ"]), np.arange(3, dtype=">i4"), np.float16([1]),
    np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(12.0)[::-2],
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    np.broadcast_to(np.arange(3.0), (2, 3)), np.arange(9.0)[4:4], np.flip(np.arange(8.0).reshape(2, 4))[..., ::2],
]  # fmt: skip


@pytest.mark.parametrize("layout", [False, True])
@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_arrays_come_back_bit_by_bit_and_inputs_with_their_layout(number, layout):
    array = ARRAYS[number]
    got = crossed(array, layout)
    assert got.dtype == array.dtype and got.shape == array.shape and got.tobytes() == array.tobytes()
    assert got.flags.writeable
    if layout and array.size:
        assert got.flags.c_contiguous == array.flags.c_contiguous
        assert array.flags.c_contiguous or got.strides == array.strides


def test_scalars_objects_subclasses_and_dataclasses():
    assert type(crossed(np.float32(1.5))) is np.float32 and type(crossed(np.int64(2))) is np.int64
    ragged = np.empty(2, object)
    ragged[:] = [[1], (2.0, None)]
    got = crossed(ragged)
    assert got.dtype == object and got.tolist() == [[1], (2.0, None)]
    assert type(crossed(np.ma.array([1.0, 2.0], mask=[0, 1]))) is np.ndarray
    made = dataclasses.make_dataclass("Cache", ["p", "t"])(np.ones(2), (1,))
    back = crossed(made)
    assert type(back).__name__ == "Cache" and [f.name for f in dataclasses.fields(back)] == ["p", "t"]
    assert back.t == (1,) and back.p.tolist() == [1, 1]


@pytest.mark.parametrize("value", [{1, 2}, b"x", len, (x for x in ()), np.zeros(2, "i4,f4")])
def test_of_anything_else_the_name_of_its_type_comes_back(value):
    assert type(crossed(value)).__name__ == type(value).__name__ and not isinstance(crossed(value), type(value))


def test_what_is_too_large_or_endless_is_refused_before_it_fills_the_memory():
    with pytest.raises(TooLarge):
        Packer().pack(np.broadcast_to(0.0, (MOST // 8 + 1,)))
    endless = []
    endless += [endless, endless, 1]
    inner = crossed(endless)
    assert [type(part).__name__ for part in inner] == ["list", "list", "int"] and not isinstance(inner[0], list)
    assert type(crossed(10**9999)).__name__ == "int"  # whose digits nobody reads


NONSENSE = [
    {}, [], ["eval", "1"], ["array", "O", [1], 0], ["array", "<f8", [2], 0], ["array", "<f8", [-1, -1], 0],
    ["array", "<f8", [1], 7], ["array", "V8", [1], 0], ["array", "<f8", [10**12], 0, 0, [0]], ["dict", [["list"], 1]],
    ["dataclass", "a b", ["c", 1]], ["dataclass", "A", ["c = eval('1')", 1]], ["dataclass", "A", ["__class__", 1]],
    ["objects", [3], 1], ["foreign"], ["foreign", "a\0b"], [["tuple"]], ["scalar", "<f4", 0],
    ["array", "f8,(9,9)f4", [1], 0],
]  # fmt: skip


@pytest.mark.parametrize("tree", NONSENSE)
def test_nonsense_is_an_error_and_nothing_else(tree):
    with pytest.raises((TypeError, ValueError, KeyError, IndexError, AttributeError)):
        Unpacker([b"\0" * 8]).unpack(tree)


def test_bytes_of_booleans_are_0_or_1():
    assert Unpacker([b"\x00\x07"]).unpack(["array", "|b1", [2], 0]).tobytes() == b"\x00\x01"
