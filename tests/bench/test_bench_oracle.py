"""`npsoftmax bench` beside PyTorch: the twins are the same networks, and the guards see it when a side does less."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import npsoftmax
from npsoftmax.backend import get_backend
from npsoftmax.bench import layers, networks, our_layers, step
from npsoftmax.bench.shapes import parse_shape
from npsoftmax.cli.main import main
from npsoftmax.host import set_threads
from npsoftmax.models import build_model
from npsoftmax.params import leaves

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
SIDES = ["npsoftmax", "torch-nchw", "torch-channels-last"]


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Workers run the npsoftmax that is tested here; threads are as before."""
    monkeypatch.setenv("PYTHONPATH", str(Path(npsoftmax.__file__).parents[1]))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    set_threads(None)


@pytest.fixture
def twins():
    from npsoftmax.bench import twins

    return twins


def a_job(side, model, **changes):
    return {"side": side, "model": model, "batch_size": 4, "threads": 1, "dropout": False, **changes}


# ---------------------------------------------------------------- the twins
def test_every_model_of_the_benchmarks_has_a_twin(twins):
    assert list(twins.TWINS) == list(networks.MODELS)


@pytest.mark.parametrize("name", networks.MODELS)
def test_a_twin_is_the_same_network(twins, name):
    """As many parameters under the same names, and in float64 the same probabilities."""
    ours, options = networks.MODELS[name]
    model = build_model(ours, model_opts=options).to(get_backend(), np.float64)
    twin = twins.TWINS[name]().double().eval()
    ours, theirs = dict(leaves(model.params)), twins.our_parameters(twin)
    assert {path: p.size for path, p in ours.items()} == {path: p.numel() for path, p in theirs.items()}
    assert sum(p.numel() for p in twin.parameters()) == model.parameter_count()

    twins.load_parameters(twin, ours)
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3))
    with torch.no_grad():
        expected = torch.log_softmax(twin(torch.from_numpy(x).permute(0, 3, 1, 2)), dim=1).numpy()
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=0, atol=1e-10)


def test_dropout_is_on_for_timing_and_off_for_the_guard(twins):
    for dropout, p in ((True, 0.25), (False, 0.0)):
        ours = networks.Ours(a_job("npsoftmax", "resnet9", dropout=dropout))
        rival = twins.Torch(a_job("torch-nchw", "resnet9", dropout=dropout))
        assert ours.model.trunk.layers["dropout"].p == rival.twin.trunk.dropout.p == p


@pytest.mark.parametrize("spoil", [None, "a frozen layer", "no momentum"])
def test_the_guard_notices_a_rival_that_does_less(twins, tmp_path, spoil):
    job = a_job("npsoftmax", "tinyvgg", start=str(tmp_path / "start.npz"))
    ours = step.first_steps(networks.Ours(job))
    rival = twins.Torch({**job, "side": "torch-channels-last"})
    if spoil == "a frozen layer":
        rival.twin.trunk.conv1_1.requires_grad_(False)
    if spoil == "no momentum":
        rival.optimizer.param_groups[0]["momentum"] = 0.0
    found = step.differences(ours, step.first_steps(rival))
    assert bool(found) == bool(spoil)
    if spoil == "a frozen layer":
        assert "trunk.conv1_1.w" in "\n".join(found)


# ---------------------------------------------------------------- layers
@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("3->4@6", "auto"),
        *(("4->5@6", algorithm) for algorithm in our_layers.KERNELS),
        ("4@6", "auto"),
        ("4@6/3", "auto"),
    ],
)
@pytest.mark.parametrize("side", SIDES[1:])
def test_a_layer_gives_what_pytorchs_gives(name, algorithm, side):
    from npsoftmax.bench import torch_layers

    shape = parse_shape(name)
    arrays = layers.inputs(shape, 3)
    theirs = torch_layers.passes(shape, side, arrays)
    ours = our_layers.passes(shape, algorithm, arrays)[0]
    assert list(ours) == list(theirs) == list(shape.passes())
    for which, call in theirs.items():
        expected, found = call(), ours[which]()
        assert [a.shape for a in found] == [a.shape for a in expected]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())
        assert layers.agree([layers.sample(a) for a in found], [layers.sample(b) for b in expected])


# ---------------------------------------------------------------- the whole command
@pytest.mark.slow
def test_step_stands_beside_pytorch(tmp_path):
    out = tmp_path / "step.json"
    words = ["--models", "mlp", "--rounds", "1", "--batch-size", "8", "--seconds", "0.1", "--json", str(out)]
    assert main(["bench", "step", *words]) == 0
    figures = json.loads(out.read_text())
    mlp = figures["mlp"]
    assert list(mlp["sides"]) == list(mlp["guard_losses"]) == SIDES
    speeds = {side: found["median"] for side, found in mlp["sides"].items()}
    assert mlp["torch_images_per_second"] == max(speeds["torch-nchw"], speeds["torch-channels-last"])
    assert mlp["ratio"] == pytest.approx(mlp["images_per_second"] / mlp["torch_images_per_second"])
    assert figures["machine"]["torch"] == torch.__version__


@pytest.mark.slow
def test_layers_stand_beside_pytorch(tmp_path, capsys):
    out = tmp_path / "layers.json"
    words = ["--shapes", "16-16@8", "--rounds", "1", "--batch-size", "4", "--seconds", "0.05", "--json", str(out)]
    assert main(["bench", "layers", *words]) == 0
    for record in json.loads(out.read_text())["layers"]:
        speeds = {side: found["speed"]["median"] for side, found in record["sides"].items()}
        assert list(speeds) == SIDES
        best = max(speeds["torch-nchw"], speeds["torch-channels-last"])
        assert record["ratio"] == pytest.approx(speeds["npsoftmax"] / best)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_memory_stands_beside_pytorch(tmp_path):
    out = tmp_path / "memory.json"
    assert main(["bench", "memory", "--models", "mlp", "--batch-size", "8", "--json", str(out)]) == 0
    mlp = json.loads(out.read_text())["mlp"]
    least = min(mlp["sides"][side]["median"] for side in SIDES[1:])
    assert mlp["torch_added_mib"] == least > 6 and mlp["ratio"] == pytest.approx(mlp["added_mib"] / least)
