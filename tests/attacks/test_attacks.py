"""Files made to do harm: nothing in them is run, nothing is written elsewhere, memory is bounded, and users are told.

`readers.py` is the table of readers, `watch.py` what no file may make one do, `fuzz.py` the fuzzer for more of them.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from inputs import mutated, try_one
from limits import little_memory
from readers import make_readers
from watch import Forbidden, watched

from npsoftmax.errors import InputError

HERE = Path(__file__).parent
RUN = b"cos\nsystem\n(S'touch owned'\ntR."  # a pickle that starts a program, in the oldest protocol


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    table = make_readers(tmp_path_factory.mktemp("whole"))
    for reader in table.values():  # what is imported once is imported now
        for seed in reader.seeds:
            reader.read(tmp_path_factory.mktemp("first"), seed)
    return table


NAMES = [
    "pickle", "arrays", "image", "checkpoint", "weights", "config", "classes.json", "metrics.csv", "steps.csv",
    "summary.json", "confusion.csv", "reliability.csv", "comparison", "calibration.json", "conformal.json", "curve",
    "batch", "features", "source", "tree", "code", "zip", "tar", "notebook", "cells",
    "roster", "store", "answer",
]  # fmt: skip


def test_every_reader_is_tried(readers):
    assert list(NAMES) == [name for name in NAMES if name in readers] and set(NAMES) == set(readers)


@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read(readers, tmp_path, name):
    assert all(try_one(readers[name], tmp_path / "f", seed) == "read" for seed in readers[name].seeds)


def all_are_tame(reader, folder, seed, count):
    draw = random.Random(seed)
    with little_memory(2**30):
        for _ in range(count):
            try_one(reader, folder, mutated(draw, reader.seeds))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of odd metadata
@pytest.mark.parametrize("name", NAMES)
def test_changed_files_are_read_or_refused(readers, tmp_path, name):
    all_are_tame(readers[name], tmp_path / "f", 0, 25)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_many_changed_files_are_read_or_refused(readers, tmp_path, name):
    all_are_tame(readers[name], tmp_path / "f", 1, 1000)


@pytest.mark.parametrize("path", sorted((HERE / "corpus").glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_inputs_that_once_did_harm(readers, tmp_path, path):
    try_one(readers[path.parent.name], tmp_path / "f", path.read_bytes())


# ---------------------------------------------------------------- the watch itself
def test_the_watch_sees(tmp_path):
    import os
    import subprocess

    (tmp_path / "in").mkdir()
    for harm in (
        lambda: subprocess.run(["true"]),
        lambda: os.system("true"),
        lambda: (tmp_path / "out").write_text("x"),
        lambda: pickle.loads(RUN),
        lambda: __import__("antigravity"),
    ):
        with pytest.raises(Forbidden), watched(tmp_path / "in"):
            harm()
    with watched(tmp_path / "in"):
        (tmp_path / "in" / "x").write_text("x")
    subprocess.run(["true"], check=True)  # outside of it all is as before


# ---------------------------------------------------------------- files that would run something
def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


OBJECTS = npy("'|O'", "(1,)", pickle.dumps(np.array([1], object)) + RUN)
EVALUATED = npy("__import__('os').system('touch owned')", "(1,)")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(%pipe%touch owned) (w) file\nshowpage\n%%EOF\n"

PROGRAMS = {
    "a pickle of CIFAR's": ("pickle", RUN),
    "a pickle of today's protocol": ("pickle", b"\x80\x04\x8c\x02os\x94\x8c\x06system\x93\x8c\x05touch\x85R."),
    "a pickle that builds objects": ("pickle", b"\x80\x02csubprocess\nPopen\nq\x00)\x81q\x01}b."),
    "objects in an array": ("arrays", zipped({"x.npy": OBJECTS, "y.npy": npy("'<i8'", "(1,)", bytes(8))})),
    "a header of an array that is no literal": ("arrays", zipped({"x.npy": EVALUATED, "y.npy": EVALUATED})),
    "a pickle called .npz": ("arrays", RUN),
    "PostScript called .png": ("image", EPS),
    "a pickle of weights": ("weights", RUN),
    "PyTorch's zip of pickles": ("weights", zipped({"archive/data.pkl": RUN, "archive/version": b"3"})),
    "a pickle as a checkpoint": ("checkpoint", RUN),
    "YAML that would make objects": ("config", b'data = !!python/object/apply:os.system ["touch owned"]\n'),
    "a tree that is an expression": ("tree", b"__import__('os').system('touch owned')"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_would_run_is_refused(readers, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    reader, data = PROGRAMS[name]
    assert try_one(readers[reader], tmp_path / "f", data) != "read"
    assert not list(tmp_path.glob("**/owned"))


# ---------------------------------------------------------------- files that would fill the memory
def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def safetensors(header: dict | bytes, length: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list, start: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HUGE = "(1000000, 1000000, 3)"
LARGE = {
    "an array of three terabytes": ("arrays", zipped({"x.npy": npy("'|u1'", HUGE), "y.npy": npy("'<i8'", "(1,)")})),
    "a negative shape": ("arrays", zipped({"x.npy": npy("'|u1'", "(-1, 2)"), "y.npy": npy("'<i8'", "(1,)")})),
    "a header of an array without an end": ("arrays", zipped({"x.npy": npy("'" + "x" * 60000 + "'", "(1,)")})),
    "a zip of two gigabytes of zeros": ("arrays", zipped({"x.npy": npy("'|u1'", f"({2**29},)") + bytes(2**20)})),
    "an image of ten gigapixels": ("image", png(100_000, 100_000)),
    "a header of 2^63 bytes": ("checkpoint", safetensors({}, 2**63)),
    "a header of 2^40 bytes": ("weights", safetensors({}, 2**40)),
    "a tensor of 2^60 bytes": ("weights", safetensors({"w": tensor([2**29, 2**29], 0, 2**60)})),
    "sizes whose product is 0 mod 2^64": ("checkpoint", safetensors({"w": tensor([2**32, 2**32], 0, 0)})),
    "overlapping tensors": ("weights", safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, data=bytes(12))),
    "lists in lists": ("config", b"model_opts = " + b"[" * 100_000),
    "JSON in JSON": ("summary.json", b"[" * 500_000),
    "a comparison in lists": ("comparison", b'{"rows": ' + b"[" * 200_000),
    "a tree without an end": ("tree", b"[0, " * 200_000),
    "notebook in notebook": ("cells", b'{"cells": ' + b"[" * 200_000),
    "a number of a million digits": ("classes.json", b'{"counts": [' + b"9" * 1_000_000 + b'], "input_shape": [1]}'),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_would_fill_the_memory_is_refused(readers, tmp_path, name):
    reader, data = LARGE[name]
    with little_memory():
        assert try_one(readers[reader], tmp_path / "f", data) != "read"


# ---------------------------------------------------------------- hand-ins that point elsewhere
ELSEWHERE = (
    "../a1.py", "../../a1.py", "/tmp/npsoftmax-owned.py", "a/../../a1.py", "..\\a1.py", "C:\\a1.py", "C:a1.py",
    "\\\\server\\share\\a1.py", "./../a1.py", "a//../../../a1.py", "~/a1.py", "a1.py/../../../x.py", "..", "con.py",
    "a1.py:stream", "a" * 300 + ".py", "/".join("d" * 60) + "/a1.py", "\u202eyp.1a", "-rf.py", "$(touch x).py",
)  # fmt: skip


def tarred(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o6777
    return info


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_lead_out_of_a_hand_in(readers, tmp_path, name):
    """The watch sees each file that is written outside; the reader itself looks where what was laid out lies."""
    data = b"x = 1\n"
    assert try_one(readers["tar"], tmp_path / "f", tarred([(named(name), data)])) == "read"
    assert try_one(readers["zip"], tmp_path / "f", zipped({name: data})) == "read"


LINKS = [
    [(named("a1.py", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    [(named("out", tarfile.SYMTYPE, "../.."), b""), (named("out/a1.py"), b"x = 1\n")],
    [(named("a1.py", tarfile.LNKTYPE, "../../../../etc/passwd"), b"")],
    [(named("a1.py", tarfile.CHRTYPE), b"")],
    [(named("a1.py", tarfile.FIFOTYPE), b"")],
    [(named("a", tarfile.SYMTYPE, "b"), b""), (named("b", tarfile.SYMTYPE, "a"), b""), (named("a/a1.py"), b"x")],
]


@pytest.mark.parametrize("number", range(len(LINKS)))
def test_links_and_devices_in_a_hand_in(readers, tmp_path, number):
    assert try_one(readers["tar"], tmp_path / "f", tarred(LINKS[number])) == "read"
    laid = [path for path in (tmp_path / "f" / "out").glob("**/*") if path.is_symlink() or path.is_fifo()]
    assert not laid


def test_a_zip_with_a_link(readers, tmp_path):
    info = zipfile.ZipInfo("a1.py")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert try_one(readers["zip"], tmp_path / "f", file.getvalue()) == "read"
    assert not any(path.is_symlink() for path in (tmp_path / "f" / "out").glob("**/*"))


def nested(depth: int) -> bytes:
    data = zipped({"a1.py": b"x = 1\n" * 1000})
    for level in range(depth):
        data = zipped({f"{level}-{copy}.zip": data for copy in range(4)})
    return data


BOMBS = {
    "a hundred thousand files": lambda: zipped({f"{i}.py": b"" for i in range(20_000)}),
    "a gigabyte of zeros": lambda: zipped({f"{i}.py": bytes(2**26) for i in range(2)}),
    "zips in zips in zips": lambda: nested(6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(readers, tmp_path, name):
    with little_memory():
        assert try_one(readers["zip"], tmp_path / "f", BOMBS[name]()) == "read"
    laid = [path for path in (tmp_path / "f" / "out").glob("**/*") if path.is_file()]
    assert sum(path.stat().st_size for path in laid) < 2**27 and len(laid) < 10_000


# ---------------------------------------------------------------- what users are told
@pytest.mark.parametrize("name", ["arrays", "image", "checkpoint", "weights", "config", "tree"])
def test_a_refusal_names_the_file(readers, tmp_path, name):
    with pytest.raises(InputError) as caught:
        readers[name].read(tmp_path, b"\x00nonsense\xff" * 20)
    said = str(caught.value)
    assert str(tmp_path) in said and "\n" not in said and len(said) < 400
