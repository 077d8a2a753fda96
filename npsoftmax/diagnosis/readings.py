"""What a loss may have been of these outputs: the right readings and the wrong ones, each with its value per sample.

Design: a wiring is named only where its value is the loss that was given, and that of no right reading is. So each
wrong reading here is an equation that the reported number has to satisfy, to all its digits. Where the outputs show by
their sums what they are, that is enough. Where they are scores, which a temperature or a margin may have changed before
they reached a right loss, the single losses have to satisfy it as well (`of_scores`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from npsoftmax.diagnosis.given import Batch
from npsoftmax.functional import taylor
from npsoftmax.heads import tree as trees

AS_SCORES = "the cross entropy of these outputs, taken for scores"
SMOOTHINGS = (0.05, 0.1, 0.2)
ORDERS = (2, 4, 6)
LARGEST_POWER = 1e40  # of a score in a Taylor polynomial


@dataclass(frozen=True)
class Reading:
    """A loss of each sample (N,), in words. wiring: what is wrong with it; "" for a right one. of_scores: see above."""

    words: str
    losses: np.ndarray
    wiring: str = ""
    of_scores: bool = False


def kind_of(batch: Batch) -> str:
    """What the outputs are by their sums, else "scores".

    probabilities, log-probabilities: each row sums to 1. columns, log-columns: each column does. shares: all do, over
    the batch. parts, log-parts: rows of [0, 1], or their logarithms, that sum to less than 1, so scores as well.
    """
    o, near = batch.o, batch.sums
    several = len(o) > 1
    if o.min() >= -near:
        if _ones(o.sum(axis=1), near):
            return "probabilities"
        if several and _ones(o.sum(axis=0), near):
            return "columns"
        if several and _ones(o.sum(), near):
            return "shares"
        if o.min() >= 0 and (o.sum(axis=1) <= 1 + near).all() and o.max() > 0:
            return "parts"
    if o.max() <= near:
        p = np.exp(o)
        if _ones(p.sum(axis=1), near):
            return "log-probabilities"
        if several and _ones(p.sum(axis=0), near):
            return "log-columns"
        if (p.sum(axis=1) <= 1 + near).all():
            return "log-parts"
    return "scores"


def _ones(sums: np.ndarray, near: float) -> bool:
    return bool(np.abs(sums - 1).max() <= near)


def log_sum_exp(z: np.ndarray) -> np.ndarray:
    """log Σ_c e^{z_c} of each row. (N, C) -> (N,)."""
    top = z.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))


def softmax(z: np.ndarray) -> np.ndarray:
    """(N, C) -> (N, C), over the classes."""
    return np.exp(z - log_sum_exp(z)[:, None])


def cross_entropy(batch: Batch, z: np.ndarray) -> np.ndarray:
    """Σ_c q_c · (lse(z) - z_c) of each sample."""
    return batch.weight * log_sum_exp(z) - batch.picked(z)


# ---------------------------------------------------------------- right
def right_readings(batch: Batch, kind: str) -> Iterator[Reading]:
    """Losses that are as they should be."""
    o = batch.o
    if kind not in ("probabilities", "columns", "shares"):
        taken = "-mean of the target's log p" if kind == "log-probabilities" else AS_SCORES
        yield from _smoothed(batch, cross_entropy, o, taken)
        c = o.shape[1]  # of small scores it is what softmax twice is
        yield Reading(f"the cross entropy of these outputs over a temperature of {c}", cross_entropy(batch, o / c))
        top = np.maximum(o.max(axis=1), 0)
        with_one = top + np.log(np.exp(-top) + np.exp(o - top[:, None]).sum(axis=1))
        yield Reading("the cross entropy of softmax1 of these outputs", batch.weight * with_one - batch.picked(o))
    if kind == "probabilities":
        yield from _smoothed(batch, _nll, _log(o), "-mean log p of the target, p the outputs")


def _nll(batch: Batch, log_p: np.ndarray) -> np.ndarray:
    return 0.0 - batch.picked(log_p)


def _smoothed(
    batch: Batch, loss: Callable[[Batch, np.ndarray], np.ndarray], v: np.ndarray, words: str
) -> Iterator[Reading]:
    plain = loss(batch, v)
    yield Reading(words, plain)
    uniform = Batch(batch.o, np.full(v.shape, 1 / v.shape[1]), None, 0.0, 0.0)
    even = loss(uniform, np.where(np.isfinite(v), v, -1e300)) * batch.weight
    for smoothing in SMOOTHINGS:
        yield Reading(f"{words}, with label smoothing {smoothing}", (1 - smoothing) * plain + smoothing * even)


# ---------------------------------------------------------------- wrong
def wrong_readings(batch: Batch, kind: str) -> Iterator[Reading]:
    """Losses of the wirings in `findings.WIRINGS` that are read from a batch."""
    if kind == "probabilities":
        yield from _of_probabilities(batch, batch.o, "the outputs")
    elif kind in ("columns", "shares"):
        wiring = "batch_axis" if kind == "columns" else "batch_shares"
        yield Reading(AS_SCORES, cross_entropy(batch, batch.o), wiring)
    else:
        for reading in (*_of_probabilities(batch, softmax(batch.o), "softmax(outputs)"), *_of_scores(batch, kind)):
            yield replace(reading, of_scores=True)
    if kind in ("probabilities", "log-probabilities") and not batch.soft:
        yield from _of_trees(batch, _log(batch.o) if kind == "probabilities" else batch.o)
    if kind == "parts":
        yield Reading("-mean log of the target's output", _nll(batch, _log(batch.o)), "leaked_mass")
    if kind == "log-parts":
        yield Reading("-mean of the target's output", _nll(batch, batch.o), "leaked_mass")


def _of_probabilities(batch: Batch, p: np.ndarray, name: str) -> Iterator[Reading]:
    yield Reading(f"the cross entropy of p = {name}, taken for scores", cross_entropy(batch, p), "double_softmax")
    yield Reading(f"-mean p of the target, p = {name}", _nll(batch, p), "probabilities_for_logarithms")


def _of_scores(batch: Batch, kind: str) -> Iterator[Reading]:
    z = batch.o
    if kind == "scores":
        yield Reading("-mean of the target's output", _nll(batch, z), "scores_for_logarithms")
    top = z.max(axis=1, keepdims=True)
    unshifted = np.log1p(np.exp(z - top).sum(axis=1))
    yield Reading(
        "the cross entropy of e^(z - m) / (1 + Σ e^(z - m)), z the outputs and m their maximum",
        batch.weight * unshifted - batch.picked(z - top),
        "unshifted_softmax1",
    )
    if len(z) > 1 and np.isfinite(z).all():
        p = softmax(z.T).T
        over = "p = softmax of the outputs over the batch"
        yield Reading(f"the cross entropy of {over}, taken for scores", cross_entropy(batch, p), "batch_axis")
        yield Reading(f"-mean log p of the target, {over}", _nll(batch, _log(p)), "batch_axis")
        yield Reading(f"-mean p of the target, {over}", _nll(batch, p), "batch_axis")
    for order in ORDERS:
        if not np.isfinite(z).all() or float(np.abs(z).max()) ** order > LARGEST_POWER:
            break
        f = taylor.taylor_polynomial(z, order)
        name = f"p = Taylor's polynomial of order {order} of the outputs, over its sum in the"
        row, whole = f / f.sum(axis=1, keepdims=True), f / f.sum()
        yield Reading(f"the cross entropy of {name} row", cross_entropy(batch, row), "double_softmax")
        if len(z) > 1:
            yield Reading(f"the cross entropy of {name} batch", cross_entropy(batch, whole), "batch_shares")


def _of_trees(batch: Batch, log_p: np.ndarray) -> Iterator[Reading]:
    """-log of what the target shares with the rest of the subtree below its last decision."""
    n = log_p.shape[1]
    if n < 4:
        return  # there the first decision is the last one
    order = np.arange(n)
    for name, children in (("a heap", trees.balanced(order)), ("a tree by halving", trees.halving(order))):
        log_mass = np.concatenate([np.zeros((len(log_p), n - 1)), log_p], axis=1)
        for first, last in reversed(trees.levels(children)):
            log_mass[:, first:last] = np.logaddexp(*np.moveaxis(log_mass[:, children[first:last]], 2, 0))
        above = trees.uplinks(children)[n - 1 + batch.q] // 2
        losses = 0.0 - log_mass[np.arange(len(log_p)), above]
        words = f"-mean log p of the node above the target's leaf, in {name} in label order"
        yield Reading(words, losses, "missing_decision")


def _log(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(p, 0))
