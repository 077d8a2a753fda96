"""Grading in a browser's Python, where student code cannot have a process of its own: the same verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from folders import function, write

from npsoftmax.grading.exercises import exercises_of

BROWSER = Path(__file__).with_name("browser_python.py")
WRONG = {
    "softmax_forward": function("softmax_forward", "e = np.exp(z)\nreturn e / e.sum(), e / e.sum()"),
    "softmax_backward": None,
    "log_softmax_forward": function("log_softmax_forward", "raise ValueError('mine')"),
    "sum_normalisation_v1_backward": function("sum_normalisation_v1_backward", "return dy"),
}
KEYS = ("exercise", "state", "points", "cause", "mistake")


def graded(folder, *command, assignment="a1", code=1):
    done = subprocess.run(
        [sys.executable, *command, "grade", assignment, "--json"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return [{key: row[key] for key in KEYS} for row in json.loads(done.stdout)]


def test_a1_is_graded_in_a_browser_as_elsewhere(tmp_path):
    write(tmp_path, WRONG, ("a1",))
    found = graded(tmp_path, BROWSER)
    assert found == graded(tmp_path, "-m", "npsoftmax.cli.main")
    assert sum(row["state"] == "passed" for row in found) == 20 and {row["state"] for row in found} > {"not started"}


@pytest.mark.slow
def test_cython_is_not_judged_in_a_browser_once_it_is_begun(tmp_path):
    write(tmp_path, dict.fromkeys(e.name for e in exercises_of("a3")), ("a3",))
    assert {row["state"] for row in graded(tmp_path, BROWSER, assignment="a3", code=0)} == {"not started"}
    file = tmp_path / "a3_conv" / "im2col_cython.py"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('raise NotImplementedError("a3 im2col_cython")', "return"), encoding="utf-8")
    begun = {row["exercise"]: row for row in graded(tmp_path, BROWSER, assignment="a3")}["im2col_cython"]
    assert begun["state"] == "wrong" and begun["cause"].startswith("not judged")


@pytest.mark.slow
def test_what_is_no_function_is_told_as_elsewhere(tmp_path):
    folder = write(tmp_path, None, ("a1",)) / "a1_softmax"
    file = next(folder.glob("*.py"))
    file.write_text(
        "from npsoftmax.functional.softmax import softmax_forward\n\nsoftmax_backward = 3\n", encoding="utf-8"
    )
    found = graded(tmp_path, BROWSER)
    assert found == graded(tmp_path, "-m", "npsoftmax.cli.main")
    assert [row["state"] for row in found].count("wrong") == 2
    file.write_text("def softmax_forward(z:\n", encoding="utf-8")
    assert graded(tmp_path, BROWSER) == graded(tmp_path, "-m", "npsoftmax.cli.main")
