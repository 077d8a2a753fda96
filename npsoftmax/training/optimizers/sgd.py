"""Stochastic gradient descent, with momentum and Nesterov's form."""

from __future__ import annotations

from collections.abc import Sequence

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError
from npsoftmax.kernels import tree, update
from npsoftmax.params import SparseRows, Tree
from npsoftmax.training.optimizers.base import Arrays, Optimizer, Rates, below_1, with_decay


class SGD(Optimizer):
    """Stochastic gradient descent: b ← μ·b + g, p ← p - lr·b, where g includes weight_decay · p.

    μ is `momentum`, from 0 to below 1; 0 keeps no b. With `nesterov` (Sutskever et al. 2013)
    p ← p - lr·(g + μ·b), b being the new one.
    """

    def __init__(
        self,
        params: Tree,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        no_decay: tuple[str, ...] = (),
    ):
        self.momentum, self.nesterov = below_1("momentum", momentum), nesterov
        if nesterov and not momentum:
            raise InputError("nesterov=True needs a momentum above 0; type momentum=0.9 for example.")
        slots = ["momentum"] if momentum else []
        super().__init__(params, slots, weight_decay=weight_decay, no_decay=no_decay)

    def _rates(self, lr: float, momentum: float | None, step: int) -> tuple[float, ...]:
        if momentum and not self.state:
            raise InputError(
                f"the schedule sets momentum {momentum}, but this SGD was made without; give it momentum=0.9 "
                "for example, or the schedule cycle_momentum=false."
            )
        return lr, self.momentum if momentum is None else below_1("momentum", momentum)

    def _update(self, p: Array, g: Array, slots: Arrays, scratch: Arrays, decay: float, rates: Rates) -> None:
        xp = array_module(p)
        lr, momentum = rates
        if decay:
            g = with_decay(p, g, decay, scratch[0])
        move = g
        if slots:
            b = move = slots[0]
            b *= momentum
            b += g
            if self.nesterov:
                move = xp.multiply(b, momentum, out=scratch[1])
                move += g
        p -= xp.multiply(move, lr, out=scratch[1])

    def _update_compiled(self, p: Array, g: Array, slots: Arrays, decay: float, rates: Rates) -> None:
        update.sgd(p, g, slots[0] if slots else None, rates, decay, self.nesterov)

    def _update_rows(self, p: Array, g: SparseRows, slots: Sequence[Array], decay: float, rates: Rates) -> None:
        if slots or decay:
            super()._update_rows(p, g, slots, decay, rates)
        else:  # nothing to remember and nothing to read: one pass over the rows, without copies of them
            tree.subtract_rows(p, g.rows, g.values, rates[0])
