"""Right and wrong gradients of functions that are hard to measure: none that is wrong passes, none that is right fails.

Beside large offsets, masks, kinks, tiny and huge x the checker either measures, or says that it cannot.
"""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_gradients, check_pair, numeric_gradient


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def between(low, high, *shape, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape)


def each(f, derivative):
    """The pair of a function of each element by itself."""
    return lambda x: (f(x), x.copy()), lambda dy, x: dy * derivative(x)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def masked_attention(fill):
    def forward(z):
        p = softmax(np.where(LOWER, z, fill))
        return p, p

    return forward, lambda dy, p: p * (dy - (dy * p).sum(axis=-1, keepdims=True)) * LOWER


def cross_entropy(offset=0.0):
    t = np.arange(5) % 4

    def forward(z):
        p = softmax(z)
        return offset - np.log(p[np.arange(5), t]).mean(), p

    return forward, lambda dloss, p: dloss * (p - np.eye(4)[t]) / 5


def layer_norm(x):
    centred = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return centred * scale, (centred * scale, scale)


def layer_norm_backward(dy, cache):
    y, scale = cache
    return scale * (dy - dy.mean(axis=1, keepdims=True) - y * (dy * y).mean(axis=1, keepdims=True))


def greatest_backward(dy, x):
    dx = np.zeros(x.shape)
    dx[np.arange(len(x)), x.argmax(axis=1)] = dy
    return dx


LOWER = np.tril(np.ones((5, 5), bool))
W = normal(5, 4, seed=3)
log, root, inverse = (
    each(np.log, lambda x: 1 / x),
    each(np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    each(lambda x: 1 / x, lambda x: -1 / x**2),
)
square, sine, wide = (
    each(np.square, lambda x: 2 * x),
    each(np.sin, np.cos),
    each(lambda x: np.sin(x / 1e13), lambda x: np.cos(x / 1e13) / 1e13),
)
sigmoid = each(lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (1 + np.exp(-x)) / (1 + np.exp(x)))

# name -> forward, backward, x
RIGHT = {
    "sine": (*sine, normal(5, 4)),
    "dense": (lambda x: (x @ W.T, None), lambda dy, _: dy @ W, normal(6, 4)),
    "square matrix": (lambda x: (x @ W[:4], None), lambda dy, _: dy @ W[:4].T, normal(4, 4)),
    "layer norm": (layer_norm, layer_norm_backward, normal(5, 6)),
    "cross entropy": (*cross_entropy(), normal(5, 4)),
    "transpose": (lambda x: (x.T * 2, None), lambda dy, _: 2 * dy.T, normal(4, 4)),
    # offsets
    "offset 1e4": (*each(lambda x: 1e4 + x, np.ones_like), normal(5, 4)),
    "offset -1e6": (*each(lambda x: np.sin(x) - 1e6, np.cos), between(-1, 1, 5, 4)),
    "offset 1e8": (*each(lambda x: 1e8 + x, np.ones_like), normal(5, 4)),
    "loss with an offset": (*cross_entropy(1e5), normal(5, 4)),
    "one output with an offset": (
        lambda x: (np.append(x[0] * 1.5, 1e7), None),
        lambda dy, _: np.array([dy[:-1] * 1.5]),
        normal(1, 6),
    ),
    # masks
    "mask of -1e9": (*each(lambda z: np.where(LOWER, z, -1e9), lambda z: LOWER * 1.0), normal(2, 5, 5)),
    "mask of -1e12": (*each(lambda z: np.where(LOWER, z, -1e12), lambda z: LOWER * 1.0), normal(2, 5, 5)),
    "mask of 1e300": (*each(lambda z: np.where(LOWER, z**2, 1e300), lambda z: 2 * z * LOWER), normal(2, 5, 5)),
    "attention masked by -1e9": (*masked_attention(-1e9), normal(2, 5, 5)),
    "attention masked by -1e30": (*masked_attention(-1e30), normal(2, 5, 5)),
    # tiny x
    "log at 1e-5": (*log, between(1e-5, 2e-5, 5, 4)),
    "log at 1e-12": (*log, between(1e-12, 2e-12, 5, 4)),
    "root at 1e-9": (*root, between(1e-9, 3e-9, 5, 4)),
    "inverse at 1e-6": (*inverse, -between(1e-6, 3e-6, 5, 4)),
    "log from 1e-12 to 1e13": (*log, 10.0 ** np.arange(-12, 14).reshape(13, 2)),
    "product at 1e-8": (lambda x: (x @ W.T, None), lambda dy, _: dy @ W, 1e-8 * normal(6, 4)),
    # huge x
    "log at 1e13": (*log, between(1e13, 2e13, 5, 4)),
    "root at 1e13": (*root, between(1e13, 2e13, 5, 4)),
    "square at 1e13": (*square, between(1e13, 2e13, 5, 4)),
    "wide sine at 1e13": (*wide, between(-1e13, 1e13, 5, 4)),
    "sine at 1e3": (*sine, between(1e3, 2e3, 5, 4)),
    "softmax of scores near 1e3": (*cross_entropy(), 1e3 + normal(5, 4)),
    # gradients that are small, or nothing
    "sigmoid that saturates": (*sigmoid, np.linspace(-2, 40, 20).reshape(5, 4)),
    "1e-9 times the sine": (*each(lambda x: 1e-9 * np.sin(x), lambda x: 1e-9 * np.cos(x)), normal(5, 4)),
    "1e9 times the sine": (*each(lambda x: 1e9 * np.sin(x), lambda x: 1e9 * np.cos(x)), normal(5, 4)),
    "row that does not count": (
        lambda x: (np.sin(x[1:]), x.copy()),
        lambda dy, x: np.concatenate([np.zeros((1, 4)), dy * np.cos(x[1:])]),
        normal(5, 4),
    ),
    # kinks
    "ReLU": (*each(lambda x: np.maximum(x, 0), lambda x: x > 0), np.append(normal(19), 0.0).reshape(5, 4)),
    "absolute value": (*each(np.abs, np.sign), np.append(normal(19), 0.0).reshape(5, 4)),
    "a tie of maxima": (
        lambda x: (x.max(axis=1), x.copy()),
        greatest_backward,
        np.concatenate([normal(5, 4), [[1.0, 2.0, 2.0, 0.0]]]),
    ),
}


def one_element(dx):
    dx = dx.copy()
    dx[np.unravel_index(np.abs(dx).argmax(), dx.shape)] *= 1.01
    return dx


def one_row(dx):
    dx = dx.copy()
    dx[np.abs(dx).reshape(len(dx), -1).sum(axis=1).argmax()] = 0
    return dx


WRONG = {
    "sign": lambda dx: -dx,
    "0.1 % too much": lambda dx: 1.001 * dx,
    "10 % too little": lambda dx: 0.9 * dx,
    "missing 1/N": lambda dx: len(dx) * dx,
    "zeros": np.zeros_like,
    "one element": one_element,
    "one row": one_row,
    "transposed": lambda dx: dx.swapaxes(-1, -2),
    "shifted": lambda dx: np.roll(dx, 1, axis=-1),
    "something where nothing is": lambda dx: dx + 0.01 * np.abs(dx).max(),
    "in float32": lambda dx: dx.astype(np.float32),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_passes(name):
    forward, backward, x = RIGHT[name]
    report = check_gradients(forward, backward, (x,)).assert_ok()
    (found,) = report.tensors
    assert found.checked + found.skipped == x.size and report.worst < 0.9


@pytest.mark.parametrize("spoil", WRONG)
@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_gradient_does_not(name, spoil):
    forward, backward, x = RIGHT[name]
    changed = []

    def wrong(dy, cache):
        right = np.asarray(backward(dy, cache), dtype=float)
        dx = WRONG[spoil](right)
        changed.append(
            dx.shape != right.shape or dx.dtype != right.dtype or not np.allclose(dx, right, rtol=1e-5, atol=0)
        )
        return dx

    report = check_gradients(forward, wrong, (x,))
    assert report.ok != changed[0]


# ---------------------------------------------------------------- what cannot be measured
def in_float32(x):
    return np.sin(x.astype(np.float32)).astype(float), np.cos(x)


HIDDEN = {
    "offset 1e12": (lambda x: (x + 1e12, None), lambda dy, _: dy),
    "offset 1e15": (lambda x: (x + 1e15, None), lambda dy, _: dy),
    "offset 1e17, where nothing moves": (lambda x: (x + 1e17, None), lambda dy, _: dy),
    "sum with a mask of -1e9": (lambda x: (np.where(LOWER[:4], x, -1e9).sum(), None), lambda dy, _: dy * LOWER[:4]),
    "1e-12 x beside 1": (lambda x: (1 + 1e-12 * x, None), lambda dy, _: 1e-12 * dy),
}


@pytest.mark.parametrize("factor", [1, 1.001, -1, 0, 100])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_rounding_hides_is_named_whatever_the_gradient(name, factor):
    forward, backward = HIDDEN[name]
    report = check_gradients(forward, lambda dy, cache: factor * backward(dy, cache), (normal(4, 5),))
    if (name, factor) != ("1e-12 x beside 1", 0):  # rounding itself is not told from nothing
        assert not report.ok
    if factor == 1:
        assert " of 20 elements cannot be measured" in str(report) and report.worst == np.inf


@pytest.mark.parametrize("factor", [1, 1.001, -1, 0])
def test_directions_alone_say_so_too(factor):
    forward, backward = HIDDEN["offset 1e15"]
    report = check_gradients(forward, lambda dy, c: factor * backward(dy, c), (normal(4, 5),), elements=0)
    assert not report.ok and "no direction can be measured: outputs are so large" in str(report)


@pytest.mark.parametrize("factor", [1, 1.001, -1, 0])
def test_a_function_computed_in_float32_is_not_passed(factor):
    report = check_gradients(in_float32, lambda dy, c: factor * dy * c, (normal(4, 5),))
    assert not report.ok


def test_float32_itself_is_refused():
    with pytest.raises(InputError, match=r"x is float32.*astype"):
        check_gradients(*RIGHT["sine"][:2], (normal(3).astype(np.float32),))


# ---------------------------------------------------------------- kinks
@pytest.mark.parametrize("at_the_kink", [-0.1, 1.1, -1e9, 2.0])
def test_a_gradient_at_a_kink_lies_between_the_slopes_on_its_sides(at_the_kink):
    x = np.append(normal(40), 0.0)

    def backward(dy, x):
        return dy * np.where(x == 0, at_the_kink, x > 0)

    report = check_pair(lambda x: (np.maximum(x, 0), x.copy()), backward, (x,))
    assert not report.ok and "dx[40] is" in str(report) and "at a kink" in str(report)


@pytest.mark.parametrize("at_the_kink", [0.0, 0.5, 1.0])
def test_any_slope_between_is_right(at_the_kink):
    x = np.append(normal(40), 0.0)
    check_pair(
        lambda x: (np.maximum(x, 0), x.copy()), lambda dy, x: dy * np.where(x == 0, at_the_kink, x > 0), (x,)
    ).assert_ok()


@pytest.mark.parametrize(("kinks", "ok"), [(2, True), (3, True), (10, True), (12, False), (19, False)])
def test_more_than_a_few_kinks_do_not_pass(kinks, ok):
    x = np.append(normal(100 - kinks), np.zeros(kinks))
    report = check_pair(lambda x: (np.maximum(x, 0), x > 0), lambda dy, positive: dy * positive, (x,))
    assert report.ok == ok and f"{kinks} at a kink skipped" in str(report)


# ---------------------------------------------------------------- the numbers
def test_numeric_gradients_keep_their_precision_at_any_size():
    for size in 10.0 ** np.arange(-12, 14):
        x = size * between(1, 2, 6)
        np.testing.assert_allclose(numeric_gradient(np.log, x, np.ones(6)), 1 / x, rtol=1e-6)
        np.testing.assert_allclose(numeric_gradient(np.square, x, np.ones(6)), 2 * x, rtol=1e-6)


def test_an_element_that_is_faint_beside_the_others_is_said():
    x = normal(1, 4)
    report = check_pair(
        lambda x: (np.sum(x * [1, 1, 1, 1e-11]), None), lambda dy, _: dy * np.array([[1, 1, 1, 1e-11]]), (x,)
    ).assert_ok()
    assert "4 of 4 elements, 1 of them near rounding" in str(report)
