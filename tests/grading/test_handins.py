"""What students hand in: which file is found in it, whose it is, and what is said of the rest."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import folders
import pytest

from npsoftmax.errors import InputError
from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of
from npsoftmax.grading.handins import unpack
from npsoftmax.grading.handins.finding import chosen
from npsoftmax.grading.handins.students import submissions_in

PACKAGE = Path(unpack.__file__).parents[2]
A1 = exercises_of("a1")
NAMES = [e.name for e in A1]
STUB = stubs.stub_file(ASSIGNMENTS["a1"], "softmax.py")
GOOD = folders.file_text("a1", "softmax.py", {})
FEW = folders.file_text("a1", "softmax.py", dict.fromkeys(NAMES[5:]))
LAST = folders.file_text("a1", "softmax.py", dict.fromkeys(NAMES[:8]))


def zipped(members, **how):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def notebook(*cells):
    code = [{"cell_type": "code", "source": c, "metadata": {}, "outputs": [], "execution_count": None} for c in cells]
    return json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def encrypted(data):
    """A zip whose members say that they are encrypted."""
    data = bytearray(data)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + at] |= 1
    return bytes(data)


def write(folder: Path, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def found_in(folder: Path, exercises=A1):
    """What is chosen of the only hand-in in a folder, with the text of each exercise's file."""
    ((submission,), _) = submissions_in(folder)
    with submission.laid_out() as layout:
        found = chosen(layout, exercises)
        texts = {e.name: (p := found.files[e.name]) and p.read_text(encoding="utf-8") for e in exercises}
        assert not list(layout.folder.parent.glob("evil*"))
    return found, texts


ZIP = zipped({"softmax.py": GOOD})
# name -> (files of a student's folder, the name of what is graded, words that are said)
GRADED = {
    "plain": ({"softmax.py": GOOD}, "", ""),
    "in its folder": ({"a1_softmax/softmax.py": GOOD}, "", ""),
    "nested": ({"x/y/z/softmax.py": GOOD}, "x/y/z/softmax.py", ""),
    "odd folders": ({"_x/é è/…/softmax.py": GOOD}, "_x/é è/…/softmax.py", ""),
    "a browser's copy beside a stub": (
        {"softmax (1).py": GOOD, "softmax.py": STUB}, "softmax (1).py", "",
    ),
    "a capital": ({"Softmax.PY": GOOD}, "Softmax.PY", ""),
    "final": ({"my_softmax_final.py": GOOD}, "my_softmax_final.py", ""),
    "a name that tells nothing": ({"homework.py": GOOD}, "homework.py", ""),
    "txt": ({"softmax.py.txt": GOOD}, "softmax.py.txt", ""),
    "no suffix": ({"softmax": GOOD}, "softmax", ""),
    "a stub at the top, work below": ({"softmax.py": STUB, "old/softmax.py": GOOD}, "old/softmax.py", ""),
    "an environment": ({"venv/lib/site-packages/softmax.py": GOOD, "a/b/c/softmax.py": FEW}, "a/b/c/softmax.py", ""),
    "a version control": ({".git/x/softmax.py": GOOD, "softmax.py": FEW}, "", ""),
    "checkpoints": ({".ipynb_checkpoints/softmax-checkpoint.py": GOOD, "softmax.py": FEW}, "", ""),
    "a backup of reset": ({"softmax.py": FEW, "softmax.py.bak": GOOD}, "", ""),
    "the library beside": (
        {"npsoftmax/functional/softmax.py": PACKAGE / "functional/softmax.py", "softmax.py": FEW},
        "", "",
    ),
    "a zip": ({"work.zip": ZIP}, "work.zip/softmax.py", ""),
    "a zip in a zip": ({"a.zip": zipped({"b/c.zip": ZIP})}, "a.zip/b/c.zip/softmax.py", ""),
    "a Mac's zip": ({"a.zip": zipped({"__MACOSX/._softmax.py": b"\0\5", "softmax.py": GOOD})}, "a.zip/softmax.py", ""),
    "a zip of Windows": ({"a.zip": zipped({"hw\\softmax.py": GOOD})}, "a.zip/hw/softmax.py", ""),
    "a zip called .py": ({"softmax.py": ZIP}, "softmax.py/softmax.py", ""),
    "a tar": ({"a.tar.gz": tarred({"./hw/softmax.py": GOOD.encode()})}, "a.tar.gz/hw/softmax.py", ""),
    "a plain tar": ({"a.tar": tarred({"softmax.py": GOOD.encode()}, "w")}, "a.tar/softmax.py", ""),
    "a tar called zip": ({"a.zip": tarred({"softmax.py": GOOD.encode()}, "w:xz")}, "a.zip/softmax.py", ""),
    "a notebook": ({"Untitled.ipynb": notebook("%pylab inline", GOOD, "plt.plot(1)")}, "Untitled.ipynb", ""),
    "a notebook beside the stub": ({"softmax.py": STUB, "softmax.ipynb": notebook(GOOD)}, "softmax.ipynb", ""),
    "a broken file beside a better one": (
        {"softmax.py": GOOD + "\ndef x(:\n", "old/softmax.py": FEW},
        "old/softmax.py", "softmax.py cannot be read by Python (line",
    ),
    "a broken file alone": ({"softmax.py": GOOD + "\ndef x(:\n"}, "", ""),
    "a broken file beside a stub": ({"softmax.py": GOOD + "\ndef x(:\n", "copy/softmax.py": STUB}, "", ""),
    "two versions": ({"softmax.py": GOOD, "old.py": FEW}, "", "old.py has 5 finished too: not graded"),
    "two alike": ({"softmax.py": GOOD, "copy.py": GOOD}, "", ""),
    "two halves": ({"one.py": FEW, "two.py": LAST}, "two.py, one.py", "graded in one.py"),
    "UTF-16": ({"softmax.py": GOOD.encode("utf-16")}, "", "UTF-16"),
    "a byte-order mark": ({"softmax.py": b"\xef\xbb\xbf" + GOOD.encode()}, "", ""),
    "untouched": ({"softmax.py": STUB}, "", "softmax.py is as it was handed out"),
    "no function": ({"softmax.py": "def f(): pass\n"}, "", "defines none of the exercises"),
    "a notebook called .py": ({"softmax.py": notebook(GOOD)}, "", ""),
    "a notebook called .json": ({"softmax.json": notebook(GOOD)}, "softmax.json", ""),
    "a broken name": ({"a.zip": zipped({"so\nft\x01max.py": GOOD})}, "a.zip/so?ft?max.py", ""),
    "a data set beside": ({**{f"d/{i}.txt": "" for i in range(60)}, "z/y/softmax.py": GOOD}, "z/y/softmax.py", ""),
    "two files, one name": (
        {"a.zip": zipped({"x/softmax.py": FEW, "x\\softmax.py": GOOD})}, "a.zip/x\\softmax.py", "has 5 finished too",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADED)
def test_the_file_with_most_in_it_is_graded_and_named(name, tmp_path, monkeypatch):
    files, graded, said = GRADED[name]
    files = {n: d.read_bytes() if isinstance(d, Path) else d for n, d in files.items()}
    if sys.platform == "win32" and any(c in n for n in files for c in "…"):
        pytest.skip("no such name there")
    write(tmp_path / "ada", files)
    monkeypatch.setattr(unpack, "MOST_FILES", 50)
    found, texts = found_in(tmp_path)
    found.remark = found.remark.replace("the hand-in holds more than 100 MB or 50 files: the rest was left out", "")
    assert found.file.replace("\\", "/") == graded.replace("\\", "/")
    assert said in found.remark and bool(found.remark) == bool(said), found.remark
    assert all(texts.values())
    if (
        GOOD in files.values()
        and "broken" not in name
        and name not in ("an environment",)
        and FEW not in files.values()
    ):
        assert set(texts.values()) == {GOOD}


NOTHING = {
    "nothing": ({}, "the hand-in is empty"),
    "another file": ({"notes.md": "x"}, "no softmax.py among notes.md"),
    "a RAR": ({"a.rar": b"Rar!\x1a\x07\0"}, "RAR or 7z archive: ask for a zip"),
    "a broken zip": ({"a.zip": ZIP[:200]}, "a.zip cannot be read: it is no whole archive"),
    "an empty zip file": ({"a.zip": b""}, "a.zip cannot be read: it is empty"),
    "an empty archive": ({"a.zip": zipped({})}, "no softmax.py"),
    "a password": ({"a.zip": encrypted(ZIP)}, "a.zip cannot be read: it is encrypted"),
    "a way out": ({"a.zip": zipped({"../../evil.py": GOOD})}, "points out of the hand-in"),
    "a way out on Windows": ({"a.zip": zipped({"..\\..\\evil.py": GOOD})}, "points out of the hand-in"),
    "an absolute path": ({"a.zip": zipped({"/tmp/evil.py": GOOD})}, "points out of the hand-in"),
    "a drive": ({"a.zip": zipped({"C:\\evil.py": GOOD})}, "points out of the hand-in"),
    "a tar's way out": ({"a.tgz": tarred({"../evil.py": GOOD.encode()})}, "points out of the hand-in"),
    "a broken tar": ({"a.tar.gz": tarred({"softmax.py": GOOD.encode()})[:-300]}, "a.tar.gz"),
    "no notebook": ({"softmax.ipynb": "{"}, "no softmax.py among softmax.ipynb"),
    "a notebook of another language": (
        {"softmax.ipynb": json.dumps({"cells": [], "metadata": {"kernelspec": {"language": "R"}}})},
        "no softmax.py among softmax.ipynb",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_cannot_be_read_or_found_is_said(name, tmp_path):
    files, said = NOTHING[name]
    (tmp_path / "ada").mkdir()
    write(tmp_path / "ada", files)
    found, texts = found_in(tmp_path)
    assert said in found.remark and "softmax.py" in found.remark
    assert set(texts.values()) == {None}


def test_a_bomb_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST", 2**20)
    inner = zipped({f"{i}.py": b"0" * 2**18 for i in range(10)})
    write(tmp_path / "ada", {"a.zip": zipped({f"{i}.zip": inner for i in range(10)}), "softmax.py": GOOD})
    found, texts = found_in(tmp_path)
    assert "holds more than" in found.remark and set(texts.values()) == {GOOD}


def test_archives_in_archives_end_somewhere(tmp_path):
    deep = ZIP
    for _ in range(8):
        deep = zipped({"x.zip": deep})
    write(tmp_path / "ada", {"a.zip": deep})
    assert "lies in 5 archives: not unpacked" in found_in(tmp_path)[0].remark


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes of Linux and macOS")
def test_links_and_pipes_are_left_alone(tmp_path):
    secret = tmp_path / "secret.py"
    secret.write_text(GOOD)
    place = write(tmp_path / "class" / "ada", {"x/softmax.py": FEW})
    (place / "softmax.py").symlink_to(secret)
    (place / "up").symlink_to(tmp_path)
    os.mkfifo(place / "pipe.py")
    found, _ = found_in(tmp_path / "class")
    assert found.file == "x/softmax.py" and "softmax.py is a link: not followed" in found.remark


def test_several_files_of_an_assignment_and_several_assignments(tmp_path):
    write(
        tmp_path / "ada",
        {
            "conv.py": folders.file_text("a3", "conv.py", {}),
            "im2col_cython (2).py": folders.file_text("a3", "im2col_cython.py", {}),
            "softmax.py": GOOD,
        },
    )
    found, texts = found_in(tmp_path, list(EXERCISES.values()))
    assert found.files["im2col_cython"].name == "im2col_cython.py", "Cython needs a name that is a name"
    assert found.file == "im2col_cython (2).py"
    assert {n for n, t in texts.items() if t} == {e.name for a in ("a1", "a3") for e in exercises_of(a)}
    assert "no layers.py, attention.py, heads.py, speedrun.py among" in found.remark


def test_whose_is_what(tmp_path):
    write(
        tmp_path,
        {
            "smithanna_123_4567_softmax.py": FEW,
            "smithanna_LATE_123_4599_softmax-2.py": GOOD,
            "smithanna_124_4600_softmax.py": GOOD,  # another of the name
            "Anna Smith_12_assignsubmission_file_/softmax.py": GOOD,
            "Anna Smith_12_assignsubmission_onlinetext_/onlinetext.html": "<p>here it is",
            "Bo Li_13_assignsubmission_file_softmax.py": GOOD,
            "Ümit Ö_14_assignsubmission_file_work.zip": ZIP,
            "Ida Lo_15_assignsubmission_file_.zip": ZIP,
            "carl.zip": ZIP,
            "carl/softmax.py": STUB,
            "dora.ipynb": notebook(GOOD),
            "emil.py.txt": GOOD,
            "finn.tar.gz": tarred({"softmax.py": GOOD.encode()}),
            "gus.rar": b"Rar!\x1a\x07\0",
            "_h h_/softmax.py": GOOD,
            "empty/notes.txt": "",
            "roster.csv": "a,b",
            "__MACOSX/carl/x.py": "",
            ".DS_Store": "",
        },
    )
    submissions, others = submissions_in(tmp_path)
    assert others == ["roster.csv"]
    assert {s.name: (s.student, len(s.parts)) for s in submissions} == {
        "smithanna_123": ("smithanna", 2),
        "smithanna_124": ("smithanna", 1),
        "Anna Smith_12_assignsubmission_file_": ("Anna Smith", 2),
        "Bo Li_13": ("Bo Li", 1),
        "Ümit Ö_14": ("Ümit Ö", 1),
        "Ida Lo_15": ("Ida Lo", 1),
        "carl": ("carl", 2),
        "dora": ("dora", 1),
        "emil": ("emil", 1),
        "finn": ("finn", 1),
        "gus": ("gus", 1),
        "_h h_": ("_h h_", 1),
        "empty": ("empty", 1),
    }
    graded = {}
    for submission in submissions:
        with submission.laid_out() as layout:
            found = chosen(layout, A1)
            paths = set(found.files.values())
            graded[submission.name] = (
                found.file,
                paths != {None} and {p.read_text(encoding="utf-8") for p in paths} == {GOOD},
            )
    assert [name for name, (_, right) in graded.items() if not right] == ["dora", "empty", "gus"]
    assert graded["smithanna_123"][0] == "softmax-2.py" and graded["carl"][0] == "carl.zip/softmax.py"


def test_the_folder_around_the_hand_ins_of_an_lms_does_not_matter(tmp_path):
    write(tmp_path, {"a1 hand-ins/Bo Li_13_assignsubmission_file_/softmax.py": GOOD, "__MACOSX/x": "", ".DS_Store": ""})
    assert [s.student for s in submissions_in(tmp_path)[0]] == ["Bo Li"]


def test_a_students_own_folder_is_no_class(tmp_path):
    write(tmp_path, {"softmax.py": GOOD, "README.md": ""})
    with pytest.raises(InputError, match="holds no folders"):
        submissions_in(tmp_path)


def test_a_python_without_lzma_grades_all_the_same():
    code = "import sys; sys.modules['lzma'] = None; import npsoftmax.grading.handins.unpack"
    subprocess.run([sys.executable, "-c", code], check=True)
