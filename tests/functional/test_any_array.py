"""Every pair with arrays of another library: array-api-strict, which has the standard and nothing else.

There is no list of pairs that cannot do it: all can.
"""

from __future__ import annotations

import importlib
import pkgutil

import array_api_strict
import numpy as np
import pytest
import wrong_calls

from npsoftmax import functional
from npsoftmax.any_array import any_array
from npsoftmax.errors import InputError
from npsoftmax.functional import activation, binary, linear_softmax, loss, path, softmax, spherical, tokens
from npsoftmax.functional.rows import sparse_rows_backward, sparse_rows_forward
from npsoftmax.functional.tiled_attention import attention_tiled_forward

DRAW = np.random.default_rng(11).standard_normal
# As in test_pairs and its like; two pairs stand elsewhere: one has rows for a gradient, one that of another array.
CALLS = {call.name: call for call in wrong_calls.pair_calls()}
for module, name, arguments, options in [
    (linear_softmax, "direction_gain", [DRAW((8, 3))], {"eps": 1e-3}),
    (tokens, "embedding_rows", [DRAW((5, 3)), np.array([[4, 0, 4], [1, 4, 0]])], {}),
]:
    both = wrong_calls.pair_of(module, name)
    CALLS[name] = wrong_calls.Call(name, arguments, options, *both, both)
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


class Strict:
    """array-api-strict."""

    kind = type(array_api_strict.asarray(1.0))

    @staticmethod
    def of(x):
        return array_api_strict.asarray(x)

    @staticmethod
    def numbers(x):
        return np.asarray(x)


@pytest.fixture
def library():
    """tests/oracles/test_torch_any_array.py has the same tests with another one."""
    return Strict


def changed(value, change):
    """`value` with every array in it changed; the sum over the parts of a batch works for any array."""
    if isinstance(value, tuple | list):
        return type(value)(changed(v, change) for v in value)
    if isinstance(value, dict):
        return {name: changed(v, change) for name, v in value.items()}
    if callable(value):
        return lambda sums: sums * 1
    return change(value) if isinstance(value, np.ndarray) else value


def doubles(x):
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def flat(*results):
    for result in results:
        if isinstance(result, tuple | list):
            yield from flat(*result)
        else:
            yield result


def agree(library, got, expected):
    for g, e in zip(flat(got), flat(expected), strict=True):
        assert (g is None) == (e is None)
        if e is not None:
            assert isinstance(g, library.kind)
            assert library.numbers(g).dtype == np.asarray(e).dtype
            tolerance = 1e-6 if np.asarray(e).dtype == np.float32 else 1e-12
            np.testing.assert_allclose(library.numbers(g), e, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- every pair
def test_every_pair_of_the_folder_is_called_here():
    modules = [
        importlib.import_module(f"{functional.__name__}.{m.name}") for m in pkgutil.iter_modules(functional.__path__)
    ]
    pairs = {
        (module.__name__, name)
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("_forward") and value.__module__ == module.__name__
    }
    assert {(call.forward.__module__, call.forward.__name__) for call in CALLS.values()} == pairs


@every_call
def test_arrays_of_another_library_give_the_numbers_of_numpy(call, library):
    args, options = changed(list(call.arguments), doubles), changed(call.keywords, doubles)
    *outputs, cache = call.forward(*args, **options)
    shape = args[0].shape if call.name == "direction_gain" else np.shape(outputs[0])
    dy = np.random.default_rng(1).standard_normal(shape) if shape else 0.7
    gradients = call.backward(dy, cache)

    *found, cache = any_array(call.forward)(*changed(args, library.of), **changed(options, library.of))
    agree(library, found, outputs)
    for part in flat(cache):
        assert not isinstance(part, np.ndarray) and "Translated" not in type(part).__name__
    agree(library, any_array(call.backward)(changed(dy, library.of), cache), gradients)


# ---------------------------------------------------------------- what an array may be
def test_single_precision_stays_single(library):
    z = DRAW((4, 3)).astype(np.float32)
    p, cache = any_array(softmax.softmax_forward)(library.of(z))
    agree(library, [p], [softmax.softmax_forward(z)[0]])
    agree(
        library, [any_array(softmax.softmax_backward)(p, cache)], [softmax.softmax_backward(*[library.numbers(p)] * 2)]
    )


def test_single_precision_in_tiles(library):
    q = DRAW((1, 2, 3)).astype(np.float32)
    expected, _ = attention_tiled_forward(q, q, q)
    agree(library, [any_array(attention_tiled_forward)(*[library.of(q)] * 3)[0]], [expected])


def test_a_row_twice_in_a_sample_counts_twice(library):
    h, w, rows, dz = DRAW((3, 4)), DRAW((5, 4)), np.array([[0, 1], [2, 2], [4, 0]]), DRAW((3, 2))
    expected = sparse_rows_backward(dz, sparse_rows_forward(h, w, None, rows)[1])
    _, cache = any_array(sparse_rows_forward)(library.of(h), library.of(w), None, library.of(rows))
    agree(library, any_array(sparse_rows_backward)(library.of(dz), cache), expected)


def test_arrays_on_two_devices_and_what_is_no_function_are_refused():
    z = array_api_strict.asarray(DRAW((2, 3)))
    t = array_api_strict.asarray([0, 1], device=array_api_strict.Device("device1"))
    with pytest.raises(InputError, match="were given: move them to one library and device"):
        any_array(loss.nll_forward)(z, t)
    with pytest.raises(InputError, match="3 was given, but a function was expected"):
        any_array(3)


def test_whole_numbers_are_computed_with_as_float64(library):
    z = np.array([[1, 5, 2], [0, 0, 7]])
    agree(library, any_array(softmax.log_softmax_forward)(library.of(z)), softmax.log_softmax_forward(z))


def test_labels_may_be_of_numpy_beside_scores_of_another_library(library):
    z, t = DRAW((4, 3)), np.array([2, 0, 1, 2])
    expected, cache = loss.nll_forward(z, t)
    found, foreign = any_array(loss.nll_forward)(library.of(z), t)
    agree(library, [found], [expected])
    agree(library, [any_array(loss.nll_backward)(found, foreign)], [loss.nll_backward(expected, cache)])


@pytest.mark.parametrize(
    ("function", "shape"), [(softmax.softmax_jacobian, (4, 3)), (path.sigmoid, (2, 5)), (activation.normal_cdf, (7,))]
)
def test_functions_that_are_no_half_of_a_pair(function, shape, library):
    x = DRAW(shape)
    agree(library, [any_array(function)(library.of(x))], [function(x)])


def test_nothing_happens_to_arrays_of_numpy():
    z = DRAW((4, 3))
    p, _ = any_array(softmax.softmax_forward)(z)
    assert type(p) is np.ndarray and p.tobytes() == softmax.softmax_forward(z)[0].tobytes()
    assert type(any_array(softmax.softmax_forward)(z.tolist())[0]) is np.ndarray


def test_without_the_door_a_pair_gives_arrays_of_numpy(library):
    z = DRAW((4, 3))
    p, _ = softmax.softmax_forward(library.of(z))
    assert type(p) is np.ndarray
    np.testing.assert_array_equal(p, softmax.softmax_forward(z)[0])


def test_a_function_keeps_its_name_and_what_is_written_on_it():
    door = any_array(softmax.softmax_forward)
    assert door.__name__ == "softmax_forward" and door.__doc__ == softmax.softmax_forward.__doc__


def test_wrong_calls_are_refused_in_the_words_of_the_pair(library):
    z = library.of(DRAW((4, 3)))
    with pytest.raises(InputError, match=r"^nll_forward: labels have shape \(4, 1\), .* type t\[:, 0\]"):
        any_array(loss.nll_forward)(z, library.of(np.zeros((4, 1), int)))
    with pytest.raises(InputError, match=r"^softmax_backward: dy has shape \(3,\), but \(4, 3\) was expected"):
        any_array(softmax.softmax_backward)(library.of(DRAW(3)), z)
    with pytest.raises(InputError, match=r"^softmax_forward: z holds complex128, .* expected; make it float64"):
        any_array(softmax.softmax_forward)(library.of(np.ones(3, complex)))


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "int8"])
def test_labels_may_be_whole_numbers_of_any_kind(kind, library):
    z, t = DRAW((4, 3)), np.array([1, 1, 1, 1], kind)
    agree(library, [any_array(loss.nll_forward)(library.of(z), library.of(t))[0]], [loss.nll_forward(z, t)[0]])


def test_numbers_on_the_host_are_looked_at(library):
    z, t = library.of(DRAW((3, 4))), library.of(np.array([0, -1, 2]))
    with pytest.raises(InputError, match=r"^nll_forward: labels run from -1 to 2, but 4 classes are numbered from 0"):
        any_array(loss.nll_forward)(z, t)
    with pytest.raises(InputError, match=r"^nll_forward: soft targets hold -1.0, but finite numbers of at least 0"):
        any_array(loss.nll_forward)(z, library.of(-np.ones((3, 4))))
    with pytest.raises(InputError, match=r"^embedding_forward: x runs from -1 to 2, but 0 … 2 was expected"):
        any_array(tokens.embedding_forward)(z, t[None, :])
    with pytest.raises(InputError, match=r"^one_against_rest_forward: targets run from 2\.0 to 2\.0"):
        any_array(binary.one_against_rest_forward)(z, library.of(np.full((3, 4), 2.0)))
    with pytest.raises(InputError, match=r"^spherical_softmax_forward: scores reach 1e\+300, but a spherical softmax"):
        any_array(spherical.spherical_softmax_forward)(library.of(np.full((3, 4), 1e300)))
