"""benchmarks/five_steps.py, which makes the table of docs/how-it-is-fast.md."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.bench import networks
from npsoftmax.bench.workers import BenchmarkError
from npsoftmax.functional import conv
from npsoftmax.host import set_threads

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    """The script as a module, whose workers leave this process's allocator as it is."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(networks, "keep_freed_memory", lambda: True)
    yield importlib.import_module("five_steps")
    set_threads(None)


def test_the_seven_loops_are_the_convolution_and_its_gradients(script):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape) for shape in ((1, 4, 5, 3), (3, 3, 3, 2), (1, 4, 5, 2)))
    lists = script.loop_lists(x, w, dy)
    script.seven_loops(*lists, dy.shape[:3])
    found_y, found_dx, found_dw = (np.array(part) for part in lists[3:])
    y, cache = conv.conv2d_naive_forward(x, w, None, (1, 1), (1, 1))
    dx, dw, _ = conv.conv2d_naive_backward(dy, cache)
    np.testing.assert_allclose(found_y, y, rtol=1e-12)
    np.testing.assert_allclose(found_dx[:, 1:-1, 1:-1], dx, rtol=1e-12)
    np.testing.assert_allclose(found_dw, dw, rtol=1e-12)


def test_the_steps_come_to_the_same_results_and_one_that_does_not_is_refused(script):
    names = ("im2col", "tiled", "winograd2", "winograd4", "fused")
    answers = {
        name: [script.work({"step": name, "threads": 1, "batch_size": 1, "seconds": 0})] for name in ("loops", *names)
    }
    script.check_same_results(answers)
    assert all(figure["median"] > 0 for found in answers.values() for figure in script.figures_of(found).values())
    slowest = max(answers, key=lambda name: answers[name][0]["seconds"]["convolution"])
    assert slowest == "loops"
    answers["fused"][0]["samples"]["rest"][1][0] += 1
    with pytest.raises(BenchmarkError, match="fused and loops"):
        script.check_same_results(answers)


def test_the_table_of_the_page_is_replaced_and_nothing_else(script):
    page = (ROOT / "docs" / "how-it-is-fast.md").read_text(encoding="utf-8")
    changed = script.with_table(page, "| new |")
    before, rest = page.split(script.BEGIN)
    assert changed == f"{before}{script.BEGIN}\n| new |\n{script.END}{rest.split(script.END)[1]}"
    with pytest.raises(BenchmarkError, match="five-steps: begin"):
        script.with_table("no such comments", "| new |")
