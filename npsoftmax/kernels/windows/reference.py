"""The data movement of convolution and pooling in readable NumPy: the documentation of the kernels, and the fallback.

Everything is channels last. A column matrix has one row for each output position and one column for each kernel tap:

    x (N, H, W, C)                        cols (N·OH·OW, KH·KW·C)
    ┌───┬───┬───┬───┐
    │ a │ b │ c │ d │   2x2 window,       ┌───────────────┐
    ├───┼───┼───┼───┤   stride 1          │ a   b   e   f │  window at (0, 0)
    │ e │ f │ g │ h │   ───────────►      │ b   c   f   g │  window at (0, 1)
    ├───┼───┼───┼───┤                     │ c   d   g   h │  window at (0, 2)
    │ i │ j │ k │ l │                     │ e   f   i   j │  window at (1, 0)
    └───┴───┴───┴───┘                     └───────────────┘  …        (a letter is a run of C channels)

Every function takes any array type: NumPy, CuPy or a test's.
"""

from __future__ import annotations

import math

from npsoftmax.backend import Array, array_module

Pair = tuple[int, int]

MOST_TAPS = 255  # in a pooling window whose winner is kept in a byte, so that there is a number for no tap


def kernel_size(w: Array) -> Pair:
    """(KH, KW) of w (KH, KW, C, F)."""
    return w.shape[0], w.shape[1]


def output_size(size: int, k: int, stride: int, pad: int) -> int:
    """Output positions along one axis: floor((size + 2·pad - k) / stride) + 1."""
    return (size + 2 * pad - k) // stride + 1


def output_sizes(shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Pair:
    """(OH, OW) of windows over images of `shape` (N, H, W, C): `output_size` of both axes, without two calls."""
    return (shape[1] + 2 * pad[0] - k[0]) // stride[0] + 1, (shape[2] + 2 * pad[1] - k[1]) // stride[1] + 1


def pad_images(x: Array, pad: Pair, value: float = 0.0) -> Array:
    """Every image with a border of `value`. x (N, H, W, C) -> (N, H + 2·PH, W + 2·PW, C)."""
    ph, pw = pad
    if ph == 0 and pw == 0:
        return x
    xp = array_module(x)
    return xp.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=value)


def windows(x: Array, k: Pair, stride: Pair) -> list[Array]:
    """For each of the KH·KW taps, the value that it sees at every output position.

    x (N, H, W, C), already padded -> KH·KW views (N, OH, OW, C): tap (i, j) of all windows is one strided slice.
    """
    kh, kw = k
    sh, sw = stride
    oh, ow = output_size(x.shape[1], kh, sh, 0), output_size(x.shape[2], kw, sw, 0)
    return [x[:, i : i + sh * oh : sh, j : j + sw * ow : sw][:, :oh, :ow] for i in range(kh) for j in range(kw)]


def im2col(x: Array, k: Pair, stride: Pair, pad: Pair) -> Array:
    """Columns of a convolution. x (N, H, W, C) -> cols (N·OH·OW, KH·KW·C)."""
    xp = array_module(x)
    taps = windows(pad_images(x, pad), k, stride)
    cols = xp.stack(taps, axis=3)  # (N, OH, OW, KH·KW, C)
    return cols.reshape(-1, len(taps) * x.shape[3])


def col2im(cols: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `im2col`: every column entry is ADDED to the pixel it was read from.

    cols (N·OH·OW, KH·KW·C) -> (N, H, W, C) = shape.
    """
    xp = array_module(cols)
    n, h, w, c = shape
    (kh, kw), (ph, pw) = k, pad
    padded = xp.zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=cols.dtype)
    taps = windows(padded, k, stride)
    by_tap = cols.reshape(*taps[0].shape[:3], kh * kw, c)
    for tap, view in enumerate(taps):
        view += by_tap[:, :, :, tap]
    return xp.ascontiguousarray(padded[:, ph : ph + h, pw : pw + w])


def max_pool(x: Array, k: Pair, stride: Pair, pad: Pair, relu: bool = False) -> tuple[Array, Array]:
    """Largest value of every window and the tap that held it (the first, in a tie).

    x (N, H, W, C) -> y (N, OH, OW, C), index (N, OH, OW, C) with tap i·KW + j. Padding counts as -infinity.
    With `relu` y = max(y, 0), and where it cuts off the index is KH·KW, that of no tap.
    """
    xp = array_module(x)
    taps = windows(pad_images(x, pad, -math.inf), k, stride)
    index_type = xp.uint8 if len(taps) <= MOST_TAPS else xp.int32
    y, index = taps[0].copy(), xp.zeros(taps[0].shape, dtype=index_type)
    for tap, value in enumerate(taps[1:], start=1):
        larger = (value > y) | xp.isnan(value)
        y = xp.where(larger, value, y)
        index = xp.where(larger, index_type(tap), index)
    if relu:
        index = xp.where(y > 0, index, index_type(len(taps)))
        y = xp.maximum(y, 0)
    return y, index


def max_pool_backward(dy: Array, index: Array, shape: tuple[int, ...], k: Pair, stride: Pair, pad: Pair) -> Array:
    """The adjoint of `max_pool`: dy is ADDED to the pixel that won, since windows may overlap.

    dy, index (N, OH, OW, C) -> dx (N, H, W, C) = shape.
    """
    xp = array_module(dy)
    n, h, w, c = shape
    ph, pw = pad
    padded = xp.zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=dy.dtype)
    for tap, view in enumerate(windows(padded, k, stride)):
        view += xp.where(index == tap, dy, dy.dtype.type(0))
    return xp.ascontiguousarray(padded[:, ph : ph + h, pw : pw + w])
