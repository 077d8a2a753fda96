"""Philox against its published vectors; draws that depend on seed, path, step and global sample alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.random import Rng, philox4x32

ONES = 0xFFFFFFFF

# Random123's known answers for philox4x32-10: counter, key -> output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
FLOAT_DRAWS = ("uniform", "normal", "gumbel")
word = st.integers(0, ONES)


def draw(rng, name, shape, dtype=np.float64):
    if name == "keep_mask":
        return rng.keep_mask(shape, 0.5)
    if name == "integers":
        return rng.integers(-3, 8, shape)
    return rng.bits(shape) if name == "bits" else getattr(rng, name)(shape, dtype)


every_draw = pytest.mark.parametrize("name", ["bits", *FLOAT_DRAWS, "keep_mask", "integers"])


# ---------------------------------------------------------------- the generator
@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_known_answers(counter, key, output):
    words = philox4x32(tuple(np.uint64(c) for c in counter), key)
    assert words.dtype == np.uint32 and tuple(words.tolist()) == output


def test_known_answers_all_at_once():
    counters = tuple(np.array(c, np.uint64) for c in zip(*(counter for counter, _, _ in KNOWN), strict=True))
    for i, (_, key, output) in enumerate(KNOWN):
        assert tuple(philox4x32(counters, key)[i].tolist()) == output


@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_philox_is_its_definition_in_whole_numbers(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(c[0] * 0xD2511F53, 2**32)
        high1, low1 = divmod(c[2] * 0xCD9E8D57, 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    assert philox4x32(tuple(np.uint64(v) for v in counter), key).tolist() == c


def test_the_bits_of_a_draw_are_blocks_counted_by_element_sample_and_step():
    rng, samples = Rng(5, "a.b"), np.array([3, 2**40 + 7])
    bits = rng.at(9, samples).bits((2, 3, 2))
    for row, sample in enumerate([3, 2**40 + 7]):
        blocks = [
            philox4x32(tuple(np.uint64(c) for c in (block, sample & ONES, sample >> 32, 9)), rng._key())
            for block in range(2)
        ]
        np.testing.assert_array_equal(bits[row].ravel(), np.concatenate(blocks)[:6])


# ---------------------------------------------------------------- what a draw depends on
@every_draw
@given(data=st.data())
def test_a_batch_may_be_cut_and_shuffled(name, data):
    """Row i is the noise of samples[i], whatever the other rows are."""
    samples = np.array(data.draw(st.lists(st.integers(0, 2**45), min_size=1, max_size=6)))
    rng = Rng(3, "net.drop").at(11)
    whole = draw(rng.at(11, samples), name, (len(samples), 3, 5))
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(draw(rng.at(11, np.array([sample])), name, (1, 3, 5))[0], whole[i])
    order = data.draw(st.permutations(range(len(samples))))
    np.testing.assert_array_equal(draw(rng.at(11, samples[order]), name, whole.shape), whole[order])


@every_draw
def test_without_samples_rows_are_samples_0_1_2(name):
    rng = Rng(3, "x")
    expected = draw(rng.at(0, np.arange(4)), name, (4, 5))
    np.testing.assert_array_equal(draw(rng, name, (4, 5)), expected)


@every_draw
def test_seed_path_step_and_sample_all_matter(name):
    here = Rng(3, "x")
    shape = (1, 64)
    draws = [
        draw(rng, name, shape).tobytes()
        for rng in (here, Rng(4, "x"), Rng(3, "y"), here.at(1), here.at(0, np.array([1])), here.child("x"))
    ]
    assert len(set(draws)) == len(draws)
    assert draw(Rng(3, "x"), name, shape).tobytes() == draws[0]


@every_draw
def test_the_shape_of_a_sample_does_not_change_its_values(name):
    if name == "normal":  # its two uniforms an element are neighbours, in any shape
        assert draw(Rng(0), name, (2, 12)).ravel().tolist() == draw(Rng(0), name, (2, 3, 4)).ravel().tolist()
    a, b = draw(Rng(0), name, (2, 12)), draw(Rng(0), name, (2, 3, 2, 2))
    np.testing.assert_array_equal(a, b.reshape(2, 12))
    np.testing.assert_array_equal(draw(Rng(0), name, (2, 7)), a[:, :7])


def test_child_and_at_leave_their_rng_alone():
    rng = Rng(3, "a", 5, np.array([7, 8]))
    before = dict(vars(rng))
    child, later = rng.child("b"), rng.at(6, np.array([1]))
    assert vars(rng) == before
    assert (child.seed, child.path, child.step, child.samples) == (3, "a.b", 5, rng.samples)
    assert (later.seed, later.path, later.step, later.samples.tolist()) == (3, "a", 6, [1])
    assert rng.child("b").child("c").path == "a.b.c" == rng.child("b.c").path
    assert Rng(3).child("b").path == "b"


def test_draws_leave_their_rng_alone():
    rng = Rng(3, "a", 5, np.array([7, 8]))
    before = dict(vars(rng))
    first = rng.normal((2, 3))
    rng.permutation(9), rng.uniform((2, 100))
    assert vars(rng) == before
    np.testing.assert_array_equal(rng.normal((2, 3)), first)


def test_noise_for_another_number_of_samples_is_an_error():
    with pytest.raises(ValueError, match="noise for 3 samples was asked for, but this step has 2"):
        Rng(0).at(1, np.array([4, 5])).uniform((3, 2))


# ---------------------------------------------------------------- distributions
@pytest.mark.parametrize("name", FLOAT_DRAWS)
def test_float32_and_float64_see_the_same_noise(name):
    single, double = draw(Rng(1), name, (50, 40), np.float32), draw(Rng(1), name, (50, 40), np.float64)
    assert single.dtype == np.float32 and double.dtype == np.float64
    if name == "uniform":
        np.testing.assert_array_equal(single, double)
    else:
        np.testing.assert_allclose(single, double, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", [0, ONES])
def test_uniform_excludes_both_ends_even_from_the_extreme_words(monkeypatch, dtype, bits):
    monkeypatch.setattr(Rng, "bits", lambda self, shape, xp=np: np.full(shape, bits, np.uint32))
    rng = Rng(0)
    u = rng.uniform((1, 4), dtype)
    assert (u > 0).all() and (u < 1).all()
    assert np.isfinite(rng.gumbel((1, 4), dtype)).all() and np.isfinite(rng.normal((1, 4), dtype)).all()
    assert ((rng.integers(0, 10, (1, 4)) >= 0) & (rng.integers(0, 10, (1, 4)) < 10)).all()


@pytest.mark.parametrize(
    ("name", "mean", "variance"),
    [("uniform", 0.5, 1 / 12), ("normal", 0, 1), ("gumbel", np.euler_gamma, math.pi**2 / 6)],
)
def test_moments(name, mean, variance):
    x = draw(Rng(2), name, (400, 500))
    assert x.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / x.size))
    assert x.var() == pytest.approx(variance, rel=0.02)
    # No two of neighbours in a row, in a column and across steps are correlated.
    centred, later = x - mean, draw(Rng(2).at(1), name, (400, 500)) - mean
    for a, b in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1]), (centred, later)):
        assert abs((a * b).mean()) < 4.5 * variance / math.sqrt(a.size)


@pytest.mark.parametrize(
    ("name", "cdf"),
    [
        ("uniform", lambda x: x),
        ("normal", np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2)),
        ("gumbel", lambda x: np.exp(-np.exp(-x))),
    ],
)
def test_distribution(name, cdf):
    x = np.sort(draw(Rng(4), name, (100, 200)).ravel())
    distance = np.abs(cdf(x) - (np.arange(x.size) + 0.5) / x.size).max()
    assert distance < 1.95 / math.sqrt(x.size)  # Kolmogorov and Smirnov, 1 in 1000


@pytest.mark.parametrize("keep", [0.0, 0.25, 0.9, 1.0])
def test_keep_mask_keeps_its_share(keep):
    mask = Rng(0).keep_mask((300, 400), keep)
    assert mask.dtype == bool
    assert mask.mean() == pytest.approx(keep, abs=4 * math.sqrt(keep * (1 - keep) / mask.size))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 4), (5, 12), (0, 1000)])
def test_integers_cover_their_range_evenly(low, high):
    x = Rng(0).integers(low, high, (400, 500))
    counts = np.bincount((x - low).ravel(), minlength=high - low)
    assert x.dtype == np.int64 and len(counts) == high - low and counts.min() > 0
    expected = x.size / (high - low)
    chi2, freedom = ((counts - expected) ** 2 / expected).sum(), max(high - low - 1, 1)
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("high", [6_000_000, 100_000_000])
def test_integers_of_a_range_near_the_number_of_classes_of_a_large_vocabulary_are_even(high):
    """With 23 bits some values of such a range would come up twice as often as others, or never."""
    x = Rng(0).integers(0, high, (400, 1000)).ravel()
    residue = np.bincount(x % 2, minlength=2) / x.size
    assert residue == pytest.approx([0.5, 0.5], abs=4 * 0.5 / math.sqrt(x.size))
    spacing = x.size * (x.size - 1) / 2 / high  # expected number of coinciding pairs
    _, counts = np.unique(x, return_counts=True)
    assert (counts * (counts - 1) / 2).sum() == pytest.approx(spacing, abs=4.5 * math.sqrt(spacing))


@given(st.integers(0, 200), st.integers(0, 2**31))
def test_a_permutation_has_each_number_once(n, seed):
    order = Rng(seed, "shuffle").permutation(n)
    assert sorted(order.tolist()) == list(range(n))


def test_permutations_differ_by_step_and_path_and_not_by_samples():
    rng = Rng(0, "shuffle")
    first = rng.permutation(50).tolist()
    assert first != rng.at(1).permutation(50).tolist() and first != rng.child("x").permutation(50).tolist()
    assert first == rng.at(0, np.array([3])).permutation(50).tolist()


def test_permutations_are_even():
    """Each of the 24 orders of four, over 2400 steps."""
    seen = [tuple(Rng(0).at(step).permutation(4).tolist()) for step in range(2400)]
    counts = np.array([seen.count(order) for order in set(seen)])
    assert len(counts) == 24 and ((counts - 100) ** 2 / 100).sum() < 23 + 4 * math.sqrt(46)
