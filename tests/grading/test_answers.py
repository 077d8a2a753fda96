"""Answers in the manner of different students: the right ones get their points, the wrong ones don't."""

from __future__ import annotations

import answers
import pytest
from everyday import slow

from npsoftmax.grading import runner, stubs
from npsoftmax.grading.exercises import EXERCISES

RIGHT, WRONG = answers.answers("right"), answers.answers("wrong")
SEEDS = [0, *slow(range(1, 5))]


def name_of(answer):
    return f"{answer.exercise} {answer.what}".strip()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("answer", [a for a in RIGHT if a.exercise != "im2col_cython"], ids=name_of)
def test_a_right_answer_passes(answer, seed, tmp_path):
    verdict = answers.verdict_on(answer, tmp_path, seed)
    assert verdict.state == "passed", verdict.report


@pytest.mark.slow
@pytest.mark.parametrize("answer", [a for a in RIGHT if a.exercise == "im2col_cython"], ids=name_of)
def test_a_right_answer_in_cython_passes(answer, tmp_path):
    pytest.importorskip("cython")
    verdict = answers.verdict_on(answer, tmp_path)
    assert verdict.state == "passed" and "times as fast" in verdict.note, verdict.report


@pytest.mark.slow
@pytest.mark.parametrize("answer", [a for a in WRONG if a.exercise == "im2col_cython"], ids=name_of)
def test_a_loop_without_types_is_too_slow(answer, tmp_path):
    pytest.importorskip("cython")
    verdict = answers.verdict_on(answer, tmp_path)
    assert verdict.state == "wrong" and "no counter has a type" in verdict.cause, verdict.report


@pytest.mark.slow
def test_a_machine_without_a_compiler_says_so(tmp_path, monkeypatch):
    pytest.importorskip("cython")
    monkeypatch.setenv("CC", str(tmp_path / "gcc"))
    (answer, *_) = [a for a in RIGHT if a.exercise == "im2col_cython"]
    verdict = answers.verdict_on(answer, tmp_path)
    assert "not judged: this machine has no C compiler" in verdict.cause and "In Python it is right" in verdict.cause


def test_a_machine_without_cython_says_so(tmp_path, monkeypatch):
    find_spec = runner.importlib.util.find_spec
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda n: None if n == "cython" else find_spec(n))
    exercise = EXERCISES["im2col_cython"]
    written, stub = tmp_path / "written.py", tmp_path / "stub.py"
    written.write_text("import cython\n", encoding="utf-8")
    stub.write_text(stubs.stub(exercise), encoding="utf-8")
    with runner.Runner() as grading:
        assert 'pip install "npsoftmax[grade]"' in grading.grade(exercise, written)["cause"]
        assert grading.grade(exercise, stub)["state"] == "not started"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("answer", [a for a in WRONG if a.exercise != "im2col_cython"], ids=name_of)
def test_a_wrong_answer_fails(answer, seed, tmp_path):
    verdict = answers.verdict_on(answer, tmp_path, seed)
    assert verdict.state == "wrong" and verdict.report


def test_a_tie_that_goes_to_one_of_the_two_is_right_with_a_note(tmp_path):
    (answer,) = [a for a in RIGHT if a.exercise == "sum_normalisation_v2_backward" and "argmin" in a.body]
    assert "yours gives all to one" in answers.verdict_on(answer, tmp_path).note


def test_nan_in_place_of_an_error_is_right_with_a_note(tmp_path):
    (answer,) = [a for a in RIGHT if a.exercise == "sum_normalisation_v1_forward" and "InputError" not in a.body]
    assert "a row that sums to 0 has no answer: raise InputError" in answers.verdict_on(answer, tmp_path).note
