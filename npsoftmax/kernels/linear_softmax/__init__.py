"""A linear map and the sums and gradients of a softmax after it, no logits held; the array decides which version runs.

What each function does stands in `reference`.
"""

from __future__ import annotations

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.linear_softmax import compiled, reference

__all__ = ["class_gradients", "class_sums"]

version_for = chooser(compiled.MODULE, compiled, reference)


def class_sums(
    h: Array, w: Array, b: Array | None, gain: Array | None, t: Array, lead: Array
) -> tuple[Array, Array, Array]:
    """The largest logit of each sample, Σ_c e^{z_c - it}, and the target's logit; see `reference.class_sums`."""
    fit("h (N, D), w (C, D), b (C)?, gain (C)?, t (N), lead (N)", *_shapes(h, w, b, gain, t, lead))
    return version_for(h, w, b, gain, lead).class_sums(h, w, b, gain, t, lead)


def class_gradients(
    h: Array, w: Array, b: Array | None, gain: Array | None, t: Array, samples: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """dh, dw (laid out as w is) and Σ_n dz; see `reference.class_gradients`."""
    fit("h (N, D), w (C, D), b (C)?, gain (C)?, t (N)", *_shapes(h, w, b, gain, t))
    return version_for(h, w, b, gain, *samples).class_gradients(h, w, b, gain, t, samples)


def _shapes(*arrays: Array | None) -> list[tuple[int, ...] | None]:
    return [None if a is None else a.shape for a in arrays]
