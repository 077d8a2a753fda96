"""What a notebook shows of a model, a head, a gradient check, a run and a comparison: whole tables, all escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from npsoftmax import Rng, build_model, check_gradients, html
from npsoftmax.cli.main import main
from npsoftmax.compare import Comparison
from npsoftmax.functional.softmax import softmax_backward, softmax_forward
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import MODELS
from npsoftmax.plots import read_run


class Whole(HTMLParser):
    """Every element that is opened is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in ("div", "b", "table", "thead", "tbody", "tr", "th", "td")
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def shown(value):
    return " ".join(Whole(value._repr_html_()).words)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_models_and_heads():
    for name in MODELS:
        if name != "token_mlp":
            assert "head softmax" in shown(build_model(name, classes=5, input_shape=(32, 32, 3)))
    for name, cls in HEADS.items():
        text = shown(cls(100, ClassInfo(100, np.arange(1, 101)), rng=Rng(0)))
        assert cls.card.formula in text and (cls.card.mistake in text), name


def test_gradient_checks():
    z = np.random.default_rng(0).normal(size=(2, 3))
    assert "ok" in shown(check_gradients(softmax_forward, softmax_backward, (z,)))
    wrong = check_gradients(softmax_forward, lambda dy, cache: 2 * softmax_backward(dy, cache), (z,))
    assert "WRONG" in shown(wrong) and "analytic / numeric = 2" in shown(wrong)


WORDS = ["--data=digits", "--limit-train=60", "--limit-test=20", "--model=mlp", "--epochs=1"]


def test_runs(tmp_path):
    assert main(["train", *WORDS, "--quiet", "--no-plots", "--out", str(tmp_path / "run")]) == 0
    assert "accuracy" in shown(read_run(tmp_path / "run")) and "train_loss" in shown(read_run(tmp_path / "run"))


@pytest.mark.slow
def test_comparisons(tmp_path):
    assert "no comparison yet" in shown(Comparison(tmp_path / "none"))
    assert main(["compare", "--heads=softmax,cosine", *WORDS, "--jobs=1", "--out", str(tmp_path / "both")]) == 0
    text = shown(Comparison.existing(tmp_path / "both"))
    assert text.count("1 of 1") == 2 and text.count("%") == 2 and "cosine" in text


def test_everything_is_escaped():
    text = html.titled("<script>", html.paragraph("a & b"), html.table(("<b>",), [("</td><script>",)]))
    assert "<script>" not in text and "&lt;script&gt;" in text and "a &amp; b" in text
    Whole(text)
