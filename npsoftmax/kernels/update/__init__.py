"""What happens to gradients and parameters after backward, in one pass each: clipping, SGD, Adam.

The array decides which version runs. The rules of SGD and Adam in readable NumPy are the optimisers themselves, in
training/optimizers/: where `takes` says no, they run. What the other functions do stands in `reference`.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.update import compiled, device, reference

__all__ = ["adam", "clip", "scale", "sgd", "square_sum", "takes"]

version_for = chooser(compiled.MODULE, compiled, reference, device)


def takes(*arrays: Array) -> bool:
    """Whether the compiled rules, or the device's, take a parameter with its gradient and state, all of one type."""
    return version_for(*arrays) is not reference


# ---------------------------------------------------------------- clipping
def square_sum(g: Array) -> Array | float:
    """Σ g² of all values; () on the device that g is on, or a float; see `reference.square_sum`."""
    return version_for(g).square_sum(g)


def scale(g: Array, factor: float | Array) -> Array:
    """g · factor; the factor of an array on a device may be a double () that is there too; see `reference.scale`."""
    return version_for(g).scale(g, factor)


def clip(g: Array, limit: float) -> Array:
    """Every value of g clipped to [-limit, limit]; see `reference.clip`."""
    return version_for(g).clip(g, limit)


# ---------------------------------------------------------------- optimisers: compiled and on a device only
# What changes from step to step, `rates`: numbers, or for arrays on a device doubles that lie there, in the same order.
def sgd(p: Array, g: Array, b: Array | None, rates: Any, decay: float, nesterov: bool) -> None:
    """SGD's rule, in place on contiguous p and b; b None: without momentum. rates: lr, momentum.

    See `training.optimizers.SGD`.
    """
    fit("p (…), g (…), b (…)?", p.shape, g.shape, None if b is None else b.shape)
    version_for(p).sgd(p, g, b, rates, decay, nesterov)


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rates: Any,
    *,
    beta2: float,
    decay: float,
    shrinks: bool,
) -> None:
    """Adam's rule, in place on contiguous p, m and v; g includes decay · p. rates: beta1, 1 - beta1, rate, eps, shrink.

    p is first multiplied with `shrink`, if it `shrinks`. See `training.optimizers.Adam`.
    """
    fit("p (…), g (…), m (…), v (…)", p.shape, g.shape, m.shape, v.shape)
    version_for(p).adam(p, g, m, v, rates, beta2, decay, shrinks)
