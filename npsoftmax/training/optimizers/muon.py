"""Muon for filters and weight matrices, and Nesterov's SGD for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.functional.newton_schulz import LEAST_NORM, A, B, C
from npsoftmax.kernels import matmul, update
from npsoftmax.params import SparseRows, Tree, leaves
from npsoftmax.training.optimizers.base import Arrays, Rates, at_least_0, below_1
from npsoftmax.training.optimizers.sgd import SGD

# Steps of `newton_schulz` on G alone. G holds squares, so the directions of small singular values are soon lost in its
# rounding; made anew from X, it holds them again, since they have grown meanwhile.
TOGETHER = 3

MOST_STEPS = 50  # after these even the rounding of a matrix has grown to 1


class Muon(SGD):
    """Momentum whose singular values are all brought near 1 (Jordan et al. 2024, "Muon").

    b ← μ·b + g, p ← p - ratio·lr·s·O(g + μ·b), where O is `newton_schulz` of the filters as columns, (KH·KW·C, F), and
    s = √max(1, F / (KH·KW·C)). Weight decay is decoupled: first p ← (1 - ratio·lr·weight_decay)·p.

    That is for convolution filters, arrays of four axes; with `matrices` also for those of two that are called w,
    embeddings included. Their μ is `filter_momentum`. The head, biases and norms are moved by SGD with Nesterov's
    momentum, of rate lr; its μ is `momentum`, or what the schedule says. steps: of `newton_schulz`. unit_filters: the
    filters are first scaled to a norm of √F, so that they have length 1 in the mean, and s is 1.
    """

    def __init__(
        self,
        params: Tree,
        *,
        ratio: float = 1.0,
        momentum: float = 0.9,
        filter_momentum: float = 0.95,
        steps: int = 5,
        unit_filters: bool = False,
        matrices: bool = False,
        weight_decay: float = 0.0,
        no_decay: tuple[str, ...] = (),
    ):
        if not momentum:
            raise InputError(
                "muon moves all that is no filter with Nesterov's momentum: give one above 0, such as 0.9."
            )
        super().__init__(params, momentum=momentum, nesterov=True, weight_decay=weight_decay, no_decay=no_decay)
        self.ratio, self.filter_momentum = at_least_0("ratio", ratio), below_1("filter_momentum", filter_momentum)
        self.newton_schulz_steps, self.unit_filters = few_steps("the number of muon's steps", steps), unit_filters
        self.filters = {
            name
            for name, p in leaves(params)
            if not name.startswith("head.")
            and (p.ndim == 4 or (matrices and p.ndim == 2 and name.rpartition(".")[2] == "w"))
        }

    def _rates(self, lr: float, momentum: float | None, step: int) -> tuple[float, ...]:
        """Of SGD; then, also for it, what makes the direction of the filters; then their own rate."""
        lr, ordinary = super()._rates(lr, momentum, step)
        return lr, ordinary, -1.0, self.filter_momentum, self.ratio * lr

    def _update_parameter(self, name: str, p: Array, g: Array | SparseRows, slots: Arrays, rates: Rates) -> None:
        if name not in self.filters or not p.size:
            super()._update_parameter(name, p, g, slots, rates[:2])
            return
        g = g.to_dense() if isinstance(g, SparseRows) else g
        self._update_filters(p, g, slots, self._decay[name], rates[2:4], rates[4])

    def _update_filters(self, p: Array, g: Array, slots: Sequence[Array], decay: float, ahead: Rates, lr: Any) -> None:
        xp, columns = array_module(p), p.shape[-1]
        move = xp.zeros(p.shape, p.dtype)
        self._update_array(move, g, slots, 0.0, ahead)  # 0 + 1·(g + μ·b)
        move = move.reshape(-1, columns)
        scale = 1.0 if self.unit_filters else math.sqrt(max(1.0, columns / len(move)))
        if self.unit_filters:
            length = xp.sqrt(xp.asarray(update.square_sum(xp.ascontiguousarray(p))))
            p *= (math.sqrt(columns) / xp.maximum(length, LEAST_NORM)).astype(p.dtype)
        if decay:
            p *= rounded(1 - lr * decay, p)
        p += newton_schulz(move, self.newton_schulz_steps, rounded(-lr * scale, p)).reshape(p.shape)


def few_steps(name: str, steps: int) -> int:
    """The steps of Newton and Schulz; InputError unless they are from 1 to MOST_STEPS."""
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise InputError(f"{name} is {steps!r}, but a whole number from 1 to {MOST_STEPS} was expected, usually 5.")
    return steps


def rounded(factor: Any, p: Array) -> Any:
    """A number as it is; a double () on a device in the type of p, as a number beside an array is taken."""
    return factor if isinstance(factor, float) else factor.astype(p.dtype)


def newton_schulz(m: Array, steps: int = 5, factor: Any = 1.0) -> Array:
    """factor · U q(S) Vᵀ of a matrix m (K, F) = U S Vᵀ, where q(S) is near 1.

    (.68 to 1.21: after five steps wherever S / ‖m‖ was above .0015, after three above .018.)

    X = m / ‖m‖, then `steps` times X ← A·X + (B·G + C·G²)·X with G = X·Xᵀ, or from the right with Xᵀ·X if that is the
    smaller one. Each step is a polynomial P of G and turns G into P²·G. So TOGETHER of them are taken on G, which is
    small and symmetric, and X is multiplied once, by the product of their P.
    """
    for start in range(0, steps, TOGETHER):
        count = min(TOGETHER, steps - start)
        m = _steps_together(m, count, normalised=start > 0, factor=factor if start + count == steps else 1.0)
    return m


def _steps_together(x: Array, steps: int, normalised: bool, factor: Any) -> Array:
    xp, right = array_module(x), x.shape[0] >= x.shape[1]
    gram = matmul(x.T, x) if right else matmul(x, x.T)
    one = xp.eye(len(gram), dtype=x.dtype)
    norm = 1.0 if normalised else xp.maximum(xp.sqrt((gram * one).sum()), LEAST_NORM)
    gram, product = gram / (norm * norm), one * (factor / norm)
    for step in range(steps):
        p = A * one + B * gram + C * matmul(gram, gram)
        product = matmul(p, product)
        if step + 1 < steps:
            gram = matmul(matmul(p, gram), p)
    return matmul(x, product) if right else matmul(product, x)
