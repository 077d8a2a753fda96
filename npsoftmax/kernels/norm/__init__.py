"""Sums of columns, batch norm and layer norm, in passes that read memory once; the array decides which version runs.

What each function does stands in `reference`.
"""

from __future__ import annotations

from npsoftmax.arguments import fit
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.norm import compiled, device, reference
from npsoftmax.kernels.norm.reference import After, Three

__all__ = [
    "After",
    "column_moments",
    "column_sum",
    "in_one_pass",
    "layer_norm",
    "layer_norm_backward",
    "normalise",
    "normalise_dx",
    "normalise_sums",
]

version_for = chooser(compiled.MODULE, compiled, reference, device)
layer_norm_version_for = chooser(compiled.LAYER_NORM, compiled, reference, device)


# ---------------------------------------------------------------- columns
def column_sum(rows: Array) -> Array:
    """Sum of each column; see `reference.column_sum`."""
    fit("rows (M, C)", rows.shape)
    return version_for(rows).column_sum(rows)


def column_moments(rows: Array) -> tuple[Array, Array]:
    """Mean and variance of each column; see `reference.column_moments`."""
    fit("rows (M, C)", rows.shape)
    return version_for(rows).column_moments(rows)


# ---------------------------------------------------------------- batch norm
def normalise(x: Array, mean: Array, factor: Array, shift: Array, after: After) -> Array:
    """(x - mean)·factor + shift, and what comes `after`; see `reference.normalise`."""
    fit("x (…, C), mean (C), factor (C), shift (C)", x.shape, mean.shape, factor.shape, shift.shape)
    return version_for(x, mean, factor, shift).normalise(x, mean, factor, shift, after)


def normalise_sums(dy: Array, x: Array, mean: Array, factor: Array, shift: Array, after: After) -> tuple[Array, Array]:
    """The two sums of its backward; see `reference.normalise_sums`."""
    shapes = x.shape, dy.shape, mean.shape, factor.shape, shift.shape
    fit("x (…, C), dy (…, C), mean (C), factor (C), shift (C)", *shapes)
    return version_for(dy, x, mean, factor, shift).normalise_sums(dy, x, mean, factor, shift, after)


def normalise_dx(
    dy: Array, x: Array, mean: Array, factor: Array, shift: Array, slope: Array, offset: Array, after: After
) -> Array:
    """The gradient of its input; see `reference.normalise_dx`."""
    shapes = x.shape, dy.shape, mean.shape, factor.shape, shift.shape, slope.shape, offset.shape
    fit("x (…, C), dy (…, C), mean (C), factor (C), shift (C), slope (C), offset (C)", *shapes)
    version = version_for(dy, x, mean, factor, shift, slope, offset)
    return version.normalise_dx(dy, x, mean, factor, shift, slope, offset, after)


# ---------------------------------------------------------------- layer norm
def in_one_pass(x: Array) -> bool:
    """Whether layer norm of an array like `x` runs in one pass: compiled, or by a kernel of the device."""
    return x.size > 0 and layer_norm_version_for(x) is not reference


def layer_norm(x: Array, gamma: Array, beta: Array | None, eps: float) -> Three:
    """y, and mean and scale of every row; see `reference.layer_norm`."""
    fit("x (M, D), gamma (D), beta (D)?", x.shape, gamma.shape, None if beta is None else beta.shape)
    return layer_norm_version_for(x, gamma, beta).layer_norm(x, gamma, beta, eps)


def layer_norm_backward(dy: Array, x: Array, gamma: Array, mean: Array, scale: Array) -> Three:
    """dx, dgamma, dbeta; see `reference.layer_norm_backward`."""
    shapes = x.shape, dy.shape, gamma.shape, mean.shape, scale.shape
    fit("x (M, D), dy (M, D), gamma (D), mean (M), scale (M)", *shapes)
    return layer_norm_version_for(dy, x, gamma, mean, scale).layer_norm_backward(dy, x, gamma, mean, scale)
