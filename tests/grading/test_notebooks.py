"""Notebooks: what of one is graded, and what cannot hurt."""

from __future__ import annotations

import json
import shutil
import sys

import folders
import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of
from npsoftmax.grading.notebook import notebook_source, without_magics
from npsoftmax.grading.stub_notebook import notebook_name

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


# ---------------------------------------------------------------- the stubs as a notebook
@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """A folder with all assignments as notebooks."""
    folder = tmp_path_factory.mktemp("books")
    assert main(["assignments", "start", "--notebook", "--to", str(folder)]) == 0
    return folder


def book_of(folder, assignment):
    return folder / assignment.folder / notebook_name(assignment)


def solved(path, assignment):
    """The notebook at `path` with every stub replaced by a solution; what solutions call stands in a cell before."""
    book = json.loads(path.read_text(encoding="utf-8"))
    modules = sorted({e.module for e in exercises_of(assignment.id) if not e.compiled})
    for cell in book["cells"]:
        text = "".join(cell["source"])
        name = next((e.name for e in exercises_of(assignment.id) if f"\ndef {e.name}(" in f"\n{text}"), None)
        if cell["cell_type"] == "code" and name:
            before = text[: text.index(stubs.stub(EXERCISES[name]))]
            cell["source"] = (before + stubs.solution(EXERCISES[name])).splitlines(keepends=True)
    taken = folders.TAKE_OVER.format(modules=modules)
    book["cells"][1]["source"] += f"\n\n{taken}".splitlines(keepends=True)
    path.write_text(json.dumps(book), encoding="utf-8")
    return book


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_a_notebook_of_stubs_is_a_valid_one_and_holds_the_page_and_every_stub(books, assignment):
    path = book_of(books, assignment)
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert set(cell) == keys | ({"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
    code = ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"]
    for exercise in exercises_of(assignment.id):
        assert any(text.endswith(stubs.stub(exercise)) for text in code)
        assert f'npsoftmax.check("{exercise.name}", {exercise.name})' in code
    text = "\n".join("".join(c["source"]) for c in book["cells"] if c["cell_type"] == "markdown")
    assert "```math" not in text and text.count("## Step ") == len({e.step for e in exercises_of(assignment.id)})
    assert not list(path.parent.glob(assignment.file)) and assignment.file not in text
    if nbformat := sys.modules.get("nbformat"):
        nbformat.validate(book)


def test_a_notebook_is_graded_by_the_same_command(books, tmp_path, capsys):
    shutil.copytree(books, tmp_path, dirs_exist_ok=True)
    solved(book_of(tmp_path, ASSIGNMENTS["a2"]), ASSIGNMENTS["a2"])
    assert main(["grade", "a2", str(tmp_path)]) == 0
    assert "10 of 10" in capsys.readouterr().out
    assert main(["grade", "relu_forward", str(tmp_path / "a2_layers")]) == 0
    capsys.readouterr()
    assert main(["grade", "a1", str(tmp_path), "--json"]) == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"not started"}


def test_the_cells_run_from_top_to_bottom_and_say_what_passes(books, tmp_path):
    """As a kernel would run them; what a cell shows is its last line."""
    shutil.copytree(books, tmp_path, dirs_exist_ok=True)
    assignment = ASSIGNMENTS["a4"]
    book = solved(book_of(tmp_path, assignment), assignment)
    names, shown = {"__name__": "a_notebook"}, []
    for cell in book["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and text.startswith("npsoftmax.check"):
            shown.append(eval(text, names))
        elif cell["cell_type"] == "code":
            exec(compile(text, "a cell", "exec", annotations.compiler_flag, dont_inherit=True), names)
    assert [report.exercise for report in shown] == [e.name for e in exercises_of("a4")]
    assert all(report.passed for report in shown), [repr(report) for report in shown if not report.passed]


def test_a_function_of_a_notebook_is_not_put_back_by_itself_and_nothing_is_lost(books, capsys):
    path = book_of(books, ASSIGNMENTS["a2"])
    before = path.read_bytes()
    assert main(["assignments", "reset", "relu_forward", str(books)]) == 2
    assert "layers.ipynb is a notebook" in capsys.readouterr().err and path.read_bytes() == before
    assert main(["assignments", "start", "a2", "--notebook", "--to", str(books)]) == 2
    assert "may hold your work" in capsys.readouterr().err and path.read_bytes() == before


def test_a_notebook_that_cannot_be_read_is_told_by_its_name(tmp_path, capsys):
    (tmp_path / "layers.ipynb").write_text('{"cells": [', encoding="utf-8")
    assert main(["grade", "a2", str(tmp_path)]) == 2
    assert "layers.ipynb: it is no notebook that can be read" in capsys.readouterr().err
