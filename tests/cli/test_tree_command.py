"""`npsoftmax tree`: a tree is learned from a run, trained with and seen; and a run keeps the tree that it was given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.session import load_model, load_run
from npsoftmax.tree_of_run import learned_tree

TINY = ["--data", "digits", "--limit-train", "300", "--limit-test", "100", "--model", "mlp", "--model-opt", "hidden=16"]
TINY += ["--epochs", "2", "--quiet", "--no-plots"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with the softmax head."""
    path = tmp_path_factory.mktemp("runs") / "softmax"
    assert main(["train", *TINY, "--out", str(path)]) == 0
    return path


def classes_in(nested):
    return [nested] if isinstance(nested, int) else [c for child in nested for c in classes_in(child)]


@pytest.mark.parametrize("source", ["means", "confusions", "pixels"])
def test_a_tree_is_learned_and_trained_with(source, made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tree", str(made), "--from", source, "--out", "tree.json"]) == 0
    out = capsys.readouterr().out
    assert "10 classes, 3 to 4 decisions each" in out and "270 training images" in out and "tree=tree.json" in out
    nested = json.loads((tmp_path / "tree.json").read_text())
    assert sorted(classes_in(nested)) == list(range(10))
    assert main(["tree", str(made), "--from", source, "--out", "again.json"]) == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tree.json").read_bytes()
    if source == "means":
        run_and_look_again(nested, tmp_path, capsys)


def run_and_look_again(nested, tmp_path, capsys):
    words = ["--head", "hierarchical", "--head-opt", "tree=tree.json", "--out", "run"]
    assert main(["train", *TINY, *words]) == 0
    (tmp_path / "tree.json").unlink()
    assert json.loads(TrainConfig.load(tmp_path / "run" / "config.toml").head_opts["tree"]) == nested
    load_model("run")  # without the file
    capsys.readouterr()
    assert main(["tree", "run", "--out", "own.json"]) == 0
    assert "the tree of hierarchical in run, checkpoint best" in capsys.readouterr().out
    assert json.loads((tmp_path / "own.json").read_text()) == nested


def test_groups_are_learned_and_trained_with_as_two_levels(made, tmp_path, capsys):
    file, run = str(tmp_path / "groups.json"), str(tmp_path / "run")
    assert main(["tree", str(made), "--from", "confusions", "--groups", "3", "--out", file]) == 0
    assert "3 groups, from the confusions" in capsys.readouterr().out
    nested = json.loads((tmp_path / "groups.json").read_text())
    assert sorted(map(len, nested)) == [2, 3, 5] and sorted(classes_in(nested)) == list(range(10))
    assert main(["train", *TINY, "--head", "hierarchical", "--head-opt", f"tree={file}", "--out", run]) == 0
    capsys.readouterr()
    assert main(["tree", run, "--out", file]) == 0
    assert "two levels, the tree of hierarchical" in capsys.readouterr().out
    assert json.loads((tmp_path / "groups.json").read_text()) == nested


def test_the_means_are_those_of_the_training_images(made):
    session = load_run(made)
    x, y = session.train.x, session.train.y
    means = np.stack([x[y == c].reshape((y == c).sum(), -1).mean(axis=0) for c in range(10)])
    from npsoftmax.heads.learned_tree import from_means

    np.testing.assert_array_equal(learned_tree(session, "pixels").children, from_means(means))
    assert learned_tree(session, "pixels").images == len(y) == 270


def test_classes_without_an_image_are_told(made):
    session = load_run(made)
    kept = session.train.y != 3
    session.train.x, session.train.y = session.train.x[kept], session.train.y[kept]
    for source in ("means", "confusions"):
        found = learned_tree(session, source)
        assert found.absent == (3,)
        assert len(found.children) == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}"], "has the head softmax, which has no tree. To learn one from this run, type: npsoftmax tree"),
        (["{run}", "--from", "mean"], "Did you mean 'means'"),
        (["{run}", "--from", "means", "--out", "tree.txt"], "ends with .json"),
        (["{run}", "--threads", "2"], "no effect without --from"),
        (["{run}", "--from", "means", "--groups", "6"], "--groups is 6, but from 2 to 5 groups of 10 classes"),
        (["{tmp}/none", "--from", "means"], "there is no folder"),
        (["{run}", "--from", "confusions", "--checkpoint", "previous"], "previous"),
    ],
)
def test_what_cannot_be(words, message, made, tmp_path, capsys):
    (made / "checkpoints" / "previous.safetensors").unlink(missing_ok=True)
    assert main(["tree", *(word.format(run=made, tmp=tmp_path) for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_tree_of_other_classes_is_refused(tmp_path, capsys):
    (tmp_path / "tree.json").write_text("[[0, 1], 2]")
    words = ["--head", "hierarchical", "--head-opt", f"tree={tmp_path / 'tree.json'}", "--out", str(tmp_path / "run")]
    assert main(["train", *TINY, *words]) == 2
    assert "class 3 0 times, but each class from 0 to 9 exactly once" in capsys.readouterr().err
