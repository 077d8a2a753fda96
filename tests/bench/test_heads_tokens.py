"""benchmarks/heads_tokens.py: a run of a few steps, which rate is chosen, what is run next, and the page."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from pathlib import Path

import pytest

import npsoftmax

ROOT = Path(__file__).parents[2]
SOURCES = Path(npsoftmax.__file__).parent / "layers"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script as a module, its neighbours beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("heads_tokens")
    for name in ("heads_tokens", "common"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("options", [{"tree": "huffman"}, pytest.param({"tree": "learned"}, marks=pytest.mark.slow)])
def test_a_run_of_a_few_steps_has_all_figures_of_a_row(script, options):
    pytest.importorskip("resource")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read where Linux has it")
    job = {"data_dir": str(SOURCES), "vocabulary": 150, "head": "hierarchical", "head_opts": options, "lr": 0.01}
    found = script.work(job | {"first_lr": 0.01, "steps": 3, "seed": 0, "curve": True, "test": True, "threads": 1})
    assert 0 < found["test"]["nll"] < 2 * math.log(150) and 0 <= found["test"]["accuracy"] <= 1
    assert [point[0] for point in found["curve"]] == [1, 2, 3] and found["seconds"] > 0
    assert ("tree_seconds" in found) == (options["tree"] == "learned")


def test_validation_chooses_the_rate_and_dear_heads_run_once(script):
    nll = {0.003: 3.0, 0.01: 2.5, 0.03: math.nan}
    args = argparse.Namespace(vocabulary=[100], rows=["softmax", "adaptive"], seeds=1, data_dir=None)
    results = {f"sweep/100/softmax/{lr:g}": {"validation": {"nll": value}} for lr, value in nll.items()}
    names = [name for name, _ in script.all_jobs(args, results)]
    assert script.best_rate(results, "softmax") == 0.01 and script.best_rate(results, "adaptive") is None
    assert [name for name in names if name.startswith("windows")] == ["windows/100/softmax/0"]
    results |= {name.replace("softmax", "adaptive"): found for name, found in results.items()}
    results |= {"windows/100/softmax/0": {"seconds": 40.0}, "windows/100/adaptive/0": {"seconds": 10.0}}
    jobs = dict(script.all_jobs(args, results))
    assert "seconds/100/softmax/0" not in jobs and jobs["seconds/100/adaptive/0"]["steps"] == 4 * script.STEPS


def test_the_page_has_a_row_a_head_and_the_spread_of_seeds(script):
    test = {"accuracy": 0.5, "rare": 0.25, "nll": math.log(20), "predict_ms": 0.05}
    run = {
        "lr": 0.01,
        "steps": 500,
        "seconds": 20.0,
        "memory_mib": 30.0,
        "parameters": 1000,
        "note": "Python 3.11: 9 files (content a), 7 words",
    }
    results = {
        "windows/100/softmax/0": run | {"test": test, "curve": [[250, 10.0, 0.4, 3.0], [500, 20.0, 0.5, 2.5]]},
        "windows/100/softmax/1": run | {"test": test | {"accuracy": 0.52}, "curve": []},
    }
    kept = {"results": results, "machine": {"cpu": "a processor"}}
    text = script.page(kept, argparse.Namespace(vocabulary=[100], plot=None))
    row, when = [line for line in text.splitlines() if line.startswith("| softmax")]
    assert when == "| softmax | 20.0 | – | – |", "at 48, 51 and 53 %, of which the first was reached"
    assert "51.00 ± 1.00" in row and "| 20.0 ± 0.0 |" in row and "256,000" in row and "| 50.0 |" in row
    assert "Python 3.11: 9 files (content a). Network" in text
