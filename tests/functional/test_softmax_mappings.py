"""Every mapping of the table: its gradient, its claims, its limits; then each family by its own relations."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from npsoftmax.errors import InputError
from npsoftmax.functional import entmax, gumbel, mappings, softmax, sparse_mappings, spherical, taylor
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.gradcheck import check_pair
from npsoftmax.random import Rng

pytestmark = pytest.mark.filterwarnings("error")

# The options that each mapping is tested with; what is not here, with its defaults.
OPTIONS = {
    "gumbel_softmax": ({"tau": 0.5}, {"tau": 3.0}),
    "log_gumbel_softmax": ({"tau": 0.5}, {"tau": 3.0}),
    "gumbel_softmax_hard": ({"tau": 0.5}, {"tau": 3.0}),
    "taylor_softmax": ({"order": 2}, {"order": 4}, {"order": 6}),
    "log_taylor_softmax": ({"order": 2}, {"order": 4}, {"order": 6}),
    "spherical_softmax": ({}, {"eps": 0.5}),
    "log_spherical_softmax": ({}, {"eps": 0.5}),
    "softmax1": ({"sink": 0.7},),
    "entmax": ({"alpha": 1.25}, {"alpha": 3.0}),
}
CASES = [(name, options) for name in MAPPINGS for options in OPTIONS.get(name, ({},))]


def cases(condition=lambda m: True):
    chosen = [(n, o) for n, o in CASES if condition(MAPPINGS[n])]
    ids = ["-".join([n, *(f"{k}={v}" for k, v in o.items())]) for n, o in chosen]
    return pytest.mark.parametrize(("name", "options"), chosen, ids=ids)


def is_probability(mapping):
    return mapping.kind == "probability"


def sums_to_one(mapping):
    return is_probability(mapping) and mapping.sums_to_one


def normal(shape, seed=0, dtype=np.float64, scale=2.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def noise_for(z, seed=7):
    return np.random.default_rng(seed).gumbel(size=z.shape).astype(z.dtype)


def arguments(name, z, noise=None):
    if not MAPPINGS[name].needs_noise:
        return (z,)
    return (z, noise_for(z) if noise is None else noise)


def forward(name, z, options, noise=None, **kwargs):
    return MAPPINGS[name].forward(*arguments(name, z, noise), **options, **kwargs)


def both(name, z, options, dy_seed=1, **kwargs):
    """y and dz for an upstream gradient drawn at random."""
    y, cache = forward(name, z, options, **kwargs)
    dy = normal(y.shape, dy_seed, z.dtype)
    return y, MAPPINGS[name].backward(dy, cache)


# ---------------------------------------------------------------- the table
def test_every_pair_of_the_modules_is_in_the_table():
    modules = (softmax, gumbel, taylor, spherical, sparse_mappings, entmax)
    pairs = {
        name.removesuffix("_forward")
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.endswith("_forward") and function.__module__ == module.__name__
    }
    assert pairs == set(MAPPINGS)
    assert {m.kind for m in MAPPINGS.values()} == set(mappings.KINDS)


def test_backward_stands_directly_below_its_forward():
    for mapping in MAPPINGS.values():
        lines, start = inspect.getsourcelines(mapping.forward)
        gap = inspect.getsourcelines(mapping.backward)[1] - (start + len(lines))
        assert 0 <= gap <= 2, mapping.name


def test_options_come_from_the_signature():
    assert MAPPINGS["gumbel_softmax"].options == {"tau": 1.0}
    assert MAPPINGS["taylor_softmax"].options == {"order": 2}
    assert MAPPINGS["softmax"].options == {}


def test_every_option_has_a_check_and_the_default_passes_it():
    for mapping in MAPPINGS.values():
        assert mapping.check(mapping.options) == mapping.options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gumbel_softmax", {"tau": 0}, "tau is 0.0"),
        ("taylor_softmax", {"order": 3}, "order is 3"),
        ("spherical_softmax", {"eps": -1.0}, "eps is -1.0"),
        ("entmax", {"alpha": 1}, "alpha is 1.0, but a finite number above 1 is needed .* use softmax"),
        ("softmax1", {"sink": np.inf}, "sink is inf"),
        ("softmax", {"tau": 1.0}, "softmax' takes no options, but tau=1.0"),
        ("gumbel_softmax", {"order": 2}, "Known: tau"),
    ],
)
def test_options_are_checked_without_a_call(name, options, message):
    with pytest.raises(InputError, match=message):
        MAPPINGS[name].check(options)


def test_a_function_put_in_the_place_of_ours_is_used(monkeypatch):
    monkeypatch.setattr(softmax, "softmax_forward", lambda z, mask=None: ("mine", z))
    assert MAPPINGS["softmax"].forward(np.ones(3))[0] == "mine"
    assert gumbel.gumbel_softmax_forward(np.ones(3), np.ones(3))[0] == "mine"


def test_the_page_of_derivations_treats_every_mapping():
    page = (Path(__file__).parents[2] / "docs" / "mappings.md").read_text(encoding="utf-8")
    assert [name for name in MAPPINGS if f"`{name}`" not in page] == []


# ---------------------------------------------------------------- gradients
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 6), (4, 2)])
@cases(lambda m: not m.biased)
def test_gradient(name, options, shape):
    z = normal(shape, seed=len(shape))
    mapping = MAPPINGS[name]
    check_pair(mapping.forward, mapping.backward, arguments(name, z), wrt=("z",), kwargs=options).assert_ok()


@cases(lambda m: is_probability(m) and not m.biased)
def test_gradient_under_a_mask(name, options):
    z, mask = normal((4, 6)), np.random.default_rng(3).random((4, 6)) < 0.6
    mask[0] = False
    mapping, kwargs = MAPPINGS[name], {**options, "mask": mask}
    check_pair(mapping.forward, mapping.backward, arguments(name, z), wrt=("z",), kwargs=kwargs).assert_ok()


# ---------------------------------------------------------------- what the table claims
shapes = st.lists(st.integers(1, 4), max_size=2).map(tuple)
classes = st.integers(2, 40)


@cases(sums_to_one)
@settings(max_examples=15, deadline=None)
@given(lead=shapes, c=classes, seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_probabilities_are_not_negative_and_sum_to_one(name, options, lead, c, seed, scale):
    p, _ = forward(name, normal((*lead, c), seed, scale=scale), options)
    assert p.shape == (*lead, c)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=0, atol=1e-12)


@cases(lambda m: m.kind == "log-probability")
@settings(max_examples=15, deadline=None)
@given(lead=shapes, c=classes, seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_exponentials_of_log_probabilities_sum_to_one(name, options, lead, c, seed, scale):
    z = normal((*lead, c), seed, scale=scale)
    y, _ = forward(name, z, options)
    np.testing.assert_allclose(np.exp(y).sum(axis=-1), 1, rtol=0, atol=1e-12)
    p, _ = forward(name.removeprefix("log_"), z, options)
    np.testing.assert_allclose(np.exp(y), p, rtol=1e-10, atol=0)


@cases()
def test_shift_invariance_is_as_claimed(name, options):
    z = normal((4, 5), seed=2)
    same = np.allclose(forward(name, z + 3.0, options)[0], forward(name, z, options)[0], rtol=0, atol=1e-12)
    assert same == MAPPINGS[name].shift_invariant


@cases()
def test_order_is_kept_as_claimed(name, options):
    z = normal((200, 5), seed=2, scale=3.0)
    y, _ = forward(name, z, options, noise=np.zeros_like(z))
    if MAPPINGS[name].keeps_order is None:
        assert y.shape == (200,)
        return
    higher = z[:, :, None] > z[:, None, :]
    assert (y[:, :, None] >= y[:, None, :])[higher].all() == MAPPINGS[name].keeps_order


# ---------------------------------------------------------------- limits
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [2, 3, 100, 1000])
@cases()
def test_logits_of_ten_thousand(name, options, c, dtype):
    z = normal((3, c), dtype=dtype)
    z[0], z[1, 0], z[1, 1], z[2] = 0, 1e4, -1e4, np.where(np.arange(c) % 2, 1e4, -1e4)
    if name.startswith("sum_normalisation"):
        z[:, 0] += 17  # where their sum is 0 they are an error, not a limit
    y, dz = both(name, z, options)
    assert np.isfinite(y).all()
    assert np.isfinite(dz).all()
    if sums_to_one(MAPPINGS[name]):
        np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("c", [3, 100])
@cases()
def test_float32_is_kept_and_is_close_to_float64(name, options, c):
    z = normal((6, c), dtype=np.float32)
    if name == "sum_normalisation_v1":
        z += 1  # with a sum near 0 it has no digits to compare: one of the reasons why it fails
    y32, dz32 = both(name, z, options)
    y64, dz64 = both(name, z.astype(np.float64), options, noise=noise_for(z).astype(np.float64))
    assert y32.dtype == dz32.dtype == np.float32
    assert y64.dtype == dz64.dtype == np.float64
    np.testing.assert_allclose(y32, y64, rtol=1e-5, atol=1e-6)
    assert np.abs(dz32 - dz64).max() <= 1e-5 * np.abs(dz64).max()


@cases(lambda m: m.needs_noise)
def test_noise_in_float64_does_not_widen_float32(name, options):
    z = normal((3, 4), dtype=np.float32)
    y, cache = forward(name, z, options, noise=noise_for(z).astype(np.float64))
    assert y.dtype == MAPPINGS[name].backward(y, cache).dtype == np.float32


@cases(lambda m: bool(m.options))
def test_a_numpy_number_as_option_does_not_widen_float32(name, options):
    widened = {k: np.float64(v) if isinstance(v, float) else np.int64(v) for k, v in options.items()}
    y, dz = both(name, normal((3, 4), dtype=np.float32), widened)
    assert y.dtype == dz.dtype == np.float32


@cases()
def test_nothing_is_changed_in_place(name, options):
    z = normal((3, 4))
    noise, dy_shape = noise_for(z), forward(name, z, options)[0].shape
    dy, kept = normal(dy_shape, 1), z.copy()
    for array in (z, noise, dy):
        array.flags.writeable = False
    y, cache = forward(name, z, options, noise)
    first, saved = MAPPINGS[name].backward(dy, cache), y.copy()
    second = MAPPINGS[name].backward(dy, cache)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(y, saved)
    np.testing.assert_array_equal(z, kept)


@cases()
def test_strided_inputs_and_leading_axes(name, options):
    wide = normal((3, 2, 10), seed=5)
    z = wide.transpose(1, 0, 2)[..., ::2]
    assert not z.flags.c_contiguous
    noise = noise_for(z)
    y, _ = forward(name, z, options, noise)
    for index in np.ndindex(2, 3):
        row, _ = forward(name, np.ascontiguousarray(z[index]), options, noise[index])
        np.testing.assert_allclose(y[index], row, rtol=1e-13, atol=1e-15)


# ---------------------------------------------------------------- masks
@cases(is_probability)
@settings(max_examples=15, deadline=None)
@given(c=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_mask_equals_the_mapping_on_what_is_allowed(name, options, c, seed):
    rng = np.random.default_rng(seed)
    z, mask = normal((4, c), seed), rng.random((4, c)) < 0.6
    noise = noise_for(z, seed)
    dirty = np.where(mask, z, rng.choice([np.nan, np.inf, 1e30], size=z.shape))  # must not be looked at
    y, cache = forward(name, dirty, options, noise, mask=mask)
    dy = normal(y.shape, seed + 1)
    dz = MAPPINGS[name].backward(dy, cache)
    assert (y[~mask] == 0).all()
    assert (dz[~mask] == 0).all()
    for i in np.flatnonzero(mask.any(axis=1)):
        m = mask[i]
        alone, cache = forward(name, z[i, m], options, noise[i, m])
        np.testing.assert_allclose(y[i, m], alone, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(dz[i, m], MAPPINGS[name].backward(dy[i, m], cache), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases(is_probability)
def test_a_row_with_nothing_allowed_is_all_zero(name, options, dtype):
    z = normal((3, 4), dtype=dtype, scale=1e4)
    mask = np.ones((3, 4), dtype=bool)
    mask[1] = False
    y, dz = both(name, z, options, mask=mask)
    assert y.dtype == dz.dtype == dtype
    assert (y[1] == 0).all()
    assert (dz[1] == 0).all()
    if sums_to_one(MAPPINGS[name]):
        np.testing.assert_allclose(y[[0, 2]].sum(axis=1), 1, rtol=1e-5)


@cases(is_probability)
def test_a_causal_mask_broadcasts_over_batch_and_heads(name, options):
    z = normal((2, 3, 5, 5))
    causal = np.tril(np.ones((5, 5), dtype=bool))
    y, _ = forward(name, z, options, mask=causal)
    full, _ = forward(name, z, options, mask=np.broadcast_to(causal, z.shape))
    np.testing.assert_array_equal(y, full)
    assert (y[..., ~causal] == 0).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3)), "float64, but booleans"),
        (np.ones((2, 4), dtype=bool), "does not broadcast"),
        (np.ones((1, 2, 3), dtype=bool), "does not broadcast"),
        ([[1] * 3] * 2, "int64, but booleans"),
    ],
)
@cases(is_probability)
def test_a_wrong_mask_is_an_input_error(name, options, mask, message):
    with pytest.raises(InputError, match=message):
        forward(name, normal((2, 3)), options, mask=mask)


# ---------------------------------------------------------------- the ladder: the lecture's printed numbers
SOFTMAX_023 = [0.03511903, 0.25949646, 0.70538451]


@pytest.mark.parametrize(
    ("name", "z", "printed", "digits"),
    [
        ("sum_normalisation_v1", [0, 2, 3], [0, 0.4, 0.6], 12),
        ("sum_normalisation_v1", [5, 7, 8], [0.25, 0.35, 0.4], 12),
        ("sum_normalisation_v2", [0, 2, 3], [0, 0.4, 0.6], 12),
        ("sum_normalisation_v2", [5, 7, 8], [0, 0.4, 0.6], 12),
        ("sum_normalisation_v2", [-2, 0, 1], [0, 0.4, 0.6], 12),
        ("softmax", [0, 2, 3], SOFTMAX_023, 8),
        ("softmax", [5, 7, 8], SOFTMAX_023, 8),
        ("log_softmax", [1, 2, 3, 10], [-9.0014, -8.0014, -7.0014, -0.0014], 4),
        ("log_softmax_approximation", [1, 2, 3, 10], [-9, -8, -7, 0], 12),
        ("log_softmax", [8, 7, 1], [-0.314, -1.314, -7.314], 3),
    ],
)
def test_the_printed_numbers_of_the_lecture(name, z, printed, digits):
    y, _ = MAPPINGS[name].forward(np.array(z))
    np.testing.assert_allclose(y, printed, rtol=0, atol=0.5001 * 10.0**-digits)


@pytest.mark.parametrize(
    ("z", "entry", "printed"),
    [
        ([1.5, 5.2, 2.3, 0.8], slice(None), [22, 915, 50, 11]),
        *[([0, 2, x], 2, n) for x, n in ((3, 705), (3.2, 745), (3.5, 797), (3.8, 841), (5, 946), (6, 979))],
        ([0, 2, 7], 2, 992),  # printed as .99
    ],
)
def test_the_sensitivity_tables_of_the_lecture_are_cut_to_thousandths(z, entry, printed):
    p, _ = softmax.softmax_forward(np.array(z))
    np.testing.assert_array_equal(np.floor(1000 * p)[entry], printed)


def test_soft_argmax_and_the_sum_of_exponentials_of_the_lecture():
    assert softmax.soft_argmax_forward(np.array([2, 4, 18, 3]))[0] == pytest.approx(2, abs=1e-5)
    y, _ = softmax.log_sum_exp_forward(np.array([1.5, 5.2, 2.3, 0.8]))
    assert np.exp(y) == pytest.approx(197.953654, abs=5e-7)


def test_sum_normalisation_hardly_sees_what_softmax_does():
    z, nudged = np.array([5, 7, 8.0]), np.array([5, 7, 8.2])
    moved = {
        name: abs(MAPPINGS[name].forward(nudged)[0] - MAPPINGS[name].forward(z)[0]).max()
        for name in ("sum_normalisation_v1", "softmax")
    }
    assert moved["sum_normalisation_v1"] < 0.01
    assert moved["softmax"] > 0.035


def test_sum_normalisation_fails_by_name_where_it_does_not_exist():
    with pytest.raises(InputError, match=r"v1 .* sums to 0"):
        softmax.sum_normalisation_v1_forward(np.array([[1.0, 2], [-1, 1]]))
    with pytest.raises(InputError, match=r"v2 .* all equal"):
        softmax.sum_normalisation_v2_forward(np.array([[1.0, 2], [3, 3]]))
    np.testing.assert_array_equal(softmax.sum_normalisation_v2_forward(np.array([1.0, 2]))[0], [0, 1])
    assert (softmax.sum_normalisation_v1_forward(np.array([-1.0, 3]))[0] < 0).any()


@pytest.mark.parametrize("name", ["log_sum_exp", "soft_argmax"])
def test_a_plain_number_as_gradient_of_a_single_row_does_not_widen_float32(name):
    _, cache = MAPPINGS[name].forward(normal((4,), dtype=np.float32))
    dz = MAPPINGS[name].backward(1.0, cache)
    assert dz.shape == (4,)
    assert dz.dtype == np.float32


@pytest.mark.parametrize("name", ["sum_normalisation_v2", "log_softmax_approximation"])
def test_tied_extremes_share_the_subgradient_equally(name):
    z = np.array([1.0, 4, 1, 4, 2])
    _, cache = MAPPINGS[name].forward(z)
    dz = MAPPINGS[name].backward(np.array([0.3, 0.3, 0.3, -0.8, 0.9]), cache)
    first, second = (0, 2) if name.startswith("sum") else (1, 3)
    gap = 0.0 if name.startswith("sum") else 1.1
    assert dz[first] - dz[second] == pytest.approx(gap, abs=1e-12)
    assert dz.sum() == pytest.approx(0, abs=1e-12)  # shift invariance, at the kink too


def test_softmax_jacobian_is_what_backward_multiplies_with():
    z = normal((2, 3, 5))
    p, cache = softmax.softmax_forward(z)
    dy = normal(z.shape, 1)
    jacobian = softmax.softmax_jacobian(p)
    assert jacobian.shape == (2, 3, 5, 5)
    np.testing.assert_allclose(jacobian.sum(axis=-1), 0, atol=1e-15)
    np.testing.assert_array_equal(jacobian, np.swapaxes(jacobian, -1, -2))
    product = np.einsum("...ij,...i->...j", jacobian, dy)
    np.testing.assert_allclose(softmax.softmax_backward(dy, cache), product, rtol=0, atol=1e-15)
    two = softmax.softmax_jacobian(np.array([0.25, 0.75], dtype=np.float32))
    assert two.dtype == np.float32
    np.testing.assert_array_equal(two, [[0.1875, -0.1875], [-0.1875, 0.1875]])


@given(z=st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30).map(np.array))
@settings(max_examples=50, deadline=None)
def test_log_sum_exp_is_a_soft_maximum(z):
    y, _ = softmax.log_sum_exp_forward(z)
    assert z.max() <= y <= z.max() + np.log(len(z)) + 1e-11
    approximation, _ = softmax.log_softmax_approximation_forward(z)
    np.testing.assert_allclose(approximation - softmax.log_softmax_forward(z)[0], y - z.max(), rtol=0, atol=1e-11)


def test_softmax_of_two_classes_is_the_sigmoid():
    x = np.linspace(-30, 30, 13)
    p, _ = softmax.softmax_forward(np.stack([x, 0 * x], axis=-1))
    np.testing.assert_allclose(p[:, 0], scipy.special.expit(x), rtol=1e-14)


def test_scipy_agrees():
    z = normal((4, 3, 7), scale=50)
    for name in ("softmax", "log_softmax"):
        expected = getattr(scipy.special, name)(z, axis=-1)
        np.testing.assert_allclose(MAPPINGS[name].forward(z)[0], expected, rtol=1e-13, atol=0)
    y, _ = softmax.log_sum_exp_forward(z)
    np.testing.assert_allclose(y, scipy.special.logsumexp(z, axis=-1), rtol=1e-14)


# ---------------------------------------------------------------- Gumbel
def test_without_noise_and_at_temperature_one_it_is_softmax():
    z = normal((3, 5))
    p, _ = gumbel.gumbel_softmax_forward(z, np.zeros_like(z))
    np.testing.assert_array_equal(p, softmax.softmax_forward(z)[0])


@pytest.mark.parametrize("name", ["gumbel_softmax", "log_gumbel_softmax", "gumbel_softmax_hard"])
def test_the_temperature_is_one_if_none_is_given(name):
    z = normal((3, 5))
    noise, mapping = noise_for(z), MAPPINGS[name]
    y, cache = mapping.forward(z, noise)
    told, told_cache = mapping.forward(z, noise, tau=1.0)
    np.testing.assert_array_equal(y, told)
    np.testing.assert_array_equal(mapping.backward(z, cache), mapping.backward(z, told_cache))


def test_a_low_temperature_gives_the_one_hot_sample_and_a_high_one_the_uniform():
    z = normal((6, 5))
    noise = noise_for(z)
    hard, _ = gumbel.gumbel_softmax_hard_forward(z, noise)
    cold, _ = gumbel.gumbel_softmax_forward(z, noise, tau=1e-3)
    hot, _ = gumbel.gumbel_softmax_forward(z, noise, tau=1e6)
    np.testing.assert_allclose(cold, hard, atol=1e-12)
    np.testing.assert_allclose(hot, 0.2, atol=1e-4)


def test_hard_samples_come_up_as_often_as_softmax_says():
    z, n = np.array([1.0, -0.5, 0.3, 2.0]), 20_000
    noise = Rng(0).gumbel((n, 4), np.float64)
    y, _ = gumbel.gumbel_softmax_hard_forward(np.broadcast_to(z, (n, 4)), noise)
    p, _ = softmax.softmax_forward(z)
    assert set(np.unique(y)) == {0.0, 1.0}
    assert (np.abs(y.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


def test_straight_through_is_biased_and_says_so():
    assert [m.name for m in MAPPINGS.values() if m.biased] == ["gumbel_softmax_hard"]
    z = normal((3, 4))
    noise, dy = noise_for(z), normal((3, 4), 1)
    y, cache = gumbel.gumbel_softmax_hard_forward(z, noise, tau=0.7)
    moved, _ = gumbel.gumbel_softmax_hard_forward(z + 1e-6 * dy, noise, tau=0.7)
    np.testing.assert_array_equal(y, moved)  # so the true gradient is 0
    dz = gumbel.gumbel_softmax_hard_backward(dy, cache)
    _, soft = gumbel.gumbel_softmax_forward(z, noise, tau=0.7)
    np.testing.assert_array_equal(dz, gumbel.gumbel_softmax_backward(dy, soft))
    assert (dz != 0).all()


# ---------------------------------------------------------------- Taylor and spherical
@pytest.mark.parametrize("order", [2, 4, 6, 8, 20])
def test_the_polynomial_is_the_taylor_series_and_even_orders_are_positive(order):
    z = np.linspace(-12, 12, 401)
    f = taylor.taylor_polynomial(z, order)
    coefficients = [1 / scipy.special.factorial(i) for i in range(order, -1, -1)]
    np.testing.assert_allclose(f, np.polyval(coefficients, z), rtol=1e-9)
    assert (f > 0).all()


def test_a_high_order_is_softmax():
    z = normal((3, 5), scale=0.5)
    p, _ = taylor.taylor_softmax_forward(z, order=20)
    np.testing.assert_allclose(p, softmax.softmax_forward(z)[0], rtol=1e-12)


@pytest.mark.parametrize(("order", "turn"), [(2, -1.0), (4, -1.5961), (6, -2.1806)])
def test_taylor_falls_below_its_turning_point_so_that_argmax_of_z_is_wrong(order, turn):
    f = taylor.taylor_polynomial(np.array([turn - 0.01, turn, turn + 0.01]), order)
    assert f[0] > f[1] < f[2]
    z = np.array([turn, 2 * turn - 2])  # the second logit is far lower, and yet wins
    p, cache = taylor.taylor_softmax_forward(z, order=order)
    assert z.argmax() == 0
    assert p.argmax() == 1
    dz = taylor.taylor_softmax_backward(np.array([0.0, 1.0]), cache)
    assert dz[1] < 0  # its probability grows as its logit falls


def test_the_max_trick_would_change_a_taylor_softmax():
    z = np.array([3.0, 2.0, -1.0])
    p, _ = taylor.taylor_softmax_forward(z)
    shifted, _ = taylor.taylor_softmax_forward(z - z.max())
    np.testing.assert_allclose(p, np.array([8.5, 5, 0.5]) / 14, rtol=1e-15)
    assert p.argmax() == 0
    assert shifted.argmax() == 2


def test_the_spherical_softmax_does_not_see_signs_and_survives_zeros():
    z = normal((3, 5))
    p, _ = spherical.spherical_softmax_forward(z)
    np.testing.assert_array_equal(p, spherical.spherical_softmax_forward(-z)[0])
    np.testing.assert_allclose(spherical.spherical_softmax_forward(np.zeros(4))[0], 0.25)
    np.testing.assert_allclose(spherical.spherical_softmax_forward(z, eps=1e9)[0], 0.2, rtol=1e-6)


# ---------------------------------------------------------------- softmax1
def test_softmax1_is_a_softmax_over_one_score_more_which_is_not_shown():
    z = normal((4, 5), scale=5.0)
    with_sink = np.concatenate([z, np.full((4, 1), 0.7)], axis=1)
    p, _ = softmax.softmax1_forward(z, sink=0.7)
    np.testing.assert_allclose(p, softmax.softmax_forward(with_sink)[0][:, :5], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sink_takes_nearly_all_or_nothing(dtype):
    """Also where the scores, or the sink, are beyond what an exponential can hold."""
    far_below, far_above = np.full((1, 3), -1e3, dtype), np.full((1, 3), 1e3, dtype)
    assert softmax.softmax1_forward(far_below)[0].sum() == 0
    np.testing.assert_allclose(softmax.softmax1_forward(far_above)[0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(softmax.softmax1_forward(far_above, sink=1e3)[0], 1 / 4, rtol=1e-6)
    # The best known implementation shifts the scores and not the one: its sink gets at most half.
    assert softmax.softmax1_forward(np.array([-5.0]))[0] == pytest.approx(1 / (1 + np.exp(5)), rel=1e-14)


# ---------------------------------------------------------------- sparse mappings
def test_sparsemax_is_the_projection_onto_the_simplex():
    z = normal((50, 6), scale=1.0)
    p, _ = sparse_mappings.sparsemax_forward(z)
    others = np.random.default_rng(1).dirichlet(np.ones(6), size=(200, 1))
    assert (np.sum((p - z) ** 2, axis=1) <= np.sum((others - z) ** 2, axis=2) + 1e-12).all()
    # Optimality: z - p is one constant on the support and nowhere above it.
    residual = z - p
    theta = np.max(residual, axis=1, keepdims=True)
    np.testing.assert_allclose(np.where(p > 0, residual, theta), np.broadcast_to(theta, z.shape), atol=1e-12)


def test_entmax15_satisfies_its_optimality_condition():
    z = normal((50, 6), scale=2.0)
    p, _ = sparse_mappings.entmax15_forward(z)
    residual = z / 2 - np.sqrt(p)
    theta = np.max(residual, axis=1, keepdims=True)
    np.testing.assert_allclose(np.where(p > 0, residual, theta), np.broadcast_to(theta, z.shape), atol=1e-8)


@pytest.mark.parametrize(
    ("z", "sparse", "entmax"),
    [
        ([0.0, 0.0], [0.5, 0.5], [0.5, 0.5]),
        ([1.0, 0.0], [1.0, 0.0], [0.8307189138830737, 0.1692810861169263]),  # (1 ± √7/4) / 2
        ([2.0, 0.0], [1.0, 0.0], [1.0, 0.0]),
        ([0.5, 0.0, -9.0], [0.75, 0.25, 0.0], [0.6739926, 0.3260074, 0.0]),
    ],
)
def test_sparse_mappings_by_hand(z, sparse, entmax):
    np.testing.assert_allclose(sparse_mappings.sparsemax_forward(np.array(z))[0], sparse, atol=1e-12)
    np.testing.assert_allclose(sparse_mappings.entmax15_forward(np.array(z))[0], entmax, atol=1e-7)


def test_the_support_shrinks_from_softmax_over_entmax_to_sparsemax():
    z = normal((40, 30))
    sizes = [(MAPPINGS[n].forward(z)[0] > 0).sum() for n in ("sparsemax", "entmax15", "softmax")]
    assert sizes[0] < sizes[1] < sizes[2] == z.size


@pytest.mark.parametrize("row", ["scattered", "nearly equal", "one ahead of a plateau"])
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_sparse_mappings_of_many_classes(name, row):
    c = 100_000
    z = {
        "scattered": normal(c, scale=5.0),
        "nearly equal": normal(c, scale=1e-3),
        "one ahead of a plateau": np.where(np.arange(c) == 5, 0, -1.99 if name == "entmax15" else -0.99),
    }[row]
    p, _ = MAPPINGS[name].forward(z.astype(np.float32))
    exact, _ = MAPPINGS[name].forward(z)
    np.testing.assert_allclose(p, exact, rtol=1e-3, atol=1e-7)
    # The last digit of the one threshold counts once for every class of the support.
    assert exact.sum() == pytest.approx(1, abs=c * np.finfo(np.float64).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_a_class_far_ahead_gets_exactly_everything(name, dtype):
    for c in (*range(2, 200), 100_000):
        p, _ = MAPPINGS[name].forward(50 * (np.arange(c) == 1).astype(dtype))
        assert (p == (np.arange(c) == 1)).all()


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_ties_share_equally(name):
    p, cache = MAPPINGS[name].forward(np.array([3.0, 3, 3, -50]))
    np.testing.assert_allclose(p, [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-15)
    assert MAPPINGS[name].backward(np.array([1.0, 0, 0, 5]), cache)[3] == 0


# ---------------------------------------------------------------- α-entmax
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("c", [2, 10, 1000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_entmax_of_alpha_2_and_1_5_are_sparsemax_and_entmax15(c, scale, dtype, tolerance):
    z, dy = normal((50, c), scale=scale, dtype=dtype), normal((50, c), 1, dtype)
    for alpha, name in ((2.0, "sparsemax"), (1.5, "entmax15")):
        p, cache = entmax.entmax_forward(z, alpha=alpha)
        expected, its_cache = MAPPINGS[name].forward(z)
        np.testing.assert_allclose(p, expected, rtol=0, atol=tolerance)
        if dtype is np.float64:
            dz = MAPPINGS[name].backward(dy, its_cache)
            np.testing.assert_allclose(entmax.entmax_backward(dy, cache), dz, rtol=0, atol=1e-10)


def test_entmax_tends_to_softmax_without_losing_digits():
    z = normal((20, 30), scale=3.0)
    p, _ = softmax.softmax_forward(z)
    for beyond in (1e-3, 1e-6, 1e-12):
        np.testing.assert_allclose(entmax.entmax_forward(z, alpha=1 + beyond)[0], p, rtol=0, atol=2 * beyond + 1e-14)


@pytest.mark.parametrize("alpha", [1.01, 1.3, 1.5, 1.99, 2.0, 2.01, 3.0, 4.0])
def test_entmax_satisfies_its_optimality_condition(alpha):
    """z_i - p_i^{α-1} / (α - 1) is one constant on the support and nowhere above it."""
    z = normal((50, 12), scale=2.0)
    p, _ = entmax.entmax_forward(z, alpha=alpha)
    residual = z - np.where(p > 0, p, 0) ** (alpha - 1) / (alpha - 1)
    theta = np.max(residual, axis=1, keepdims=True)
    np.testing.assert_allclose(np.where(p > 0, residual, theta), np.broadcast_to(theta, z.shape), atol=1e-11)


def test_the_larger_alpha_the_smaller_the_support():
    z = normal((40, 30))
    sizes = [(entmax.entmax_forward(z, alpha=a)[0] > 0).sum() for a in (1.1, 1.3, 1.5, 2.0, 4.0)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5


@pytest.mark.parametrize("alpha", [1.001, 1.7, 2.0, 2.5, 100.0, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entmax_ties_share_equally_and_a_class_far_ahead_gets_exactly_everything(alpha, dtype):
    tied, _ = entmax.entmax_forward(np.array([3, 3, 3, -1e4], dtype), alpha=alpha)
    np.testing.assert_allclose(tied, [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-7)
    alone, _ = entmax.entmax_forward(2e3 * (np.arange(100) == 7).astype(dtype), alpha=alpha)
    assert (alone == (np.arange(100) == 7)).all()


# ---------------------------------------------------------------- user mistakes
@pytest.mark.parametrize("tau", [0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["gumbel_softmax", "log_gumbel_softmax", "gumbel_softmax_hard"])
def test_a_bad_temperature_is_an_input_error(name, tau):
    with pytest.raises(InputError, match=r"tau is .* above 0"):
        forward(name, normal((2, 3)), {"tau": tau})


@pytest.mark.parametrize("order", [0, -2, 1, 3, 2.0, 2.5, True, "2", np.nan])
@pytest.mark.parametrize("name", ["taylor_softmax", "log_taylor_softmax"])
def test_a_bad_order_is_an_input_error(name, order):
    with pytest.raises(InputError, match=r"order is .* even whole number"):
        forward(name, normal((2, 3)), {"order": order})


@pytest.mark.parametrize("eps", [0, -1e-3, np.nan, np.inf])
@pytest.mark.parametrize("name", ["spherical_softmax", "log_spherical_softmax"])
def test_a_bad_eps_is_an_input_error(name, eps):
    with pytest.raises(InputError, match=r"eps is .* above 0"):
        forward(name, normal((2, 3)), {"eps": eps})


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3)])
@cases(lambda m: m.needs_noise)
def test_noise_of_another_shape_is_an_input_error(name, options, shape):
    with pytest.raises(InputError, match="one draw a logit"):
        forward(name, normal((2, 3)), options, noise=np.zeros(shape))


# ---------------------------------------------------------------- oracles
def torch_twin(torch, name):
    functional = torch.nn.functional
    return {
        "softmax": lambda z, g: functional.softmax(z, dim=-1),
        "log_softmax": lambda z, g: functional.log_softmax(z, dim=-1),
        "gumbel_softmax": lambda z, g: functional.softmax((z + g) / 0.7, dim=-1),
        "log_gumbel_softmax": lambda z, g: functional.log_softmax((z + g) / 0.7, dim=-1),
        "log_sum_exp": lambda z, g: torch.logsumexp(z, dim=-1),
        "sum_normalisation_v1": lambda z, g: z / z.sum(-1, keepdim=True),
        "sum_normalisation_v2": lambda z, g: functional.normalize(z - z.amin(-1, keepdim=True), p=1, dim=-1),
        "log_softmax_approximation": lambda z, g: z - z.amax(-1, keepdim=True),
    }[name]


@pytest.mark.oracle
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "softmax",
        "log_softmax",
        "gumbel_softmax",
        "log_gumbel_softmax",
        "log_sum_exp",
        "sum_normalisation_v1",
        "sum_normalisation_v2",
        "log_softmax_approximation",
    ],
)
def test_pytorch_agrees(name, ties):
    torch = pytest.importorskip("torch")
    z = normal((3, 4, 5))
    if ties:
        z = np.round(z) + 0.125  # several equal minima and maxima a row
    noise = noise_for(z)
    y, cache = forward(name, z, {"tau": 0.7} if MAPPINGS[name].needs_noise else {}, noise)
    dy = normal(y.shape, 1)
    variable = torch.tensor(z, requires_grad=True)
    expected = torch_twin(torch, name)(variable, torch.tensor(noise))
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(MAPPINGS[name].backward(dy, cache), variable.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("hard", [False, True])
def test_pytorch_gumbel_softmax_agrees_with_its_own_noise(hard):
    torch = pytest.importorskip("torch")
    z, dy = normal((4, 6)), normal((4, 6), 1)
    torch.manual_seed(0)
    # The draw that torch.nn.functional.gumbel_softmax makes: minus the logarithm of exponential noise.
    noise = -torch.empty(4, 6, dtype=torch.float64).exponential_().log()
    torch.manual_seed(0)
    variable = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.gumbel_softmax(variable, tau=0.6, hard=hard)
    expected.backward(torch.tensor(dy))
    mapping = MAPPINGS["gumbel_softmax_hard" if hard else "gumbel_softmax"]
    y, cache = mapping.forward(z, noise.numpy(), tau=0.6)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mapping.backward(dy, cache), variable.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.75, 2.0, 3.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_the_entmax_package_agrees_for_any_alpha(scale, alpha):
    torch, package = pytest.importorskip("torch"), pytest.importorskip("entmax")
    z, dy = normal((20, 30), scale=scale), normal((20, 30), 1)
    variable = torch.tensor(z, requires_grad=True)
    expected = package.entmax_bisect(variable, alpha=alpha, dim=-1, n_iter=100)
    expected.backward(torch.tensor(dy))
    p, cache = entmax.entmax_forward(z, alpha=alpha)
    np.testing.assert_allclose(p, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(entmax.entmax_backward(dy, cache), variable.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
def test_the_entmax_package_agrees(name, scale):
    torch, entmax = pytest.importorskip("torch"), pytest.importorskip("entmax")
    z, dy = normal((20, 30), scale=scale), normal((20, 30), 1)
    variable = torch.tensor(z, requires_grad=True)
    expected = getattr(entmax, name)(variable, dim=-1)
    expected.backward(torch.tensor(dy))
    y, cache = MAPPINGS[name].forward(z)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(MAPPINGS[name].backward(dy, cache), variable.grad.numpy(), rtol=0, atol=1e-10)
