"""The repository's own assignments: built from the library, and untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from npsoftmax.cli.main import main
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.gradebook import grade_folder
from npsoftmax.grading.workspace import build

FOLDER = Path(__file__).parents[1] / "assignments"


def test_stubs_are_byte_for_byte_a_fresh_build():
    assert build(FOLDER, check=True) == [], "type npsoftmax assignments build"


def test_a_build_finds_what_is_stale_missing_or_foreign(tmp_path, capsys):
    assert main(["assignments", "build", "--to", str(tmp_path)]) == 0
    assert main(["assignments", "build", "--check", "--to", str(tmp_path)]) == 0
    folder = tmp_path / "a1_softmax"
    (folder / "softmax.py").write_text("changed")
    (folder / "README.md").unlink()
    (folder / "foreign.txt").write_text("x")
    capsys.readouterr()
    assert main(["assignments", "build", "--check", "--to", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert (
        "softmax.py is stale" in out and "README.md is missing" in out and "foreign.txt belongs to no exercise" in out
    )


def test_every_stub_imports_and_is_not_started():
    pytest.importorskip("cython")
    rows = grade_folder(FOLDER, EXERCISES.values())
    assert [row["exercise"] for row in rows if row["state"] != "not started" or row["note"]] == []
    assert len(rows) == len(EXERCISES)


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_a_folder_has_its_page_its_stubs_and_a_test_of_three_lines(assignment):
    folder = FOLDER / assignment.folder
    test = (folder / f"test_{assignment.folder}.py").read_text(encoding="utf-8")
    assert len(test.splitlines()) == 3
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {assignment.id}: ")
    for part in page.split("](")[1:]:
        name = part.partition(")")[0]
        assert (folder / name).is_file(), f"the page links to {name}, which is not there"
