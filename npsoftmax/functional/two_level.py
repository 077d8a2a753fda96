"""The loss of two softmaxes, one after the other: first the group of a class, then the class in it.

Design: the page to read, on the scores of all classes. The head (heads/two_level.py) gives the same numbers from the
scores of the target's group alone. Derivation: docs/hierarchical.md.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, labels, number, places, taken
from npsoftmax.backend import Array, array_module
from npsoftmax.functional.softmax import log_softmax_forward


def two_level_loss_forward(z_group: Array, z_class: Array, t: Array, group: Array) -> tuple[Array, Any]:
    """Mean of -log p(group of t) - log p(t | its group): a softmax over the groups, one over the classes of the group.

    z_group (N, G), z_class (N, C), t (N,) labels, group (C,): the group of each class -> loss ().
    Scores of classes in other groups than the target's play no part.
    """
    z_group, z_class = taken("z_group (N, G), z_class (N, C)", z_group, z_class)
    t, group = labels(t, len(z_class), z_class.shape[1]), places(group, "group", 0, z_group.shape[1])
    fit("z_class (N, C), group (C)", z_class.shape, group.shape)
    xp = array_module(z_group)
    rows, g = xp.arange(len(t)), group[t]
    log_p_group = log_softmax_forward(z_group)[0]
    inside = group == g[:, None]  # (N, C): the classes of the target's group
    log_p_class = log_softmax_forward(xp.where(inside, z_class, -xp.inf))[0]
    loss = -(log_p_group[rows, g] + log_p_class[rows, t]).mean()
    return loss, (xp.exp(log_p_group), xp.exp(log_p_class), t, g)


def two_level_loss_backward(dloss: Array | float, cache: Any) -> tuple[Array, Array]:
    """Two cross entropies: dz = (p - onehot) · dloss / N in each; exactly 0 in other groups. -> dz_group, dz_class."""
    p_group, p_class, t, g = cache
    dloss = number(dloss)
    rows, scale = array_module(p_group).arange(len(t)), dloss / len(t)
    dz_group, dz_class = p_group * scale, p_class * scale
    dz_group[rows, g] -= scale
    dz_class[rows, t] -= scale
    return dz_group, dz_class
