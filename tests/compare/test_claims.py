"""Claims of one row beside another: read from recipes, judged by the differences of seeds."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest

from npsoftmax.compare.claims import READ, claim_table, differences_of, doubt, verdict
from npsoftmax.compare.collect import Outcome
from npsoftmax.errors import InputError
from npsoftmax.recipes import MEASURES, Claim, load_recipe, recipe_names


def claim(better="higher", measure="accuracy"):
    return Claim("it is better", "somebody, 2025", "claims/softmax", measure, better)


def result(name, scores, claims=()):
    """A row whose runs have these accuracies, by seed; None is a run that is not finished."""
    runs = {
        seed: None if a is None else SimpleNamespace(summary={"test": {"accuracy": a}}) for seed, a in scores.items()
    }
    outcomes = tuple(Outcome(seed, run) for seed, run in runs.items())
    return SimpleNamespace(
        row=SimpleNamespace(name=name), recipe=SimpleNamespace(name=name, claims=claims), outcomes=outcomes
    )


def test_every_measure_of_a_claim_can_be_read_of_a_run():
    assert set(READ) == set(MEASURES)


def test_claims_of_recipes_are_beside_recipes_that_there_are():
    made = [claim for name in recipe_names() for claim in load_recipe(name).claims]
    assert made and all(claim.than in recipe_names() and claim.says and claim.source for claim in made)


def test_a_claim_about_nothing_that_is_measured_is_refused():
    with pytest.raises(InputError, match=r"unknown measure of a claim 'acuracy'\. Did you mean 'accuracy'"):
        claim(measure="acuracy")
    with pytest.raises(InputError, match="side of a claim"):
        claim(better="greater")


def test_differences_are_taken_within_each_seed():
    mine, theirs = result("a", {0: 0.5, 1: 0.7, 2: None}), result("b", {0: 0.4, 1: 0.4, 3: 0.1})
    assert differences_of(mine, theirs, claim()) == pytest.approx([0.1, 0.3])


def test_the_doubt_is_that_of_students_t():
    low, high = doubt([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2)
    assert (high - low) / 2 == pytest.approx(4.302653 * statistics.stdev([1, 2, 3]) / 3**0.5)
    assert doubt([1.0]) is None and doubt([]) is None


@pytest.mark.parametrize(
    ("better", "interval", "says"),
    [
        ("higher", (0.01, 0.02), "repeated"),
        ("higher", (-0.02, -0.01), "refuted"),
        ("higher", (-0.01, 0.02), "not seen at this size"),
        ("lower", (-0.02, -0.01), "repeated"),
        ("lower", (0.01, 0.02), "refuted"),
        ("same", (-0.005, 0.005), "repeated"),
        ("same", (0.011, 0.05), "refuted"),
        ("same", (-0.05, 0.05), "not seen at this size"),
        ("higher", None, "too few runs"),
    ],
)
def test_a_verdict_says_no_more_than_the_doubt_allows(better, interval, says):
    assert verdict(claim(better), interval) == says


def test_the_table_has_a_line_a_claim_and_is_left_out_where_there_is_none():
    base = result("claims/softmax", {0: 0.40, 1: 0.41, 2: 0.42})
    better = result("claims/x", {0: 0.50, 1: 0.51, 2: 0.521}, (claim(), claim("lower")))
    table = claim_table([base, better])
    assert [row[-1] for row in table.rows] == ["repeated", "refuted"]
    assert table.rows[0][5].startswith("+10.03 (+9.89 to")
    alone = claim_table([better])
    assert [row[-2:] for row in alone.rows] == [("–", "too few runs")] * 2
    assert claim_table([base]) is None
