"""Every reader of files that may come from anywhere: what it is given, whole files to begin with, what it may raise.

`READERS` is what the tests, the fuzzer and the figures of docs/security.md run over. A reader gets an empty folder and
the bytes, puts them where a user would have them, and reads. It may return whatever it likes, or raise what is named.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from npsoftmax.advise.task import of_files
from npsoftmax.cli.main import main
from npsoftmax.compare import Comparison
from npsoftmax.compare.plan import Row
from npsoftmax.data.archive import read_arrays
from npsoftmax.data.pickles import BadData, read_pickle
from npsoftmax.data.pictures import read_picture
from npsoftmax.data.source import read_beginning
from npsoftmax.diagnosis import examine_batch
from npsoftmax.diagnosis.read import read_batch, read_curve
from npsoftmax.errors import InputError
from npsoftmax.grading.classroom.roster import read_roster
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.handins.finding import chosen
from npsoftmax.grading.handins.store import Store
from npsoftmax.grading.handins.unpack import Layout
from npsoftmax.grading.notebook import notebook_source
from npsoftmax.grading.wire import Packer, Unpacker
from npsoftmax.heads import ClassInfo
from npsoftmax.heads.tree import build
from npsoftmax.plots import read_run
from npsoftmax.torch_files import read_tensors
from npsoftmax.training import RunDirectory, TrainConfig
from npsoftmax.training.checkpoint import load_saved
from npsoftmax.training.fitted import Fitted
from npsoftmax.training.session import load_model

Read = Callable[[Path, bytes], object]


@dataclass(frozen=True)
class Reader:
    """what: the files, in words; seeds: whole ones; read: puts bytes into a folder and reads; raises: what it may."""

    what: str
    seeds: tuple[bytes, ...]
    read: Read
    raises: tuple[type[Exception], ...] = (InputError,)


def placed(name: str, read: Callable[[Path], object]) -> Read:
    """A reader of one file, which lies in the folder under `name`."""

    def put_and_read(folder: Path, data: bytes) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return put_and_read


# ---------------------------------------------------------------- whole files
def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _images() -> bytes:
    return _npz(x=np.zeros((10, 4, 4, 3), np.uint8), y=np.arange(10) % 2)


def _batch() -> bytes:
    z = np.random.default_rng(0).normal(size=(8, 3))
    return _npz(outputs=z, labels=np.arange(8) % 3, loss=np.float64(1.2))


def _features() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32))
    return file.getvalue()


def _zip(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return file.getvalue()


def _tar(mode: str, **files: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _picture(form: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, form)
    return file.getvalue()


def _notebook(*cells: str) -> bytes:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True), "metadata": {}} for cell in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


CODE = b"import numpy as np\n\n\ndef softmax_forward(z):\n    e = np.exp(z - z.max(axis=1)[:, None])\n    return e, e\n"
CURVE = b"epoch,loss,accuracy,val_loss,val_accuracy\n1,2.30,0.11,2.29,0.12\n2,1.90,0.31,1.95,0.30\n"
ROSTER = b"Name,Student ID,Email\r\nAda Lovelace,1815,ada@example.org\r\nAlan Turing,1912,alan@example.org\r\n"


# ---------------------------------------------------------------- reading
def _run_with(whole: dict[str, bytes], name: str) -> Read:
    """The readers of a run in which one file is what was given."""

    def read(folder: Path, data: bytes) -> object:
        for file, content in (whole | {name: data}).items():
            (folder / file).write_bytes(content)
        return read_run(folder), RunDirectory.existing(folder).classes()

    return read


def _hand_in(suffix: str) -> Read:
    def read(folder: Path, data: bytes) -> object:
        (folder / "in").mkdir()
        (folder / "out").mkdir()
        path = folder / "in" / f"a1{suffix}"
        path.write_bytes(data)
        layout = Layout(folder / "out")
        layout.add(path, path.name)
        for laid in layout.names:
            assert laid.resolve().is_relative_to((folder / "out").resolve()), laid
        return chosen(layout, [e for e in EXERCISES.values() if e.assignment == "a1"])

    return read


def _examined(path: Path) -> object:
    found = read_batch(path)
    return None if found is None else examine_batch(**found)


def _advised(folder: Path, data: bytes) -> object:
    (folder / "h.npy").write_bytes(data)
    np.save(folder / "y.npy", np.arange(120) % 3)
    return of_files(folder / "h.npy", folder / "y.npy", 0)


def _answer(folder: Path, data: bytes) -> object:
    """What a student's process may send: a line of JSON, then bytes of arrays."""
    head, _, blob = data.partition(b"\n")
    return Unpacker([blob[:64], blob[64:]]).unpack(json.loads(head))


def _wire() -> bytes:
    packer = Packer()
    tree = packer.pack({"y": np.arange(6.0).reshape(2, 3), "cache": (1, "two", [None, True, 2.5])})
    return json.dumps(tree).encode() + b"\n" + b"".join(packer.blobs)


def _whole_run(scratch: Path) -> dict[str, bytes]:
    """The files of a run of two epochs, but for its checkpoints."""
    out, words = scratch / "run", ["--data=digits", "--limit-train=200", "--limit-test=20", "--val-split=0.3"]
    words += ["--model=mlp", "--model-opt=hidden=4", "--epochs=2", "--log-every=1", "--quiet", "--no-plots"]
    assert main(["train", *words, "--out", str(out)]) == 0
    assert main(["calibrate", str(out)]) == 0 and main(["conform", str(out), "--coverage=0.8"]) == 0
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def make_readers(scratch: Path) -> dict[str, Reader]:
    """The table; scratch: a folder to make whole files in."""
    run = _whole_run(scratch)
    last = (scratch / "run" / "checkpoints" / "last.safetensors").read_bytes()
    compared = Comparison(scratch / "compared")
    compared.add(
        [Row("softmax", TrainConfig(data="digits"), (0, 1)), Row("tree", TrainConfig(head="hierarchical"), (0,))]
    )
    compared.save()
    arrays = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float16)}
    plain_pickle = pickle.dumps({b"data": b"\0" * 30, b"labels": [1, 2]}, protocol=2)
    a_tree = json.dumps([[0, 1], [2, [3, 4]]]).encode()
    kept = json.dumps({"submission": "ada", "key": "k", "graded": {"rows": []}}).encode()
    model, chosen = load_model(scratch / "run")

    def fitted(name: str) -> Read:
        def read(folder: Path, data: bytes) -> object:
            for file in ("calibration.json", "conformal.json"):
                (folder / file).write_bytes(data if file == name else run[file])
            return Fitted.of(folder, model, chosen)

        return read

    of_run = {
        name: Reader(f"{name} of a run", (run[name],), _run_with(run, name))
        for name in ("classes.json", "metrics.csv", "steps.csv", "summary.json", "confusion.csv", "reliability.csv")
    }
    return {
        "pickle": Reader("CIFAR's pickles", (plain_pickle,), lambda folder, data: read_pickle(data), (BadData,)),
        "arrays": Reader("images in .npz", (_images(),), placed("x.npz", lambda p: read_arrays("x", p, 0))),
        "image": Reader(
            "JPEG, PNG and others",
            tuple(_picture(form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")),
            placed("x.png", lambda p: read_picture(p, (8, 8, 3))),
        ),
        "checkpoint": Reader("checkpoints", (last,), placed("x.safetensors", load_saved)),
        "weights": Reader("PyTorch's weights", (save(arrays),), placed("x.safetensors", read_tensors)),
        "config": Reader("settings of a run", (run["config.toml"],), placed("config.toml", TrainConfig.load)),
        **of_run,
        "comparison": Reader(
            "plans of comparisons",
            (compared.file.read_bytes(),),
            placed("c/comparison.json", lambda p: Comparison(p.parent).rows),
        ),
        "calibration.json": Reader("a calibration", (run["calibration.json"],), fitted("calibration.json")),
        "conformal.json": Reader("thresholds of sets", (run["conformal.json"],), fitted("conformal.json")),
        "curve": Reader("curves of others", (CURVE,), placed("c.csv", read_curve)),
        "batch": Reader("batches of others", (_batch(),), placed("b.npz", _examined)),
        "features": Reader("features", (_features(),), _advised),
        "source": Reader("source files", (CODE,), placed("s.py", read_beginning)),
        "tree": Reader("trees of classes", (a_tree,), placed("t.json", lambda p: build(str(p), ClassInfo(5)))),
        "code": Reader("code handed in", (CODE,), _hand_in(".py")),
        "zip": Reader("zips handed in", (_zip(a1_softmax__softmax_py=CODE, notes_txt=b"hi"),), _hand_in(".zip")),
        "tar": Reader(
            "tars handed in", (_tar("w", **{"a1.py": CODE}), _tar("w:gz", **{"a1.py": CODE})), _hand_in(".tar")
        ),
        "notebook": Reader(
            "notebooks handed in", (_notebook("import numpy as np", CODE.decode()),), _hand_in(".ipynb")
        ),
        "cells": Reader("cells", (_notebook("x = 1"),), lambda folder, data: notebook_source(data, EXERCISES)),
        "roster": Reader("lists of a class", (ROSTER,), placed("r.csv", read_roster)),
        "store": Reader("marks so far", (kept,), placed("s.jsonl", lambda p: Store(p, "0").known)),
        "answer": Reader("what a student's process sends", (_wire(),), _answer, (Exception,)),
    }
