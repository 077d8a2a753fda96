"""The numbers of examples/what_went_wrong.py, and that docs/what-went-wrong.md quotes them."""

from __future__ import annotations

import math
from pathlib import Path

import example_scripts
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def script():
    return example_scripts.load("what_went_wrong")


HIGHEST = math.log(math.e + 99)
# What each check must find, in its order; None where a random draw decides.
EXPECTED = {
    "double_softmax": [HIGHEST - 1, HIGHEST, HIGHEST - 0.5, 100, 1, 0],
    "probabilities_for_logarithms": [-1, 0.0099, 0],
    "taylor_shares_of_the_batch": [math.log(100), math.log(100) - 0.99 / 128, 0],
    "softmax_over_the_batch": [None, None, math.log(100), 0],
    "leaves_without_a_class": [1 - 28 / 128, math.log(128), 25],
    "missing_decision": [36, 28, 0],
    "untrained_head": [0, None],
    "softmax_plus_noise": [None, None],
    "logarithms": list(np.log(np.exp([8, 7, 1]) / np.exp([8, 7, 1]).sum())),
    "mixed_confusion_matrices": [60, 13, 36.5],
    "sink_that_was_not_shifted": [1, 0, 1 / 101, math.log(2)],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_numbers_are_those_of_the_theory(script, name):
    found = [value for _, value in getattr(script, name)()]
    assert len(found) == len(EXPECTED[name])
    for value, expected in zip(found, EXPECTED[name], strict=True):
        if expected is not None:
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_noise_in_evaluation_costs_the_same_at_every_temperature(script):
    clean, sure, cold, warm = (value for _, value in script.noise_in_evaluation())
    assert cold == warm == pytest.approx(sure, abs=1)  # three deviations of a share of 20,000
    assert clean > 90


def test_the_page_quotes_what_is_printed(script, capsys):
    script.main()
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "what-went-wrong.md").read_text(encoding="utf-8")
    assert [title for title, _ in script.CHECKS if title not in printed] == []
    for value, quoted in {
        "3.62221": "3.6222", "4.62221": "4.6222", "4.12221": "4.1222", "0.0099": "0.0099", "4.59744": "4.5974",
        "3.62782": "3.63", "4.11308": "4.11", "0.78125": "0.78125", "4.85203": "4.852", "91.505": "91.5",
        "28.7711": "28.8", "29.305": "29.3", "0.364219": "36 %", "0.361497": "36 %", "-7.31393": "7.3139",
        "36.5": "36.5",
    }.items():  # fmt: skip
        assert value in printed and quoted in page
