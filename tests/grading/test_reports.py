"""What a report says beside the catalogue: general rules, exceptions, and how robust a function is."""

from __future__ import annotations

import numpy as np
import pytest

from npsoftmax.functional import dense, loss, softmax, whitening
from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.gradebook import first_fact
from npsoftmax.grading.report import assemble
from npsoftmax.kernels.windows import reference


def verdict_of(name, function, seed=0):
    verdict = check(EXERCISES[name], function, seed, file=__file__)
    assert verdict.state == "wrong"
    return verdict


def dense_backward_with(**changes):
    """The library's, with gradients changed by functions of them."""

    def function(dy, cache):
        names = ("dx", "dw", "db")
        gradients = dict(zip(names, dense.dense_backward(dy, cache), strict=True))
        return tuple(changes.get(n, lambda g: g)(g) if g is not None else None for n, g in gradients.items())

    return function


# ---------------------------------------------------------------- general rules
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dw": lambda g: -g}, "the sign is flipped"),
        ({"dw": lambda g: g * 2}, "times 2"),
        ({"dx": lambda g: g / 2}, "times ½"),
        ({"dx": lambda g: g.T}, "dx is transposed"),
        ({"dw": lambda g: g.sum(axis=0, keepdims=True)}, "too many axes"),
        ({"dw": lambda g: g[..., None]}, "only the shape is not"),
        ({"db": lambda g: np.zeros_like(g)}, "db is 0 everywhere"),
    ],
)
def test_a_pattern_has_a_cause(changes, said):
    verdict = verdict_of("dense_backward", dense_backward_with(**changes))
    assert said in verdict.cause and not verdict.mistake


@pytest.mark.parametrize("change", [lambda g: g[:1], lambda g: g * np.where(np.arange(len(g)) % 2, -1, 2)[:, None]])
def test_what_only_looks_like_a_pattern_has_none(change):
    assert not verdict_of("dense_backward", dense_backward_with(dw=change)).cause


def test_a_missing_one_over_n_is_told_by_its_ratio():
    case = "softmax_cross_entropy_backward"
    over = verdict_of(case, lambda d, c: loss.softmax_cross_entropy_backward(d, c) / len(c[1]))
    assert "divided by N" in over.cause and "= 0." in over.report


def test_two_outputs_with_two_mistakes_get_a_cause_each():
    verdict = verdict_of("dense_backward", dense_backward_with(dx=lambda g: -g, db=lambda g: g[None].repeat(2, axis=0)))
    assert "dx: the sign is flipped" in verdict.cause


def at_the_border(padded_only):
    def function(cols, shape, k, stride, pad):
        x = reference.col2im(cols, shape, k, stride, pad)
        if pad[0] or not padded_only:
            x[:, [0, -1]] *= 1.5
        if pad[1] or not padded_only:
            x[:, :, [0, -1]] *= 1.25
        return x

    return function


def test_errors_at_a_padded_border_only_are_told():
    assert "at the border" in verdict_of("col2im", at_the_border(padded_only=True)).cause
    assert not verdict_of("col2im", at_the_border(padded_only=False)).cause, "where there is no padding it is not that"


def test_errors_in_the_targets_column_only_are_told():
    def shifted(dloss, cache):
        dz = loss.softmax_cross_entropy_backward(dloss, cache)
        rows = np.arange(len(dz))
        dz[rows, cache[1]] += 0.01 * (1 + rows)
        return dz

    assert "targets' columns are wrong" in verdict_of("softmax_cross_entropy_backward", shifted).cause


# ---------------------------------------------------------------- before any number is compared
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda z: None, "returned None"),
        (lambda z: softmax.softmax_forward(z)[0], "1 value, but 2 were expected"),
        (lambda z: (z, z, z), "3 values, but 2 were expected"),
        (lambda z: ("p", None), "an array is needed"),
        (lambda z: (None, None), "p is None"),
    ],
)
def test_what_is_no_answer_at_all(function, said):
    assert said in " ".join(verdict_of("softmax_forward", function).report.split())


def raises(z):
    return z @ z


def test_an_exception_comes_with_its_line_and_without_the_grader():
    report = verdict_of("softmax_forward", raises).report
    assert "ValueError" in report and "return z @ z" in report and "test_reports.py line" in report
    assert "Traceback" not in report and "trial.py" not in report


def test_a_sum_that_lost_its_axis_is_told():
    cause = verdict_of("softmax_forward", lambda z: (z / z.sum(axis=-1), z)).cause
    assert "do not fit" in cause and "keepdims=True" in cause and "one-hot" in cause


def test_sys_exit_is_an_exception_too():
    def leaves(z):
        raise SystemExit(0)

    assert "sys.exit" in verdict_of("softmax_forward", leaves).report


def test_a_cache_that_the_backward_cannot_use_is_wrong_although_the_result_is_right():
    verdict = verdict_of("softmax_forward", lambda z: (softmax.softmax_forward(z)[0], z))
    assert verdict.wrong == ("cache",) and "p ok" in verdict.report and "has to hold" in verdict.report


def test_a_nan_is_told_with_what_went_in():
    def halves(z):
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        p[np.isnan(p)] = -np.inf
        return p, p

    report = verdict_of("softmax_forward", halves).report
    flat = " ".join(report.split())
    assert "p NOT FINITE" in flat and "logits of ±5000" in flat
    assert "not finite p[0, 0] is -inf, expected 1 how many 18 of 18 the input there z[0, 0] = 5850 " in flat


# ---------------------------------------------------------------- robustness
def test_an_input_that_is_changed_is_told_by_name():
    def spoils(dy, cache):
        w = cache[1]
        result = dense.dense_backward(dy, cache)
        w *= 2
        return result

    verdict = verdict_of("dense_backward", spoils)
    assert verdict.wrong == ("w",) and "w: what is passed in belongs to the caller" in verdict.report


def test_float32_that_becomes_float64_is_right_with_a_note():
    def widens(z):
        p, _ = softmax.softmax_forward(z.astype(np.float64))
        return p, p

    verdict = check(EXERCISES["softmax_forward"], widens)
    assert verdict.state == "passed"
    assert "float32 became float64 in p" in verdict.note and "without dtype=" in verdict.note


def test_the_note_on_float64_names_the_librarys_covariance_where_that_is_the_source():
    def widens(x, k, eps):
        return whitening.whitening_filters(x.astype(np.float64), k, eps)

    note = check(EXERCISES["whitening_filters"], widens).note
    assert "float64 in filters: the library's patch_covariance" in note and "np.zeros" not in note


def test_float32_that_becomes_float16_is_wrong():
    def narrows(z):
        p, _ = softmax.softmax_forward(z)
        return (p if p.dtype == np.float64 else p.astype(np.float16)), p

    assert "became float16" in verdict_of("softmax_forward", narrows).report


def test_memory_need_not_be_contiguous():
    def trusts(x):
        y = np.maximum(np.ndarray(x.shape, x.dtype, memoryview(x)), 0)
        return y, y

    assert "not contiguous" in verdict_of("relu_forward", trusts).report


def test_the_second_answer_has_to_be_the_first():
    calls, cases = [], len(EXERCISES["softmax_forward"].cases)

    def tired(z):
        calls.append(1)
        p, _ = softmax.softmax_forward(z)
        return (p if len(calls) <= cases + 1 else p * 0.5), p

    assert "called twice" in verdict_of("softmax_forward", tired).report


def test_a_report_names_the_step_to_read_and_what_to_type():
    report = verdict_of("softmax_backward", lambda dy, cache: dy * cache).report
    assert "a1_softmax/README.md, step 2" in report and "npsoftmax grade softmax_backward --seed 0" in report
    assert all(len(line) <= 130 for line in report.splitlines())


def test_the_first_fact_is_whole_and_no_part_of_the_head():
    fact = "ImportError: cannot import name 'softmax_forward' from 'npsoftmax.functional' (unknown location)"
    facts = [("raised", fact), ("where", "attention.py line 7")]
    exercise = EXERCISES["scaled_dot_product_attention_backward"]
    for case in ("", "case N=7", "case B=2 H=3 T=5 S=7 D=4 with a mask and one sample"):
        assert first_fact(assemble(exercise, "", case, facts, [], 0)) == f"raised {fact}"
    assert first_fact("") == ""
