"""benchmarks/speedrun.py: PyTorch's side sees images changed as ours are, makes the recipe's steps, and must learn."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.bench.workers import BenchmarkError
from npsoftmax.data.synthetic import make_synthetic100
from npsoftmax.files import read_json
from npsoftmax.recipes import load_recipe
from npsoftmax.training.schedules import make_schedule

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
SIDES = ("npsoftmax", "torch-nchw", "torch-channels-last")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("speedrun")


def test_every_image_is_a_window_of_itself_mirrored_or_not(script):
    """Each pixel of a picture is unlike any other, so that a window tells where it was taken."""
    torch.manual_seed(0)
    images = torch.from_numpy(np.random.default_rng(0).integers(1, 256, (40, 8, 8, 3)).astype(np.uint8))
    batches = list(script.torch_batches(images, torch.arange(40), 16, border=1))
    labels = torch.cat([t for _, t in batches]).numpy()
    assert sorted(labels) == list(range(40)) and [len(t) for _, t in batches] == [16, 16, 8]
    found = set()
    for x, t in batches:
        for window, label in zip(x.numpy(), t, strict=True):
            padded = np.pad(images[label].numpy(), ((1, 1), (1, 1), (0, 0)))
            places = [
                (mirrored, top, left)
                for mirrored in (False, True)
                for top in range(3)
                for left in range(3)
                if np.array_equal(window, (padded[:, ::-1] if mirrored else padded)[top : top + 8, left : left + 8])
            ]
            assert len(places) == 1
            found.add(places[0])
    assert len(found) > 12  # of 18


def test_a_step_is_that_of_the_recipe(script):
    """Beside the rule written out: nesterov, decay of all parameters, smoothed targets, the rate of each step."""
    config = load_recipe(script.RECIPE).config
    model = torch.nn.Linear(4, 100)
    w, x, t = model.weight.detach().clone(), torch.randn(8, 4), torch.arange(8)
    steps, b = 10, torch.zeros_like(w)
    step = script.torch_step(model, config, steps)
    rate = make_schedule(config.schedule, config.lr, steps, 1, **config.schedule_opts)
    for number in range(3):
        z = torch.nn.functional.linear(x, w, model.bias.detach()).requires_grad_()
        smooth = torch.full((8, 100), 0.1 / 100)
        smooth[torch.arange(8), t] += 0.9
        loss = -(smooth * torch.log_softmax(z, 1)).sum(1).mean()
        (dz,) = torch.autograd.grad(loss, z)
        g = dz.T @ x + config.weight_decay * w
        b = config.momentum * b + g
        w = w - rate(number)[0] * (g + config.momentum * b)
        assert step(x, t) == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(model.weight.detach(), w, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", SIDES[1:])
def test_an_epoch_takes_all_images(script, side, monkeypatch):
    data, seen = make_synthetic100(n_train=300, n_test=100), []
    monkeypatch.setattr("npsoftmax.data.load_dataset", lambda *_: data)
    monkeypatch.setattr(script, "torch_step", lambda *_: lambda x, t: seen.append((x, t)) or 2.0)
    found = script.work({"side": side, "threads": 1, "data_dir": "anywhere"})
    assert [len(t) for _, t in seen] == [256, 44] and found["loss"] == 2.0
    assert 0 < found["drawing"] <= found["seconds"]
    pixels = torch.cat([x for x, _ in seen]).permute(0, 2, 3, 1)
    assert pixels.shape[1:] == data.x_train.shape[1:] and pixels.std() == pytest.approx(1, abs=0.3)


def test_the_first_epoch_is_read_once_its_line_is_whole(script, tmp_path):
    path = tmp_path / "metrics.csv"
    assert script.first_epoch(path) is None
    for text in ("epoch,train_loss,seconds\n", "epoch,train_loss,seconds\n1,4.0,10"):
        path.write_text(text)
        assert script.first_epoch(path) is None
    path.write_text("epoch,train_loss,seconds\n1,4.0,105.5\n2,3.0")
    assert script.first_epoch(path) == {"epoch": "1", "train_loss": "4.0", "seconds": "105.5"}


def test_why_our_side_failed_is_told(script, tmp_path):
    with pytest.raises(BenchmarkError, match="CIFAR"):
        script.work({"side": "npsoftmax", "threads": 1, "data_dir": str(tmp_path)})


def measured(script, monkeypatch, losses, tmp_path):
    """The script for the user, with made-up epochs of 10, 40 and 30 seconds."""
    found = dict(zip(SIDES, zip((10.0, 40.0, 30.0), losses, strict=True), strict=True))
    monkeypatch.setattr(script, "check_same_work", lambda _: None)
    monkeypatch.setattr(
        script, "run_worker", lambda _, job: dict(zip(("seconds", "loss"), found[job["side"]], strict=True))
    )
    file = tmp_path / "rivals.json"
    assert script.main(["--data-dir", "anywhere", "--rounds", "2", "--json", str(file)]) == 0
    return read_json(file)


def test_the_ratio_is_to_the_faster_layout(script, monkeypatch, tmp_path, capsys):
    written = measured(script, monkeypatch, (3.9, 4.0, 3.8), tmp_path)
    (rival,) = written["rivals"]
    assert rival["ours"] == [10.0, 10.0] and rival["theirs"] == [30.0, 30.0] and "channels-last" in rival["rival"]
    assert written["ratio"] == pytest.approx(3)
    assert "x3.00" in capsys.readouterr().out


@pytest.mark.parametrize("losses", [(3.9, 3.9, 4.2), (3.9, float("nan"), 3.9)])
def test_a_side_that_does_not_learn_is_refused(script, monkeypatch, tmp_path, losses):
    with pytest.raises(BenchmarkError, match="does not learn what npsoftmax does"):
        measured(script, monkeypatch, losses, tmp_path)
