"""What is printed fits 80 columns, and can be read where the console lacks characters."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import folders
import pytest

from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.plain import can_show, readable
from npsoftmax.grading.report import field
from npsoftmax.grading.stubs import solution

ENCODINGS = ("ascii", "cp1252", "cp437", "latin-1", "iso8859-7", "shift_jis")
SOME = [m for mistakes in all_mistakes().values() for m in mistakes[:1]][::5]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder with something passed, something wrong and something not started."""
    wrong = folders.function("layer_norm_forward", "return x, x")
    codes = {"layer_norm_forward": wrong, "layer_norm_backward": None, "relu_backward": None}
    return folders.write(tmp_path_factory.mktemp("course"), codes, ("a2",))


def typed(*words, **environment):
    command = [sys.executable, "-m", "npsoftmax.cli.main", *map(str, words)]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG")}
    return subprocess.run(command, capture_output=True, env=kept | environment, timeout=120).stdout


@pytest.mark.parametrize("mistake", SOME, ids=lambda m: m.id)
def test_a_report_fits_80_columns(mistake):
    report = check(EXERCISES[mistake.exercise], mistake.function, file=__file__).report
    assert report and max(map(len, report.splitlines())) <= 80


def test_columns_come_closer_and_then_below_each_other():
    text = f"{'probabilities[10, 20]':<40}yours -0.00303192      numeric -2.12234e-05"
    lines = field("first wrong element", text)
    assert max(map(len, lines)) <= 80 and "probabilities[10, 20]" in lines[0] and "numeric -2.12234e-05" in lines[-1]
    assert max(map(len, field("a label that is " * 8, "x"))) <= 80


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
    + [
        pytest.param({"PYTHONIOENCODING": name}, marks=pytest.mark.slow)
        for name in ("ascii", "cp1252:replace", "cp437", "utf-8")
    ],
    ids=lambda e: " ".join(e.values()),
)
def test_passed_wrong_and_not_started_never_look_alike(course, environment):
    out = typed("grade", "a2", course, **environment)
    encoding = next(iter(environment.values())).partition(":")[0]
    text = out.decode("ascii" if encoding == "C" else encoding)
    passed, wrong, left = ("✓", "✗", "·") if encoding == "utf-8" else ("ok", "WRONG", "-")
    rows = [line.split() for line in text.splitlines()]
    marked = {pair for row in rows for pair in itertools.pairwise(row)}
    assert {(passed, "dense_forward"), (wrong, "layer_norm_forward"), (left, "relu_backward")} <= marked
    assert "?" not in text and max(map(len, text.splitlines())) <= 80


def test_a_hint_can_be_read_in_ascii():
    text = typed("grade", "softmax_jacobian", "--hint", PYTHONIOENCODING="ascii").decode("ascii")
    assert "p_i * (delta_ij - p_j)" in text and "?" not in text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_hints_causes_and_solutions_can_be_read(encoding):
    texts = [hint for e in EXERCISES.values() for hint in e.hints] + [solution(e) for e in EXERCISES.values()]
    texts += [m.sentence for mistakes in all_mistakes().values() for m in mistakes]
    for text in texts:
        shown = readable(text, encoding)
        assert can_show(shown, encoding) and shown.count("?") == text.count("?")
        assert "<combining" not in shown and "<greek" not in shown


def test_symbols_have_names_that_a_student_knows():
    assert (
        readable("x̂ = (x − μ)/√σ², Σ ≥ 0, qᵀ · k → ∞", "ascii")
        == "x_hat = (x - mu)/sqrt sigma^2, sum >= 0, q^T * k -> inf"
    )
    assert readable("é ½ 漢", "ascii") == "e 1/2 <cjk unified ideograph-6f22>"
    assert readable("λ ✓", "utf-8") == "λ ✓"
