"""Notebooks: what of one is graded, and what cannot hurt."""

from __future__ import annotations

import json

import pytest

from npsoftmax.errors import InputError
from npsoftmax.grading.notebook import notebook_source, without_magics

NAMES = ("softmax_forward", "softmax_backward")


def notebook(*cells, **metadata):
    """The bytes of a notebook with these cells of code."""
    code = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    text = {"cell_type": "markdown", "source": ["# a page\n", "def softmax_forward(z): return 'no'"]}
    return json.dumps({"cells": [text, *code], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def run(*cells, names=NAMES):
    """The names that the source of such a notebook leaves behind."""
    found = {}
    exec(compile(notebook_source(notebook(*cells), names), "notebook", "exec"), found)
    return found


def test_functions_come_with_what_they_need_and_with_nothing_else():
    found = run(
        "%matplotlib inline\nimport numpy as np; import a_library_that_only_its_author_has as alas\n"
        "from google.colab import drive\ndrive.mount('/content')",
        "!pip install something\nSHIFT = 1.5\nTABLE = {}\nfor k in range(3):\n    TABLE[k] = k\nTABLE.update(a=7)\n",
        ["def helper(z):\n", "    return z + SHIFT + TABLE['a']\n", "\n", "helper(unknown)\n", "display(helper(1))"],
        "%%time\ndef softmax_forward(z, mask=None):\n    return helper(z), np.exp(z)\n\nsoftmax?\nwhile True: pass",
        "x = open('a file that is not here').read()\nassert softmax_forward(x)[0] == 1",
    )
    assert found["softmax_forward"](1.0)[0] == 9.5
    assert not {"alas", "drive", "x"} & set(found)


@pytest.mark.parametrize(
    ("cell", "plain"),
    [
        ("%load_ext autoreload\nx = 1", "pass\nx = 1"),
        ("if x:\n    !ls -l \"it's\n    y = 2", "if x:\n    pass\n    y = 2"),
        ("%time y = f(x)", "y = f(x)"),
        ("files = !ls\nz = %sql select", "files = None\nz = None"),
        ("?f\nnp.exp??", "pass\npass"),
        ("%%bash\nrm x", ""),
        ("%%html\n<b>", ""),
        ("%%writefile notes.txt\nhello you", ""),
        ("%%timeit -n 3\nx = 1", "\nx = 1"),
        ("%%writefile heads.py\nx = 1", "\nx = 1"),
        ("y = (a\n     % b)\ns = '''\n%time\n!ls\n'''", "y = (a\n     % b)\ns = '''\n%time\n!ls\n'''"),
        ("x = a != b", "x = a != b"),
    ],
)
def test_magics_are_left_out_and_only_they(cell, plain):
    assert without_magics(cell) == plain


def test_a_broken_cell_costs_its_own_functions_and_says_why():
    found = run("def softmax_forward(z):\n    return z, z", "def softmax_backward(dy, cache)\n    return dy", "1 +")
    assert found["softmax_forward"](1) == (1, 1)
    with pytest.raises(SyntaxError, match=r"cell 2, line 1: expected ':': def softmax_backward\(dy, cache\)"):
        found["softmax_backward"](1, 1)


def test_the_last_definition_counts_and_a_stub_only_where_there_is_no_other():
    stub = '''def {}(z):
    """Text."""
    raise NotImplementedError("a1")'''
    found = run(
        "def softmax_forward(z):\n    return 1",
        "def softmax_forward(z):\n    return 2",
        stub.format("softmax_forward"),
        stub.format("softmax_backward"),
    )
    assert found["softmax_forward"](0) == 2
    with pytest.raises(NotImplementedError):
        found["softmax_backward"](0)


def test_it_is_found_under_another_name_and_in_other_versions_of_the_format():
    assert run("def mine(z):\n    return 3\n\nsoftmax_forward = mine")["softmax_forward"](0) == 3
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["def softmax_forward(z):\r\n", "    return 4"]}]}]}
    assert "return 4" in notebook_source(b"\xef\xbb\xbf" + json.dumps(old).encode(), NAMES)
    assert notebook_source(notebook("x = 1"), NAMES) == ""


def test_comments_strings_and_annotations_stay_as_they_are():
    body = 'def softmax_forward(z: Unknown) -> int:\n    # why\n    return """\x0c\u2028\n%time"""'
    text = notebook_source(notebook("from __future__ import annotations", body), NAMES)
    assert body in text and text.startswith("from __future__ import annotations\n")


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\xff", b"[1]", b"{}", b'{"cells": 3}', b'{"cells": [{"cell_type": "code", "source": 3}]}']
)
def test_what_is_no_notebook_is_said(data):
    with pytest.raises(InputError, match="no notebook that can be read"):
        notebook_source(data, NAMES)


def test_a_notebook_of_another_language_is_said():
    with pytest.raises(InputError, match="a notebook of R"):
        notebook_source(notebook("x <- 1", kernelspec={"language": "R"}), NAMES)
