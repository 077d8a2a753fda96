"""The pickle reader: it reads what CIFAR files hold, refuses all else, and runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.data.pickles import BadData, as_array, as_bytes, as_text, read_pickle

RUN: list[str] = []  # whatever a hostile pickle manages to call leaves its name here


def leave_trace(*args: object) -> str:
    RUN.append("called")
    return "u1"


class Evil:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: object, *args: object):
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.args


class Python2Pickler(pickle._Pickler):
    """Writes every string as Python 2 wrote its str: as the official files have them."""

    def save_string(self, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        short = len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) + raw if short else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_string, str: save_string}  # noqa: RUF012


def dump(value: object, style: int | str) -> bytes:
    """`value` pickled by a protocol of Python 3, or as Python 2 did."""
    if style != "python2":
        return pickle.dumps(value, protocol=int(style))
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


STYLES = (2, 3, 4, 5, "python2")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_round_trip_of_everything_a_data_file_holds(style: int | str, order: str) -> None:
    rows = np.array(np.random.default_rng(0).integers(0, 256, (300, 7)), np.uint8, order=order)
    value = {"data": rows, b"labels": [0, 1, 255, 256, 70_000, -3, 2**70], "names": ["a", b"b"] * 200}
    read = read_pickle(dump(value, style))
    assert list(read) == ["data", "labels", "names"]
    assert as_array(read["data"]).dtype == np.uint8
    np.testing.assert_array_equal(as_array(read["data"]), rows)
    assert read["labels"] == value[b"labels"]
    assert [as_text(name) for name in read["names"]] == ["a", "b"] * 200


@pytest.mark.parametrize("style", STYLES)
def test_plain_values_and_shared_ones(style: int | str) -> None:
    shared = [1, 2]
    value = {"a": shared, "b": shared, "c": (), "d": (1,), "e": (1, 2, 3, 4, None, True, False), "f": {}}
    read = read_pickle(dump(value, style))
    assert read == value
    assert read["a"] is read["b"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("where", ["alone", "in a list", "as an argument", "as a state", "as a dtype"])
def test_a_hostile_call_is_refused_and_not_made(style: int | str, where: str, tmp_path) -> None:
    canary = tmp_path / "canary"
    array = np.arange(4, dtype=np.uint8)
    for evil in (
        Evil(os.system, f"touch {canary}"),
        Evil(eval, f"open({str(canary)!r}, 'w')"),
        Evil(leave_trace),
    ):
        value = {
            "alone": evil,
            "in a list": {"data": array, "labels": [1, evil]},
            "as an argument": Evil(np.dtype, evil),
            "as a state": Evil(np.dtype, "u1", Evil(np.dtype, evil)),
            "as a dtype": {"data": Evil(array.__reduce__()[0], np.ndarray, (0,), evil)},
        }[where]
        with pytest.raises(BadData, match="no data file needs"):
            read_pickle(dump(value, style))
    assert not canary.exists() and RUN == []


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'echo'\ntR.",  # protocol 0, as in every exploit
        b"(S'echo'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\no.",  # OBJ
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ, of an allowed name
        b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)}\x92.",  # NEWOBJ_EX
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pid\n.",  # PERSID
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",  # another name of NumPy's
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"cnumpy.core.multiarray\n_reconstruct\nb.",  # BUILD on a function
        b"\x80\x02}cnumpy\ndtype\nR.",  # REDUCE of a dict
    ],
)
def test_instructions_that_no_data_file_needs_are_refused(program: bytes) -> None:
    with pytest.raises(BadData):
        read_pickle(program)


def test_allowed_names_with_hostile_arguments_are_only_records() -> None:
    import codecs

    bomb = read_pickle(dump(Evil(codecs.encode, "x" * 1000, "zip"), 4))
    with pytest.raises(BadData, match="where bytes belong"):
        as_bytes(bomb)
    with pytest.raises(BadData, match="where bytes belong"):
        as_bytes(read_pickle(dump(Evil(codecs.encode, "\u20ac", "latin1"), 4)))
    reconstruct = np.zeros(1).__reduce__()[0]
    with pytest.raises(BadData, match="array"):  # would be 1 TB
        as_array(read_pickle(dump(Evil(reconstruct, np.ndarray, (10**12,), b"b"), 4)))
    with pytest.raises(BadData, match="array"):
        as_array(read_pickle(dump(Evil(np.dtype, "O"), 4)))


@pytest.mark.parametrize("dtype", ["O", "u2", "f8", "S3", "M8[s]"])
def test_arrays_of_other_types_are_refused(dtype: str) -> None:
    array = np.zeros(3, "S3").astype(dtype) if dtype == "O" else np.zeros(3, dtype)
    with pytest.raises(BadData):
        as_array(read_pickle(dump({"data": array}, 2))["data"])


@pytest.mark.parametrize("shape", [(2, 7), (-3, -5), (2**40, 2**40), (3, "5"), [3, 5], (), (1, 1, 1, 1, 15), None])
def test_a_shape_that_does_not_fit_the_bytes_is_refused(shape: object) -> None:
    reconstruct, args, (version, _, dtype, fortran, content) = np.zeros((3, 5), np.uint8).__reduce__()

    class Forged:
        def __reduce__(self) -> tuple[object, ...]:
            return reconstruct, args, (version, shape, dtype, fortran, content)

    with pytest.raises(BadData, match="shape"):
        as_array(read_pickle(dump(Forged(), 2)))


@pytest.mark.parametrize(
    "program",
    [
        b"r\xff\xff\xff\x7fN.",  # an entry of the memo that would need 16 GB in a table
        b"Nr\xff\xff\xff\x7fj\xfe\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of 2^63
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"T\xff\xff\xff\xff.",
        b".",
        b"",
        b"e.",
        b"]u.",
        b"(((t.",
        b"}(Nu.",
        b"}(NNu.",
        b"}K\x01K\x02s.",
        b"](\x85.",  # a tuple across a mark
        b"h\x00.",
        b"X\x01\x00\x00\x00\xff.",
        b"cnumpy",
    ],
)
def test_damage_and_memory_bombs_are_refused(program: bytes) -> None:
    with pytest.raises(BadData):
        read_pickle(program)


@pytest.mark.parametrize("style", STYLES)
def test_truncation_anywhere_is_refused(style: int | str) -> None:
    whole = dump({"data": np.zeros((4, 9), np.uint8), "labels": [1, 2, 300], "names": ["apple", "bee"]}, style)
    for length in range(len(whole)):
        with pytest.raises(BadData):
            read_pickle(whole[:length])


PIECES = st.sampled_from([dump({"d": np.zeros(3, np.uint8), "l": [1, (2, "x")]}, style) for style in STYLES])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_BadData(data: bytes) -> None:
    _read_or_refuse(data)


@given(PIECES, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_to_a_good_file_gives_a_value_or_BadData(good: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(good)
    for place, value in damage:
        data[place % len(data)] = value
    _read_or_refuse(bytes(data))


def _read_or_refuse(data: bytes) -> None:
    try:
        value = read_pickle(data)
    except BadData:
        return
    for item in value.values() if isinstance(value, dict) else [value]:
        try:
            assert as_array(item).dtype == np.uint8
        except BadData:
            continue
