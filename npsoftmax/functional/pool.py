"""Max and average pooling with windows that may overlap, global pooling, and padding to an odd size.

x (N, H, W, C) -> y (N, OH, OW, C); size, stride and pad are pairs. In a maximum the padding counts as -infinity, in an
average as zeros that are counted (PyTorch's defaults).
"""

from __future__ import annotations

from typing import Any

from npsoftmax import kernels
from npsoftmax.arguments import fit, fit_windows, gradient_like, pair, real, refuse
from npsoftmax.autocast import activation, kept_gradient
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels.windows.reference import Pair, pad_images, windows


def max_pool2d_forward(x: Array, size: Pair, stride: Pair, pad: Pair = (0, 0)) -> tuple[Array, Any]:
    """y = the largest value of every window; in a tie the first tap wins.

    x (N, H, W, C) -> y (N, OH, OW, C)
    """
    x, size, stride, pad = _given(x, size, stride, pad)
    y, index = kernels.max_pool(x, size, stride, pad)
    return y, (index, x.shape, size, stride, pad)


def max_pool2d_backward(dy: Array, cache: Any) -> Array:
    """The whole gradient of a window goes to its winner; a pixel that won several windows gets the sum.

    dy (N, OH, OW, C) -> dx (N, H, W, C)
    """
    index, shape, size, stride, pad = cache
    dy = kept_gradient(dy, index.shape)
    return kernels.max_pool_backward(dy, index, shape, size, stride, pad)


def max_pool2d_relu_forward(x: Array, size: Pair, stride: Pair, pad: Pair = (0, 0)) -> tuple[Array, Any]:
    """max(maxpool(x), 0): the same function as pooling after ReLU, on a fraction of the values.

    x (N, H, W, C) -> y (N, OH, OW, C). A window without a value above 0 has no winner; that is all the cache needs.
    """
    x, size, stride, pad = _given(x, size, stride, pad)
    y, index = kernels.max_pool(x, size, stride, pad, relu=True)
    return y, (index, x.shape, size, stride, pad)


def max_pool2d_relu_backward(dy: Array, cache: Any) -> Array:
    """The gradient of a window goes to its winner, where it has one.

    dy (N, OH, OW, C) -> dx (N, H, W, C)
    """
    return max_pool2d_backward(dy, cache)


def avg_pool2d_forward(x: Array, size: Pair, stride: Pair, pad: Pair = (0, 0)) -> tuple[Array, Any]:
    """y = the mean of every window.

    x (N, H, W, C) -> y (N, OH, OW, C)
    """
    x, size, stride, pad = _given(real(x), size, stride, pad)
    taps = windows(pad_images(x, pad), size, stride)
    y = taps[0].copy()
    for tap in taps[1:]:
        y += tap
    y /= len(taps)
    return y, (x.shape, size, stride, pad)


def avg_pool2d_backward(dy: Array, cache: Any) -> Array:
    """Every pixel of a window gets an equal share of its gradient.

    dy (N, OH, OW, C) -> dx (N, H, W, C)
    """
    (n, h, w, c), size, stride, (ph, pw) = cache
    dy = gradient_like(dy, fit_windows((n, h, w, c), size, stride, (ph, pw)))
    xp = array_module(dy)
    padded = xp.zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=dy.dtype)
    taps = windows(padded, size, stride)
    share = dy / len(taps)
    for tap in taps:
        tap += share
    return padded[:, ph : ph + h, pw : pw + w]


def global_avg_pool_forward(x: Array) -> tuple[Array, Any]:
    """y = the mean of each channel over the image.

    x (N, H, W, C) -> y (N, C)
    """
    x = _pixels(x)
    return x.mean(axis=(1, 2)), x.shape


def global_avg_pool_backward(dy: Array, cache: Any) -> Array:
    """Every pixel gets 1 / (H·W) of the gradient.

    dy (N, C) -> dx (N, H, W, C)
    """
    shape = cache
    dy = gradient_like(dy, (shape[0], shape[3]))
    xp = array_module(dy)
    share = dy / (shape[1] * shape[2])
    return xp.ascontiguousarray(xp.broadcast_to(share[:, None, None], shape))


def global_max_pool_forward(x: Array) -> tuple[Array, Any]:
    """y = the largest value of each channel over the image; in a tie the first pixel wins.

    x (N, H, W, C) -> y (N, C)
    """
    x = _pixels(x)
    xp = array_module(x)
    pixels = x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])  # (N, H·W, C)
    index = pixels.argmax(axis=1)[:, None]
    return xp.take_along_axis(pixels, index, axis=1)[:, 0], (index, x.shape)


def global_max_pool_backward(dy: Array, cache: Any) -> Array:
    """The gradient goes to the winner.

    dy (N, C) -> dx (N, H, W, C)
    """
    index, (n, h, w, c) = cache
    dy = gradient_like(dy, (n, c))
    xp = array_module(dy)
    dx = xp.zeros((n, h * w, c), dtype=dy.dtype)
    xp.put_along_axis(dx, index, dy[:, None], axis=1)
    return dx.reshape(n, h, w, c)


def global_max_avg_pool_forward(x: Array) -> tuple[Array, Any]:
    """y = the largest value of each channel over the image, plus the mean; in a tie the first pixel is the largest.

    x (N, H, W, C) -> y (N, C)
    """
    x = _pixels(x)
    size = x.shape[1], x.shape[2]
    largest, index = kernels.max_pool(x, size, size, (0, 0))
    return largest[:, 0, 0] + x.mean(axis=(1, 2)), (index, x.shape)


def global_max_avg_pool_backward(dy: Array, cache: Any) -> Array:
    """The gradient goes to the winner, and 1 / (H·W) of it to every pixel.

    dy (N, C) -> dx (N, H, W, C)
    """
    index, shape = cache
    dy = gradient_like(dy, (shape[0], shape[3]))[:, None, None]
    size = shape[1:3]
    dx = kernels.max_pool_backward(dy, index, shape, size, size, (0, 0))
    dx += dy / (size[0] * size[1])
    return dx


def pad_to_odd_forward(x: Array) -> tuple[Array, Any]:
    """x with a row of zeros below where its height is even, and a column on the right where its width is.

    x (N, H, W, C) -> y (N, H or H + 1, W or W + 1, C)
    """
    x = _pixels(x)
    more = [(0, 1 - size % 2) for size in x.shape[1:3]]
    return array_module(x).pad(x, ((0, 0), *more, (0, 0))), x.shape


def pad_to_odd_backward(dy: Array, cache: Any) -> Array:
    """dx = dy without what was added.

    dy like y -> dx (N, H, W, C)
    """
    n, h, w, c = cache
    dy = gradient_like(dy, (n, h + 1 - h % 2, w + 1 - w % 2, c))
    return array_module(dy).ascontiguousarray(dy[:, :h, :w])


# ---------------------------------------------------------------- what a forward may be given
def _given(x: Array, size: Pair, stride: Pair, pad: Pair) -> tuple[Array, Pair, Pair, Pair]:
    x, size, stride, pad = activation(x), pair("size", size, 1), pair("stride", stride, 1), pair("pad", pad, 0)
    fit_windows(x.shape, size, stride, pad)
    return x, size, stride, pad


def _pixels(x: Array) -> Array:
    x = real(x)
    fit("x (N, H, W, C)", x.shape)
    if not x.shape[1] or not x.shape[2]:
        raise refuse(f"x has shape {x.shape}, but an image of at least one pixel was expected.")
    return x
