"""Adam and AdamW."""

from __future__ import annotations

import math

from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import update
from npsoftmax.params import Tree
from npsoftmax.training.optimizers.base import Arrays, Optimizer, Rates, at_least_0, below_1, with_decay


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); weight decay is an L2 term: g includes weight_decay · p.

    m ← β₁·m + (1 - β₁)·g,   v ← β₂·v + (1 - β₂)·g²,   p ← p - lr · m/(1 - β₁ᵗ) / (√(v/(1 - β₂ᵗ)) + eps)

    β₁ and β₂ are `beta1` and `beta2`, from 0 to below 1; t counts steps from 1. Where a schedule cycles
    beta1, the correction uses the beta1 of the step, as PyTorch's does.
    """

    decoupled = False

    def __init__(
        self,
        params: Tree,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        no_decay: tuple[str, ...] = (),
    ):
        self.beta1, self.beta2 = below_1("beta1", beta1), below_1("beta2", beta2)
        self.eps = at_least_0("eps", eps)
        super().__init__(params, ["m", "v"], weight_decay=weight_decay, no_decay=no_decay)

    def _rates(self, lr: float, momentum: float | None, step: int) -> tuple[float, ...]:
        beta1 = self.beta1 if momentum is None else below_1("momentum (Adam's beta1)", momentum)
        correction1, correction2 = 1 - beta1**step, math.sqrt(1 - self.beta2**step)
        # (m / c1) / (√v / c2 + eps) = c2 / c1 · m / (√v + c2 · eps): one pass over the array less.
        rate, eps = lr * correction2 / correction1, self.eps * correction2
        return beta1, 1 - beta1, rate, eps, 1 - lr * self.weight_decay

    def _update(self, p: Array, g: Array, slots: Arrays, scratch: Arrays, decay: float, rates: Rates) -> None:
        xp = array_module(p)
        beta1, rest1, rate, eps, shrink = rates
        m, v = slots
        a, b = scratch
        if decay and self.decoupled:
            p *= shrink
        elif decay:
            g = with_decay(p, g, decay, a)
        m *= beta1
        m += xp.multiply(g, rest1, out=b)
        v *= self.beta2
        xp.multiply(g, g, out=b)
        b *= 1 - self.beta2
        v += b
        xp.sqrt(v, out=a)
        a += eps
        xp.divide(m, a, out=b)
        b *= rate
        p -= b

    def _update_compiled(self, p: Array, g: Array, slots: Arrays, decay: float, rates: Rates) -> None:
        (m, v), shrinks = slots, bool(decay) and self.decoupled
        update.adam(p, g, m, v, rates, beta2=self.beta2, decay=0.0 if self.decoupled else decay, shrinks=shrinks)


class AdamW(Adam):
    """Adam after decoupled weight decay (Loshchilov & Hutter 2019): first p ← (1 - lr · weight_decay) · p."""

    decoupled = True

    def __init__(
        self,
        params: Tree,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        no_decay: tuple[str, ...] = (),
    ):
        super().__init__(params, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, no_decay=no_decay)
