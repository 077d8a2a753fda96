"""`npsoftmax bench` as a user meets it where PyTorch is not installed: figures, files, messages, exit codes."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import npsoftmax
from npsoftmax.bench import ceiling, machine, networks, step, workers
from npsoftmax.cli.main import main
from npsoftmax.host import set_threads

compiled = pytest.mark.skipif(not ceiling.is_built(), reason="needs the compiled modules")
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
QUICK = ["--rounds", "1", "--threads", "1", "--seconds", "0"]


@pytest.fixture
def no_torch(monkeypatch):
    """PyTorch is not installed; the workers run the npsoftmax that is tested here."""
    real = machine.version
    monkeypatch.setattr(machine, "version", lambda name: None if name == "torch" else real(name))
    monkeypatch.setenv("PYTHONPATH", str(Path(npsoftmax.__file__).parents[1]))


@pytest.fixture
def in_process(no_torch, monkeypatch):
    """Workers do their work here, and the machine is small: what a process of its own gives is tested elsewhere."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for module in (workers, step):
        monkeypatch.setattr(module, "run_worker", lambda job: json.loads(json.dumps(workers.work(job))))
    monkeypatch.setattr(networks, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(ceiling, "CALL", 1e-4)
    monkeypatch.setattr(ceiling, "SQUARES", ((64, 64, 64),))
    monkeypatch.setattr(ceiling, "LEAST_DRAM", 1 << 20)
    monkeypatch.setattr(ceiling, "cache_sizes", lambda: {1: 1 << 12, 2: 1 << 14, 3: 1 << 16})
    yield
    set_threads(None)


def spread(figure):
    assert 0 < figure["min"] <= figure["median"] <= figure["max"] < math.inf
    return len(figure["rounds"])


# ---------------------------------------------------------------- figures
def test_step_measures_in_processes_of_their_own(no_torch, tmp_path, capfd):
    out = tmp_path / "step.json"
    assert main(["bench", "step", *QUICK, "--models", "mlp", "--batch-size", "4", "--json", str(out)]) == 0
    printed, told = capfd.readouterr()
    assert "PyTorch is not installed" in printed and "round 1/1  step mlp train npsoftmax" in told
    figures = json.loads(out.read_text())
    assert list(figures) == ["mlp", "machine"]
    mlp = figures["mlp"]
    assert mlp["images_per_second"] > 0 and "mlp    train  npsoftmax" in printed
    assert mlp["torch_images_per_second"] is None and mlp["ratio"] is None and "eval" not in mlp
    assert figures["machine"]["torch"] is None and figures["machine"]["numpy"] == np.__version__
    assert figures["machine"]["settings"]["batch_size"] == 4


def test_step_gives_every_model_and_mode(in_process, tmp_path, capsys):
    out = tmp_path / "step.json"
    words = ["--models", "mlp,tinyvgg", "--modes", "eval,train", "--batch-size", "2", "--rounds", "2"]
    assert main(["bench", "step", *QUICK, *words, "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert list(figures) == ["mlp", "tinyvgg", "machine"]
    for model in ("mlp", "tinyvgg"):
        train, evaluation = figures[model], figures[model]["eval"]
        for found in (train, evaluation):
            assert list(found["sides"]) == ["npsoftmax"] and spread(found["sides"]["npsoftmax"]) == 2
            assert found["images_per_second"] == found["sides"]["npsoftmax"]["median"]
        # Flops of one image: 3 forward passes of 2 a multiply-add in training, 1 in evaluation.
        per_image = [1e9 * found["gflops_effective"] / found["images_per_second"] for found in (train, evaluation)]
        assert per_image[0] == pytest.approx(3 * per_image[1])
    assert per_image[1] == pytest.approx(2 * npsoftmax.build_model("tinyvgg").macs())
    assert capsys.readouterr().out.count("npsoftmax  ") >= 4


def test_step_with_eval_alone_has_no_figures_of_training(in_process, tmp_path):
    out = tmp_path / "step.json"
    assert main(["bench", "step", *QUICK, "--models", "mlp", "--modes", "eval", "--json", str(out)]) == 0
    mlp = json.loads(out.read_text())["mlp"]
    assert mlp["eval"]["images_per_second"] > 0 and "images_per_second" not in mlp


@compiled
def test_layers_measures_passes_and_draws_the_roofline(in_process, tmp_path, capsys):
    out, picture = tmp_path / "layers.json", tmp_path / "roofline.svg"
    words = ["--shapes", "3-4@6,4->5@6,4@6,4@6/2", "--conv", "tiled,im2col", "--batch-size", "2"]
    assert main(["bench", "layers", *QUICK, *words, "--json", str(out), "--plot", str(picture)]) == 0
    figures, printed = json.loads(out.read_text()), capsys.readouterr().out
    passes = {}
    for record in figures["layers"]:
        passes.setdefault(record["layer"], []).append(record["pass"])
        ours = record["sides"]["npsoftmax"]
        assert spread(ours["seconds"]) == spread(ours["speed"]) == 1 and record["ratio"] is None
        amount = record["flops"] if record["unit"] == "GFLOP/s" else record["bytes"]
        assert ours["speed"]["median"] == pytest.approx(1e-9 * amount / ours["seconds"]["median"])
    assert passes == {
        "3->4@6": ["forward", "weight gradient", "backward"],
        "4->5@6": ["forward", "input gradient", "weight gradient", "backward"],
        "4@6": ["forward", "backward"],
        "4@6/2": ["forward", "backward"],
    }
    assert set(figures["roofs"]) == {"sgemm", "L2", "L3", "DRAM"} and min(figures["roofs"].values()) > 0
    assert "auto is" in printed and "im2col" in printed and "max-pool: GB/s" in printed
    assert "<svg" in picture.read_text()


@compiled
def test_layers_takes_the_algorithm_by_name(in_process, tmp_path):
    out = tmp_path / "layers.json"
    words = ["--shapes", "4->5@6", "--conv", "winograd,im2col", "--batch-size", "2"]
    assert main(["bench", "layers", *QUICK, *words, "--json", str(out)]) == 0
    forward, input_gradient = json.loads(out.read_text())["layers"][:2]
    assert list(forward["sides"]) == ["npsoftmax", "winograd", "im2col"]
    assert forward["sides"]["im2col"]["algorithm"] == "im2col"
    assert "im2col" not in input_gradient["sides"]  # its gradients come together only


@compiled
def test_machine_is_written_down_by_its_name(in_process, tmp_path, capsys):
    out = tmp_path / "machine.json"
    assert main(["bench", "machine", "--rounds", "2", "--seconds", "0", "--threads", "2", "--json", str(out)]) == 0
    [(name, figures)] = json.loads(out.read_text()).items()
    assert name == figures["machine"]["name"] and name in capsys.readouterr().out
    found = {(figure["what"], figure["name"], figure["threads"]) for figure in figures["figures"]}
    assert {
        ("memory", f"{what} {level}", n) for what in ("copy", "triad") for level in ("L2", "DRAM") for n in (1, 2)
    } < found
    assert {"own", "numpy", "memory"} == {what for what, _, _ in found}
    assert all(spread(figure) == 2 for figure in figures["figures"])


@linux
def test_memory_is_measured_in_a_process_of_its_own(no_torch, tmp_path, capsys):
    out = tmp_path / "memory.json"
    words = ["--models", "mlp", "--batch-size", "8", "--threads", "1", "--json", str(out)]
    assert main(["bench", "memory", *words]) == 0
    mlp = json.loads(out.read_text())["mlp"]
    # Momentum and gradients are as large as the parameters: 832,676 of four bytes, 3.2 MiB each.
    assert 6 < mlp["added_mib"] < 100
    assert mlp["torch_added_mib"] is None and mlp["ratio"] is None


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["step", "--models", "convnet,resnet8"], "Did you mean 'resnet9'"),
        (["memory", "--models", "resnet8"], "Did you mean 'resnet9'"),
        (["step", "--modes", "trian"], "Did you mean 'train'"),
        (["step", "--threads", "0"], "--threads is 0, but at least 1"),
        (["step", "--batch-size", "0"], "--batch-size is 0"),
        (["step", "--seconds", "nan"], "--seconds is nan"),
        (["step", "--json", "no-such-folder/figures.json"], "no-such-folder"),
        (["layers", "--shapes", "64x128@32"], "Type 64-128@32"),
        (["layers", "--shapes", "64@32/5"], "which divides 32"),
        (["layers", "--conv", "winogard"], "Did you mean 'winograd'"),
        (["layers", "--plot", "roofline.gif"], ".png, .svg, .pdf"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(monkeypatch, capsys, words, hint):
    monkeypatch.setattr(workers, "run_worker", lambda job: pytest.fail("measured all the same"))
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert hint in error and error.startswith("npsoftmax: error:")


def test_a_failing_worker_ends_the_benchmark_and_says_why(in_process, monkeypatch, capsys):
    def fail(job):
        raise workers.BenchmarkError("the worker fell over")

    monkeypatch.setattr(workers, "run_worker", fail)
    assert main(["bench", "step", *QUICK, "--models", "mlp"]) == 1
    assert "npsoftmax bench: the worker fell over" in capsys.readouterr().err


def test_a_worker_in_trouble_is_quoted(no_torch):
    with pytest.raises(workers.BenchmarkError, match=r"(?s)failed:\n.*unknown model 'no-such-model'"):
        job = {
            "work": "step",
            "side": "npsoftmax",
            "model": "no-such-model",
            "dropout": True,
            "batch_size": 1,
            "threads": 1,
        }
        workers.run_worker(job)


def test_torch_beside_npsoftmax_is_refused(in_process, monkeypatch):
    job = {"work": "step", "side": "npsoftmax", "model": "mlp", "task": "eval", "dropout": True, "seconds": 0}
    answer = workers.work({**job, "batch_size": 1, "threads": 1})
    assert answer["images_per_second"] > 0
    monkeypatch.setitem(sys.modules, "torch", object())
    with pytest.raises(workers.BenchmarkError, match="torch was imported beside npsoftmax"):
        workers.work({**job, "batch_size": 1, "threads": 1})


@compiled
def test_without_the_compiled_module_there_is_no_roof_but_speed(in_process, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ceiling, "load_extension", lambda name: (None, "not built"))
    out = tmp_path / "step.json"
    assert main(["bench", "step", *QUICK, "--models", "mlp", "--batch-size", "2", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["mlp"]["share_of_roof"] is None
    assert main(["bench", "machine", *QUICK]) == 1
    assert "not built" in capsys.readouterr().err
