"""A run on words from its beginning to its predictions: training, resuming, evaluation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from resuming import Dies, DyingAt, assert_same_end, begin, go_on, table

import npsoftmax
from npsoftmax.cli.main import main
from npsoftmax.data import load_dataset
from npsoftmax.layers import embedding
from npsoftmax.training import TrainConfig, prepare, trainer

SOURCES = Path(npsoftmax.__file__).parent / "layers"  # some fifteen source files that are always there
WORDS = {
    "data": "stdlib_tokens",
    "data_dir": str(SOURCES),
    "vocabulary": 300,
    "model": "token_mlp",
    "model_opts": {"embedding": 5, "hidden": (10,), "dropout": 0.2},
    "weight_decay": 0.01,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def command(*words):
    given = ["--data", "stdlib_tokens", "--data-dir", str(SOURCES), "--limit-train", "400", "--limit-test", "60"]
    return main(["train", *given, "--epochs", "1", "--no-plots", "--quiet", *words])


@pytest.mark.parametrize("rows", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", ["hierarchical"])
def test_two_epochs_and_two_with_a_death_between_are_four(tmp_path, head, rows, monkeypatch):
    monkeypatch.setattr(embedding, "SPARSE_FROM", 100 if rows else 1000)
    options = WORDS | {"head": head, "val_split": 0.1}
    whole = begin(tmp_path / "whole", **options).fit()
    begin(tmp_path / "parts", stop_after=2, checkpoint_every=2, **options).fit()
    with pytest.raises(Dies):
        go_on(tmp_path / "parts", DyingAt(3)).fit()
    state = go_on(tmp_path / "parts").fit()
    assert (state.epoch, state.step) == (whole.epoch, whole.step)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.filterwarnings("ignore:adaptive softmax")
@pytest.mark.parametrize("head", ["adaptive", "sampled"])
def test_heads_learn_words(tmp_path, head, capsys):
    assert command("--vocabulary", "200", "--head", head, "--model", "token_mlp", "--out", str(tmp_path / "run")) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["classes"] == 200 and summary["samples"] == "windows"
    assert summary["test"]["nll"] < np.log(200) and summary["validation"] is not None
    classes = json.loads((tmp_path / "run" / "classes.json").read_text())
    assert classes["words"] == 202 and classes["normalization"] is None and len(classes["names"]) == 200


@pytest.mark.parametrize(("most", "measured"), [(149, False), (150, True)])
def test_with_many_classes_the_training_accuracy_is_left_out(tmp_path, most, measured, monkeypatch):
    monkeypatch.setattr(trainer, "MOST_PREDICTED", most)
    assert command("--vocabulary", "150", "--model", "token_mlp", "--out", str(tmp_path / "run")) == 0
    (row,) = table(tmp_path / "run" / "metrics.csv")
    assert bool(row["train_accuracy"]) == measured and row["val_accuracy"]


def test_a_run_is_evaluated_described_and_asked_what_comes_next(tmp_path, capsys):
    run, begun = tmp_path / "run", tmp_path / "begun.py"
    assert command("--vocabulary", "200", "--model", "token_mlp", "--out", str(run)) == 0
    assert main(["eval", str(run), "--split", "validation"]) == 0
    assert "validation windows of stdlib_tokens" in capsys.readouterr().out
    begun.write_text("from __future__ import annotations\n\nfrom npsoftmax.")
    assert main(["predict", str(run), str(begun), "--json", "--top", "2"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    names = json.loads((run / "classes.json").read_text())["names"]
    assert len(found["predictions"]) == 2 and all(guess["class"] in names for guess in found["predictions"])
    assert main(["train", "--from", str(run), "--epochs", "1", "--out", str(tmp_path / "more"), "--quiet"]) == 0
    assert TrainConfig.load(tmp_path / "more" / "config.toml").vocabulary == 200


def test_other_sources_than_those_of_the_run_are_refused(tmp_path, capsys):
    run, others = tmp_path / "run", SOURCES.parent / "models"
    assert command("--vocabulary", "150", "--model", "token_mlp", "--out", str(run)) == 0
    assert main(["eval", str(run), "--data-dir", str(others)]) == 2
    said = capsys.readouterr().err
    assert "the source files of stdlib_tokens are not those that" in said and "env.json" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "stdlib_tokens has windows of words, which --model convnet does not take; try --model token_mlp"),
        (("--model", "mlp"), "which --model mlp does not take"),
        (("--model", "token_mlp", "--augment", "flip"), "--augment is for images, but stdlib_tokens has words"),
        (("--model", "token_mlp", "--mixup", "0.4"), "--mixup is for images"),
        (("--model", "token_mlp", "--cutmix", "1"), "--cutmix is for images"),
        (("--model", "token_mlp", "--normalize", "half"), "--normalize would have no effect"),
        (("--model", "token_mlp", "--val-split", "0.2"), "--val-split would have no effect"),
        (("--model", "token_mlp", "--model-opt", "words=7"), "option words of token_mlp is what the data has"),
        (("--model", "token_mlp", "--model-opt", "embedding=0"), "dim is 0"),
        (("--model", "token_mlp", "--vocabulary", "1"), "--vocabulary is 1, but a whole number from 2"),
    ],
)
def test_what_makes_no_sense_with_words_is_refused(tmp_path, words, message, capsys):
    assert command("--out", str(tmp_path / "run"), *words) == 2
    assert message in capsys.readouterr().err


def test_a_model_of_words_takes_no_images(capsys):
    assert main(["train", "--data", "digits", "--model", "token_mlp", "--quiet"]) == 2
    assert (
        "digits has images, which --model token_mlp does not take; try --data stdlib_tokens" in capsys.readouterr().err
    )
    assert main(["train", "--data", "digits", "--model", "mlp", "--vocabulary", "10", "--quiet"]) == 2
    assert "--vocabulary would have no effect: it is for --data stdlib_tokens" in capsys.readouterr().err


def test_a_comparison_of_heads_checks_its_rows_without_reading_the_library(capsys):
    words = ["compare", "--data", "stdlib_tokens", "--heads", "hierarchical"]
    assert main([*words, "--model", "token_mlp", "--vary", "head.tree=huffman,oak"]) == 2
    assert "oak" in capsys.readouterr().err
    assert main([*words, "--model", "vit"]) == 2
    assert "which --model vit does not take" in capsys.readouterr().err


def test_the_batches_are_the_windows_themselves():
    session = prepare(TrainConfig(**WORDS | {"limit_train": 100, "limit_test": 20}))
    data = load_dataset("stdlib_tokens", SOURCES, vocabulary=300, limit_train=100, limit_test=20)
    x, y, samples = next(session.train.epoch(0))
    kept = np.flatnonzero(~data.held_out)
    np.testing.assert_array_equal(x, data.x_train[kept][samples])
    np.testing.assert_array_equal(y, data.y_train[kept][samples])
    assert session.train.normalize is None
