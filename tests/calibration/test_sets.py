"""Sets of classes: the definition, number by number, and how often they hold the right one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npsoftmax.calibration import class_scores, least_images, regularisation, threshold
from npsoftmax.errors import InputError


def drawn(n, classes, rng, sharpness=1.5):
    """p (n, C) of a classifier that is too sure, labels that are not drawn from p, and u (n,)."""
    p = np.exp(sharpness * rng.normal(size=(n, classes)))
    p /= p.sum(axis=1, keepdims=True)
    true = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    targets = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    return p, targets, rng.random(n)


def romano_set(p, u, tau):
    """The set of Romano, Sesia and Candès, section 1.2, in loops: the fewest classes of a mass of tau, the last of them
    left out by chance; never empty. Their chance to leave out is 1 - u here."""
    order = sorted(range(len(p)), key=lambda c: (-p[c], c))
    taken, mass = [], 0.0
    for c in order:
        taken.append(c)
        mass += p[c]
        if mass >= tau:
            if 1 - u < (mass - tau) / p[c]:
                taken.pop()
            break
    return set(taken) or {order[0]}


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9, 0.999])
def test_aps_is_its_definition(tau):
    p, _, u = drawn(60, 9, np.random.default_rng(1))
    inside = class_scores(p, u) <= tau
    for row, chance, held in zip(p, u, inside, strict=True):
        assert set(np.flatnonzero(held)) == romano_set(row, chance, tau)


def test_raps_adds_what_ranks_beyond_the_free_ones_cost():
    p, u = np.array([[0.5, 0.1, 0.3, 0.1]]), np.array([0.25])
    falling = [0.0, 0.5 + 0.25 * 0.3, 0.8 + 0.25 * 0.1, 0.9 + 0.25 * 0.1]  # of two equal ones the lower label is first
    assert class_scores(p, u)[0] == pytest.approx([falling[0], falling[2], falling[1], falling[3]])
    assert class_scores(p, u, penalty=0.2, free=1)[0] == pytest.approx(
        [falling[0], falling[2] + 0.4, falling[1] + 0.2, falling[3] + 0.6]
    )


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 19, 20, 99, 999, 1000])
def test_of_all_samples_each_in_turn_the_new_one_the_threshold_covers_so_many(n, coverage):
    """Exchangeable scores, all different: exactly ⌈(n + 1) · coverage⌉ of n + 1 are covered, between the two bounds."""
    scores = np.random.default_rng(n).permutation(n + 1).astype(float)
    if n < least_images(coverage):
        with pytest.raises(InputError, match=f"{n} images are too few.*Hold out at least {least_images(coverage)}"):
            threshold(scores[1:], coverage)
        return
    some = range(n + 1) if n < 200 else ()
    covered = [scores[i] <= threshold(np.delete(scores, i), coverage) for i in some]
    if covered:
        assert coverage <= np.mean(covered) < coverage + 1 / (n + 1)
    rank = sorted(scores[1:])[math.ceil(round((n + 1) * coverage, 9)) - 1]
    assert threshold(scores[1:], coverage) == rank


def test_a_coverage_is_what_was_typed_and_not_its_binary_neighbour():
    """(999 + 1) · 0.95 is 950.0000000000001 in floating point, and ⌈…⌉ would be 951."""
    assert threshold(np.arange(1, 1000), 0.95) == 950
    assert [least_images(c) for c in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 95, math.nan, "0.9"])
def test_no_coverage(coverage):
    with pytest.raises(InputError, match=r"between 0 and 1.*such as 0\.95"):
        threshold(np.arange(10), coverage)


@pytest.mark.parametrize("method", ["aps", "raps"])
def test_sets_hold_the_right_class_as_often_as_they_promise(method):
    """300 times 100 samples for the threshold and 100 new ones: the mean is between the bounds, within 4 deviations."""
    rng, n, coverage, repeats = np.random.default_rng(0), 100, 0.9, 300
    held, sizes = [], []
    for _ in range(repeats):
        p, t, u = drawn(3 * n, 12, rng)
        fit, new, tune = np.split(np.arange(3 * n), 3)
        penalty, free = regularisation(p[tune], t[tune], u[tune], coverage) if method == "raps" else (0.0, 0)
        scores = class_scores(p, u, penalty, free)
        own = scores[np.arange(3 * n), t]
        limit = threshold(own[fit], coverage)
        held.append((own[new] <= limit).mean())
        sizes.append((scores[new] <= limit).sum(axis=1).mean())
    mean, deviation = np.mean(held), np.std(held) / math.sqrt(repeats)
    assert deviation < 0.003
    assert coverage - 4 * deviation < mean < coverage + 1 / (n + 1) + 4 * deviation
    assert 1 < np.mean(sizes) < 12


def test_raps_makes_smaller_sets_where_the_tail_is_long():
    """Labels are among the five most probable classes; p gives a third of its mass to the other 95."""
    rng = np.random.default_rng(5)
    p, _, u = drawn(4000, 100, rng)
    t = np.argsort(-p, axis=1)[np.arange(4000), rng.integers(0, 5, 4000)]
    sizes = {}
    for name, (penalty, free) in {"aps": (0.0, 0), "raps": regularisation(p[:1000], t[:1000], u[:1000], 0.8)}.items():
        scores = class_scores(p[1000:], u[1000:], penalty, free)
        sizes[name] = (scores <= threshold(scores[np.arange(3000), t[1000:]], 0.8)).sum(axis=1).mean()
    assert sizes["raps"] < sizes["aps"]


def test_no_set_is_empty_and_the_classes_in_it_are_the_most_probable():
    p, _, u = drawn(200, 8, np.random.default_rng(2))
    inside = class_scores(p, u) <= 0.3
    assert inside[np.arange(200), p.argmax(axis=1)].all()
    least_inside, most_outside = np.where(inside, p, 1).min(axis=1), np.where(inside, 0, p).max(axis=1)
    assert (least_inside >= most_outside).all()
