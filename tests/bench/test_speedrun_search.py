"""benchmarks/speedrun_search.py: settings are changed, runs go on where they stopped, no test image is looked at."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from npsoftmax.data import Batches
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.options import parse_pairs
from npsoftmax.recipes import load_recipe
from npsoftmax.training import Trainer

TINY = "data=digits limit_train=200 batch_size=50 model.widths=4 model.inner=3 model.kernels=2,1,3 image_sizes=6:0.5"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield importlib.import_module("speedrun_search")
    sys.modules.pop("speedrun_search", None)


def test_changes_are_settings_and_options_beside_those_of_the_recipe(script):
    changes = parse_pairs(["lr=2", "model.widths=48,96,192", "head.temperature=5"])
    config = script.settings(script.RECIPE, changes, {"val_split": 5000, "seed": 3, "data_dir": None})
    recipe = load_recipe(script.RECIPE).config
    assert (config.lr, config.val_split, config.seed, config.recipe) == (2.0, 5000, 3, None)
    assert config.model_opts == {"widths": (48, 96, 192)}
    assert config.head_opts == recipe.head_opts | {"temperature": 5}
    assert (config.muon_lr, config.schedule_opts) == (recipe.muon_lr, recipe.schedule_opts)
    with pytest.raises(InputError, match="Did you mean 'lr'"):
        script.settings(script.RECIPE, {"lrr": 1}, {})


def test_a_run_goes_on_is_measured_once_and_never_sees_the_test_set(script, tmp_path, monkeypatch, capsys):
    seen = []
    epoch = Batches.epoch
    monkeypatch.setattr(Batches, "epoch", lambda self, *args: seen.append(len(self.x)) or epoch(self, *args))
    words = ["speedrun_search", str(tmp_path), *TINY.split(), "epochs=3", "--hold-out", "40", "--seed", "1"]
    monkeypatch.setattr(sys, "argv", words)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_validate", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            script.main()
    script.main()
    (result,) = tmp_path.glob("*/held_out.json")
    found = read_json(result)
    assert found["epochs"] == 3 and 0 <= found["accuracy"] <= 1
    assert found["prepare_seconds"] > 0 and found["train_seconds"] > 0 and found["images_per_second"] > 0
    assert set(seen) == {160, 40}  # of 200 training images; 100 and more are in the test set
    before = len(seen)
    script.main()  # it is there
    assert len(seen) == before
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out and table.count("epochs=3") == 1 and "seed=1" in table
