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
    job = {**CPU, "task": "guard", "model": model, "number": 2, "start": str(tmp_path / "start.npz")}
    ours = script.work({**job, "side": script.OURS})["losses"]
    theirs = script.work({**job, "side": script.TORCH})["losses"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert len(set(ours)) == 3


@pytest.mark.oracle
def test_a_side_that_does_less_is_refused(script, monkeypatch):
    answers = iter([{"losses": [4.6, 4.5, 4.4]}, {"losses": [4.6, 4.6, 4.6]}])
    monkeypatch.setattr(script, "run_worker", lambda *_: next(answers))
    with pytest.raises(BenchmarkError, match="do not do the same on convnet"):
        script.check_same_work({**CPU, "model": "convnet", "number": 2})


@pytest.mark.oracle
@pytest.mark.parametrize("head", ["hierarchical", "torch adaptive"])
def test_a_step_of_a_head_is_timed(script, head):
    pytest.importorskip("torch")
    side = script.TORCH if head.startswith("torch") else script.OURS
    (seconds,) = script.work({**CPU, "task": "time", "side": side, "cases": [("head", head, 50)]})["seconds"]
    assert seconds > 0


@pytest.mark.parametrize("side", ["COLUMNS", "OURS", "TORCH_BF16"])
def test_a_convolution_is_timed(script, side, monkeypatch):
    from npsoftmax.kernels.conv import device as device_conv

    if side.startswith("TORCH"):
        pytest.importorskip("torch")
    monkeypatch.setattr(device_conv, "kind_for", device_conv.kind_for)  # which a worker may replace
    cases = [("convolution", "16>24@5", 2), ("convolution", "3>8@4", 1)]
    seconds = script.work({**CPU, "task": "time", "side": getattr(script, side), "cases": cases})["seconds"]
    assert len(seconds) == 2 and min(seconds) > 0


def test_a_side_of_ours_has_its_precision(script, monkeypatch):
    import gpu_sides

    from npsoftmax import backend

    asked = []
    monkeypatch.setattr(backend, "get_backend", lambda *args: asked.append(args))
    for side, task in ((script.OURS, "train"), (script.OURS_BF16, "train"), (script.OURS, "guard")):
        gpu_sides.our_backend({**CPU, "cpu": False, "side": side, "task": task})
    assert asked == [("cupy", 0, "auto"), ("cupy", 0, "bf16"), ("cupy", 0, "fp32")]


def test_a_run_is_that_of_the_recipe(script, monkeypatch):
    import gpu_sides

    from npsoftmax.cli import main as cli

    said = []

    def main(words):
        said.extend(words)
        path = Path(words[words.index("--out") + 1])
        path.mkdir()
        (path / "summary.json").write_text('{"test": {"accuracy": 0.5}, "images_per_second": 7.0}')
        return 0

    monkeypatch.setattr(cli, "main", main)
    found = gpu_sides.run({**CPU, "cpu": False, "device": 1, "model": script.RECIPE, "epochs": 100})
    assert (found["accuracy"], found["images_per_second"]) == (0.5, 7.0)
    for words in ("--recipe e1/log_softmax", "--epochs 100", "--backend cupy", "--device 1"):
        assert words in " ".join(said)
    monkeypatch.setattr(cli, "main", lambda _: 2)
    with pytest.raises(BenchmarkError, match=r"did not run .*--epochs 0 leaves it out"):
        gpu_sides.run({**CPU, "model": script.RECIPE, "epochs": 1})


def test_the_page_has_every_figure_and_both_ratios(script, monkeypatch, tmp_path):
    asked = []

    def run_worker(_, job):
        if job["task"] == "describe":
            return {"device": "Pretended GPU", "driver": "12.8"}
        if job["task"] == "guard":
            return {"losses": [4.6, 4.5, 4.4]}
        if job["task"] == "run":
            return {"minutes": 12.34, "accuracy": 0.5916, "images_per_second": 45678.9}
        seconds = {script.COLUMNS: 0.02, script.OURS: 0.01, script.OURS_BF16: 0.009}
        seconds |= {script.TORCH: 0.008, script.TORCH_BF16: 0.005}
        asked.extend(tuple(case) for case in job["cases"])
        times = {"train": 1, "convolution": 2, "head": 3}  # no two kinds of cases alike, nor two heads
        more = {"adaptive": 0.001, "128>256@16": 0.002}
        return {"seconds": [seconds[job["side"]] * times[task] + more.get(model, 0) for task, model, _ in job["cases"]]}

    monkeypatch.setattr(script, "run_worker", run_worker)
    files = ["--json", str(tmp_path / "gpu.json"), "--markdown", str(tmp_path / "gpu.md")]
    few = ["--models", "resnet9", "--batch-sizes", "128,512", "--layers", "64>128@32,128>256@16", "--classes", "100"]
    assert script.main([*few, *files]) == 0
    page = (tmp_path / "gpu.md").read_text()
    assert "Measured on Pretended GPU, driver for CUDA 12.8" in page
    assert "| resnet9 | 128 | 12,800 | 14,222 | 16,000 | 25,600 | 0.80 | 0.56 |" in page
    assert "| resnet9 | 512 | 51,200 | 56,889 | 64,000 | 102,400 | 0.80 | 0.56 |" in page
    assert "both gradients, 512 images" in page
    assert "| 64>128@32 | 40.000 | 20.000 | 18.000 | 16.000 | 10.000 |" in page
    assert "| 128>256@16 | 42.000 | 22.000 | 20.000 | 18.000 | 12.000 |" in page
    assert "100 epochs of e1/log_softmax: 12.3 minutes from start to end, 45,679 images a second" in page
    assert "| 100 | 30.000 | 30.000 | 31.000 | 30.000 | 24.000 | 24.000 |" in page
    assert (tmp_path / "gpu.json").exists()
    assert asked.count(("convolution", "64>128@32", 512)) == 15, "five sides, three rounds"
    assert asked.count(("head", "adaptive", 100)) == 3
