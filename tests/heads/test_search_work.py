"""The search among groups does no more than it must: what it finds is in the tests of the heads that use it."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.heads.search import best_in_groups

SIZES = [4, 3, 5]
GROUP_OF = np.repeat(np.arange(3), SIZES)


def search(log_p, k):
    """The k best of each row, and what was asked for: a group and samples, in turn."""
    asked = []
    bounds = np.stack([log_p[:, g == GROUP_OF].max(axis=1) for g in range(3)], axis=1)

    def candidates(samples, g):
        asked.append((g, samples.tolist()))
        return log_p[samples][:, g == GROUP_OF], np.flatnonzero(g == GROUP_OF)

    return best_in_groups(bounds, SIZES, k, candidates), asked


@pytest.mark.parametrize("k", [1, 3])
def test_only_the_groups_that_can_win_are_scored_and_for_all_samples_at_once(k):
    log_p = np.random.default_rng(0).normal(size=(4, 12))
    log_p[:3, GROUP_OF == 1] += 100
    log_p[3, GROUP_OF == 2] += 100
    best, asked = search(log_p, k)
    np.testing.assert_array_equal(best, np.argsort(-log_p, axis=1)[:, :k])
    assert asked == [(1, [0, 1, 2]), (2, [3])]


def test_a_further_group_is_scored_for_the_samples_that_need_it():
    log_p = -np.arange(24.0).reshape(2, 12)
    log_p[1, GROUP_OF == 1] += 100  # three classes far ahead
    best, asked = search(log_p, 4)
    np.testing.assert_array_equal(best, [[0, 1, 2, 3], [4, 5, 6, 0]])
    assert asked == [(0, [0]), (1, [1]), (0, [1])]
