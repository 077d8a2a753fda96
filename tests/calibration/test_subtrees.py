"""Sets of subtrees: nested, as few nodes as asked for, and with all the room in the world those of APS."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_sets import drawn

from npsoftmax.calibration import Subtrees, class_scores, threshold
from npsoftmax.heads import ClassInfo, head_class
from npsoftmax.random import Rng

SMALL = [-1, 0, 0, 1, 1, 2, 2]  # ((0, 1), (2, 3))


def parents(tree, classes):
    coarse = np.arange(classes) % 4
    return head_class("hierarchical")(3, ClassInfo(classes, coarse=coarse), rng=Rng(0), tree=tree).parents()


def test_a_set_of_one_subtree_goes_down_by_the_more_probable_child():
    steps = list(Subtrees(SMALL, 4).steps(Subtrees(SMALL, 4).masses(np.array([[0.1, 0.2, 0.3, 0.4]]))[0]))
    assert [step.nodes for step in steps] == [(0,), (2,), (6,)]
    assert [step.mass for step in steps] == pytest.approx([1, 0.7, 0.4])
    assert [step.given_up for step in steps] == pytest.approx([0, 0.3, 0.3])


def test_a_set_of_two_subtrees_gives_up_the_least_probability_a_class():
    tree = Subtrees(SMALL, 4, most=2)
    steps = list(tree.steps(tree.masses(np.array([[0.3, 0.01, 0.29, 0.4]]))[0]))
    # Both halves; then 1 of the left; then 2 of the right; then 0, and 3 is left.
    assert [set(step.nodes) for step in steps] == [{0}, {3, 2}, {3, 6}, {6}]
    assert [step.given_up for step in steps] == pytest.approx([0, 0.01, 0.29, 0.3])


@pytest.mark.parametrize("tree", ["balanced", "halving", "superclass"])
@pytest.mark.parametrize("most", [1, 3, 13])
def test_sets_are_nested_subtrees_and_a_class_is_in_them_up_to_its_score(tree, most):
    classes, rng = 13, np.random.default_rng(most)
    subtrees = Subtrees(parents(tree, classes), classes, most)
    p, _, u = drawn(25, classes, rng)
    for row, mass, chance in zip(p, subtrees.masses(p), u, strict=True):
        assert mass[0] == pytest.approx(1)
        before = set(range(classes))
        for step in subtrees.steps(mass):
            members = [c for node in step.nodes for c in subtrees.members(node)]
            assert len(members) == len(set(members)) and set(members) <= before and len(step.nodes) <= most
            assert step.mass == pytest.approx(row[members].sum())
            assert step.given_up == pytest.approx(row[list(before - set(members))].sum())
            before = set(members)
        assert len(before) == 1
        scores = [subtrees.target_scores(row[None], np.array([c]), np.array([chance]))[0] for c in range(classes)]
        for limit in (0.0, 0.4, 0.9, 1.0):
            (nodes,) = subtrees.sets_of(row[None], np.array([chance]), limit)
            members = {c for node in nodes for c in subtrees.members(node)}
            assert members == {c for c in range(classes) if scores[c] <= limit}


def test_with_room_for_all_classes_the_sets_are_those_of_aps():
    p, targets, u = drawn(40, 11, np.random.default_rng(4))
    subtrees = Subtrees(parents("balanced", 11), 11, most=11)
    own = class_scores(p, u)[np.arange(40), targets]
    assert subtrees.target_scores(p, targets, u) == pytest.approx(own)


@pytest.mark.parametrize("most", [1, 3])
def test_subtrees_hold_the_right_class_as_often_as_they_promise(most):
    rng, n, coverage, repeats = np.random.default_rng(most), 60, 0.8, 50
    subtrees, held = Subtrees(parents("balanced", 8), 8, most), []
    for _ in range(repeats):
        p, t, u = drawn(2 * n, 8, rng)
        scores = subtrees.target_scores(p, t, u)
        held.append((scores[n:] <= threshold(scores[:n], coverage)).mean())
    mean, deviation = np.mean(held), np.std(held) / math.sqrt(repeats)
    assert coverage - 4 * deviation < mean < coverage + 1 / (n + 1) + 4 * deviation
