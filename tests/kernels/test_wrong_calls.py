"""Wrong calls: refused in words, or right; nothing else, whichever version runs."""

from __future__ import annotations

import numpy as np
import pytest
from wrong_calls import search

from npsoftmax import kernels, layers
from npsoftmax.errors import InputError
from npsoftmax.functional import activation, conv, dense, gumbel, loss, norm, pool, softmax, sparse_mappings, taylor
from npsoftmax.kernels import dispatch, elementwise, tree, update
from npsoftmax.kernels import norm as norms
from npsoftmax.random import Rng


def some(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_wrong_calls_are_refused_or_right():
    counts, found = search(600, seed=0)
    assert not found, "\n".join(finding.words for finding in found)
    assert min(counts["right"], counts["refused"]) > 120


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 14))
def test_a_hundred_thousand_wrong_calls(seed):
    _, found = search(10_000, seed)
    assert not found, "\n".join(finding.words for finding in found)


# ---------------------------------------------------------------- the words
def test_a_wrong_shape_is_told_with_what_says_so_and_what_to_type():
    with pytest.raises(InputError) as error:
        conv.conv2d_tiled_forward(some(4, 3, 32, 32), some(3, 3, 3, 8), None, (1, 1), (1, 1))
    assert str(error.value) == (
        "conv2d_tiled_forward: x has shape (4, 3, 32, 32), but (N, H, W, C) with C = 3 was expected, "
        "as w (3, 3, 3, 8) says. Type x.transpose(0, 2, 3, 1)."
    )


X, W = some(4, 8, 8, 3), some(3, 3, 3, 5)
ROWS, LABELS = np.array([[0, 9], [1, 2]]), np.array([0, 1])
WRONG = {
    "conv2d_tiled": lambda: kernels.conv2d_tiled(some(4, 3, 8, 8), W, None, (1, 1), (1, 1)),
    "conv2d_tiled, channels": lambda: kernels.conv2d_tiled(some(4, 8, 8, 8), W, None, (1, 1), (1, 1)),
    "conv2d_tiled, bias": lambda: kernels.conv2d_tiled(X, W, some(4), (1, 1), (1, 1)),
    "conv2d_tiled, window": lambda: kernels.conv2d_tiled(some(4, 2, 8, 3), W, None, (1, 1), (0, 0)),
    "conv2d_tiled_dw": lambda: kernels.conv2d_tiled_dw(X, some(1, 8, 8, 5), (3, 3), (1, 1), (1, 1)),
    "conv2d_tiled_dx": lambda: kernels.conv2d_tiled_dx(some(4, 8, 8, 6), W, X.shape, (1, 1), (1, 1)),
    "conv2d_direct": lambda: kernels.conv2d_direct(some(4, 3, 8, 8), W, None, (1, 1)),
    "conv2d_direct_backward": lambda: kernels.conv2d_direct_backward(X, some(4, 8, 9, 5), W, (1, 1)),
    "conv2d_direct_backward, y": lambda: kernels.conv2d_direct_backward(
        X, some(4, 8, 8, 5), W, (1, 1), some(4, 8, 8, 1)
    ),
    "conv2d_direct_dw": lambda: kernels.conv2d_direct_dw(X, some(4, 7, 8, 5), (3, 3), (1, 1)),
    "conv2d_direct_dx": lambda: kernels.conv2d_direct_dx(some(3, 8, 8, 5), W, X.shape, (1, 1)),
    "conv2d_winograd": lambda: kernels.conv2d_winograd(some(4, 8, 8, 8), W, None, (1, 1), 4),
    "conv2d_winograd, kernel": lambda: kernels.conv2d_winograd(X, some(5, 5, 3, 5), None, (1, 1), 4),
    "conv2d_winograd_backward": lambda: kernels.conv2d_winograd_backward(X, some(1, 8, 8, 5), W, (1, 1), 4),
    "conv2d_winograd_dx": lambda: kernels.conv2d_winograd_dx(X, some(4, 8, 9, 5), W, (1, 1), 4),
    "conv2d_winograd_dw": lambda: kernels.conv2d_winograd_dw(X, some(4, 8, 8, 4), W, (1, 1), 2),
    "im2col": lambda: kernels.im2col(some(4, 8, 8), (3, 3), (1, 1), (1, 1)),
    "im2col, stride 0": lambda: kernels.im2col(X, (3, 3), (0, 1), (1, 1)),
    "col2im": lambda: kernels.col2im(some(10, 27), X.shape, (3, 3), (1, 1), (1, 1)),
    "max_pool": lambda: kernels.max_pool(X, (9, 9), (1, 1), (0, 0)),
    "max_pool_backward": lambda: kernels.max_pool_backward(
        some(1, 4, 4, 3), np.zeros((4, 4, 4, 3), np.uint8), X.shape, (2, 2), (2, 2), (0, 0)
    ),
    "relu_backward": lambda: elementwise.relu_backward(some(64, 1), some(64, 10)),
    "gelu_backward": lambda: elementwise.gelu_backward(some(3, 4), some(4, 3)),
    "silu_backward": lambda: elementwise.silu_backward(some(3, 4), some(4, 3)),
    "add": lambda: elementwise.add(some(3, 4), some(4)),
    "matmul": lambda: kernels.matmul(some(3, 4), some(5, 3)),
    "matmul, bias": lambda: kernels.matmul(some(3, 4), some(4, 3), some(4)),
    "normalise": lambda: norms.normalise(X, some(3), some(2), some(3), ""),
    "normalise_sums": lambda: norms.normalise_sums(some(1, 8, 8, 3), X, some(3), some(3), some(3), ""),
    "normalise_dx": lambda: norms.normalise_dx(X, X, some(3), some(3), some(3), some(3), some(1), ""),
    "layer_norm": lambda: norms.layer_norm(some(5, 4), some(3), None, 1e-5),
    "layer_norm_backward": lambda: norms.layer_norm_backward(some(2, 4), some(5, 4), some(4), some(5), some(5)),
    "chosen_scores": lambda: tree.chosen_scores(some(2, 3), some(9, 3), None, ROWS),
    "chosen_dh": lambda: tree.chosen_dh(some(2, 2), some(9, 3), ROWS),
    "climb": lambda: tree.climb(np.array([-1, 0, 1, 2, 3]), np.array([3]), 2, np.float32),
    "tree_log_prob": lambda: tree.tree_log_prob(some(2, 3), np.array([[1, 2], [3, 4]]), [(0, 1), (1, 2)]),
    "best_first": lambda: tree.best_first(some(2, 3), some(3, 3), None, np.array([[1, 2], [3, 4]]), 1, 9),
    "sgd": lambda: update.sgd(some(3, 4), some(4), None, (0.1, 0.0), 0.0, False),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_version_refuses_in_the_same_words(name, monkeypatch):
    with pytest.raises(InputError) as compiled:
        WRONG[name]()
    assert str(compiled.value).startswith(name.split(",")[0])
    monkeypatch.setattr(dispatch, "load_extension", lambda name: (None, "switched off"))
    with pytest.raises(InputError) as readable:
        WRONG[name]()
    assert str(readable.value) == str(compiled.value)


def test_layers_refuse_a_gradient_of_another_batch():
    layer = layers.Conv2d(3, 8, 3, pad=1, rng=Rng(0))
    _, cache = layer.forward(some(8, 32, 32, 3))
    with pytest.raises(InputError, match=r"dy has shape \(1, 32, 32, 8\), but \(8, 32, 32, 8\)"):
        layer.backward(some(1, 32, 32, 8), cache)
    _, cache = activation.relu_forward(some(64, 1000))
    with pytest.raises(InputError, match=r"relu_backward: dy has shape \(64, 1\)"):
        activation.relu_backward(np.ones((64, 1), np.float32), cache)
    *_, cache = norm.batch_norm_fused_forward(some(4000, 16), np.ones(16, "f4"), np.zeros(16, "f4"))
    with pytest.raises(InputError, match="batch_norm_fused_backward: dy"):
        norm.batch_norm_fused_backward(some(2, 16), cache)
    with pytest.raises(InputError, match="gamma has shape"):
        norm.batch_norm_fused_forward(some(4000, 16), np.ones(3, "f4"), np.zeros(16, "f4"))


# ---------------------------------------------------------------- types
def test_whole_numbers_are_taken_as_floats():
    z, noise, t = np.array([[1, 2, 4]]), Rng(0).gumbel((1, 3), np.float64), np.array([0])
    got, want = (gumbel.gumbel_softmax_forward(x, noise)[0] for x in (z, z * 1.0))
    np.testing.assert_array_equal(got, want)
    _, cache = loss.multi_margin_forward(z, t)
    np.testing.assert_allclose(loss.multi_margin_backward(np.ones(1), cache), [[-2 / 3, 1 / 3, 1 / 3]])
    assert loss.softmax_cross_entropy_forward(z, t)[0] == loss.softmax_cross_entropy_forward(z * 1.0, t)[0]
    assert sparse_mappings.sparsemax_forward(np.array([[0, 200]], np.uint8))[0].tolist() == [[0, 1]]
    x, w = np.arange(81, dtype=np.int32).reshape(1, 9, 9, 1), np.arange(9, dtype=np.int32).reshape(3, 3, 1, 1)
    got, want = (f(x, w, None, (1, 1), (1, 1))[0] for f in (conv.conv2d_winograd_forward, conv.conv2d_tiled_forward))
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_half_precision_is_computed_in_single_and_noise_is_finite():
    p, _ = softmax.softmax_forward(np.zeros((1, 70_000), np.float16))
    assert p.dtype == np.float32 and p.sum() == pytest.approx(1, abs=1e-3)
    for draw in (Rng(0).uniform, Rng(0).gumbel, Rng(0).normal):
        noise = draw((200_000, 1), np.float16)
        assert noise.dtype == np.float16 and np.isfinite(noise).all()
    u = Rng(0).uniform((200_000, 1), np.float16)
    assert u.min() > 0 and u.max() < 1
    with pytest.raises(InputError, match="noise of int64"):
        Rng(0).uniform((2,), int)


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x.tolist(),
        np.matrix,
        np.asfortranarray,
        lambda x: x.astype(">f4"),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),  # read-only
    ],
)
def test_what_numpy_takes_for_an_array_is_one(given):
    x, w = some(4, 6), some(6, 3)
    want, cache = dense.dense_threaded_forward(x, w)
    got, other = dense.dense_threaded_forward(given(x), w)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    dy = some(4, 3)
    for a, b in zip(dense.dense_threaded_backward(dy, other), dense.dense_threaded_backward(dy, cache), strict=True):
        assert b is None or np.allclose(a, b, atol=1e-5)


def test_a_series_of_pandas_is_an_array():
    pandas = pytest.importorskip("pandas")
    z, t = some(3, 4), np.array([0, 3, 1])
    want = loss.softmax_cross_entropy_forward(z, t)[0]
    assert loss.softmax_cross_entropy_forward(pandas.DataFrame(z), pandas.Series(t))[0] == want


@pytest.mark.parametrize("wrong", [some(2, 3).astype("c8"), some(2, 3).astype(object), [["a"]], [[1], [1, 2]], None])
def test_what_is_no_array_of_real_numbers_is_refused(wrong):
    with pytest.raises(InputError):
        softmax.softmax_forward(wrong)
    with pytest.raises(InputError):
        layers.Dense(3, 2, rng=Rng(0)).forward(wrong)


def test_settings_may_be_whole_numbers_of_numpy():
    two, one = np.int64(2), np.uint8(1)
    layer = layers.Conv2d(3, 4, np.int64(3), stride=two, pad=one, rng=Rng(0))
    assert layer.forward(X)[0].shape == (4, 4, 4, 4)
    assert pool.max_pool2d_forward(X, (two, two), [2, 2])[0].shape == (4, 4, 4, 3)
    with pytest.raises(InputError, match="stride is 2, but two whole numbers"):
        pool.max_pool2d_forward(X, (2, 2), 2)


# ---------------------------------------------------------------- scores of any size, and no samples
@pytest.mark.parametrize("name", [f"{name}_forward" for name in ("sparsemax_loss", "entmax15_loss", "hinge", "nll")])
@pytest.mark.parametrize("size", [1e30, 1e300])
def test_losses_of_large_scores_are_numbers(name, size):
    assert np.isfinite(getattr(loss, name)(np.array([[-size, size, 0]]), np.array([0]))[0])


def test_a_polynomial_says_how_large_scores_may_be():
    with pytest.raises(InputError, match=r"scores reach 1e\+30, but a Taylor softmax in float32 takes them up to"):
        taylor.log_taylor_softmax_forward(np.array([[1e30, 0]], np.float32))
    assert np.isfinite(taylor.log_taylor_softmax_forward(np.array([[1e30, 0]]))[0]).all()


def test_labels_in_a_column_are_told_from_one_hot():
    with pytest.raises(InputError, match=r"column of labels type t\[:, 0\]"):
        loss.softmax_cross_entropy_forward(np.zeros((3, 2)), np.array([[0], [1], [1]]))
