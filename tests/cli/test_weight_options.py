"""class_weight and ignore_label from the command line: they train, resume and evaluate, or say why not."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from npsoftmax import load_run
from npsoftmax.cli.main import main
from npsoftmax.training.checkpoint import load_arrays

TINY = ("--data", "digits", "--model", "mlp", "--model-opt", "hidden=4", "--limit-train", "100", "--limit-test", "50")
QUIET = ("--quiet", "--no-plots")


def options(*pairs):
    return [word for pair in pairs for word in ("--head-opt", pair)]


def losses(run):
    return [float(row["train_loss"]) for row in csv.DictReader((run / "metrics.csv").open(encoding="utf-8"))]


@pytest.mark.parametrize("head", ["softmax", "hierarchical"])
def test_a_run_with_both_is_resumed_to_the_last_bit_and_evaluated(head, tmp_path, capsys):
    words = ["train", *TINY, *QUIET, "--head", head, *options("class_weight=balanced", "ignore_label=0")]
    for name, epochs in (("whole", "2"), ("parts", "1")):
        assert main([*words, "--schedule", "constant", "--epochs", epochs, "--out", str(tmp_path / name)]) == 0
    assert main(["train", "--resume", str(tmp_path / "parts"), "--epochs", "2", *QUIET]) == 0
    whole, parts = (load_arrays(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all((whole[key] == parts[key]).all() for key in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    head = load_run(tmp_path / "parts", "last").model.head
    counts = head.classes.counts
    np.testing.assert_allclose(head.class_weight, counts.sum() / (10 * counts))
    assert head.ignore_label == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "parts")]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_what_is_reported_of_images_is_unweighted(tmp_path):
    """With a rate of 0 both runs are the same network: all figures are, but for the training loss."""
    for name, words in (("plain", []), ("weighted", options("class_weight=0,0,0,0,0,0,0,0,0,10"))):
        assert (
            main(["train", *TINY, *QUIET, "--lr", "1e-30", "--epochs", "1", *words, "--out", str(tmp_path / name)]) == 0
        )
    plain, weighted = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("plain", "weighted"))
    assert plain["test"] == weighted["test"]
    assert losses(tmp_path / "plain") != losses(tmp_path / "weighted")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("class_weight=1,2", "class_weight has 2 of them, but one weight for each of 10 classes is needed"),
        ("class_weight=-1,1,1,1,1,1,1,1,1,1", "class_weight hold -1.0, but finite numbers of at least 0"),
        ("class_weight=nan,1,1,1,1,1,1,1,1,1", "'class_weight' of head 'softmax' is 'nan', but a number was expected"),
        ("class_weight=0,0,0,0,0,0,0,0,0,0", "every class with training samples the weight 0"),
        ("class_weight=equal", "class_weight is 'equal', but balanced or 10 numbers were expected"),
        ("ignore_label=0.5", "'ignore_label' of head 'softmax' is 0.5, but a whole number was expected"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_begins(option, words, tmp_path, capsys):
    assert main(["train", *TINY, *QUIET, "--epochs", "1", *options(option), "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
