"""benchmarks/speedrun.py and speedrun_torch.py: PyTorch takes the recipe's steps, on images changed as ours are."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.bench.step import differences
from npsoftmax.bench.workers import BenchmarkError
from npsoftmax.data.sizes import shrunk
from npsoftmax.data.synthetic import make_synthetic100
from npsoftmax.files import read_json
from npsoftmax.functional.newton_schulz import orthogonalised
from npsoftmax.functional.whitening import whitening_filters
from npsoftmax.host import set_threads
from npsoftmax.layers.initialisation import dirac
from npsoftmax.models import build_model
from npsoftmax.random import Rng
from npsoftmax.recipes import load_recipe
from npsoftmax.training.schedules import make_schedule

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
SIDES = ("npsoftmax", "torch-nchw", "torch-channels-last")
GROWING, PLAIN = "speedrun/cifar100_75", "speedrun/speednet"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    threads, names = torch.get_num_threads(), ("speedrun", "speedrun_torch")
    yield [importlib.import_module(name) for name in names]
    torch.set_num_threads(threads)
    set_threads(None)
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def script(scripts, monkeypatch):
    """Of the guard and the measurements, on synthetic images."""
    of_recipe = scripts[0].config_of
    monkeypatch.setattr(scripts[0], "config_of", lambda job: replace(of_recipe(job), data="synthetic100"))
    monkeypatch.setattr(scripts[0], "refuse_torch", lambda: None)
    return scripts[0]


@pytest.fixture
def theirs(scripts):
    return scripts[1]


# ---------------------------------------------------------------- the two steps
def guard(script, side, tmp_path, recipe=GROWING):
    job = {"recipe": recipe, "data_dir": None, "threads": 1, "images": 16, "sizes": None}
    return script.work({**job, "task": "guard", "side": side, "start": str(tmp_path / "start.npz")})


@pytest.mark.parametrize("recipe", [GROWING, PLAIN])
def test_all_sides_take_the_same_two_steps(script, tmp_path, recipe):
    """Whitening, the network, smoothed labels, small logits, both optimisers, rates: 16 images, in float32."""
    found = {side: guard(script, side, tmp_path, recipe) for side in SIDES}
    assert all(differences(found["npsoftmax"], found[side]) == [] for side in SIDES[1:])
    assert found["npsoftmax"]["losses"][0] != pytest.approx(found["npsoftmax"]["losses"][1], rel=0.01)


def test_another_step_is_seen(script, theirs, tmp_path, monkeypatch):
    ours, guarded, filters = guard(script, "npsoftmax", tmp_path), script.guarded, theirs.whitening_filters
    for changes in (
        {"muon_unit_filters": False},
        {"momentum": 0.8},
        {"muon_lr": 0.2},
        {"head_opts": {"label_smoothing": 0.2, "temperature": 7.2}},
    ):
        monkeypatch.setattr(script, "guarded", lambda job, changes=changes: replace(guarded(job), **changes))
        assert differences(ours, guard(script, "torch-nchw", tmp_path)), changes
    monkeypatch.setattr(script, "guarded", guarded)
    monkeypatch.setattr(theirs, "whitening_filters", lambda *args: filters(*args).flip(0))
    assert differences(ours, guard(script, "torch-nchw", tmp_path))


# ---------------------------------------------------------------- PyTorch's side, piece by piece
def test_filters_that_whiten_are_ours(theirs):
    x = make_synthetic100(n_train=50, n_test=10).x_train.astype(np.float32) / 50
    ours = whitening_filters(x, (2, 2), theirs.WHITENING_EPS)
    found = theirs.whitening_filters(torch.from_numpy(x).permute(0, 3, 1, 2), 2)
    np.testing.assert_allclose(found.permute(2, 3, 1, 0).numpy(), ours, rtol=1e-3, atol=1e-3)


def test_the_network_begins_as_a_copy_where_ours_does(theirs):
    model = theirs.network(load_recipe(GROWING).config, torch.rand(8, 3, 32, 32))
    for name, (f, c, k) in {"residual3.block1": (512, 768, 3), "group3": (768, 256, 2)}.items():
        w = model.get_submodule(f"trunk.{name}.conv").weight.detach()[: min(f, c)]
        ours = dirac((k, k, c, f), k * k * c, Rng(0))[..., : min(f, c)]
        np.testing.assert_array_equal(w.permute(2, 3, 1, 0).numpy(), ours)
    others = model.get_submodule("trunk.group3.conv").weight[256:].std().item()
    assert others == pytest.approx(dirac((2, 2, 256, 768), 1024, Rng(0))[..., 256:].std(), rel=0.02)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_newton_and_schulz_are_ours(theirs, shape):
    m = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(theirs.newton_schulz(torch.from_numpy(m), 3).numpy(), orthogonalised(m, 3), rtol=1e-10)


@pytest.mark.parametrize("side", [20, 24])
def test_smaller_images_are_ours_to_a_grey_level(theirs, side):
    x = make_synthetic100(n_train=20, n_test=10).x_train
    found = theirs.resized(torch.from_numpy(x), side).numpy()
    assert found.dtype == np.uint8 and abs(found.astype(int) - shrunk(x, side)).max() <= 1


@pytest.mark.parametrize("side", [20, 24, 32])
def test_images_of_each_size_go_through_the_same_network(theirs, side):
    from npsoftmax.bench.twins import load_parameters
    from npsoftmax.params import leaves

    model = build_model("whitened_resnet")
    twin = theirs.TWINS["whitened_resnet"]().eval()
    load_parameters(twin, dict(leaves(model.params)))
    x = np.random.default_rng(0).standard_normal((2, side, side, 3), dtype=np.float32)
    with torch.inference_mode():
        found = torch.log_softmax(twin(torch.from_numpy(x).permute(0, 3, 1, 2)), 1).numpy()
    np.testing.assert_allclose(found, model.log_prob(x), rtol=1e-4, atol=1e-4)


def test_every_image_is_a_window_of_itself_mirrored_or_not(theirs):
    """Each pixel of a picture is unlike any other, so that a window tells where it was taken."""
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(1, 256, (40, 8, 8, 3)).astype(np.uint8)
    mirrored = torch.arange(40) % 3 == 0
    found = set()
    for window, image, is_mirrored in zip(
        theirs.changed(torch.from_numpy(images), 1, mirrored).numpy(), images, mirrored.tolist(), strict=True
    ):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))[:, :: -1 if is_mirrored else 1]
        places = [(i, j) for i in range(3) for j in range(3) if np.array_equal(window, padded[i : i + 8, j : j + 8])]
        assert len(places) == 1
        found.add((is_mirrored, *places[0]))
    assert len(found) > 12  # of 18


@pytest.mark.parametrize("name", [GROWING, PLAIN])
def test_rates_are_those_of_the_schedule(theirs, name):
    config, net = load_recipe(name).config, torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Flatten())
    step, x, t = theirs.Step(net, config, 40), torch.rand(5, 3, 2, 2), torch.arange(5) % 4
    rate = make_schedule(config.schedule, config.lr, 40, 1, **config.schedule_opts)
    for number in range(39):
        sgd, *muon = (optimizer.param_groups[0]["lr"] for optimizer in step.optimizers)
        assert sgd == pytest.approx(rate(number)[0])
        assert muon == [pytest.approx(rate(number)[0] * config.muon_lr / config.lr)] * (config.optimizer == "muon")
        step(x, t)


# ---------------------------------------------------------------- an epoch
@pytest.fixture
def run(theirs):
    """A recipe whose steps only look at the images."""

    def make(**changes):
        config = replace(load_recipe(GROWING).config, batch_size=128, **changes)
        data = make_synthetic100(n_train=300, n_test=100)
        run, seen = theirs.Run(config, data, "nchw"), []
        run.step = type("Step", (), {"updating": 0.0, "__call__": lambda _, x, t: seen.append((x, t)) or 2.0})()
        return run, seen

    with torch.no_grad():
        yield make


def test_an_epoch_takes_all_images_at_the_size_of_its_steps(run):
    run, seen = run(epochs=4)  # of 3 steps: 20 pixels for 2 of them, 24 up to the sixth
    found = run.epoch(0)
    assert [tuple(x.shape) for x, _ in seen] == [(128, 3, 20, 20)] * 2 + [(44, 3, 24, 24)]
    assert found["loss"] == 2.0 and 0 < found["drawing"] <= found["seconds"]
    assert torch.cat([x.flatten() for x, _ in seen]).std() == pytest.approx(1, abs=0.3)
    run.epoch(2)
    assert [x.shape[2] for x, _ in seen[3:]] == [32] * 3


def test_flips_alternate(run):
    run, seen = run(shift=0, image_sizes=None)
    epochs = []
    for number in range(2):
        seen.clear()
        torch.manual_seed(5)  # the same order
        run.epoch(number)
        epochs.append(torch.cat([x for x, _ in seen]))
    same = (epochs[0] == epochs[1].flip(3)).flatten(1).all(1)
    assert same.all() and not (epochs[0] == epochs[1]).all()


@pytest.mark.parametrize("side", SIDES)
def test_an_epoch_of_a_side(script, side, monkeypatch):
    of_recipe = script.config_of
    monkeypatch.setattr(script, "config_of", lambda job: replace(of_recipe(job), batch_size=16))
    job = {"recipe": GROWING, "data_dir": None, "threads": 1, "images": 16, "sizes": "20:0.9999", "side": side}
    found = script.work({**job, "task": "epoch"})
    assert found["seconds"] > 0 and found["prepare"] > 0 and found["loss"] == pytest.approx(np.log(100), abs=0.5)


# ---------------------------------------------------------------- for the user
def test_an_epoch_of_each_size_has_that_size_and_its_share_of_the_steps(script):
    config = replace(load_recipe(GROWING).config, epochs=10, batch_size=500, image_sizes="20:0.15,24:0.5,32")
    stages = script.stages_of(config)
    assert stages == {"20": ("20:0.9999", 0.15), "24": ("24:0.9999", 0.35), "32": ("32", 0.5)}
    first = 50_000 // 500
    for pixels, stage in stages.items():
        growth = script.Growth.of(stage.option, 32, 10 * first)
        assert {growth.height_at(step) or 32 for step in range(first)} == {int(pixels)}
    assert script.stages_of(load_recipe(PLAIN).config) == {"32": (None, 1.0)}


def measured(script, monkeypatch, losses, tmp_path, *words):
    """The script for the user, with made-up epochs of 10, 40 and 30 seconds; three times as long at full size."""
    found = dict(zip(SIDES, zip((10.0, 40.0, 30.0), losses, strict=True), strict=True))

    def run_worker(_, job):
        seconds, loss = found[job["side"]]
        return {"seconds": seconds * (3 if job["sizes"] == "32" else 1), "loss": loss, "prepare": 5.0}

    monkeypatch.setattr(script, "refuse", lambda *_: None)
    monkeypatch.setattr(script, "check_same_steps", lambda _: None)
    monkeypatch.setattr(script, "run_worker", run_worker)
    file = tmp_path / "rivals.json"
    assert script.main(["--data-dir", "anywhere", "--rounds", "2", "--json", str(file), *words]) == 0
    return read_json(file)


def test_the_ratio_is_to_the_faster_layout_and_sizes_are_weighed(script, monkeypatch, tmp_path, capsys):
    written = measured(script, monkeypatch, (3.9, 4.0, 3.8), tmp_path)
    (rival,) = written["rivals"]
    full = script.stages_of(load_recipe(GROWING).config)["32"].share
    assert rival["ours"] == pytest.approx([10 * (1 - full) + 30 * full] * 2)
    assert rival["theirs"] == pytest.approx([30 * (1 - full) + 90 * full] * 2) and "channels-last" in rival["rival"]
    assert written["images_per_second"]["20"]["ratio"] == pytest.approx(3)
    epochs = load_recipe(GROWING).config.epochs
    assert written["recipe_seconds"]["npsoftmax"] == pytest.approx(5 + epochs * rival["ours"][0])
    assert "x3.00" in capsys.readouterr().out


def test_a_shortened_measurement_is_none_of_a_rival(script, monkeypatch, tmp_path):
    assert (
        measured(script, monkeypatch, (3.9, 4.0, 3.8), tmp_path, "--images", "4096", "--recipe", PLAIN)["rivals"] == []
    )


@pytest.mark.parametrize("losses", [(3.9, 3.9, 4.2), (3.9, float("nan"), 3.9)])
def test_a_side_that_does_not_learn_is_refused(script, monkeypatch, tmp_path, losses):
    with pytest.raises(BenchmarkError, match="does not learn what npsoftmax does"):
        measured(script, monkeypatch, losses, tmp_path)


# ---------------------------------------------------------------- what is missing is told before anything is measured
def test_missing_images_are_told_in_one_line(script, tmp_path):
    with pytest.raises(BenchmarkError, match=r"no CIFAR-100 in .*npsoftmax data download cifar100"):
        script.main(["--data-dir", str(tmp_path), "--images", "64"])


def test_without_torch_is_told_what_to_type(script, monkeypatch):
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BenchmarkError, match="pip install torch"):
        script.main(["--images", "64"])


def test_another_recipe_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--recipe", "e1/log_softmax"])
    assert "choose from" in capsys.readouterr().err
