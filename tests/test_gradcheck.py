"""The gradient check, checked: it recovers known derivatives and rejects what is wrong, and says where."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import npsoftmax
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import (
    check_gradients,
    check_head,
    check_layer,
    check_model,
    check_pair,
    numeric_gradient,
)
from npsoftmax.random import Rng

few = settings(max_examples=25, deadline=None)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ---------------------------------------------------------------- pairs, and a way to spoil them
def dense_forward(x, w, b):
    return x @ w + b, (x, w)


def dense_backward(dy, cache):
    x, w = cache
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


def softmax_forward(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p


def softmax_backward(dp, p):
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def relu_forward(x):
    return np.maximum(x, 0), x > 0


def relu_backward(dy, positive):
    return dy * positive


def sin_forward(x):
    return np.sin(x), np.cos(x)


def sin_backward(dy, cosine):
    return dy * cosine


def cross_entropy_forward(z, t):
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(t)), t].mean(), (log_p, t)


def cross_entropy_backward(dloss, cache):
    log_p, t = cache
    dz = np.exp(log_p)
    dz[np.arange(len(t)), t] -= 1
    return dz * (dloss / len(t))


def spoilt(backward, index, factor):
    """`backward` with one element of its (first) gradient multiplied by `factor`."""

    def wrong(dy, cache):
        result = backward(dy, cache)
        first = result[0] if isinstance(result, tuple) else result
        first[index] *= factor
        return result

    return wrong


def dense_arguments():
    return normal(4, 3), normal(3, 2, seed=1), normal(2, seed=2)


# ---------------------------------------------------------------- numeric gradients of known functions
@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (np.square, lambda x: 2 * x),
    ],
)
def test_numeric_gradient_recovers_elementwise_derivatives(function, derivative):
    x, dy = normal(3, 4), normal(3, 4, seed=1)
    np.testing.assert_allclose(numeric_gradient(function, x, dy), derivative(x) * dy, rtol=1e-9, atol=1e-10)


def test_numeric_gradient_recovers_a_matrix_product():
    x, w, dy = normal(4, 3), normal(3, 2, seed=1), normal(4, 2, seed=2)
    np.testing.assert_allclose(numeric_gradient(lambda x: x @ w, x, dy), dy @ w.T, atol=1e-10)
    np.testing.assert_allclose(numeric_gradient(lambda w: x @ w, w, dy), x.T @ dy, atol=1e-10)


def test_numeric_gradient_recovers_the_softmax_jacobian_row_by_row():
    z = normal(5)
    p = softmax_forward(z)[0]
    rows = [numeric_gradient(lambda z: softmax_forward(z)[0], z, unit) for unit in np.eye(5)]
    np.testing.assert_allclose(rows, np.diag(p) - np.outer(p, p), atol=1e-11)


def test_numeric_gradient_of_logsumexp_is_softmax():
    z = normal(7)
    gradient = numeric_gradient(lambda z: np.log(np.exp(z).sum()), z)
    np.testing.assert_allclose(gradient, softmax_forward(z)[0], atol=1e-11)


def test_numeric_gradient_is_nan_at_a_kink_and_right_beside_it():
    x = np.array([-1.0, 0.0, 3e-5, 2.0])
    gradient = numeric_gradient(np.abs, x, np.array([1.0, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(gradient, [-1, np.nan, 2, 3], rtol=1e-6)


def test_numeric_gradient_follows_a_function_that_curves_within_the_first_step():
    x = np.array([1e-4, 1e-3])  # log, which ends two steps of 1e-4 to the left
    np.testing.assert_allclose(numeric_gradient(np.log, x, np.array([1.0, -1.0])), [1e4, -1e3], rtol=1e-6)


def test_numeric_gradient_of_a_scalar_array_and_a_strided_view():
    np.testing.assert_allclose(numeric_gradient(np.exp, np.array(0.5), np.array(2.0)), 2 * np.exp(0.5))
    base = normal(6, 8)
    view = base[::2, ::-3]
    dy = normal(*view.shape, seed=1)
    np.testing.assert_allclose(numeric_gradient(np.sin, view, dy), np.cos(view) * dy, rtol=1e-8)


def test_numeric_gradient_refuses_a_dy_of_another_shape():
    with pytest.raises(InputError, match=r"dy has shape \(\), but function\(x\) has \(3,\)"):
        numeric_gradient(np.sin, normal(3))


# ---------------------------------------------------------------- right gradients pass
@few
@given(array_shapes(min_dims=1, max_dims=4, max_side=4), st.integers(0, 2**32 - 1))
def test_right_pairs_pass_for_any_shape_and_seed(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    for forward, backward in ((sin_forward, sin_backward), (softmax_forward, softmax_backward)):
        report = check_pair(forward, backward, (x,), seed=seed).assert_ok()
        assert report.worst < 0.5
        assert report.tensors[0].checked == x.size


def test_a_pair_reports_each_gradient_under_its_name():
    report = check_pair(dense_forward, dense_backward, dense_arguments())
    assert [(t.label, t.checked, t.directions) for t in report.tensors] == [
        ("dx", 12, 2),
        ("dw", 6, 2),
        ("db", 2, 2),
    ]
    assert report.ok and "dense_forward: ok" in str(report)


def test_a_scalar_loss_gets_a_scalar_dloss():
    seen = []

    def backward(dloss, cache):
        seen.append(dloss)
        return cross_entropy_backward(dloss, cache)

    check_pair(cross_entropy_forward, backward, (normal(5, 4), np.array([0, 3, 1, 1, 2]))).assert_ok()
    assert len(seen) == 1 and isinstance(seen[0], float) and seen[0] != 1.0


def test_a_loss_whose_backward_ignores_dloss_is_wrong():
    report = check_pair(
        cross_entropy_forward,
        lambda _, cache: cross_entropy_backward(1.0, cache),
        (normal(5, 4), np.array([0, 3, 1, 1, 2])),
    )
    assert not report.ok and report["z"].wrong == 20 and report["z"].ratio is not None


def test_arguments_that_are_none_get_none():
    def forward(x, w, b=None):
        return x @ w, (x, w)

    def backward(dy, cache):
        x, w = cache
        return dy @ w.T, x.T @ dy, None

    x, w, _ = dense_arguments()
    assert [t.name for t in check_pair(forward, backward, (x, w, None)).assert_ok().tensors] == ["x", "w"]
    check_pair(forward, lambda dy, cache: backward(dy, cache)[:2], (x, w, None)).assert_ok()
    report = check_pair(forward, lambda dy, cache: (*backward(dy, cache)[:2], dy.sum(0)), (x, w, None))
    assert "db is an array, but None was expected" in str(report) and not report.ok


def test_wrt_chooses_arguments_by_position_and_name_keywords_included():
    def forward(x, mean, *, scale):
        return (x - mean) * scale, (x, mean, scale)

    def backward(dy, cache):
        x, mean, scale = cache
        return dy * scale, (dy * (x - mean)).sum(axis=0)

    x, mean, scale = normal(5, 3), normal(3, seed=1), normal(3, seed=2)
    for wrt in ((0, "scale"), ("x", "scale")):
        report = check_pair(forward, backward, (x, mean), kwargs={"scale": scale}, wrt=wrt).assert_ok()
        assert [t.name for t in report.tensors] == ["x", "scale"]
    with pytest.raises(InputError, match=r"'sclae'.*x, mean, scale"):
        check_pair(forward, backward, (x, mean), kwargs={"scale": scale}, wrt=("x", "sclae"))


@pytest.mark.parametrize("pack", [lambda y, m, c: (y, m, c), lambda y, m, c: ((y, m), c)])
def test_of_several_outputs_one_gets_a_gradient_and_must_be_named(pack):
    def forward(x):
        y, cache = sin_forward(x)
        return pack(y, x.mean(axis=0), cache)

    check_pair(forward, sin_backward, (normal(4, 3),), output=0).assert_ok()
    with pytest.raises(InputError, match="2 outputs: pass output=0"):
        check_pair(forward, sin_backward, (normal(4, 3),))


def test_non_contiguous_and_reversed_inputs():
    x = normal(6, 8)[::2, ::-2]
    w = np.asfortranarray(normal(4, 5, seed=1))
    check_pair(dense_forward, dense_backward, (x, w.reshape(4, 5, order="A"), normal(10, seed=2)[::2])).assert_ok()


def test_outputs_and_gradients_that_are_views_of_what_moves():
    check_pair(lambda x: (x.T, None), lambda dy, _: dy.T, (normal(3, 4),)).assert_ok()
    report = check_pair(lambda x: (x * x, x), lambda dy, x: x, (normal(3, 4),))  # the input itself as its gradient
    assert report["x"].wrong == 12


def test_a_large_tensor_is_sampled_and_the_report_says_so():
    report = check_pair(sin_forward, sin_backward, (normal(200, 300),), elements=40).assert_ok()
    assert (report["x"].checked, report["x"].size) == (40, 60000)
    assert "40 of 60000 elements" in str(report)


def test_hundreds_of_elements_take_well_below_a_second():
    args = normal(20, 15), normal(15, 10, seed=1), normal(10, seed=2)
    start = time.perf_counter()
    report = check_pair(dense_forward, dense_backward, args).assert_ok()
    assert time.perf_counter() - start < 1
    assert sum(t.checked for t in report.tensors) == 460


# ---------------------------------------------------------------- wrong gradients don't
@few
@given(array_shapes(min_dims=1, max_dims=3, max_side=5), st.data())
def test_one_element_off_by_a_ten_thousandth_is_found_and_named(shape, data):
    x = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).uniform(-1, 1, shape)  # cos > 0.5
    index = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    report = check_pair(sin_forward, spoilt(sin_backward, index, 1 + 1e-4), (x,))
    found = report["x"].first
    assert (report["x"].wrong, found.index) == (1, index)
    assert found.relative_error == pytest.approx(1e-4, rel=0.02)
    assert report.worst > 1 and f"dx{list(index)}" in str(report)


def test_directions_alone_reject_one_element_off_by_a_ten_thousandth():
    wrong = spoilt(dense_backward, (2, 1), 1 + 1e-4)
    report = check_pair(dense_forward, wrong, dense_arguments(), elements=0)
    assert [t.ok for t in report.tensors] == [False, True, True]
    assert report["x"].direction.index is None and report["x"].checked == 0
    assert "along a random direction" in str(report)
    check_pair(dense_forward, dense_backward, dense_arguments(), elements=0).assert_ok()


def test_directions_find_what_a_sample_of_elements_misses():
    def backward(dy, cosine):
        dx = dy * cosine
        dx[7, 11] = 0
        return dx

    report = check_pair(sin_forward, backward, (normal(100, 100),), elements=5)
    assert report["x"].wrong == 0 and not report.ok
    assert "all 5 elements compared agree, but along a random direction" in str(report)


def test_zeros_for_softmax_are_rejected_where_an_upstream_of_ones_would_pass_them():
    z = normal(4, 7)
    truth_under_ones = numeric_gradient(lambda z: softmax_forward(z)[0], z, np.ones((4, 7)))
    assert np.allclose(truth_under_ones, 0, atol=1e-9)  # so zeros would have passed
    report = check_pair(softmax_forward, lambda dp, p: np.zeros_like(p), (z,))
    assert not report.ok and report["z"].wrong == 28
    assert report["z"].ratio == 0


def test_a_mean_for_a_sum_is_rejected_with_its_ratio():
    def backward(dy, cache):
        dx, dw, db = dense_backward(dy, cache)
        return dx, dw / 4, db / 4

    report = check_pair(dense_forward, backward, dense_arguments())
    assert [t.ok for t in report.tensors] == [True, False, False]
    assert report["w"].ratio == pytest.approx(0.25) and report["b"].wrong == 2
    assert "6 of 6 elements compared are wrong" in str(report)
    assert "analytic / numeric = 0.25 in every wrong element" in str(report)
    with pytest.raises(AssertionError, match=r"dw\s+WRONG"):
        report.assert_ok()


def test_no_ratio_is_claimed_where_there_is_none():
    report = check_pair(softmax_forward, lambda dp, p: dp * p, (normal(3, 4),))  # the diagonal only
    assert report["z"].wrong == 12 and report["z"].ratio is None


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda dx, dw, db: (dx, dw.T, db), r"dw has shape \(2, 3\), but \(3, 2\) was expected"),
        (lambda dx, dw, db: (dx, dw, np.ones((4, 2))), r"db has shape \(4, 2\), but \(2,\) was expected"),
        (lambda dx, dw, db: (dx, dw, None), "no gradient: backward returned None"),
        (lambda dx, dw, db: (dx, dw), r"returned 2 gradients, but 3 were expected \(dx, dw, db\)"),
        (lambda dx, dw, db: (dx, dw, db, db), "returned 4 gradients, but 3"),
        (lambda dx, dw, db: dx, "returned 1 gradients, but 3"),
        (lambda dx, dw, db: (dx, dw, db.astype(np.float32)), "db is float32, but float64 was expected"),
        (lambda dx, dw, db: (dx, dw, db.tolist()), "db is of type list, but an array was expected"),
        (
            lambda dx, dw, db: (dx, dw, db * [1, np.nan]),
            r"db\[1\] is nan, and 1 of 2 elements are not finite",
        ),
        (lambda dx, dw, db: (dx / 0.0, dw, db), r"dx\[0, 0\] is -?inf, and 12 of 12"),
    ],
)
def test_gradients_that_do_not_fit_fail_in_words(spoil, text):
    def backward(dy, cache):
        with np.errstate(all="ignore"):
            return spoil(*dense_backward(dy, cache))

    report = check_pair(dense_forward, backward, dense_arguments())
    assert not report.ok and report.worst == np.inf
    with pytest.raises(AssertionError, match=text):
        report.assert_ok()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_not_finite_fails(bad):
    def forward(x):
        y, cache = sin_forward(x)
        y[1, 2] = bad
        return y, cache

    report = check_pair(forward, sin_backward, (normal(3, 4),))
    assert not report.ok and f"y[1, 2] is {bad}" in str(report)


def test_an_output_in_another_dtype_fails():
    report = check_pair(lambda x: (np.sin(x).astype(np.float32), np.cos(x)), sin_backward, (normal(3),))
    assert not report.ok and "y is float32" in str(report)


def test_changing_an_input_or_dy_in_place_fails():
    def doubling_forward(x):
        x *= 2
        return x.copy(), None

    def backward(dy, cosine):
        dy *= cosine
        return dy

    x = normal(3)
    before = x.tobytes()
    assert "changed x in place" in str(check_pair(doubling_forward, lambda dy, _: 2 * dy, (x,)))
    assert x.tobytes() == before
    report = check_pair(sin_forward, backward, (x,))
    assert not report.ok and "changed dy in place" in str(report)


# ---------------------------------------------------------------- kinks, ties and edges
def test_relu_exactly_at_and_near_its_kink():
    x = normal(5, 6)
    x[0, 0], x[1, 1] = 0.0, -0.0
    x[2, 2], x[3, 3], x[4, 4] = 5e-5, -1.2e-4, 3e-6
    report = check_pair(relu_forward, relu_backward, (x,)).assert_ok()
    assert (report["x"].skipped, report["x"].checked) == (2, 28)
    assert "2 at a kink skipped" in str(report)


@pytest.mark.parametrize("distance", 10.0 ** np.arange(-12, 0, 0.25))
def test_a_kink_at_any_distance_is_seen_or_stepped_around(distance):
    x = np.array([1.0, -2.0, 3.0, -4.0, 5.0, distance])
    check_pair(relu_forward, relu_backward, (x,)).assert_ok()


@pytest.mark.parametrize("jump", 10.0 ** np.arange(-8, 4))
def test_a_kink_of_any_strength_never_condemns_a_right_gradient(jump):
    for distance in np.append(10.0 ** np.arange(-8, -3, 0.2), 0.0):
        for side in (1, -1):
            at = 0.7 + side * distance
            report = check_pair(
                lambda x, s=side, at=at: (np.sin(x) + jump * np.maximum(s * (x - at), 0), x),
                lambda dy, x, s=side, at=at: dy * (np.cos(x) + jump * s * (s * (x - at) > 0)),
                (np.array([0.7]),),
                directions=0,
            )
            assert report["x"].first is None


def test_kinks_do_not_hide_a_wrong_gradient_beside_them():
    x = normal(5, 6)
    x[0, 0] = 0.0
    x[2, 2] = 5e-5
    for index, factor in (((2, 2), 1 + 1e-4), ((2, 2), -1), ((1, 0), 0.9)):
        x[index] = abs(x[index])
        report = check_pair(relu_forward, spoilt(relu_backward, index, factor), (x,))
        assert not report.ok and report["x"].first.index == index


def test_how_wrong_the_gradient_is_does_not_change_what_is_skipped():
    x = normal(5, 6)
    x[0, :3] = 0.0
    skipped = [
        check_pair(relu_forward, lambda dy, positive, f=factor: f * dy * positive, (x,))["x"].skipped
        for factor in (1.0, 1.5, -1e9, 1e-9, 0.0)
    ]
    assert skipped == [3] * 5


def test_a_tie_of_maxima_is_skipped_and_the_rest_compared():
    def forward(x):
        return x.max(axis=1), (x.shape, x.argmax(axis=1))

    def backward(dy, cache):
        shape, winner = cache
        dx = np.zeros(shape)
        dx[np.arange(shape[0]), winner] = dy
        return dx

    x = normal(5, 4)
    x[2, 1] = x[2, 3] = x[2].max() + 1
    report = check_pair(forward, backward, (x,)).assert_ok()
    assert (report["x"].skipped, report["x"].checked) == (2, 18)


def test_too_many_kinks_fail_instead_of_passing():
    x = normal(4, 5)
    x[:2] = 0.0
    report = check_pair(relu_forward, relu_backward, (x,))
    assert not report.ok and "10 of 20 elements sit at a kink" in str(report)
    assert not check_pair(relu_forward, relu_backward, (np.zeros(1),)).ok
    assert not check_pair(relu_forward, relu_backward, (np.zeros((30, 40)),), elements=20).ok


def test_elements_at_a_kink_are_replaced_in_a_sample():
    x = normal(60, 50)
    x[::20] = 0.0
    report = check_pair(relu_forward, relu_backward, (x,), elements=100).assert_ok()
    assert report["x"].checked == 100 and report["x"].skipped > 0


def test_directions_that_meet_only_kinks_compare_nothing_and_say_so():
    report = check_pair(relu_forward, relu_backward, (np.zeros(50),), elements=0)
    assert not report.ok and "every direction meets a kink" in str(report)


def test_a_rectified_network_is_compared_by_directions_at_a_realistic_size():
    def forward(x, w):
        y, positive = relu_forward(x @ w)
        return y, (x, w, positive)

    def backward(dy, cache):
        x, w, positive = cache
        return (dy * positive) @ w.T, x.T @ (dy * positive)

    def missing_mask(dy, cache):
        x, w, positive = cache
        return (dy * positive) @ w.T, x.T @ dy

    args = normal(128, 64), normal(64, 32, seed=1) / 8
    report = check_pair(forward, backward, args, elements=0).assert_ok()
    assert report["x"].directions and report["w"].directions
    report = check_pair(forward, missing_mask, args, elements=0)
    assert [t.ok for t in report.tensors] == [True, False]


# ---------------------------------------------------------------- noise
def test_noise_that_does_not_repeat_is_named():
    noise = np.random.default_rng(0)
    report = check_pair(
        lambda x: (x * (mask := noise.random(x.shape) < 0.5), mask),
        lambda dy, mask: dy * mask,
        (normal(6, 5),),
    )
    assert not report.ok and "not deterministic" in str(report) and "rng=npsoftmax.Rng(0)" in str(report)
    assert report.tensors == []


def test_a_drift_that_begins_later_is_named_too():
    calls = []

    def forward(x):
        calls.append(1)
        return np.sin(x) + (len(calls) > 9), np.cos(x)

    report = check_pair(forward, sin_backward, (normal(4),))
    assert not report.ok and "not deterministic" in str(report)


# ---------------------------------------------------------------- everything is left as it was
def test_arrays_are_restored_bit_for_bit_and_in_place():
    args = dense_arguments()
    args[0][0, 0] = -0.0
    before = [a.tobytes() for a in args]
    check_pair(dense_forward, dense_backward, args)
    assert [a.tobytes() for a in args] == before


@pytest.mark.parametrize("failing_call", [1, 2, 3, 4, 5, 8, 13, 21, 34])
def test_arrays_are_restored_bit_for_bit_when_the_function_raises(failing_call):
    calls = []

    def forward(x, w, b):
        calls.append(1)
        if len(calls) == failing_call:
            raise RuntimeError("boom")
        return dense_forward(x, w, b)

    args = dense_arguments()
    before = [a.tobytes() for a in args]
    with pytest.raises(RuntimeError, match="boom"):
        check_pair(forward, dense_backward, args)
    assert [a.tobytes() for a in args] == before
    calls.clear()
    with pytest.raises(RuntimeError, match="boom"):
        numeric_gradient(lambda x: forward(x, *args[1:])[0], args[0], np.ones((4, 2)))
    assert [a.tobytes() for a in args] == before


# ---------------------------------------------------------------- layers
class Net:
    """Two dense layers with a ReLU between them, dropout if there is an rng; the caches are popped."""

    def __init__(self):
        self.params = {
            "fc1": {"w": normal(5, 4), "b": normal(4, seed=1)},
            "fc2": {"w": normal(4, 3, seed=2), "b": normal(3, seed=3)},
        }
        self.buffers = {}

    def forward(self, x, *, train=False, rng=None):
        fc1, fc2 = self.params["fc1"], self.params["fc2"]
        y, cache1 = dense_forward(x, fc1["w"], fc1["b"])
        y, positive = relu_forward(y)
        mask = rng.keep_mask(y.shape, 0.7) / 0.7 if train else np.ones(y.shape)
        y, cache2 = dense_forward(y * mask, fc2["w"], fc2["b"])
        return y, [cache1, mask * positive, cache2]

    def backward(self, dy, caches):
        dy, dw2, db2 = dense_backward(dy, caches.pop())
        dy, dw1, db1 = dense_backward(dy * caches.pop(), caches.pop())
        return dy, {"fc1": {"w": dw1, "b": db1}, "fc2": {"w": dw2, "b": db2}}


class Norm:
    """Batch norm over rows without gamma; in training it writes `mean` in place and replaces `var`."""

    def __init__(self, features):
        self.params = {"beta": normal(features)}
        self.buffers = {"running": {"mean": np.zeros(features), "var": np.ones(features)}, "steps": 0}

    def forward(self, x, *, train=False, rng=None):
        running = self.buffers["running"]
        mean, var = (x.mean(axis=0), x.var(axis=0)) if train else (running["mean"], running["var"])
        if train:
            running["mean"] += 0.1 * (mean - running["mean"])
            running["var"] = 0.9 * running["var"] + 0.1 * var
            self.buffers["steps"] += 1
        scale = 1 / np.sqrt(var + 1e-5)
        return (x - mean) * scale + self.params["beta"], ((x - mean) * scale, scale, train)

    def backward(self, dy, cache):
        normed, scale, train = cache
        dx = dy - dy.mean(axis=0) - normed * (dy * normed).mean(axis=0) if train else dy
        return dx * scale, {"beta": dy.sum(axis=0)}


def test_a_layer_with_nested_parameters_and_a_cache_used_up():
    net = Net()
    arrays = [net.params[a][b] for a in ("fc1", "fc2") for b in "wb"]
    before = [a.tobytes() for a in arrays]
    report = check_layer(net, normal(7, 5, seed=9)).assert_ok()
    assert [t.label for t in report.tensors] == ["dx", "fc1.dw", "fc1.db", "fc2.dw", "fc2.db"]
    assert all(t.checked == t.size for t in report.tensors)
    assert [a.tobytes() for a in arrays] == before


def test_a_layer_with_noise_needs_an_rng_that_repeats():
    check_layer(Net(), normal(7, 5), train=True, rng=Rng(3)).assert_ok()
    shared = np.random.default_rng(0)
    once = SimpleNamespace(keep_mask=lambda shape, keep: shared.random(shape) < keep)
    assert "not deterministic" in str(check_layer(Net(), normal(7, 5), train=True, rng=once))


@pytest.mark.parametrize("train", [False, True])
def test_buffers_that_forward_writes_are_put_back(train):
    layer = Norm(3)
    running = layer.buffers["running"]
    running["mean"] += 5
    mean, var = running["mean"], running["var"]
    check_layer(layer, normal(6, 3), train=train).assert_ok()
    assert layer.buffers["running"] is running and running["mean"] is mean and running["var"] is var
    assert np.array_equal(mean, [5, 5, 5]) and np.array_equal(var, [1, 1, 1]) and layer.buffers["steps"] == 0


def test_a_buffer_that_feeds_the_output_does_not_drift_between_evaluations():
    class Running(Norm):
        def forward(self, x, *, train=False, rng=None):
            y, (_, scale, _) = super().forward(x)
            super().forward(x, train=True)
            return y, (None, scale, False)

    check_layer(Running(3), normal(6, 3)).assert_ok()


def test_read_only_buffers_are_left_alone():
    layer = Norm(3)
    layer.buffers["running"]["mean"].flags.writeable = False
    check_layer(layer, normal(6, 3)).assert_ok()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            lambda dx, g: (dx, {"fc1": g["fc1"], "fc2": {"w": g["fc2"]["w"]}}),
            r"fc2\.db\s+WRONG.*\n\s+no gradient",
        ),
        (lambda dx, g: (dx, g | {"fc3": {"w": dx}}), "grads has 'fc3.w', which is no parameter"),
        (lambda dx, g: (None, g), r"dx\s+WRONG.*\n\s+no gradient"),
        (lambda dx, g: (dx, {}), r"fc1\.dw\s+WRONG"),
        (lambda dx, g: (dx.T, g), r"dx has shape \(5, 7\), but \(7, 5\) was expected"),
    ],
)
def test_a_layer_whose_gradients_do_not_mirror_its_parameters(spoil, text):
    net = Net()
    wrong = SimpleNamespace(
        params=net.params, forward=net.forward, backward=lambda dy, cache: spoil(*net.backward(dy, cache))
    )
    with pytest.raises(AssertionError, match=text):
        check_layer(wrong, normal(7, 5)).assert_ok()


def test_integer_inputs_get_no_gradient():
    table = normal(6, 3)

    def backward(dy, x):
        grads = np.zeros_like(table)
        np.add.at(grads, x, dy)
        return None, {"table": grads}

    embedding = SimpleNamespace(
        params={"table": table}, forward=lambda x, *, train, rng: (table[x], x), backward=backward
    )
    report = check_layer(embedding, np.array([[0, 5], [5, 2]])).assert_ok()
    assert [t.name for t in report.tensors] == ["table"]


# ---------------------------------------------------------------- heads and models
class SparseGradient:
    def __init__(self, dense):
        self.rows, self.n_rows = np.flatnonzero(dense.any(axis=1)), len(dense)
        self.values = dense[self.rows]

    def to_dense(self):
        dense = np.zeros((self.n_rows, self.values.shape[1]))
        dense[self.rows] = self.values
        return dense


class LinearHead:
    def __init__(self):
        self.params, self.buffers = {"w": normal(5, 3)}, {}

    def loss(self, h, targets, *, train=False, rng=None):
        value, cache = cross_entropy_forward(h @ self.params["w"].T, targets)
        return value, (h, cache)

    def backward(self, cache, dloss=1.0):
        h, cache = cache
        dz = cross_entropy_backward(dloss, cache)
        return dz @ self.params["w"], {"w": SparseGradient(dz.T @ h)}


class TinyModel:
    def __init__(self):
        self.trunk, self.head = Net(), LinearHead()
        self.params = {"trunk": self.trunk.params, "head": self.head.params}
        self.buffers = {"trunk": {}, "head": {}}

    def loss(self, x, targets, *, train=False, rng=None):
        h, trunk_cache = self.trunk.forward(x, train=train, rng=rng)
        value, head_cache = self.head.loss(h, targets)
        return value, (trunk_cache, head_cache)

    def backward(self, cache):
        dh, head_grads = self.head.backward(cache[1])
        return {"trunk": self.trunk.backward(dh, cache[0])[1], "head": head_grads}


targets = np.array([0, 4, 2, 2, 1, 3, 3])


def test_a_head_with_sparse_rows():
    report = check_head(LinearHead(), normal(7, 3, seed=4), targets).assert_ok()
    assert [t.label for t in report.tensors] == ["dh", "dw"]


def test_a_head_that_ignores_dloss_or_forgets_a_factor_is_wrong():
    right = LinearHead()
    wrong = SimpleNamespace(params=right.params, loss=right.loss, backward=lambda cache, dloss: right.backward(cache))
    report = check_head(wrong, normal(7, 3, seed=4), targets)
    assert not report["h"].ok and not report["w"].ok and report["h"].ratio == pytest.approx(report["w"].ratio)


def test_a_model():
    report = check_model(TinyModel(), normal(7, 5), targets, train=True, rng=Rng(1)).assert_ok()
    assert [t.name for t in report.tensors][-2:] == ["trunk.fc2.b", "head.w"]
    model = TinyModel()
    model.params["trunk"] = {
        **model.params["trunk"],
        "fc1": {"w": normal(5, 4), "b": normal(4)},
    }  # not those in use
    assert not check_model(model, normal(7, 5), targets)["trunk.fc1.w"].ok


def test_check_gradients_finds_the_kind_by_itself():
    x = normal(7, 5)
    assert check_gradients(TinyModel(), x, targets).assert_ok().name == "TinyModel"
    assert check_gradients(LinearHead(), x[:, :3], targets).assert_ok()["h"].size == 21
    assert check_gradients(Net(), x).assert_ok()["x"].size == 35
    assert check_gradients(sin_forward, sin_backward, (x,)).assert_ok().name == "sin_forward"
    with pytest.raises(InputError, match="int has no gradients to check"):
        check_gradients(3, x)


def test_the_model_head_and_layers_of_the_library():
    model = npsoftmax.build_model("mlp", classes=7, input_shape=(3, 2, 1)).to(npsoftmax.get_backend(), "float64")
    x = normal(7, 3, 2, 1)
    npsoftmax.check_gradients(model, x, targets, train=True, rng=Rng(0), elements=5).assert_ok()
    npsoftmax.check_gradients(model.trunk, x, elements=5).assert_ok()
    npsoftmax.check_gradients(model.head, model.features(x), targets, elements=5).assert_ok()


# ---------------------------------------------------------------- what the user can put right
def test_float32_is_refused_and_the_remedy_named():
    x, w, b = dense_arguments()
    with pytest.raises(InputError, match=r"w is float32.*float64.*w\.astype\('float64'\)"):
        check_pair(dense_forward, dense_backward, (x, w.astype(np.float32), b))
    net = Net()
    net.params["fc1"]["b"] = net.params["fc1"]["b"].astype(np.float32)
    with pytest.raises(InputError, match=r"parameter fc1\.b is float32.*replace_leaves"):
        check_layer(net, normal(7, 5))
    with pytest.raises(InputError, match="x is float32"):
        check_layer(Net(), normal(7, 5).astype(np.float32))
    with pytest.raises(InputError, match="x is float32"):
        check_model(TinyModel(), normal(7, 5).astype(np.float32), targets)
    with pytest.raises(InputError, match="h is int64"):
        check_head(LinearHead(), np.ones((7, 3), dtype=np.int64), targets)
    with pytest.raises(InputError, match="x is of type list"):
        check_layer(Net(), [[1.0]])


def test_read_only_and_shared_arrays_are_refused():
    x, w, b = dense_arguments()
    w.flags.writeable = False
    with pytest.raises(InputError, match=r"w is read-only.*w\.copy\(\)"):
        check_pair(dense_forward, dense_backward, (x, w, b))
    square = normal(3, 3)
    with pytest.raises(InputError, match=r"x and w share memory.*w\.copy\(\)"):
        check_pair(dense_forward, dense_backward, (square, square.T, b))
    packed = normal(4, 6)  # side by side in one array is not shared
    check_pair(lambda q, k: (q * k, (q, k)), lambda dy, c: (dy * c[1], dy * c[0]), (packed[:, :3], packed[:, 3:]))


def test_nothing_to_compare_is_refused():
    with pytest.raises(InputError, match="compares nothing"):
        check_pair(sin_forward, sin_backward, (normal(3),), elements=0, directions=0)
    with pytest.raises(InputError, match="no gradient to check"):
        check_pair(sin_forward, sin_backward, (3,))
    with pytest.raises(InputError, match="no gradient to check"):
        check_pair(sin_forward, sin_backward, (np.empty((0, 3)),))


def test_functions_off_protocol_are_refused_in_words():
    with pytest.raises(InputError, match="forward returned one ndarray, but y, cache was expected"):
        check_pair(np.sin, sin_backward, (normal(3),), wrt=(0,))
    bad = SimpleNamespace(params={}, forward=lambda x, train, rng: sin_forward(x), backward=sin_backward)
    with pytest.raises(InputError, match=r"backward of SimpleNamespace returned one ndarray.*dx, grads"):
        check_layer(bad, normal(3))


def test_the_same_seed_gives_the_same_report_and_another_seed_another_sample():
    def first(seed):
        report = check_pair(sin_forward, lambda dy, c: 2 * dy * c, (normal(50, 60),), seed=seed, elements=3)
        return report["x"].first.index, report["x"].first.analytic

    assert first(1) == first(1) != first(2)
