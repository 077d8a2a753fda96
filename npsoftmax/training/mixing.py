"""Mixup and cutmix: training images that are part one image, part another, with the loss shared out alike.

Design: the loss of a mixed batch is weight · loss(targets) + (1 - weight) · loss(others), two losses of the head on the
same features, and backward calls the head twice, with these two weights as `dloss`. So every head takes mixed images,
whatever its loss is: no head needs soft labels. One weight a batch, since a head's loss is a mean over the batch; it
and the partners are functions of the step, so a resumed run mixes as it would have.

Training accuracy: a mixed image counts as right when the prediction is the label of its larger part. The best that can
be reached is 1, but it is the accuracy on harder images than those of validation, and usually lies below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.models import Model
from npsoftmax.params import SparseRows, Tree, tree_map
from npsoftmax.random import Rng, check_rng


@dataclass(frozen=True)
class Mixed:
    """A mixed batch: images (N, H, W, C); each is `weight` its own and 1 - weight that of sample `partners[i]`.

    The partners are on the host, where the labels are.
    """

    images: Array
    partners: np.ndarray
    weight: float


# ---------------------------------------------------------------- images
def mix(x: Array, rng: Rng, *, mixup: float = 0.0, cutmix: float = 0.0) -> Mixed:
    """Mix each image of a batch with another one, drawn at random. x (N, H, W, C), as the network gets it.

    mixup, cutmix: α > 0 of the weight's Beta(α, α) distribution, 0 for never; with both, a coin decides for each batch.
    mixup: weight · x + (1 - weight) · partner (Zhang et al. 2017, arXiv 1710.09412). cutmix: a rectangle of about
    1 - weight of the area comes from the partner, and weight is then what it left (Yun et al. 2019, arXiv 1905.04899).
    """
    check_rng(rng)
    coin, level, *centre = rng.child("draws").uniform((1, 4), np.float64)[0]
    partners = rng.child("partners").permutation(len(x))
    other = x[array_module(x).asarray(partners)]
    cut = cutmix > 0 and (mixup == 0 or coin < 0.5)
    weight = _beta(cutmix if cut else mixup, level)
    if not cut:
        return Mixed(_blend(x, other, weight), partners, weight)
    images, kept = _paste(x, other, weight, centre)
    return Mixed(images, partners, kept)


def check_alpha(flag: str, alpha: float) -> None:
    """InputError unless 0 <= α < inf."""
    if not 0 <= as_number(alpha) < math.inf:
        raise InputError(f"{flag} is {alpha}, but a number of at least 0 was expected (0: no mixing; try {flag} 0.8).")


def _beta(alpha: float, level: float) -> float:
    """The Beta(α, α) variable below which lies the share `level` of its distribution: a draw, from a uniform one."""
    from scipy.special import betaincinv

    return float(betaincinv(alpha, alpha, level))


def _blend(x: Array, other: Array, weight: float) -> Array:
    other *= 1 - weight  # a copy of this function's own
    other += x * weight
    return other


def _paste(x: Array, other: Array, weight: float, centre: list[float]) -> tuple[Array, float]:
    """`x` with a rectangle of `other`, cut off at the edge, and the share of x that is left."""
    edges = []
    for size, place in zip(x.shape[1:3], centre, strict=True):
        half, middle = size * math.sqrt(1 - weight) / 2, place * size
        edges.append(slice(max(0, round(middle - half)), min(size, round(middle + half))))
    rows, columns = edges
    images = x.copy()
    images[:, rows, columns] = other[:, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return images, 1 - pasted / (x.shape[1] * x.shape[2])


# ---------------------------------------------------------------- loss
def mixed_forward(
    model: Model, x: Array, targets: Array, others: Array, weight: float, *, rng: Rng
) -> tuple[Array, Array, Any]:
    """Features and mixed loss of a batch in training, as `Model.forward`. x (N, …), targets, others (N,)."""
    check_rng(rng)
    h, trunk_cache = model.through_trunk(x, train=True, rng=rng.child("trunk"))
    losses, head_caches = [], []
    for labels in (targets, others):  # both see the same noise of the head
        value, cache = model.head.loss(h, labels, train=True, rng=rng.child("head"))
        losses.append(value)
        head_caches.append(cache)
    loss = losses[0] * weight + losses[1] * (1 - weight)
    return h, loss, (trunk_cache, head_caches, weight)


def mixed_backward(model: Model, cache: Any, dloss: float = 1.0) -> Tree:
    """The head twice, with dloss · weight and dloss · (1 - weight); the trunk once, for the sum. -> grads"""
    trunk_cache, head_caches, weight = cache
    dh, grads = model.head.backward(head_caches[0], dloss * weight)
    dh_others, grads_others = model.head.backward(head_caches[1], dloss * (1 - weight))
    trunk_grads = model.back_through_trunk(dh + dh_others, trunk_cache)
    return {"trunk": trunk_grads, "head": tree_map(_sum, grads, grads_others)}


def _dense(a: Array | SparseRows) -> Array:
    return a.to_dense() if isinstance(a, SparseRows) else a


def _sum(a: Array | SparseRows, b: Array | SparseRows) -> Array | SparseRows:
    if not isinstance(a, SparseRows) or not isinstance(b, SparseRows):
        return _dense(a) + _dense(b)
    xp = array_module(a.values)
    rows, values = xp.concatenate([a.rows, b.rows]), xp.concatenate([a.values, b.values])
    return SparseRows.from_indices(rows, values, a.n_rows)
