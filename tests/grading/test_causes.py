"""Never a false cause: a second catalogue, held out from the first, with every sentence that may be said, or none."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from everyday import slow

from npsoftmax.grading import causes, stubs
from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.mistakes import all_mistakes, all_steps
from npsoftmax.grading.mistakes.base import compiled
from npsoftmax.grading.trial import close, trials_of

ENTRIES = re.split(r"^=== ", Path(__file__).with_name("held_out.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[
    1:
]
NAMED_AT_LEAST = 0.6


def parts(entry):
    """(exercise, the sentences that may be said, the body) of one entry."""
    head, *lines = entry.splitlines()
    said = [line.removeprefix("---").strip() for line in lines if line.startswith("---")]
    return head.partition(" | ")[0], said, "\n".join(line for line in lines if not line.startswith("---"))


def answer(name, body):
    """A student's function with this body, in a file where all others are the library's."""
    exercise = EXERCISES[name]
    text = stubs.stub(exercise).rpartition("    raise NotImplementedError")[0] + textwrap.indent(body, "    ")
    namespace = {n: e.reference for n, e in EXERCISES.items() if not e.compiled}
    header = ASSIGNMENTS[exercise.assignment].header
    exec(compile(f"from __future__ import annotations\nimport math\n{header}\n{text}", "answer", "exec"), namespace)
    return namespace[name]


def in_general(cause):
    """A cause without the numbers of its case."""
    return re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "#", cause)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.splitlines()[0][:70])
@pytest.mark.parametrize("seed", [0, *slow((1, 5, 13))])
def test_no_sentence_is_said_that_was_not_expected(entry, seed):
    name, expected, body = parts(entry)
    verdict = check(EXERCISES[name], answer(name, body), seed)
    assert verdict.state == "wrong"
    assert in_general(verdict.cause) in expected, verdict.report


def test_of_the_answers_held_out_most_are_named():
    assert len(ENTRIES) >= 150
    assert sum(any(parts(entry)[1]) for entry in ENTRIES) >= NAMED_AT_LEAST * len(ENTRIES)


def test_each_assignment_has_answers_held_out():
    names = [parts(entry)[0] for entry in ENTRIES]
    for assignment in ASSIGNMENTS:
        assert sum(EXERCISES[name].assignment == assignment for name in names) >= 15


# ---------------------------------------------------------------- the search itself
def test_whatever_goes_wrong_in_it_costs_no_verdict(monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(causes, "_Search", fails)
    verdict = check(EXERCISES["softmax_backward"], lambda dy, cache: dy)
    assert verdict.state == "wrong" and not verdict.cause and "dz WRONG" in verdict.report
    assert "ZeroDivisionError" in verdict.note


def test_a_student_is_asked_once_a_trial():
    calls = []

    def wrong(dy, cache):
        calls.append(dy.shape)
        return dy * 1.3

    check(EXERCISES["softmax_backward"], wrong)
    exercise = EXERCISES["softmax_backward"]
    assert len(calls) <= len(trials_of(exercise, 0)) + len(trials_of(exercise, causes.MORE))


@pytest.mark.parametrize("name", all_steps())
def test_the_plain_solutions_are_right(name):
    for plain in all_steps()[name]:
        function = compiled(plain.source, name)
        for trial in trials_of(EXERCISES[name], 0):
            mine, right = trial.call(function), trial.call(EXERCISES[name].reference)
            assert mine.raised is None and not mine.misfit
            assert all(close(mine.outputs[n], right.outputs[n]) for n in EXERCISES[name].outputs)
        for old, new, _ in plain.changes:
            assert old in plain.source and old != new


def test_every_mistake_has_a_name_of_its_own():
    ids = [mistake.id for mistakes in all_mistakes().values() for mistake in mistakes]
    assert len(ids) == len(set(ids)) and len(ids) > 900


def test_an_accident_of_one_case_names_nobody():
    """With E = 4 and D = 2 the root of E is D: on the other trials it is not."""
    name, scores = "scaled_dot_product_attention_forward", "q @ k.swapaxes(-1, -2) / math.sqrt(v.shape[-1])"
    body = f"p, _ = masked_softmax_forward({scores}, mask)\nreturn p @ v, (q, k, v, p)"
    verdict = check(EXERCISES[name], answer(name, body))
    assert "√E" in verdict.cause and "divided by D" not in verdict.cause


def test_a_loss_that_is_infinite_everywhere_names_nobody():
    assert not check(EXERCISES["path_loss_forward"], lambda z, signs: (np.inf, None)).cause
