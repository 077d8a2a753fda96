"""Winograd convolution, compiled, in readable matrices and by the definition: all passes, every kernel and tile."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from npsoftmax import host, kernels
from npsoftmax.functional import conv
from npsoftmax.kernels.conv import reference
from npsoftmax.kernels.conv.choice import TILES, choose_convolution


@contextmanager
def threads(n):
    host.set_threads(n)
    try:
        yield
    finally:
        host.set_threads(None)


def frozen(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "C": lambda a: a,
    "F": np.asfortranarray,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": frozen,
}


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int, int]
    filters: int
    pad: tuple[int, int] = (1, 1)
    tile: int = 4
    k: int = 3
    dtype: type = np.float64
    layout: str = "C"
    threads: int = 2
    seed: int = 0

    def arrays(self):
        """x, w, b, dy in the case's dtype and layout."""
        rng = np.random.default_rng(self.seed)
        n, h, width, c = self.shape
        out = (n, h + 2 * self.pad[0] - self.k + 1, width + 2 * self.pad[1] - self.k + 1, self.filters)
        shapes = (self.shape, (self.k, self.k, c, self.filters), (self.filters,), out)
        return tuple(LAYOUTS[self.layout](rng.standard_normal(shape).astype(self.dtype)) for shape in shapes)

    @property
    def rest(self):
        return self.pad, self.tile

    def passes(self, module):
        """y, dx and dw as `module` computes them."""
        x, w, b, dy = self.arrays()
        with threads(self.threads):
            return (
                module.conv2d_winograd(x, w, b, *self.rest),
                *module.conv2d_winograd_backward(x, dy, w, *self.rest),
            )

    def definition(self):
        """The same in float64 by loops, and the size of each result's terms: Σ|a||b|."""
        x, w, b, dy = (a.astype(np.float64) for a in self.arrays())

        def all_passes(x, w, b, dy):
            y, cache = conv.conv2d_naive_forward(x, w, b, (1, 1), self.pad)
            return (y, *conv.conv2d_naive_backward(dy, cache)[:2])

        return list(zip(all_passes(x, w, b, dy), all_passes(*map(np.abs, (x, w, b, dy))), strict=True))


@st.composite
def cases(draw):
    h, width = draw(st.integers(1, 11)), draw(st.integers(1, 11))
    pad = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    k, tile = draw(st.sampled_from([(k, tile) for k, tiles in TILES.items() for tile in tiles]))
    assume(h + 2 * pad[0] >= k and width + 2 * pad[1] >= k)
    return Case(
        shape=(draw(st.integers(1, 5)), h, width, draw(st.integers(1, 7))),
        filters=draw(st.integers(1, 5)),
        pad=pad,
        tile=tile,
        k=k,
        dtype=draw(st.sampled_from([np.float32, np.float64])),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        threads=draw(st.sampled_from([1, 2, 3, 5])),
        seed=draw(st.integers(0, 2**16)),
    )


# More than 64 channels, several groups of images, a group that is not full, more threads than images.
LARGE = {
    "many channels": Case((2, 6, 7, 130), 67),
    "many groups": Case((11, 17, 18, 5), 6, threads=3),
    "many groups, small tiles": Case((7, 33, 31, 16), 7, tile=2),
    "tiles of 3": Case((9, 6, 9, 66), 65, tile=3),
    "2x2": Case((9, 7, 7, 65), 66, pad=(0, 0), tile=3, k=2),
    "2x2, tiles of 4": Case((9, 5, 9, 66), 65, pad=(0, 1), tile=4, k=2),
    "idle threads": Case((1, 5, 3, 2), 3, threads=8),
    "one pixel": Case((3, 1, 1, 70), 65, dtype=np.float32),
}
large = pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)

# Transforms add up values of both signs, so the error is some multiple of the definition's: measured at most 6
# for tiles of 2 and 60 for tiles of 4.
GROWTH = {2: 20, 3: 200, 4: 200}


def check_all_passes(case):
    for module in (kernels, reference):
        for got, (exact, terms) in zip(case.passes(module), case.definition(), strict=True):
            assert got.dtype == case.dtype and got.shape == exact.shape and got.flags.c_contiguous
            allowed = GROWTH[case.tile] * np.finfo(case.dtype).eps * terms.max()
            assert np.abs(got - exact).max() <= allowed


class TestAllPasses:
    @given(cases())
    def test_agree_with_the_definition(self, case):
        check_all_passes(case)

    @large
    def test_large(self, case):
        check_all_passes(case)

    @given(cases())
    def test_forward_and_backward_are_adjoint(self, case):
        """<conv(x), dy> = <x, dx> = <w, dw>."""
        x, w, b, dy = case.arrays()
        y, dx, dw = case.passes(kernels)
        forms = [np.sum((y - b) * dy, dtype=float), np.sum(x * dx, dtype=float), np.sum(w * dw, dtype=float)]
        size = sum(np.sum(np.abs(p * q), dtype=float) for p, q in ((y - b, dy), (x, dx), (w, dw)))
        allowed = 10 * GROWTH[case.tile] * np.finfo(case.dtype).eps * size
        assert max(forms) - min(forms) <= allowed

    @given(cases())
    def test_one_gradient_alone_has_the_bits_of_both_together(self, case):
        x, w, _, dy = case.arrays()
        _, dx, dw = case.passes(kernels)
        with threads(case.threads):
            np.testing.assert_array_equal(kernels.conv2d_winograd_dx(x, dy, w, *case.rest), dx)
            np.testing.assert_array_equal(kernels.conv2d_winograd_dw(x, dy, w, *case.rest), dw)

    @given(cases())
    def test_relu_in_the_epilogue(self, case):
        x, w, b, _ = case.arrays()
        with threads(case.threads):
            plain = kernels.conv2d_winograd(x, w, b, *case.rest)
            np.testing.assert_array_equal(kernels.conv2d_winograd(x, w, b, *case.rest, relu=True), np.maximum(plain, 0))

    @large
    def test_the_same_number_of_threads_gives_the_same_bits(self, case):
        for first, second in zip(case.passes(kernels), case.passes(kernels), strict=True):
            assert first.tobytes() == second.tobytes()

    @given(cases())
    def test_arguments_are_left_alone(self, case):
        x, w, b, dy = arrays = case.arrays()
        before = [a.tobytes() for a in arrays]
        with threads(case.threads):
            kernels.conv2d_winograd(x, w, b, *case.rest)
            kernels.conv2d_winograd_backward(x, dy, w, *case.rest)
        assert [a.tobytes() for a in arrays] == before

    def test_no_bias(self):
        case = Case((2, 5, 6, 3), 4)
        x, w, b, _ = case.arrays()
        without = kernels.conv2d_winograd(x, w, None, *case.rest)
        np.testing.assert_array_equal(without + b, kernels.conv2d_winograd(x, w, b, *case.rest))

    def test_an_empty_batch(self):
        x, w = np.zeros((0, 5, 6, 3)), np.zeros((3, 3, 3, 4))
        assert kernels.conv2d_winograd(x, w, None, (1, 1), 4).shape == (0, 5, 6, 4)
        dx, dw = kernels.conv2d_winograd_backward(x, np.zeros((0, 5, 6, 4)), w, (1, 1), 4)
        assert dx.shape == x.shape and not dw.any()

    def test_other_dtypes_take_the_readable_road(self):
        case = Case((2, 5, 6, 3), 4, dtype=np.longdouble)
        for got, (exact, _) in zip(case.passes(kernels), case.definition(), strict=True):
            assert got.dtype == np.longdouble
            np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- the matrices
@pytest.mark.parametrize(("size", "m"), [(size, m) for size, tiles in TILES.items() for m in tiles])
def test_the_matrices_are_an_exact_convolution(size, m):
    """In fractions: Aᵀ[(G g) ⊙ (Bᵀ d)] is the correlation of d with g, for unit vectors d and g, so for all."""
    interpolate, transform, evaluate = (
        [[Fraction(value).limit_denominator(10**6) for value in row] for row in matrix]
        for matrix in reference.matrices(m, size)
    )
    for i in range(m + size - 1):
        for k in range(size):
            products = [row_b[i] * row_g[k] for row_b, row_g in zip(transform, evaluate, strict=True)]
            for out in range(m):
                assert sum(a * p for a, p in zip(interpolate[out], products, strict=True)) == (i == out + k)


# ---------------------------------------------------------------- accuracy
@pytest.mark.parametrize(("tile", "bound"), [(2, 1e-5), (3, 1e-4), (4, 1e-4)])
@pytest.mark.parametrize("part", [0, 1, 2], ids=["y", "dx", "dw"])
def test_float32_error_on_images_of_a_network(tile, bound, part):
    case = Case((4, 16, 16, 128), 128, tile=tile, dtype=np.float32)
    x, w, b, dy = case.arrays()
    x, w = np.maximum(x, 0), w * np.float32((2 / (9 * 128)) ** 0.5)
    y, cache = conv.conv2d_tiled_forward(*(a.astype(np.float64) for a in (x, w, b)), (1, 1), (1, 1))
    exact = (y, *conv.conv2d_tiled_backward(dy.astype(np.float64), cache)[:2])[part]
    got = (kernels.conv2d_winograd(x, w, b, *case.rest), *kernels.conv2d_winograd_backward(x, dy, w, *case.rest))[part]
    assert np.linalg.norm(got - exact) <= bound / 10 * np.linalg.norm(exact)
    assert np.abs(got - exact).max() <= bound * np.abs(exact).max()


# ---------------------------------------------------------------- the choice
@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((32, 32), 4),
        ((4, 4), 4),
        ((3, 3), 3),
        ((2, 2), 2),
        ((6, 6), 3),
        ((1, 1), 2),
        ((7, 9), 4),
        ((6, 6, 2), 3),
        ((4, 4, 2), 4),
    ],
)
def test_the_tile_with_the_fewest_multiplications(size, tile):
    assert kernels.winograd_tile(*size) == tile


@pytest.mark.parametrize(
    ("arguments", "algorithm", "reason"),
    [
        ((True, (3, 3), (1, 1), 64, 64, (8, 8)), "winograd", "25%"),
        ((True, (2, 2), (1, 1), 64, 64, (6, 6)), "winograd", "44%"),
        ((True, (2, 2), (2, 2), 64, 64, (6, 6)), "tiled", "stride 1"),
        ((True, (1, 1), (1, 1), 64, 64, (8, 8)), "tiled", "3x3"),
        ((True, (3, 3), (1, 1), 3, 64, (32, 32)), "direct", "16 channels"),
        ((True, (5, 5), (1, 1), 3, 8, (32, 32)), "direct", "16 channels"),
        ((True, (3, 3), (2, 2), 3, 64, (32, 32)), "tiled", "stride 1"),
        ((True, (3, 3), (1, 1), 3, 512, (32, 32)), "tiled", "16 channels"),
        ((True, (3, 3), (2, 2), 64, 64, (8, 8)), "tiled", "stride 1"),
        ((True, (5, 5), (1, 1), 64, 64, (8, 8)), "tiled", "3x3"),
        ((True, (3, 3), (1, 1), 64, 64, (1, 1)), "tiled", "178%"),
        ((False, (3, 3), (1, 1), 64, 64, (8, 8)), "im2col", "compiled"),
    ],
)
def test_the_rule_says_why(arguments, algorithm, reason):
    choice = choose_convolution(*arguments, 128)
    assert choice.algorithm == algorithm and reason in choice.reason


def test_a_few_tiles_do_not_pay_for_the_weights():
    arguments = (True, (3, 3), (1, 1), 512, 512, (4, 4))
    assert [choose_convolution(*arguments, images).algorithm for images in (1, 15, 16)] == [
        "tiled",
        "tiled",
        "winograd",
    ]
