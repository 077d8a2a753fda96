"""Temperature and vector scaling: the minimum, never worse, and what cannot be scaled."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.calibration import Scaling, fit_temperature, fit_vector, mean_nll
from npsoftmax.calibration.scaling import BRACKET, across_folds
from npsoftmax.errors import InputError


def drawn(n, classes, temperature, seed=0, sharpness=3.0):
    """log p (n, C) of an over- or underconfident classifier, whose labels are drawn at `temperature`."""
    rng = np.random.default_rng(seed)
    z = sharpness * rng.normal(size=(n, classes))
    log_prob = Scaling.by_temperature(1.0)(z)
    p = np.exp(Scaling.by_temperature(temperature)(log_prob))
    return log_prob, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)


def nll_at(temperature, log_prob, targets):
    return mean_nll(Scaling.by_temperature(temperature)(log_prob), targets)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 30])
def test_the_temperature_that_drew_the_labels_is_found(temperature, classes):
    log_prob, targets = drawn(6000, classes, temperature)
    assert fit_temperature(log_prob, targets) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_near_or_far_has_a_smaller_nll(seed):
    log_prob, targets = drawn(150, 7, 1.8, seed)
    found = fit_temperature(log_prob, targets)
    least = nll_at(found, log_prob, targets)
    for other in (*np.geomspace(*BRACKET, 200), found * 0.999, found * 1.001, 1.0):
        assert least <= nll_at(other, log_prob, targets) + 1e-12


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_what_it_is_fitted_on_never_gets_worse(scale, n):
    rng = np.random.default_rng(n)
    log_prob = Scaling.by_temperature(1.0)(scale * rng.normal(size=(n, 5)))
    targets = rng.integers(0, 5, n)
    temperature = fit_temperature(log_prob, targets)
    assert BRACKET[0] <= temperature <= BRACKET[1]
    assert nll_at(temperature, log_prob, targets) <= mean_nll(log_prob, targets)


def test_the_ends_of_the_bracket_are_taken_where_the_nll_falls_beyond_them():
    right = Scaling.by_temperature(1.0)(np.eye(4))
    assert fit_temperature(right, np.arange(4)) == BRACKET[0]  # always right: as sure as can be
    assert fit_temperature(right, (np.arange(4) + 1) % 4) == BRACKET[1]  # always wrong: as unsure as can be


def test_a_probability_of_zero_is_taken_unless_it_is_the_targets():
    log_prob = np.log(np.array([[0.7, 0.3, 1.0], [0.1, 0.9, 1.0], [0.4, 0.6, 1.0]]))
    log_prob[:, 2] = -np.inf
    targets = np.array([0, 1, 0])
    assert fit_temperature(log_prob, targets) == pytest.approx(fit_temperature(log_prob[:, :2], targets))
    with pytest.raises(InputError, match=r"1 of 3 images have a target of probability 0.*sparsemax"):
        fit_temperature(log_prob, np.array([0, 1, 2]))
    with pytest.raises(InputError, match="probability 0; use a temperature"):
        fit_vector(log_prob, targets)


def test_a_scaled_row_sums_to_one_and_a_temperature_keeps_the_order():
    log_prob, _ = drawn(50, 6, 1.0)
    for scaling in (Scaling.by_temperature(3.0), Scaling(np.linspace(0.5, 2, 6), np.linspace(-1, 1, 6))):
        assert np.exp(scaling(log_prob)).sum(axis=1) == pytest.approx(1)
    assert (Scaling.by_temperature(3.0)(log_prob).argsort(axis=1) == log_prob.argsort(axis=1)).all()


def test_vector_scaling_finds_what_was_done_to_single_classes():
    """Class 0 is said too often: a shift mends it, and a temperature cannot."""
    log_prob, targets = drawn(4000, 4, 1.0, sharpness=1.0)
    wrong = Scaling(np.ones(4), np.array([1.5, 0, 0, 0]))(log_prob)
    found = fit_vector(wrong, targets)
    assert mean_nll(found(wrong), targets) < nll_at(fit_temperature(wrong, targets), wrong, targets) - 0.1
    assert mean_nll(found(wrong), targets) == pytest.approx(mean_nll(log_prob, targets), abs=0.01)


def test_the_vector_is_where_the_slope_of_nll_and_prior_is_zero():
    log_prob, targets = drawn(300, 5, 2.0)
    found, start = fit_vector(log_prob, targets), 1 / fit_temperature(log_prob, targets)

    def objective(scale, shift):
        prior = ((scale - start) ** 2).sum() + (shift**2).sum()
        return mean_nll(Scaling(scale, shift)(log_prob), targets) + prior / (2 * len(targets))

    least = objective(found.scale, found.shift)
    for c in range(5):
        for step in (-0.05, 0.05):
            moved = np.where(np.arange(5) == c, step, 0)
            assert least < objective(found.scale + moved, found.shift)
            assert least < objective(found.scale, found.shift + moved)
    assert mean_nll(found(log_prob), targets) <= nll_at(1 / start, log_prob, targets)


def test_vector_scaling_wants_every_class():
    log_prob, targets = drawn(100, 4, 1.0)
    with pytest.raises(InputError, match="of class 2 there is no image"):
        fit_vector(log_prob[targets != 2], targets[targets != 2])


def test_what_is_fitted_on_noise_is_worse_across_folds():
    """60 numbers on 60 samples: better where they were fitted, worse where they were not."""
    log_prob, targets = drawn(90, 30, 1.0, sharpness=1.0, seed=3)
    targets[:60] = np.tile(np.arange(30), 2)
    by_temperature = across_folds(log_prob, targets, lambda lp, t: Scaling.by_temperature(fit_temperature(lp, t)))
    assert by_temperature == pytest.approx(nll_at(fit_temperature(log_prob, targets), log_prob, targets), abs=0.2)
