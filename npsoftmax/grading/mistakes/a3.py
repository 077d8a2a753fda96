"""Mistakes of a3: convolution and pooling."""

from __future__ import annotations

import math

import numpy as np

from npsoftmax.functional import conv
from npsoftmax.grading.mistakes.base import mistake
from npsoftmax.kernels.windows import reference


# ---------------------------------------------------------------- padding
@mistake("pad_images", "padded")
def pair_exchanged(x, pad, value):
    """PH and PW are exchanged: the first of the pair pads the height (axis 1), the second the width (axis 2)."""
    return reference.pad_images(x, pad[::-1], value)


@mistake("pad_images", "padded")
def padded_on_one_side(x, pad, value):
    """only one side is padded; pad both sides: (PH, PH) and (PW, PW)."""
    return np.pad(x, ((0, 0), (0, pad[0]), (0, pad[1]), (0, 0)), constant_values=value)


@mistake("pad_images", "padded")
def value_forgotten(x, pad, value):
    """you padded with zeros; pad with `value` (max-pooling pads with -∞)."""
    return reference.pad_images(x, pad)


@mistake("pad_images", "padded")
def all_axes_padded(x, pad, value):
    """you padded samples and channels too; these two axes get (0, 0)."""
    return np.pad(x, ((pad[0],) * 2, (pad[0],) * 2, (pad[1],) * 2, (pad[1],) * 2), constant_values=value)


@mistake("pad_images", "padded")
def one_pair_for_all_axes(x, pad, value):
    """every axis is padded, samples and channels too, by PH before and PW after; only height and width are."""
    return np.pad(x, pad, constant_values=value)


# ---------------------------------------------------------------- convolution
@mistake("conv2d_naive_forward", "y")
@mistake("conv2d_im2col_forward", "y")
def bias_forgotten(x, w, b, stride, pad):
    """the bias is not added."""
    return conv.conv2d_naive_forward(x, w, None, stride, pad)[0], (x, w, b is not None, stride, pad)


@mistake("conv2d_naive_forward", "y")
@mistake("conv2d_im2col_forward", "y")
def kernel_flipped(x, w, b, stride, pad):
    """the kernel is flipped, as in the convolution of mathematics; here weight (u, v) meets pixel (i + u, j + v)."""
    return conv.conv2d_naive_forward(x, w[::-1, ::-1], b, stride, pad)[0], (x, w, b is not None, stride, pad)


@mistake("conv2d_naive_forward", "y")
@mistake("conv2d_im2col_forward", "y")
def stride_ignored(x, w, b, stride, pad):
    """the stride is ignored: the output has as many positions as at stride 1."""
    return conv.conv2d_naive_forward(x, w, b, (1, 1), pad)[0], (x, w, b is not None, stride, pad)


@mistake("conv2d_naive_forward", "y")
@mistake("conv2d_im2col_forward", "y")
def padding_ignored(x, w, b, stride, pad):
    """the padding is ignored: pad the images first."""
    return conv.conv2d_naive_forward(x, w, b, stride, (0, 0))[0], (x, w, b is not None, stride, pad)


@mistake("conv2d_naive_backward", "dw", "db")
@mistake("conv2d_im2col_backward", "dw", "db")
def mean_over_the_batch(dy, cache):
    """you averaged over the batch: dw and db are SUMS over its N = {N} images. The 1/N belongs to the loss and is
    already inside dy."""
    dx, dw, db = conv.conv2d_naive_backward(dy, cache)
    return dx, dw / len(dy), None if db is None else db / len(dy)


@mistake("conv2d_naive_backward", "dw")
@mistake("conv2d_im2col_backward", "dw")
def weights_averaged(dy, cache):
    """you averaged over the batch: dw is a SUM over its N = {N} images. The 1/N belongs to the loss and is already
    inside dy."""
    dx, dw, db = conv.conv2d_naive_backward(dy, cache)
    return dx, dw / len(dy), db


@mistake("conv2d_naive_backward", "db")
@mistake("conv2d_im2col_backward", "db")
def bias_summed_over_samples_only(dy, cache):
    """db was summed over the samples only: the bias was added at every position too, axis=(0, 1, 2)."""
    dx, dw, db = conv.conv2d_naive_backward(dy, cache)
    return dx, dw, None if db is None else dy.sum(axis=0)


@mistake("conv2d_naive_backward", "dx")
def windows_overwrite(dy, cache):
    """dx was assigned window by window (=): where windows overlap, a pixel gets the SUM of what they send it (+=)."""
    x, w, _, (sh, sw), pad = cache
    kh, kw = w.shape[:2]
    dpadded = np.zeros(reference.pad_images(x, pad).shape)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            dpadded[:, i * sh : i * sh + kh, j * sw : j * sw + kw] = np.tensordot(dy[:, i, j], w, axes=(1, 3))
    dx = dpadded[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]]
    return dx, *conv.conv2d_naive_backward(dy, cache)[1:]


@mistake("conv2d_naive_backward", "dx")
@mistake("conv2d_im2col_backward", "dx")
def padding_not_cropped(dy, cache):
    """dx is still padded: crop it to the shape of x."""
    x, w, has_bias, stride, pad = cache
    padded = reference.pad_images(x, pad)
    dx, dw, db = conv.conv2d_naive_backward(dy, (padded, w, has_bias, stride, (0, 0)))
    return dx, dw, db


@mistake("conv2d_naive_backward", "dx")
@mistake("conv2d_im2col_backward", "dx")
def kernel_flipped_in_dx(dy, cache):
    """the kernel is flipped in dx: pixel (i + u, j + v) gets dy[i, j] times w[u, v], the weight that it met."""
    x, w, *rest = cache
    dx, _, _ = conv.conv2d_naive_backward(dy, (x, w[::-1, ::-1], *rest))
    return dx, *conv.conv2d_naive_backward(dy, cache)[1:]


@mistake("conv2d_naive_backward", "dx")
@mistake("conv2d_im2col_backward", "dx")
def kernel_reshaped_for_transposed(dy, cache):
    """w.reshape(F, -1) mixes its axes: in dx it is w.reshape(-1, F).T, since the filters are the LAST axis of w."""
    x, w, *rest = cache
    mixed = w.reshape(w.shape[3], -1).T.reshape(w.shape)
    dx, _, _ = conv.conv2d_naive_backward(dy, (x, mixed, *rest))
    return dx, *conv.conv2d_naive_backward(dy, cache)[1:]


# ---------------------------------------------------------------- columns
@mistake("im2col", "cols")
def channels_first(x, k, stride, pad):
    """the columns are in another order: taps first and channels last, (u·KW + v)·C + c, as in w.reshape(-1, F)."""
    cols = reference.im2col(x, k, stride, pad).reshape(-1, k[0] * k[1], x.shape[3])
    return cols.transpose(0, 2, 1).reshape(len(cols), -1)


@mistake("im2col", "cols")
def taps_down_the_columns(x, k, stride, pad):
    """the taps are in another order: row by row of the window, tap u·KW + v."""
    cols = reference.im2col(x, k, stride, pad).reshape(-1, *k, x.shape[3])
    return cols.transpose(0, 2, 1, 3).reshape(len(cols), -1)


@mistake("im2col", "cols")
def columns_without_padding(x, k, stride, pad):
    """the padding is ignored: pad the images first."""
    return reference.im2col(x, k, stride, (0, 0))


@mistake("im2col", "cols")
def columns_without_stride(x, k, stride, pad):
    """the stride is ignored: there are as many rows as at stride 1."""
    return reference.im2col(x, k, (1, 1), pad)


@mistake("im2col", "cols")
def stride_pair_exchanged(x, k, stride, pad):
    """SH and SW are exchanged: the first of the pair steps down, the second to the right."""
    return reference.im2col(x, k, stride[::-1], pad)


@mistake("im2col", "cols")
def columns_transposed(x, k, stride, pad):
    """the matrix is transposed: one ROW for each output position, one column for each tap and channel."""
    return reference.im2col(x, k, stride, pad).T.copy()


@mistake("col2im", "x")
def assigns_for_adds(cols, shape, k, stride, pad):
    """entries were assigned (=): a pixel that lies in several windows gets the SUM of what they send it (+=)."""
    padded = np.zeros((shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3]))
    taps = reference.windows(padded, k, stride)
    parts = cols.reshape(*taps[0].shape[:3], len(taps), shape[3])
    for tap, view in enumerate(taps):
        view[...] = parts[:, :, :, tap]
    return padded[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


@mistake("col2im", "x")
def last_position_wins(cols, shape, k, stride, pad):
    """windows were assigned (=): a pixel that lies in several windows gets the SUM of what they send it (+=)."""
    padded = np.zeros((shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3]))
    oh, ow = reference.windows(padded, k, stride)[0].shape[1:3]
    parts = cols.reshape(shape[0], oh, ow, *k, shape[3])
    for i, j in np.ndindex(oh, ow):
        padded[:, i * stride[0] : i * stride[0] + k[0], j * stride[1] : j * stride[1] + k[1]] = parts[:, i, j]
    return padded[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


@mistake("col2im", "x")
def padding_left_on(cols, shape, k, stride, pad):
    """the result is still padded: crop it, [:, PH : PH + H, PW : PW + W]."""
    larger = (shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3])
    return reference.col2im(cols, larger, k, stride, (0, 0))


@mistake("col2im", "x")
def mean_of_the_windows(cols, shape, k, stride, pad):
    """you divided by the number of windows that a pixel lies in; col2im is a plain sum."""
    count = reference.col2im(np.ones_like(cols), shape, k, stride, pad)
    return reference.col2im(cols, shape, k, stride, pad) / np.maximum(count, 1)


# ---------------------------------------------------------------- pooling
@mistake("max_pool", "y", "index")
def padded_with_zeros(x, k, stride, pad):
    """you padded with zeros, which win where all pixels are negative: pad with -∞."""
    return reference.max_pool(reference.pad_images(x, pad), k, stride, (0, 0))


@mistake("max_pool", "index")
def last_of_a_tie(x, k, stride, pad):
    """in a tie the last tap won; the first one does: compare with >, not >=."""
    y, _ = reference.max_pool(x, k, stride, pad)
    taps = reference.windows(reference.pad_images(x, pad, -math.inf), k, stride)
    return y, np.max([np.where(view == y, tap, 0) for tap, view in enumerate(taps)], axis=0)


@mistake("max_pool", "y")
def mean_for_maximum(x, k, stride, pad):
    """this is the mean of every window; max-pooling takes its largest value."""
    y, index = reference.max_pool(x, k, stride, pad)
    return np.mean(reference.windows(reference.pad_images(x, pad), k, stride), axis=0), index


@mistake("max_pool", "index")
def taps_counted_from_one(x, k, stride, pad):
    """the taps are counted from 1; tap (u, v) has the number u·KW + v, from 0."""
    y, index = reference.max_pool(x, k, stride, pad)
    return y, index + 1


@mistake("max_pool", "index")
def taps_numbered_down(x, k, stride, pad):
    """the taps are numbered down the columns; tap (u, v) has the number u·KW + v."""
    y, index = reference.max_pool(x, k, stride, pad)
    return y, index % k[1] * k[0] + index // k[1]


@mistake("max_pool_backward", "dx")
def last_window_wins(dy, index, shape, k, stride, pad):
    """dx was assigned (=): where windows overlap, a pixel that won several of them gets the SUM (+=)."""
    padded = np.zeros((shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3]))
    for tap, view in enumerate(reference.windows(padded, k, stride)):
        view[...] = np.where(index == tap, dy, view)
    return padded[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


@mistake("max_pool_backward", "dx")
def shared_among_all(dy, index, shape, k, stride, pad):
    """every pixel of a window got a share of dy, as in average pooling; the winner gets all of it."""
    padded = np.zeros((shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3]))
    for view in reference.windows(padded, k, stride):
        view += dy / (k[0] * k[1])
    return padded[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


@mistake("max_pool_backward", "dx")
def everybody_gets_everything(dy, index, shape, k, stride, pad):
    """every pixel of a window got all of dy; only the winner, the tap in index, does."""
    padded = np.zeros((shape[0], shape[1] + 2 * pad[0], shape[2] + 2 * pad[1], shape[3]))
    for view in reference.windows(padded, k, stride):
        view += dy
    return padded[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


# ---------------------------------------------------------------- in Cython
def _fill(x, cols, k, stride, pad):
    cols[...] = reference.im2col(x, k, stride, pad)


@mistake("im2col_cython", "cols")
def outside_not_written(x, cols, kh, kw, sh, sw, ph, pw, oh, ow):
    """outside the image nothing was written, and `cols` keeps whatever was there: write 0.0."""
    _fill(x, cols, (kh, kw), (sh, sw), (ph, pw))
    seen = reference.im2col(np.ones_like(x), (kh, kw), (sh, sw), (ph, pw))
    cols[seen == 0] = np.nan


@mistake("im2col_cython", "cols")
def padding_not_subtracted(x, cols, kh, kw, sh, sw, ph, pw, oh, ow):
    """the padding is not subtracted: the pixel of tap u is i·sh + u - ph, of tap v j·sw + v - pw."""
    larger = np.zeros((x.shape[0], oh * sh + kh, ow * sw + kw, x.shape[3]))
    larger[:, : x.shape[1], : x.shape[2]] = x[:, : larger.shape[1], : larger.shape[2]]
    full = reference.im2col(larger[:, : (oh - 1) * sh + kh, : (ow - 1) * sw + kw], (kh, kw), (sh, sw), (0, 0))
    cols[...] = full


@mistake("im2col_cython", "cols")
def row_not_advanced(x, cols, kh, kw, sh, sw, ph, pw, oh, ow):
    """every window was written into row 0: add 1 to the row after each window."""
    cols[0] = reference.im2col(x, (kh, kw), (sh, sw), (ph, pw))[-1]


@mistake("im2col_cython", "cols")
def channels_outermost(x, cols, kh, kw, sh, sw, ph, pw, oh, ow):
    """the channel loop has to be the innermost one: column (u·KW + v)·C + c."""
    _fill(x, cols, (kh, kw), (sh, sw), (ph, pw))
    cols[...] = cols.reshape(len(cols), kh * kw, -1).transpose(0, 2, 1).reshape(len(cols), -1)
