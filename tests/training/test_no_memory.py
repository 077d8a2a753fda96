"""A run that finds no memory for an array, at any moment: it says so in a sentence, and goes on from what it has."""

from __future__ import annotations

import os
import sys

import pytest
from resuming import assert_same_end, begin, go_on

from npsoftmax.errors import InputError
from npsoftmax.training import finish_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="needs fork and libc")

OPTIONS = {"checkpoint_every": 3, "log_every": 1, "epochs": 2}


def train(trainer):
    """Training and the test after it."""
    return finish_run(trainer.session, trainer.run, trainer.fit())


def calls_of(whole):
    """How often the undisturbed run asks for the memory of an array."""
    from failing_arrays import FailingArrays

    trainer = begin(whole, **OPTIONS)
    with FailingArrays().used() as counting:
        train(trainer)
    assert counting.calls > 1000
    return counting


def failing_at(numbers, tmp_path):
    from failing_arrays import FailingArrays

    whole = tmp_path / "whole"
    kept = [calls_of(whole)]  # allocators outlive the arrays that they made
    for number in numbers(kept[0].calls):
        run = tmp_path / f"run-{number}"
        trainer = begin(run, **OPTIONS)
        kept.append(FailingArrays(number))
        with pytest.raises(InputError) as caught, kept[-1].used():
            train(trainer)
        said = str(caught.value)
        assert said.startswith("there is not enough memory: "), (number, said)
        assert said.endswith(f"the run goes on with: npsoftmax train --resume {run}") and "\n" not in said
        assert not any(run.glob("**/*.part"))
        train(go_on(run))
        assert_same_end(whole, run)
        for name in ("confusion.csv", "reliability.csv"):
            assert (whole / name).read_bytes() == (run / name).read_bytes(), number


def test_no_memory_at_some_moments(tmp_path):
    failing_at(lambda calls: range(9, calls + 1, calls // 8), tmp_path)


@pytest.mark.slow
def test_no_memory_at_many_moments(tmp_path):
    failing_at(lambda calls: range(1, calls + 1, max(1, calls // 200)), tmp_path)
