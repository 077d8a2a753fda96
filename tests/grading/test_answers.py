"""Answers in the manner of different students: the right ones get their points, the wrong ones don't."""

from __future__ import annotations

import answers
import pytest

RIGHT, WRONG = answers.answers("right"), answers.answers("wrong")
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]


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
    assert verdict.state == "passed", verdict.report


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("answer", [a for a in WRONG if a.exercise != "im2col_cython"], ids=name_of)
def test_a_wrong_answer_fails(answer, seed, tmp_path):
    verdict = answers.verdict_on(answer, tmp_path, seed)
    assert verdict.state == "wrong" and verdict.report
