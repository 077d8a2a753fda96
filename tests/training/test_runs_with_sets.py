"""Runs on images with sets of labels, from data to predictions: what is trained, measured, written, drawn and said."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from npsoftmax.cli.main import main
from npsoftmax.data import load_dataset
from npsoftmax.plots import read_run

OPTIONS = ["--model", "mlp", "--model-opt", "hidden=24", "--epochs", "10", "--lr", "0.02", "--seed", "3", "--quiet"]
OPTIONS += ["--batch-size", "32"]
SHORT = ["train", "--data", "digit_sets", "--limit-train", "600", "--limit-test", "100", "--head", "sigmoid", *OPTIONS]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "run"
    assert main([*SHORT, "--no-plots", "--out", str(folder)]) == 0
    return folder


def test_a_run_learns_sets_and_says_how_well(run):
    summary = json.loads((run / "summary.json").read_text())
    test = summary["test"]
    assert summary["label_sets"] is True and summary["likelihood"] is False
    assert test["nll"] is test["ece"] is test["top5"] is None
    assert 0.3 < test["subset_accuracy"] < test["accuracy"] < 1
    assert test["mean_average_precision"] > 0.6 and test["f1_micro"] > 0.5
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[-1]["val_accuracy"]) > float(rows[0]["val_accuracy"])
    assert 0 < float(rows[-1]["train_accuracy"]) < 1
    labels = list(csv.DictReader((run / "labels.csv").open()))
    assert [row["label"] for row in labels] == list("0123456789")
    assert sum(int(row["images"]) for row in labels) == load_dataset("digit_sets", limit_test=100).y_test.sum()
    classes = json.loads((run / "classes.json").read_text())
    assert classes["label_sets"] is True and len(classes["counts"]) == 10


def test_its_figures_are_of_labels_and_none_is_missing(run, capsys):
    assert main(["plot", str(run)]) == 0
    said = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in said.out.split()] == [
        f"{name}.png" for name in ("loss", "accuracy", "learning_rate", "steps", "labels")
    ]
    assert said.err == ""
    assert "test accuracy of sets" in read_run(run).title


def test_eval_says_what_the_summary_says(run, capsys):
    assert main(["eval", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = json.loads((run / "summary.json").read_text())["test"]
    assert {k: pytest.approx(v) for k, v in expected.items()} == found
    assert main(["eval", str(run), "--split", "validation"]) == 0
    assert "mean_average_precision 0." in capsys.readouterr().out


def test_predict_names_the_labels_of_the_set(run, tmp_path, capsys):
    data = load_dataset("digit_sets")
    for i in range(8):
        Image.fromarray(data.x_test[i, :, :, 0]).save(tmp_path / f"{i}.png")
    assert main(["predict", str(run), str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(guess["probability"] >= 0.5 for row in found for guess in row["predictions"])
    right = [
        {g["class"] for g in row["predictions"]} & set(map(str, np.flatnonzero(y)))
        for row, y in zip(found, data.y_test, strict=False)
    ]
    assert any(right)
    assert main(["predict", str(run), str(tmp_path / "0.png"), "--top", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[1].count("%") == 4
    Image.fromarray(np.zeros((8, 24), np.uint8)).save(tmp_path / "nothing.png")
    assert main(["predict", str(run), str(tmp_path / "nothing.png")]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("(no label)")


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_end(run, tmp_path):
    other = tmp_path / "run"
    assert main([*SHORT, "--out", str(other), "--stop-after", "2", "--checkpoint-every", "2", "--no-plots"]) == 0
    assert main(["train", "--resume", str(other), "--quiet", "--no-plots"]) == 0
    assert (other / "labels.csv").read_bytes() == (run / "labels.csv").read_bytes()
    assert (
        json.loads((other / "summary.json").read_text())["test"]
        == json.loads((run / "summary.json").read_text())["test"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--mixup", "0.4"],
        ["--head-opt", "class_weight=balanced", "--val-split", "0"],
        ["--cutmix", "1", "--augment", "flip"],
    ],
)
def test_mixed_weighed_and_unvalidated_runs(words, tmp_path):
    short = [*SHORT, "--epochs", "1", "--limit-train", "100", "--no-plots", "--out", str(tmp_path / "run")]
    assert main([*short, *words]) == 0
    assert (tmp_path / "run" / "labels.csv").is_file()


def test_arrays_of_a_users_own_from_training_to_another_run(tmp_path, capsys):
    rng = np.random.default_rng(0)
    sets = rng.integers(0, 2, (80, 3))
    x = np.zeros((80, 6, 6, 3), np.uint8)
    for label in range(3):  # a label is a colour
        x[..., label] = 200 * sets[:, label, None, None] + rng.integers(0, 40, (80, 6, 6))
    np.savez(tmp_path / "own.npz", x=x, y=sets, class_names=["red", "green", "blue"])
    words = ["--data", f"arrays:{tmp_path / 'own.npz'}", "--model", "mlp", "--epochs", "8", "--lr", "0.05"]
    words += ["--batch-size", "16", "--no-plots", "--quiet"]
    assert main(["train", *words, "--head", "sigmoid", "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"]["subset_accuracy"] > 0.9
    assert main(["train", *words, "--head", "softmax", "--out", str(tmp_path / "no")]) == 2
    said = capsys.readouterr().err
    assert "head 'softmax' gives an image one label" in said and "--head sigmoid" in said and "y.argmax(axis=1)" in said
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("head", ["softmax", "hierarchical", "nce"])
def test_compare_refuses_heads_of_one_label_before_any_run(head, tmp_path, capsys):
    words = ["compare", "--data", "digit_sets", "--heads", f"sigmoid,{head}", "--model", "mlp", "--epochs", "1"]
    assert main([*words, "--out", str(tmp_path / "cmp")]) == 2
    assert f"head '{head}' gives an image one label, but those of digit_sets have sets" in capsys.readouterr().err


@pytest.mark.slow
def test_sigmoid_trains_on_single_labels_too(tmp_path):
    words = ["--data", "digits", "--limit-train", "300", "--limit-test", "100", "--head", "sigmoid", *OPTIONS]
    assert main(["train", *words, "--no-plots", "--out", str(tmp_path / "run")]) == 0
    test = json.loads((tmp_path / "run" / "summary.json").read_text())["test"]
    assert test["accuracy"] > 0.8 and test["nll"] is None
    assert (tmp_path / "run" / "confusion.csv").is_file()


def test_a_tree_and_calibration_are_for_single_labels(run, capsys):
    for words, said in (
        (["tree", str(run), "--from", "means"], "those of digit_sets have sets of labels"),
        (["calibrate", str(run)], "no probabilities that sum to 1"),
        (["conform", str(run), "--coverage", "0.9"], "no probabilities that sum to 1"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_attention_names_the_labels_of_sets(tmp_path, capsys):
    words = ["--data", "digit_sets", "--limit-train", "40", "--limit-test", "12", "--model", "vit", "--epochs", "1"]
    tiny = ["--model-opt", "dim=8", "--model-opt", "depth=1", "--model-opt", "heads=2", "--no-plots", "--quiet"]
    assert main(["train", *words, *tiny, "--head", "sigmoid", "--out", str(tmp_path / "run")]) == 0
    assert main(["plot", "--attention", str(tmp_path / "run")]) == 0
    assert "attention.png" in capsys.readouterr().out
