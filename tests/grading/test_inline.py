"""`npsoftmax.check` in a notebook: the verdict of `npsoftmax grade`, as text and as HTML."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest

import npsoftmax
from npsoftmax.errors import InputError
from npsoftmax.functional import softmax
from npsoftmax.grading.exercises import EXERCISES


class Tags(html.parser.HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_right_function_passes():
    report = npsoftmax.check("softmax_backward", softmax.softmax_backward)
    assert report.passed and report.state == "passed" and repr(report) == "✓ a1 softmax_backward  passed"


def test_a_wrong_one_is_reported_with_its_cause_and_its_line():
    report = npsoftmax.check("softmax_backward", lambda dy, cache: dy * cache)
    assert not report.passed and report.cause and report.cause.split()[0] in repr(report)
    assert "again" in repr(report) and max(map(len, repr(report).splitlines())) <= 80

    def raises(dy, cache):
        return dy @ cache @ dy

    assert "return dy @ cache @ dy" in repr(npsoftmax.check("softmax_backward", raises))


def test_a_stub_is_not_started():
    def stub(z, mask=None):
        raise NotImplementedError("a1 softmax_forward")

    assert npsoftmax.check("softmax_forward", stub).state == "not started"


def test_the_html_needs_nothing_else_and_escapes_everything():
    def scripted(z, mask=None):
        raise ValueError("<script>alert('&')</script> <img src=x onerror=y>")

    report = npsoftmax.check("softmax_forward", scripted)
    shown = Tags(report._repr_html_())
    assert shown.tags <= {"div", "b", "span"} and "<script>alert('&')</script>" in shown.text
    assert "color: inherit" in report._repr_html_() and "background: transparent" in report._repr_html_()


def test_another_seed_draws_other_numbers():
    reports = [npsoftmax.check("softmax_forward", lambda z, mask=None: (z, z), seed=seed) for seed in (0, 0, 7)]
    assert repr(reports[0]) == repr(reports[1]) != repr(reports[2]) and "--seed 7" in repr(reports[2])


def test_other_exercises_of_the_cell_are_the_librarys_meanwhile():
    cell = {"np": np}
    exec(
        "def sum_normalisation_v1_backward(dy, cache):\n    raise NotImplementedError\n\n"
        "def sum_normalisation_v2_backward(dy, cache):\n    y, total = cache\n"
        "    du = sum_normalisation_v1_backward(dy, (y, total))\n    low = y == 0\n"
        "    m = low / low.sum(axis=-1, keepdims=True).astype(dy.dtype)\n"
        "    return du - m.astype(dy.dtype) * du.sum(axis=-1, keepdims=True)\n",
        cell,
    )
    own = cell["sum_normalisation_v1_backward"]
    assert npsoftmax.check("sum_normalisation_v2_backward", cell["sum_normalisation_v2_backward"]).passed
    assert cell["sum_normalisation_v1_backward"] is own


@pytest.mark.parametrize(
    ("name", "function", "options", "said"),
    [
        ("softmax_bakward", abs, {}, "Did you mean 'softmax_backward'"),
        (softmax.softmax_forward, abs, {}, "a name was expected"),
        ("softmax_forward", np.zeros(3), {}, "give the function itself"),
        ("softmax_forward", abs, {"seed": -1}, "a whole number of at least 0"),
        ("softmax_forward", abs, {"seed": 0.5}, "a whole number of at least 0"),
    ],
)
def test_what_cannot_be_checked_is_said(name, function, options, said):
    with pytest.raises(InputError, match=said):
        npsoftmax.check(name, function, **options)


@pytest.mark.parametrize("name", [name for name, e in EXERCISES.items() if not e.compiled][::9])
def test_the_librarys_own_functions_pass(name):
    assert npsoftmax.check(name, EXERCISES[name].reference, seed=3).passed
