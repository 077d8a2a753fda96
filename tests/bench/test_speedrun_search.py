"""benchmarks/speedrun_search.py and speedrun_ablation.py: settings are changed, and no test image is looked at.

Runs go on where they stopped.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from npsoftmax.data import Batches
from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.layers.initialisation import shapes_only
from npsoftmax.models import build_model
from npsoftmax.options import parse_pairs
from npsoftmax.recipes import load_recipe
from npsoftmax.training import Trainer
from npsoftmax.training.session import make_optimizer

TINY = "data=digits limit_train=200 batch_size=50 model.widths=4 model.inner=3 model.kernels=2,1,3 image_sizes=6:0.5"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    names = ("speedrun_search", "speedrun_ablation")
    yield [importlib.import_module(name) for name in names]
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def script(scripts):
    return scripts[0]


@pytest.fixture
def ablation(scripts):
    return scripts[1]


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


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("lr=1 lr=2", "a KEY comes twice in lr=1 lr=2"),
        ("seed=3", "seed is no KEY=VALUE; it is said by --seed"),
        ("val_split=0", "it is said by --hold-out"),
        ("recipe=e1", "it is said by --recipe"),
    ],
)
def test_what_is_no_setting_of_a_search_is_told(script, words, match):
    with pytest.raises(InputError, match=match):
        script.changes_of(words.split())


def test_sizes_of_images_are_a_word_though_it_has_commas(script):
    sizes = "20:0.15,24:0.5,32"
    changes = script.changes_of([f"image_sizes={sizes}", "model.widths=8,16,16"])
    assert changes == {"image_sizes": sizes, "model.widths": (8, 16, 16)}
    assert script.settings(script.RECIPE, changes, {}).image_sizes == sizes


def test_runs_that_hold_out_other_images_have_other_folders(script, tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr(script, "train", lambda config, folder: folders.append((folder, config.val_split)))
    monkeypatch.setattr(script, "read_json", lambda path: {})
    where = {"recipe": script.RECIPE, "seed": 0, "data_dir": None, "threads": 1}
    for hold_out in (5000, 50):
        script.result_of(*script.planned(tmp_path, ["epochs=1"], hold_out=hold_out, **where))
    (usual, _), (other, images) = folders
    assert usual != other and "hold-out=50" in other.name and images == 50


@pytest.mark.parametrize("words", [["--hold-out", "0"], ["--seed", "-1"], ["--thread", "2"]])
def test_bad_options_of_a_search_end_before_it_begins(script, words, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["speedrun_search", str(tmp_path), *words])
    with pytest.raises(SystemExit) as end:
        script.main()
    assert end.value.code == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", [0, 1], ids=["search", "ablation"])
@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("epochs=0", "error: epochs is 0, but at least 1"),
        ("muon_lr=-1", "error: muon_lr is -1"),
        ("model.init=foo", "unknown initialisation 'foo'"),
        ("seed=3", "it is said by --seed"),
    ],
)
def test_settings_that_make_no_run_are_told_as_they_were_typed_before_data_is_looked_for(
    scripts, which, words, match, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["speedrun", str(tmp_path), words, "--data-dir", str(tmp_path / "missing")])
    with pytest.raises(SystemExit, match=match):
        scripts[which].main()
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- with one ingredient left out
def test_a_row_of_the_ablation_keeps_its_own_settings(ablation):
    assert ablation.without_keys_of(["lr=2", "nesterov=true"], ["epochs=3", "lr=0.1"]) == ["epochs=3"]


def test_each_row_of_the_ablation_changes_the_recipe_and_can_be_trained(script, ablation):
    recipe = script.settings(script.RECIPE, {}, {})
    found = {
        row: script.settings(script.RECIPE, parse_pairs(words.split()), {}) for row, words in ablation.ROWS.items()
    }
    assert found.pop(ablation.WHOLE) == recipe
    assert all(config != recipe for config in found.values()) and len({str(c) for c in found.values()}) == len(found)
    with shapes_only():
        for config in found.values():
            options = config.model_opts
            make_optimizer(config, build_model(config.model, model_opts=options, head_opts=config.head_opts))
    assert found["small images first", "32 pixels throughout"].image_sizes is None


def test_a_row_of_the_ablation_that_makes_no_run_is_told_before_the_first_begins(ablation, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "result_of", lambda config, folder: pytest.fail("a run has begun"))
    monkeypatch.setattr(ablation, "ROWS", {ablation.WHOLE: "", ("small logits", "none"): "head.temperature=0"})
    monkeypatch.setattr(sys, "argv", ["speedrun_ablation", str(tmp_path), "epochs=3"])
    with pytest.raises(SystemExit, match="temperature is 0"):
        ablation.main()


def test_differences_are_to_the_whole_recipe_with_the_same_seed(ablation, tmp_path, monkeypatch, capsys):
    accuracy = {("", 0): 0.5, ("", 1): 0.6, ("shift=0", 0): 0.48, ("shift=0", 1): 0.56}
    seen = []

    def result_of(config, folder):
        changed = "shift=0" if config.shift == 0 else ""
        assert changed in folder.name and f"seed={config.seed}" in folder.name
        seen.append(((changed, config.seed), f"epochs={config.epochs}", config.val_split))
        return {"accuracy": accuracy[seen[-1][0]], "prepare_seconds": 1.0, "train_seconds": 1000.0}

    monkeypatch.setattr(ablation, "ROWS", {ablation.WHOLE: "", ("shifts", "none"): "shift=0"})
    monkeypatch.setattr(ablation, "result_of", result_of)
    monkeypatch.setattr(sys, "argv", ["speedrun_ablation", str(tmp_path), "epochs=3", "--hold-out", "40"])
    ablation.main()
    whole, changed = (tmp_path / "ablation.md").read_text(encoding="utf-8").splitlines()[2:]
    assert whole == "| nothing |  | 55.00 |  |  | 1,001 |"
    assert changed == "| shifts | none | 52.00 | −2.00 −4.00 | −3.00 | 1,001 |"
    assert changed in capsys.readouterr().out
    assert [run for run, *_ in seen] == [("", 0), ("shift=0", 0), ("", 1), ("shift=0", 1)]  # seed by seed
    assert {(epochs, images) for _, epochs, images in seen} == {("epochs=3", 40)}
