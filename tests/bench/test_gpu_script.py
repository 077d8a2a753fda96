"""benchmarks/gpu.py without a GPU: its twins are our models, and its tables say what was measured."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.bench.workers import BenchmarkError

ROOT = Path(__file__).parents[2]
CPU = {"cpu": True, "device": 0, "seconds": 0.0, "threads": 1}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.mark.oracle
@pytest.mark.parametrize("model", ["tinyvgg", "vit_small"])
def test_both_sides_take_the_same_steps(script, model, tmp_path):
    pytest.importorskip("torch")
    job = {**CPU, "task": "guard", "model": model, "batch_size": 2, "start": str(tmp_path / "start.npz")}
    ours = script.work({**job, "side": script.OURS})["losses"]
    theirs = script.work({**job, "side": script.TORCH})["losses"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert len(set(ours)) == 3


@pytest.mark.oracle
def test_a_side_that_does_less_is_refused(script, monkeypatch):
    answers = iter([{"losses": [4.6, 4.5, 4.4]}, {"losses": [4.6, 4.6, 4.6]}])
    monkeypatch.setattr(script, "run_worker", lambda *_: next(answers))
    with pytest.raises(BenchmarkError, match="do not do the same on convnet"):
        script.check_same_work({**CPU, "model": "convnet", "batch_size": 2})


@pytest.mark.oracle
@pytest.mark.parametrize("head", ["hierarchical", "torch adaptive"])
def test_a_step_of_a_head_is_timed(script, head):
    pytest.importorskip("torch")
    side = script.TORCH if head.startswith("torch") else script.OURS
    assert script.work({**CPU, "task": "head", "model": head, "classes": 50, "side": side})["seconds"] > 0


def test_the_page_has_every_figure_and_both_ratios(script, monkeypatch, tmp_path):
    def run_worker(_, job):
        if job["task"] == "describe":
            return {"device": "Pretended GPU", "driver": "12.8"}
        if job["task"] == "guard":
            return {"losses": [4.6, 4.5, 4.4]}
        return {"seconds": {script.OURS: 0.01, script.TORCH: 0.008, script.BF16: 0.005}[job["side"]]}

    monkeypatch.setattr(script, "run_worker", run_worker)
    files = ["--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")]
    assert script.main(["--models", "resnet9", "--batch-sizes", "128,512", "--classes", "100", *files]) == 0
    page = (tmp_path / "gpu.md").read_text()
    assert "Measured on Pretended GPU, driver for CUDA 12.8" in page
    assert "| resnet9 | 128 | 12,800 | 16,000 | 25,600 | 0.80 | 0.50 |" in page
    assert "| resnet9 | 512 | 51,200 | 64,000 | 102,400 | 0.80 | 0.50 |" in page
    assert "| 100 | 10.000 | 10.000 | 10.000 | 10.000 | 8.000 | 8.000 |" in page
    assert (tmp_path / "gpu.json").exists()
