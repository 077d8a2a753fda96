"""`assignments reset`: nothing is lost, whatever the file looks like."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.handins.text import encoding_of
from npsoftmax.grading.loading import load
from npsoftmax.grading.workspace import reset

RELU = EXERCISES["relu_forward"]
MINE = "def relu_forward(x):\n    return x * (x > 0), x > 0\n"
OTHER = "def other(x):\n    return 7\n"
HEAD = "import numpy as np\nArray = np.ndarray\n"


def is_stub(path):
    module = load(path)
    with pytest.raises(NotImplementedError):
        module.relu_forward(np.ones(2))
    return module


FILES = {
    "plain": HEAD + MINE + OTHER,
    "no end of the last line": HEAD + OTHER + MINE.rstrip("\n"),
    "form feeds": HEAD + "\f\n" + OTHER + "\f\n" + MINE + "# separators \x1c \u2028 and another \x85\n\f",
    "tabs": HEAD + OTHER + "def relu_forward(x):\n\tif True:\n\t\treturn x, x\n",
    "CRLF": (HEAD + MINE + OTHER).replace("\n", "\r\n"),
    "CR": (HEAD + MINE + OTHER).replace("\n", "\r"),
    "decorators": HEAD + "def same(f):\n    return f\n\n@same\n@same\n" + MINE + OTHER,
    "twice": HEAD + MINE + OTHER + MINE.replace("> 0", ">= 0"),
    "inside if": HEAD
    + OTHER
    + "if True:\n    def relu_forward(x):\n        return x, x\nelse:\n    relu_forward = None\n",
    "assigned later": HEAD + MINE + OTHER + "relu_forward = lambda x: (x, x)\n",
    "imported later": HEAD + MINE + OTHER + "from math import sqrt as relu_forward\n",
    "not there": HEAD + OTHER,
    "on one line": HEAD + "def relu_forward(x): return x, x\n" + OTHER,
    "a docstring that looks like it": HEAD + OTHER + 's = """\ndef relu_forward(x):\n"""\n' + MINE,
    "a strange escape": HEAD + OTHER + MINE + 's = "\\s"\n',
}


@pytest.mark.parametrize("name", FILES)
def test_the_function_is_a_stub_again_and_all_else_stays(name, tmp_path, recwarn):
    path = tmp_path / f"layers_{len(name)}.py"
    path.write_bytes(before := FILES[name].encode())
    assert reset(RELU, path).read_bytes() == before
    assert not [w for w in recwarn if w.category is SyntaxWarning]
    assert is_stub(path).other(1) == 7
    assert reset(RELU, path).name.endswith(".1.bak")
    is_stub(path)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "iso-8859-15", "koi8-r", "shift_jis", "utf-7"]
)
def test_a_file_stays_in_its_encoding(encoding, tmp_path):
    text = "" if encoding.startswith("utf-8") else f"# -*- coding: {encoding} -*-\n"
    word = {"koi8-r": "привет", "shift_jis": "日本"}.get(encoding, "Lösung")
    path = tmp_path / f"layers_{encoding}.py"
    path.write_bytes(before := (text + HEAD + f"word = {word!r}\n" + MINE).encode(encoding))
    kept = reset(RELU, path)
    assert kept.read_bytes() == before
    assert encoding_of(path.read_bytes()) == encoding_of(before)
    assert is_stub(path).word == word


def test_every_version_is_kept(tmp_path):
    path = tmp_path / "layers.py"
    versions = [(HEAD + f"# version {i}\n" + MINE).encode() for i in range(4)]
    for version in versions:
        path.write_bytes(version)
        reset(RELU, path)
    names = ["layers.py.bak", *(f"layers.py.{i}.bak" for i in (1, 2, 3))]
    assert [(tmp_path / name).read_bytes() for name in names] == versions


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"def broken(:\n", "line 1"),
        (b"# coding: nonsense\n", "unknown encoding"),
        (b"x = '\xe4'\n", "Save it as UTF-8"),
        ("x = 1\n".encode("utf-16"), "Save it as UTF-8"),
        (b"x = '\0'\n", "null byte"),
    ],
)
def test_what_cannot_be_read_stays_as_it_is(data, said, tmp_path):
    path = tmp_path / "layers.py"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        reset(RELU, path)
    assert path.read_bytes() == data and [p.name for p in tmp_path.iterdir()] == ["layers.py"]
