"""benchmarks/speedrun.py: PyTorch's side sees images changed as ours are, and does the recipe's steps."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from npsoftmax.data.synthetic import make_synthetic100

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")


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
    pixels = images.reshape(-1, 3).float() / 255
    mean, std = pixels.mean(dim=0), pixels.std(dim=0)
    found = set()
    for x, t in batches:
        assert x.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip(x.permute(0, 2, 3, 1), t, strict=True):
            window = (image * std + mean).mul(255).round().numpy().astype(np.uint8)
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


def test_it_trains_an_epoch(script, monkeypatch):
    data = make_synthetic100(n_train=300, n_test=100)
    monkeypatch.setattr("npsoftmax.data.load_dataset", lambda *_: data)
    found = script.work({"side": "torch", "threads": 1, "data_dir": "anywhere"})
    assert found["seconds"] > 0 and np.isfinite(found["loss"])
