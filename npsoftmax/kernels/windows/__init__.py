"""Windows over images: columns of a convolution (im2col, col2im) and max pooling; the array decides which version runs.

What each function does stands in `reference`. Pooling is compiled from _pool.pyx here. The columns are compiled from
npsoftmax/_im2col.pyx, which stays in the root of the package because its place is fixed; the tiles of columns in the
same file belong to `kernels.conv`.
"""

from __future__ import annotations

from npsoftmax.arguments import fit_windows, refuse
from npsoftmax.backend import Array
from npsoftmax.kernels.dispatch import chooser
from npsoftmax.kernels.windows import compiled, device, reference
from npsoftmax.kernels.windows.reference import Pair

__all__ = ["col2im", "has_compiled", "im2col", "max_pool", "max_pool_backward", "on_device"]

columns_version_for = chooser(compiled.COLUMNS, compiled, reference, device)
pool_version_for = chooser(compiled.POOL, compiled, reference, device)


def has_compiled(x: Array) -> bool:
    """Whether an array like `x` would run on the compiled kernels."""
    return columns_version_for(x) is compiled


def on_device(x: Array) -> bool:
    """Whether an array like `x` would run on the CUDA kernels."""
    return columns_version_for(x) is device


# ---------------------------------------------------------------- columns
def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C); see `reference.im2col`."""
    fit_windows(x.shape, k, stride, pad)
    return columns_version_for(x).im2col(x, k, stride, pad)


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """cols (N·OH·OW, KH·KW·C) -> (N, H, W, C) = shape; see `reference.col2im`."""
    n, oh, ow, c = fit_windows(shape, k, stride, pad)
    if cols.shape != (n * oh * ow, k[0] * k[1] * c):
        raise refuse(f"cols has shape {cols.shape}, but {(n * oh * ow, k[0] * k[1] * c)} was expected for {shape}.")
    return columns_version_for(cols).col2im(cols, shape, k, stride, pad)


# ---------------------------------------------------------------- max pooling
def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """y and the winning tap of every window; see `reference.max_pool`."""
    fit_windows(x.shape, k, stride, pad)
    return pool_version_for(x).max_pool(x, k, stride, pad, relu)


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """dx of `max_pool`; see `reference.max_pool_backward`."""
    pooled = fit_windows(shape, k, stride, pad)
    if dy.shape != pooled or index.shape != pooled:
        raise refuse(f"dy has shape {dy.shape} and index {index.shape}, but {pooled} was expected of both.")
    return pool_version_for(dy).max_pool_backward(dy, index, shape, k, stride, pad)
