"""The benchmarks run, write figures that make sense, and refuse to compare sides that do not do the same work."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

import npsoftmax
from npsoftmax.backend import get_backend, set_threads
from npsoftmax.layers import leaves
from npsoftmax.models import build_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODELS = ("mlp", "convnet", "tinyvgg", "resnet9")
SIDES = ("npsoftmax", "torch-nchw", "torch-channels-last")
TINY = ["--models", "mlp", "--rounds", "1", "--batch-size", "8"]
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark's module; its workers run the npsoftmax that is tested here."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(Path(npsoftmax.__file__).parents[1]))
    yield importlib.import_module
    set_threads(None)


@pytest.fixture
def torch_is(load, monkeypatch):
    """Pretends that PyTorch of some version, or none, is installed."""

    def pretend(torch_version):
        common = load("common")
        real = common.version
        monkeypatch.setattr(common, "version", lambda name: torch_version if name == "torch" else real(name))

    return pretend


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    threads = module.get_num_threads()
    yield module
    module.set_num_threads(threads)


def a_job(side, model, **changes):
    return {"side": side, "model": model, "batch_size": 4, "threads": 1, "dropout": False, **changes}


def by_side(figures):
    return {record["side"]: record for record in figures["results"]}


# ---------------------------------------------------------------- without PyTorch
def test_speed_is_measured_without_torch(load, torch_is, tmp_path, capsys):
    torch_is(None)
    out = tmp_path / "speed.json"
    options = ["--seconds", "0.1", "--modes", "train,eval", "--json", str(out)]
    assert load("train_step").main([*TINY, *options]) == 0
    figures, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert "PyTorch is not installed" in printed
    assert [record["mode"] for record in figures["results"]] == ["train", "eval"]
    for record in figures["results"]:
        speed = record["images_per_second"]
        assert record["side"] == "npsoftmax" and record["ratio"] is None
        assert 0 < speed["min"] <= speed["median"] <= speed["max"] < math.inf and len(speed["rounds"]) == 1
        assert f"{speed['median']:.1f}" in printed
    assert figures["settings"]["batch_size"] == 8 and figures["machine"]["torch"] is None
    assert figures["machine"]["numpy"] == np.__version__


@linux
def test_memory_is_measured_without_torch(load, torch_is, tmp_path, capsys):
    torch_is(None)
    out = tmp_path / "memory.json"
    assert load("step_memory").main([*TINY, "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    [record] = figures["results"]
    # Momentum and gradients are as large as the parameters: 832,676 of four bytes, 3.2 MiB each.
    assert 6 < record["added_mib"]["median"] < 100
    assert record["ratio"] is None and "PyTorch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--models", "convnet,resnet8"], "Did you mean 'resnet9'"),
        (["--modes", "trian"], "Did you mean 'train'"),
        (["--threads", "0"], "at least 1"),
        (["--batch-size", "1"], "at least 2"),
        (["--json", "no-such-folder/figures.json"], "no-such-folder"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(load, capsys, options, hint):
    with pytest.raises(SystemExit) as stopped:
        load("train_step").main(options)
    assert stopped.value.code == 2
    assert hint in capsys.readouterr().err


def test_a_failing_worker_is_reported(load):
    common, script = load("common"), load("train_step").__file__
    with pytest.raises(common.BenchmarkError, match="no-such-model"):
        common.run_worker(script, a_job("npsoftmax", "no-such-model", task="train", seconds=0))


# ---------------------------------------------------------------- figures
def test_the_ratio_is_to_the_better_rival(load):
    common = load("common")
    ours, slow, fast = (common.summary(rounds) for rounds in ([30.0, 20.0, 25.0], [1.0, 8.0, 2.0], [4.0, 5.0, 5.0]))
    ratio = common.ratio_to_better(ours, [slow, fast], max)
    assert ratio["median"] == 25 / 5
    assert ratio["rounds"] == [30 / 4, 20 / 8, 25 / 5] and (ratio["min"], ratio["max"]) == (2.5, 7.5)
    assert common.ratio_to_better(ours, [slow, fast], min)["median"] == 25 / 2
    assert common.ratio_to_better(ours, [], max) is None


def test_sides_take_turns(load, capsys):
    calls = []

    def measure(model, side):
        calls.append(side)
        return len(calls)

    measured = load("common").take_turns([("m", "a"), ("m", "b")], 3, measure, "s")
    assert calls == ["a", "b"] * 3
    assert measured["m", "a"]["rounds"] == [1, 3, 5] and measured["m", "b"]["median"] == 4


def test_columns_are_of_one_width(load):
    lines = load("common").table(["name", "figure"], [["a", "1.0"], ["longer", "1000.0"]], 1).splitlines()
    assert lines == ["name    figure", "------  ------", "a          1.0", "longer  1000.0"]


# ---------------------------------------------------------------- the guard
def test_the_guard_names_what_differs(load):
    differences = load("train_step").differences
    agreed = {"losses": [4.6, 4.5, 4.4], "moves": {"w": 1.0, "b": 0.01, "bias_before_norm": 1e-8}}
    rounded = {"losses": [4.6001, 4.5, 4.4], "moves": {"w": 1.001, "b": 0.01, "bias_before_norm": 5e-8}}
    assert differences(agreed, rounded) == []
    for losses in ([4.61, 4.5, 4.4], [4.6, math.nan, 4.4], [4.6, 4.5, 4.3]):
        assert len(differences({**agreed, "losses": losses}, agreed)) == 1
    [frozen] = differences(agreed, {**agreed, "moves": {**agreed["moves"], "b": 0.0}})
    assert "move of b" in frozen
    assert differences(agreed, {**agreed, "moves": {"w": 1.0}})


def test_no_figures_when_the_guard_objects(load, torch_is, monkeypatch, capsys):
    torch_is("9.9")
    train_step = load("train_step")

    def worker(script, job):
        assert job["task"] == "guard", "timed in spite of the guard"
        return {"losses": [4.0, 3.0, 2.0 if job["side"] == "npsoftmax" else 2.5], "moves": {"w": 1.0}}

    monkeypatch.setattr(train_step, "run_worker", worker)
    with pytest.raises(load("common").BenchmarkError, match="no ratio is given"):
        train_step.main(TINY)
    assert "ratio" not in capsys.readouterr().out


@pytest.mark.oracle
@pytest.mark.parametrize("spoil", [None, "a frozen layer", "no momentum"])
def test_the_guard_notices_a_rival_that_does_less(load, torch, tmp_path, spoil):
    train_step, twins = load("train_step"), load("twins")
    job = a_job("npsoftmax", "tinyvgg", start=str(tmp_path / "start.npz"))
    ours = train_step.first_steps(train_step.Ours(job), job)
    rival = twins.Torch({**job, "side": "torch-channels-last"})
    if spoil == "a frozen layer":
        rival.twin.trunk.conv1_1.requires_grad_(False)
    if spoil == "no momentum":
        rival.optimizer.param_groups[0]["momentum"] = 0.0
    found = train_step.differences(ours, train_step.first_steps(rival, job))
    assert bool(found) == bool(spoil)
    if spoil == "a frozen layer":
        assert "trunk.conv1_1.w" in "\n".join(found)


# ---------------------------------------------------------------- the twins
@pytest.mark.oracle
def test_every_model_of_the_benchmarks_has_a_twin(load, torch):
    assert tuple(load("twins").TWINS) == load("common").MODELS == MODELS


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODELS)
def test_a_twin_is_the_same_network(load, torch, name):
    """As many parameters under the same names, and in float64 the same probabilities."""
    twins = load("twins")
    model, twin = build_model(name).to(get_backend(), np.float64), twins.TWINS[name]().double().eval()
    ours = dict(leaves(model.params))
    theirs = twins.our_parameters(twin)
    assert {path: p.size for path, p in ours.items()} == {path: p.numel() for path, p in theirs.items()}
    assert sum(p.numel() for p in twin.parameters()) == model.parameter_count()

    twins.load_parameters(twin, ours)
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3))
    with torch.no_grad():
        expected = torch.log_softmax(twin(torch.from_numpy(x).permute(0, 3, 1, 2)), dim=1).numpy()
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=0, atol=1e-10)


# ---------------------------------------------------------------- beside PyTorch
@pytest.mark.oracle
def test_dropout_is_on_for_timing_and_off_for_the_guard(load, torch):
    train_step, twins = load("train_step"), load("twins")
    for dropout, p in ((True, 0.25), (False, 0.0)):
        ours = train_step.Ours(a_job("npsoftmax", "resnet9", dropout=dropout))
        rival = twins.Torch(a_job("torch-nchw", "resnet9", dropout=dropout))
        assert ours.model.trunk.layers["dropout"].p == rival.twin.trunk.dropout.p == p


@pytest.mark.slow
@pytest.mark.oracle
def test_speed_is_measured_beside_torch(load, torch, tmp_path):
    out = tmp_path / "speed.json"
    assert load("train_step").main([*TINY, "--seconds", "0.1", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    sides = by_side(figures)
    assert tuple(sides) == tuple(figures["guard_losses"]["mlp"]) == SIDES
    speeds = {side: record["images_per_second"]["median"] for side, record in sides.items()}
    best = max(speeds["torch-nchw"], speeds["torch-channels-last"])
    assert sides["npsoftmax"]["ratio"]["median"] == pytest.approx(speeds["npsoftmax"] / best)
    assert figures["machine"]["torch"] == torch.__version__


@linux
@pytest.mark.slow
@pytest.mark.oracle
def test_memory_is_measured_beside_torch(load, torch, tmp_path):
    out = tmp_path / "memory.json"
    assert load("step_memory").main([*TINY, "--json", str(out)]) == 0
    sides = by_side(json.loads(out.read_text()))
    added = {side: record["added_mib"]["median"] for side, record in sides.items()}
    least = min(added["torch-nchw"], added["torch-channels-last"])
    assert least > 6 and sides["npsoftmax"]["ratio"]["median"] == pytest.approx(added["npsoftmax"] / least)
