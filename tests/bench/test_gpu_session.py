"""benchmarks/gpu_session.py: tried from end to end on the stand-in, and what it leaves when a part is ended."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import cuda_on_cpu
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_session")


@pytest.mark.slow
@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler to run kernels with")
def test_all_parts_on_the_stand_in(script, tmp_path, capfd):
    assert script.main([str(tmp_path / "out"), "--stand-in", "--seconds", "0"]) == 0
    said, found = capfd.readouterr().out, json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == list(script.PARTS)
    compiled = found["compile"]["npsoftmax tf32 compile all 0"]
    assert all(isinstance(compiled[f"{name} f"], float) for name in ("conv", "conv_tensor", "graph", "update"))
    check = found["compile"]["npsoftmax tf32 check graph 0"]
    assert check == {"graph": None, "hand": "--no-graph", "same bits": True}
    assert "skipped" in found["tests"]["last line"]
    ours = {
        "convolutions": ("npsoftmax tf32 convolution 16>16@4 4", "npsoftmax bf16 convolution 16>16@4 4"),
        "steps": tuple(f"npsoftmax {side} train convnet 4" for side in ("tf32 graph", "tf32", "bf16 graph", "bf16")),
        "heads": tuple(f"npsoftmax tf32 head {head} 100" for head in script.HEADS),
    }
    for part, names in ours.items():
        assert all(found[part][name]["seconds"] > 0 for name in names), found[part]
        assert found[part]["ended"] == "well" or "there is no PyTorch here" in found[part]["ended"]
    (run,) = (value for name, value in found["train"].items() if name.startswith("resnet9"))
    assert run["epochs"] == 1 and run["steps_by_hand"] is None and 0 <= run["accuracy"] <= 1
    assert "images/s" in said and "TFLOP/s" in said and (tmp_path / "out" / "log.txt").read_text() in said


def test_a_command_that_takes_too_long_is_ended_and_what_it_said_stays(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "GRACE", 0.2)
    results = script.Results(tmp_path)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun'); time.sleep(60)"
    started = time.monotonic()
    assert script.run(results, [sys.executable, "-u", "-c", program], 1.0) == "ended after 1 seconds"
    assert time.monotonic() - started < 20
    assert "begun" in (tmp_path / "log.txt").read_text()
    assert script.run(results, [sys.executable, "-c", "raise SystemExit(3)"], 20.0) == "ended with code 3"


def test_results_are_gone_on_with(script, tmp_path):
    script.Results(tmp_path).keep("steps", "a", {"seconds": 1.0})
    again = script.Results(tmp_path)
    again.keep("heads", "b", {"seconds": 2.0})
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "steps": {"a": {"seconds": 1.0}},
        "heads": {"b": {"seconds": 2.0}},
    }


def test_figures_in_words(script):
    assert script.in_words({"seconds": 0.01}, "train", "resnet9", 512) == "      51,200 images/s"
    assert script.in_words({"seconds": 0.002}, "head", "softmax", 100) == "       2.000 ms"
    flop = 6 * 512 * 16 * 9 * 512 * 512
    assert script.in_words({"seconds": flop / 200e12}, "convolution", "512>512@4", 512) == "       200.0 TFLOP/s"
    assert script.in_words({"error": "no"}, "train", "resnet9", 1) == "no"
