"""Temperature and vector scaling: log p' = log softmax(γ ∘ log p + b), fitted on images that were held out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.errors import InputError

BRACKET = (0.01, 100.0)  # temperatures that are looked at
NUMBERS = 2**22  # of log-probabilities that are worked on at once


@dataclass(frozen=True)
class Scaling:
    """log p' = log softmax(γ ∘ log p + b). scale γ and shift b: (C,), or one number for all classes.

    A temperature T is γ = 1/T and b = 0. (Guo et al., ICML 2017; their logits differ from log p by a constant a row.)
    """

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def by_temperature(cls, temperature: float) -> Scaling:
        return cls(np.array(1 / temperature), np.array(0.0))

    def __call__(self, log_prob: np.ndarray) -> np.ndarray:
        """log p (N, C) -> log p' (N, C), each row summing to 1 in probability."""
        z = self.scale * log_prob + self.shift
        z = z - z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def mean_nll(log_prob: np.ndarray, targets: np.ndarray) -> float:
    """-mean log p of the target. log_prob (N, C), targets (N,)."""
    return float(0.0 - log_prob[np.arange(len(targets)), targets].mean(dtype=np.float64))


def fit_temperature(log_prob: np.ndarray, targets: np.ndarray) -> float:
    """T = argmin over BRACKET of the mean NLL of softmax(log p / T). log_prob (N, C), targets (N,).

    In β = 1/T the NLL is convex, with the slope mean(Σ_c p_c log p_c - log p_target): its zero is found by Newton's
    steps, or by halving where one would leave what is known to hold it. What is found is never worse than T = 1.
    InputError where a target has probability 0: no temperature mends that.
    """
    _check_targets(log_prob, targets)
    low, high = 1 / BRACKET[1], 1 / BRACKET[0]
    beta = 1.0
    for end, beyond in ((low, 1), (high, -1)):
        if beyond * _slope(log_prob, targets, end)[0] >= 0:
            beta = low = high = end  # the least NLL of the bracket is at this end
    while high > low * (1 + 1e-12):
        slope, curvature = _slope(log_prob, targets, beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        newton = beta - slope / curvature if curvature > 0 else math.inf
        if abs(newton - beta) <= 1e-12 * beta:
            break
        beta = newton if low < newton < high else math.sqrt(low * high)
    better = _nll(log_prob, targets, beta) < _nll(log_prob, targets, 1.0)
    return 1 / beta if better else 1.0


def fit_vector(log_prob: np.ndarray, targets: np.ndarray) -> Scaling:
    """γ (C,) and b (C,) that minimise the mean NLL + (‖γ - 1/T‖² + ‖b‖²) / (2N), T the best temperature.

    The second term is what a normal prior of deviation 1 about the temperature adds: without it a class that few of
    the N samples show would go to infinity. The mean NLL is never above that of the temperature. log_prob (N, C),
    targets (N,). InputError for a probability of 0, whose logarithm cannot be scaled, and for a class without a sample.
    """
    from scipy.optimize import minimize

    n, classes = log_prob.shape
    start = np.concatenate([np.full(classes, 1 / fit_temperature(log_prob, targets)), np.zeros(classes)])
    if not np.isfinite(log_prob).all():
        raise InputError("vector scaling needs log p of every class, but some have probability 0; use a temperature.")
    unseen = np.flatnonzero(np.bincount(targets, minlength=classes) == 0)
    if len(unseen):
        raise InputError(
            f"vector scaling has two numbers a class to fit, but of class {unseen[0]} there is no image ({len(unseen)} "
            f"of {classes} classes have none among {n}); hold out more, or use a temperature."
        )

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        scale, shift = values[:classes], values[classes:]
        away = values - start
        value, gradient = away @ away / 2, away.copy()
        for lp, t in _parts(log_prob, targets):
            scaled = Scaling(scale, shift)(lp)
            value -= scaled[np.arange(len(t)), t].sum()
            dz = np.exp(scaled)
            dz[np.arange(len(t)), t] -= 1
            gradient[:classes] += (dz * lp).sum(axis=0)
            gradient[classes:] += dz.sum(axis=0)
        return value / n, gradient / n

    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    better = objective(found)[0] <= objective(start)[0]
    scale, shift = np.split(found if better else start, 2)
    return Scaling(scale, shift)


def across_folds(log_prob: np.ndarray, targets: np.ndarray, fit: Any, folds: int = 5) -> float:
    """Mean NLL of each fifth of the samples under what `fit` makes of the other four: what new samples would see.

    fit: (log_prob, targets) -> Scaling. Samples n, n + folds, … are a fold.
    """
    total = 0.0
    for fold in range(folds):
        out = np.arange(len(targets)) % folds == fold
        if out.any() and not out.all():
            scaling = fit(log_prob[~out], targets[~out])
            total += mean_nll(scaling(log_prob[out]), targets[out]) * int(out.sum())
    return total / len(targets)


def _check_targets(log_prob: np.ndarray, targets: np.ndarray) -> None:
    impossible = int((~np.isfinite(log_prob[np.arange(len(targets)), targets])).sum())
    if impossible:
        raise InputError(
            f"{impossible} of {len(targets)} images have a target of probability 0, whose NLL is infinite at every "
            "temperature. Heads that rule classes out (sparsemax, entmax) have no calibration by a temperature; "
            "sets of classes (npsoftmax conform) they do have."
        )


def _parts(log_prob: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A few rows at a time, in float64."""
    rows = max(1, NUMBERS // log_prob.shape[1])
    for first in range(0, len(targets), rows):
        part = slice(first, first + rows)
        yield log_prob[part].astype(np.float64), targets[part]


def _nll(log_prob: np.ndarray, targets: np.ndarray, beta: float) -> float:
    scaled = Scaling.by_temperature(1 / beta)
    return math.fsum(mean_nll(scaled(lp), t) * len(t) for lp, t in _parts(log_prob, targets)) / len(targets)


def _slope(log_prob: np.ndarray, targets: np.ndarray, beta: float) -> tuple[float, float]:
    """First and second derivative of the mean NLL in β: mean of E_β[log p] - log p_target, and of Var_β[log p]."""
    slope = curvature = 0.0
    for lp, t in _parts(log_prob, targets):
        p = np.exp(Scaling.by_temperature(1 / beta)(lp))
        values = np.where(p > 0, lp, 0.0)  # 0 · log 0 = 0
        mean = (p * values).sum(axis=1)
        slope += float((mean - lp[np.arange(len(t)), t]).sum())
        curvature += float((p * (values - mean[:, None]) ** 2).sum())
    return slope / len(targets), curvature / len(targets)
