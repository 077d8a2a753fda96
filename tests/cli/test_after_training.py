"""`npsoftmax calibrate` and `conform`: what they leave beside a run, who uses it, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from npsoftmax.cli.main import main
from npsoftmax.cli.plot import plot_sets
from npsoftmax.data import load_dataset
from npsoftmax.data.split import choosing_calibration_split
from npsoftmax.errors import InputError
from npsoftmax.training.held_out import Basis, chances, remark

HALF = ("--val-split", "0.4", "--calibration-split", "0.5")
RUNS = {
    "softmax": HALF,
    "hierarchical": (*HALF, "--head-opt", "tree=halving"),
    "best of three": ("--val-split", "0.2", "--epochs", "3"),
    "no validation": ("--val-split", "0"),
    "few images": ("--val-split", "10"),
    "sparsemax": HALF,
    "legacy_heap128": HALF,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, words in RUNS.items():
        head = name if name.isidentifier() else "softmax"
        typed = ["--data", "digits", "--model", "mlp", "--model-opt", "hidden=32", "--epochs", "2", "--lr", "0.002"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (
                main(["train", *typed, "--head", head, *words, "--quiet", "--no-plots", "--out", str(folder / name)])
                == 0
            )
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """A run that nothing was fitted to."""
    shutil.copytree(runs / "softmax", tmp_path / "run", ignore=shutil.ignore_patterns("c*.json"))
    shutil.copy(runs / "softmax" / "classes.json", tmp_path / "run")
    return tmp_path / "run"


def found_by(capsys, *words):
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(list(map(str, words))) == 2
    return capsys.readouterr().err


# ---------------------------------------------------------------- the images
def test_the_images_put_aside_are_a_part_of_validation_in_equal_shares():
    y = np.arange(300) % 3
    held_out = np.arange(0, 300, 2)
    choosing, aside = choosing_calibration_split(y, held_out, 0.4, seed=1)
    assert sorted([*choosing, *aside]) == held_out.tolist() and len(aside) == 60
    assert np.bincount(y[aside]).tolist() == [20, 20, 20]
    assert (choosing_calibration_split(y, held_out, 60, seed=1)[1] == aside).all()
    assert (choosing_calibration_split(y, held_out, 60, seed=2)[1] != aside).any()
    for size in (1.0, -0.1, 150, -1):
        with pytest.raises(InputError, match="--calibration-split is"):
            choosing_calibration_split(y, held_out, size, seed=1)


def test_an_image_has_the_same_chance_wherever_it_stands():
    x = load_dataset("digits").x_test
    u = chances(x, seed=0)
    assert (chances(x[::-1], seed=0)[::-1] == u).all() and (chances(x, seed=1) != u).any()
    assert abs(u.mean() - 0.5) < 0.05 and 0 < u.min() < u.max() < 1


def test_what_the_images_chose_before_is_said(runs, capsys):
    for name, part, chose in (
        ("softmax", "calibration", "nothing"),
        ("best of three", "validation", "the best of 3 epochs"),
    ):
        found = found_by(capsys, "conform", runs / name, "--coverage", "0.9")
        assert (found["fitted_on"]["part"], found["fitted_on"]["chose"]) == (part, chose)
    assert main(["conform", str(runs / "best of three"), "--coverage", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "also chose the best of 3 epochs" in said and "--calibration-split 0.5" in said
    found = found_by(capsys, "conform", runs / "best of three", "--checkpoint", "last")
    assert found["fitted_on"]["chose"] == "nothing"
    # √(2 ln 5) · √(0.95 · 0.05 / 5000) = 1.794 · 0.00308
    assert "some 0.6 points lower" in remark(Basis("validation", 5000, 5), 0.95)
    assert "chose when to stop" in remark(Basis("validation", 5000, 1, stopped=True), 0.95)


# ---------------------------------------------------------------- calibrate
def test_calibrate_never_worsens_the_nll_and_eval_says_the_same(run, capsys):
    plain = found_by(capsys, "eval", run)
    found = found_by(capsys, "calibrate", run)
    for place in ("fitted_on", "test"):
        assert found[place]["after"]["accuracy"] == found[place]["before"]["accuracy"]  # the order stays
    assert found["fitted_on"]["after"]["nll"] < found["fitted_on"]["before"]["nll"]
    assert found["test"]["before"]["nll"] == pytest.approx(plain["nll"]) and "nll_calibrated" not in plain
    calibrated = found_by(capsys, "eval", run)
    assert {name: calibrated[name] for name in plain} == plain  # the head's own figures stay what they are
    for name in ("accuracy", "nll", "ece"):
        assert calibrated[f"{name}_calibrated"] == pytest.approx(found["test"]["after"][name])
    on_them = found_by(capsys, "eval", run, "--split", "calibration")
    assert on_them["nll_calibrated"] == pytest.approx(found["fitted_on"]["after"]["nll"])
    assert found_by(capsys, "calibrate", run) == found  # again: of the head's own probabilities, the same


def test_vector_scaling_is_fitted_below_the_temperature(run, capsys):
    by_temperature = found_by(capsys, "calibrate", run)["fitted_on"]["after"]["nll"]
    found = found_by(capsys, "calibrate", run, "--method", "vector")
    assert found["fitted_on"]["after"]["nll"] <= by_temperature and len(found["scale"]) == 10
    assert found_by(capsys, "eval", run)["nll_calibrated"] == pytest.approx(found["test"]["after"]["nll"])


# ---------------------------------------------------------------- conform
@pytest.mark.parametrize("words", [("--method", "aps"), ("--method", "raps"), ("--subtrees", "2")], ids=" ".join)
def test_conform_covers_what_was_asked_for(runs, words, capsys):
    """359 images fit it and 360 test it: four deviations of their difference are 9 points."""
    found = found_by(capsys, "conform", runs / "hierarchical", "--coverage", "0.9", *words)
    assert abs(found["test"]["coverage"] - 0.9) < 0.09
    assert sum(found["test"]["sizes"]) == 360 and found["test"]["sizes"][0] == 0
    again = found_by(capsys, "eval", runs / "hierarchical")
    assert (again["set_coverage"], again["set_size"]) == (found["test"]["coverage"], found["test"]["mean_size"])


def test_a_tree_gives_one_subtree_unless_told_otherwise(runs, capsys):
    found = found_by(capsys, "conform", runs / "hierarchical")
    assert (found["method"], found["subtrees"]) == ("subtrees", 1)
    assert found_by(capsys, "conform", runs / "softmax")["method"] == "aps"


# ---------------------------------------------------------------- who uses it
def test_predict_shows_calibrated_probabilities_and_sets(run, tmp_path, capsys):
    image = tmp_path / "digit.png"
    Image.fromarray(load_dataset("digits").x_test[5][..., 0]).save(image)
    before = found_by(capsys, "predict", run, image, "--top", "10")[0]
    temperature = found_by(capsys, "calibrate", run)["temperature"]
    found_by(capsys, "conform", run, "--coverage", "0.99")
    after = found_by(capsys, "predict", run, image, "--top", "10")[0]
    p = np.array([guess["probability"] for guess in before["predictions"]]) ** (1 / temperature)
    assert [g["probability"] for g in after["predictions"]] == pytest.approx(p / p.sum(), rel=1e-4)
    assert "set" not in before and after["set"] == [g["class"] for g in after["predictions"]][: len(after["set"])]
    assert main(["predict", str(run), str(image)]) == 0
    said = capsys.readouterr().out
    assert f"calibrated (temperature {temperature:.4g}), sets of coverage 99%" in said and "set: " in said


def test_examples_of_sets_are_drawn(runs, capsys):
    found_by(capsys, "conform", runs / "hierarchical")
    assert plot_sets(runs / "hierarchical", None).stat().st_size > 10_000
    with pytest.raises(InputError, match="type npsoftmax conform"):
        plot_sets(runs / "no validation", None)


def test_export_says_what_the_calibration_is(run, tmp_path, capsys):
    found = found_by(capsys, "calibrate", run)
    assert main(["export", str(run), "--torch", str(tmp_path / "weights.safetensors")]) == 0
    assert f"temperature {found['temperature']:.4g}" in capsys.readouterr().out


def test_what_was_fitted_for_other_parameters_is_left_out_and_said(run, capsys):
    found_by(capsys, "calibrate", run)
    found_by(capsys, "conform", run)
    assert main(["train", "--resume", str(run), "--epochs", "6", "--quiet", "--no-plots"]) == 0
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    said = capsys.readouterr()
    assert "calibrated" not in said.out
    for name in ("calibrate", "conform"):
        assert f"npsoftmax {name} {run} --checkpoint best fits it for these" in said.err


# ---------------------------------------------------------------- what is refused
BAD = {
    "nothing held out": ("calibrate", "no validation", [], "held out no images.*--calibration-split 0.5"),
    "nothing held out, sets": ("conform", "no validation", [], "held out no images.*--calibration-split 0.5"),
    "too few images": ("conform", "few images", [], "10 images are too few.*at least 19, or ask for at most 0.909"),
    "too few for RAPS": ("conform", "few images", ["--coverage", "0.9", "--method", "raps"], "2 images are too few"),
    "a coverage in percent": ("conform", "softmax", ["--coverage", "95"], "between 0 and 1.*such as 0.95"),
    "a coverage of all": ("conform", "softmax", ["--coverage", "1"], "between 0 and 1"),
    "unknown method": ("conform", "softmax", ["--method", "apps"], "Did you mean 'aps'"),
    "unknown method of scaling": ("calibrate", "softmax", ["--method", "platt"], "Known: temperature, vector"),
    "subtrees without a tree": ("conform", "softmax", ["--subtrees", "2"], "no tree.*--head hierarchical"),
    "subtrees without effect": ("conform", "hierarchical", ["--subtrees", "2", "--method", "aps"], "no effect"),
    "no subtrees": ("conform", "hierarchical", ["--subtrees", "0"], "--subtrees is 0.*from 1 to 10"),
    "a target of probability 0": ("calibrate", "sparsemax", [], "probability 0.*npsoftmax conform"),
    "mass that leaks": ("conform", "legacy_heap128", [], "'legacy_heap128'"),
    "no run": ("calibrate", "nowhere", [], "there is no folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(runs, name, capsys):
    command, folder, words, expected = BAD[name]
    assert re.search(expected, refused(capsys, command, runs / folder, *words))


@pytest.mark.parametrize("content", ["{}", '{"parameters": 3}', "[", '{"parameters": "x"'])
@pytest.mark.parametrize("name", ["calibration", "conformal"])
def test_a_file_that_is_none_of_ours_is_refused(run, name, content, capsys):
    (run / f"{name}.json").write_text(content)
    assert f"{name}.json" in refused(capsys, "eval", run)


def test_a_file_with_our_parameters_and_nothing_else_is_refused(run, capsys):
    found_by(capsys, "calibrate", run)
    found_by(capsys, "conform", run)
    for name, lost, value in (
        ("calibration", "scale", "many"),
        ("calibration", "scale", 10**400),
        ("conformal", "threshold", "many"),
    ):
        content = json.loads((run / f"{name}.json").read_text())
        (run / f"{name}.json").write_text(json.dumps(content | {lost: value}))
        assert f"{name}.json" in refused(capsys, "eval", run)
        (run / f"{name}.json").write_text(json.dumps(content))
