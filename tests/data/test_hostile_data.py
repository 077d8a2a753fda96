"""Data files from anywhere: any bytes give a result or a refusal, in bounded memory, and nothing in them is run."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import little_memory
from test_data_cifar import BY_FOLDER, write_edition

from npsoftmax.data import cifar, pickles
from npsoftmax.data.cifar import read_cifar
from npsoftmax.data.dataset import Dataset
from npsoftmax.data.editions import EDITIONS
from npsoftmax.data.pickles import (
    ALLOWED,
    INSTRUCTIONS,
    MOST_INSTRUCTIONS,
    BadData,
    Call,
    Name,
    as_array,
    as_bytes,
    as_text,
    read_pickle,
)
from npsoftmax.errors import InputError

CALLED: list[object] = []  # a hostile pickle that manages to import and call something leaves a trace here


def trap(*args: object) -> None:
    CALLED.append(args)


# ---------------------------------------------------------------- programs for the stack machine
def little(n: int, size: int) -> bytes:
    return n.to_bytes(size, "little", signed=n < 0)


texts = st.sampled_from([b"", b"a", b"data", b"labels", b"numpy", b"dtype", b"u1", b"latin1", b"\xff", b"x" * 300])
sizes = st.sampled_from([0, 1, 3, 2**31 - 1, 2**32 - 1])
names = st.sampled_from(
    [*sorted(ALLOWED), ("os", "system"), ("builtins", "eval"), (__name__, "trap"), ("test_hostile_data", "trap")]
)
lines = st.one_of(
    names.map(lambda key: b"c" + key[0].encode() + b"\n" + key[1].encode() + b"\n"),
    names.map(lambda key: b"".join(b"\x8c" + bytes([len(n)]) + n.encode() for n in key) + b"\x93"),
    texts.map(lambda t: b"T" + struct.pack("<i", len(t)) + t),
    texts.map(lambda t: b"X" + struct.pack("<i", len(t)) + t),
    texts.map(lambda t: b"B" + struct.pack("<i", len(t)) + t),
    texts.map(lambda t: b"\x8e" + struct.pack("<q", len(t)) + t),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + little(n, 4)),
    st.binary(max_size=255).map(lambda b: b"\x8a" + bytes([len(b)]) + b),
    st.integers(0, 3).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 3).map(lambda n: b"h" + bytes([n])),
    sizes.map(lambda n: b"j" + little(n, 4)),
    sizes.map(lambda n: b"r" + little(n, 4)),
    sizes.map(lambda n: b"\x8e" + little(n, 8)),
    st.sampled_from([bytes([c]) for c in b"(N]})taesuRb.0\x81\x85\x86\x87\x88\x89\x93\x94"]),
    st.binary(min_size=1, max_size=3),
)
programs = st.lists(lines, max_size=40).map(lambda parts: b"".join(parts) + b".")


def look_at(value: object) -> None:
    """All that the readers do with what a pickle holds."""
    for item in [value, *(value.values() if isinstance(value, dict) else [])]:
        for read in (as_array, as_text, as_bytes):
            try:
                assert isinstance(read(item), np.ndarray | str | bytes)
            except BadData:
                continue


@settings(max_examples=60)
@given(programs)
def test_any_program_gives_a_value_or_BadData(program: bytes) -> None:
    try:
        value = read_pickle(program)
    except BadData:
        return
    finally:
        assert CALLED == []
    look_at(value)


numbers = st.one_of(st.integers(-2, 300), st.sampled_from([2**31, 2**63, 2**64, 2**2000]), st.booleans(), st.none())
leaf = st.one_of(numbers, st.binary(max_size=20), st.text(max_size=20), st.just(b"u1"))


def calls(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(
        Call,
        st.sampled_from([Name(*key) for key in sorted(ALLOWED)]),
        st.lists(inner, max_size=5).map(tuple),
        st.one_of(st.none(), st.lists(inner, max_size=6).map(tuple)),
    )


values = st.recursive(leaf, lambda inner: st.one_of(calls(inner), st.lists(inner).map(tuple), st.lists(inner)))
dtype = Call(Name("numpy", "dtype"), ("u1",))
buffers = st.builds(
    lambda content, shape, order: Call(Name("numpy.core.numeric", "_frombuffer"), (content, dtype, shape, order)),
    st.binary(max_size=12),
    st.lists(st.one_of(numbers, st.integers(0, 4)), max_size=5).map(tuple),
    leaf,
)


@settings(max_examples=60)
@given(st.one_of(values, buffers))
def test_any_description_of_an_array_gives_one_or_BadData(value: object) -> None:
    look_at(value)


def test_every_instruction_is_in_the_language_of_the_programs() -> None:
    """So that a new instruction is tried too."""
    spelled = set(b"(N]})taesuRbcqhrjTXBKJ\x8a\x8c\x8e\x85\x86\x87\x88\x89\x93\x94")
    others = set(b"MUC\x80\x95\x96")  # the same with another length
    assert set(INSTRUCTIONS) == spelled | others


# ---------------------------------------------------------------- files
def small(folder: Path, name: str) -> Path:
    return write_edition(BY_FOLDER[name], folder / name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("editions")
    return {edition.folder: small(place, edition.folder) for edition in EDITIONS}


def read_or_refuse(name: str, folder: Path) -> None:
    try:
        found = read_cifar(BY_FOLDER[name], folder, check_md5=False)
    except InputError as error:
        assert str(folder) in str(error)
    else:
        assert isinstance(found, Dataset)
    assert CALLED == []


hostile = st.one_of(
    st.binary(max_size=300),
    programs,
    st.dictionaries(
        st.sampled_from(["data", "labels", "fine_labels", "coarse_labels", "label_names", "fine_label_names", 3]),
        st.recursive(
            st.one_of(leaf, st.just(np.zeros((2, 3072), np.uint8))), lambda inner: st.lists(inner, max_size=3)
        ),
    ).map(lambda value: pickle.dumps(value, 2)),
)


@pytest.mark.parametrize("name", list(BY_FOLDER))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_any_file_give_a_data_set_or_an_InputError(name: str, folders: dict, data: st.DataObject) -> None:
    folder, edition = folders[name], BY_FOLDER[name]
    path = folder / data.draw(st.sampled_from([next(iter(edition.train)), *edition.test, *edition.names]))
    good = path.read_bytes()
    if data.draw(st.booleans()):
        bad = data.draw(hostile)
    else:  # a few bytes of a good file changed, near its beginning or its end, where what is not pixels stands
        changed = bytearray(good)
        for place, value in data.draw(st.lists(st.tuples(st.integers(-900, 900), st.integers(0, 255)), max_size=4)):
            changed[place % len(changed)] = value
        bad = bytes(changed[: len(changed) - data.draw(st.sampled_from([0, 0, 1, 3000]))])
    path.write_bytes(bad)
    try:
        read_or_refuse(name, folder)
    finally:
        path.write_bytes(good)


# ---------------------------------------------------------------- memory and time
def string(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


LONG = string(b"a" * 2_000_000) + b"q\x00"
BOMBS = {
    "a long key, a thousand times": b"}(" + LONG + b"N" + b"h\x00N" * 1000 + b"u.",
    "an encoded long key": b"}(" + b"c_codecs\nencode\n" + LONG.replace(b"T", b"X", 1) + b"X\x06\0\0\0latin1\x86Rq\1N"
    + b"h\1N" * 1000 + b"u.",
    "a long name, a thousand times": b"}(" + string(b"label_names") + b"](" + LONG + b"h\x00" * 999 + b"eu.",
    "lists in lists": b"]" * 30_000_000 + b".",
    "marks": b"(" * 30_000_000 + b".",
    "memo": b"N" + b"\x94" * 30_000_000 + b".",
    "an integer of 2 MB": b"\x8a\xff" + b"\xff" * 255 + b".",
    "bytes of 2^63": b"\x8e" + b"\xff" * 7 + b"\x7f.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_that_would_fill_the_memory_does_not(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 2**18)  # a quarter, for the time that it takes
    folder = small(tmp_path, "cifar-10-batches-py")
    (folder / "batches.meta").write_bytes(BOMBS[name])
    with little_memory(), pytest.raises(InputError, match="batches"):
        read_cifar(BY_FOLDER["cifar-10-batches-py"], folder, check_md5=False)


def test_an_array_of_a_million_axes_is_refused_before_they_are_multiplied() -> None:
    shape = (2**2000,) * 1_000_000  # their product has 250 MB and takes hours
    with pytest.raises(BadData, match="shape"):
        as_array(Call(Name("numpy.core.numeric", "_frombuffer"), (b"", dtype, shape, "C")))


@pytest.mark.parametrize("shape", [(0, 2**70), (0, 2**40, 2**40), (2**63, 0)])
def test_an_empty_array_of_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadData, match="do not fit its shape"):
        as_array(Call(Name("numpy.core.numeric", "_frombuffer"), (b"", dtype, shape, "C")))


def test_the_largest_official_file_is_far_from_the_limits() -> None:
    """What the training file of CIFAR-100 holds beside its pixels: 50,000 names of files, two lists of labels."""
    value = {"filenames": [f"image_{i}.png" for i in range(50_000)], "fine_labels": [i % 100 for i in range(50_000)]}
    value["coarse_labels"] = [i % 20 for i in range(50_000)]
    program = pickle.dumps(value, 2)
    assert len(read_pickle(program)["filenames"]) == 50_000
    assert MOST_INSTRUCTIONS > 4 * 250_000 and cifar.MOST_BYTES > 155_261_640 * 1.5


@pytest.mark.parametrize("name", list(BY_FOLDER))
def test_a_file_of_a_terabyte_is_refused_without_being_read(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cifar, "MOST_BYTES", 2**24)  # so that the test need not read 256 MB of zeros
    folder, edition = small(tmp_path, name), BY_FOLDER[name]
    path = folder / next(iter(edition.test))
    try:
        os.truncate(path, 2**40)
    except OSError:
        pytest.skip("this file system has no files with holes")
    with little_memory(2**26), pytest.raises(InputError, match="is longer than"):
        read_cifar(edition, folder, check_md5=False)


def test_names_that_are_too_many_for_a_text_file_are_refused(tmp_path: Path) -> None:
    folder = small(tmp_path, "cifar-10-batches-bin")
    (folder / "batches.meta.txt").write_bytes(b"ab " * 30_000_000)
    with little_memory(), pytest.raises(InputError, match="too long for names"):
        read_cifar(BY_FOLDER["cifar-10-batches-bin"], folder, check_md5=False)


def test_nothing_is_imported_for_a_pickle(tmp_path: Path) -> None:
    """In a fresh process: a module that a file names is not loaded, not even one of the allowed ones."""
    program = b"}(" + b"X\4\0\0\0data" + b"cnumpy.core.multiarray\n_reconstruct\n" + b"u."
    (tmp_path / "p").write_bytes(program)
    code = (
        "import sys; from pathlib import Path; from npsoftmax.data.pickles import read_pickle\n"
        f"before = set(sys.modules); read_pickle(Path({str(tmp_path / 'p')!r}).read_bytes())\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
