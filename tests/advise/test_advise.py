"""`npsoftmax advise`: which heads are tried, what is told from what, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from npsoftmax.advise import compare as comparison
from npsoftmax.advise import trial
from npsoftmax.advise.candidates import FOR_ORDER, FOR_UNEQUAL, SAME, Candidate, candidates
from npsoftmax.advise.task import Part, Task, of_files, of_run
from npsoftmax.advise.verdict import doubt, verdict
from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import build_model

EQUAL = ClassInfo(6, np.full(6, 50))


@pytest.fixture
def files(tmp_path):
    """Features and labels in files; (features, labels) are replaced by what is given."""
    rng = np.random.default_rng(0)
    y = np.arange(420) % 6
    h = rng.normal(size=(6, 8))[y] + 0.9 * rng.normal(size=(420, 8))

    def write(features=h, labels=y):
        np.save(tmp_path / "F.npy", features)
        np.save(tmp_path / "y.npy", labels)
        return tmp_path / "F.npy", tmp_path / "y.npy"

    write.h, write.y = h, y
    return write


@pytest.fixture
def quick(monkeypatch):
    """Costs that are not worth reading, of few classes."""
    monkeypatch.setattr(comparison, "CURVE", (20,))
    monkeypatch.setattr(comparison, "COST_SECONDS", 0.0)


# ---------------------------------------------------------------- which heads
def test_every_head_is_tried_or_left_out_with_a_reason():
    tried, left_out = candidates(8, EQUAL)
    assert {c.head for c in tried} | set(left_out) == set(HEADS)
    assert all(left_out.values()) and not {c.name for c in tried} & set(left_out)


def test_miswirings_and_second_routes_are_left_out():
    left_out = candidates(8, EQUAL)[1]
    assert {name for name, cls in HEADS.items() if cls.legacy} <= set(left_out)
    assert {*SAME, *SAME.values(), *FOR_UNEQUAL, *FOR_ORDER} <= set(HEADS)  # names that there are
    assert left_out["log_softmax"] == "the same function as softmax"
    assert set(SAME) <= set(left_out)


def test_heads_for_unequal_classes_are_tried_where_classes_are_unequal():
    wanted = set(FOR_UNEQUAL)
    assert wanted <= set(candidates(8, EQUAL)[1])
    tried = {c.name for c in candidates(8, ClassInfo(6, np.array([90, 50, 40, 30, 20, 10])))[0]}
    assert wanted | {"hierarchical tree=huffman"} <= tried


def test_heads_for_ordered_classes_are_tried_where_that_is_said():
    wanted = set(FOR_ORDER)
    assert wanted <= set(candidates(8, EQUAL)[1])
    assert wanted <= {c.head for c in candidates(8, EQUAL, ordered=True)[0]}


def test_a_tree_of_superclasses_is_tried_where_there_are_any():
    with_groups = ClassInfo(6, np.full(6, 50), np.arange(6) // 2)
    assert Candidate("hierarchical", {"tree": "superclass"}) in candidates(8, with_groups)[0]


def test_a_head_that_cannot_be_built_is_left_out_with_its_own_words():
    left_out = candidates(8, ClassInfo(2, np.array([9, 9])))[1]
    assert all(len(why) > 10 for why in left_out.values())


# ---------------------------------------------------------------- what is told from what
def row(right, nll=1.0, curve=None, ece=0.1):
    accuracies = right.mean(axis=1)
    means = {"accuracy": float(accuracies.mean()), "accuracies": accuracies.tolist()}
    return means | {"nll_scaled": nll, "ece": ece, "curve": curve or {100: 1.0}}


def test_the_doubt_of_a_difference_is_that_of_samples_and_seeds():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 500)) < 0.7, rng.random((2, 500)) < 0.6
    samples = np.std(a.mean(axis=0) - b.mean(axis=0)) / math.sqrt(500)
    seeds = math.sqrt(sum(np.std(x.mean(axis=1), ddof=1) ** 2 / 2 for x in (a, b)))
    assert doubt(row(a), row(b), a.mean(axis=0), b.mean(axis=0)) == pytest.approx(math.hypot(samples, seeds))
    same = a.mean(axis=0)
    assert doubt(row(a[:1]), row(a[:1]), same, same) == 0


def test_the_doubt_covers_the_difference_that_new_samples_would_show():
    """1,000 times two heads of equal worth that err on much the same samples: 95 in 100 differences are within two."""
    rng = np.random.default_rng(1)
    hard = rng.random((1000, 400))
    a, b = hard < 0.6 + 0.1 * rng.normal(size=hard.shape), hard < 0.6 + 0.1 * rng.normal(size=hard.shape)
    within = [
        abs(x.mean() - y.mean()) <= 2 * doubt(row(x[None]), row(y[None]), x, y)
        for x, y in zip(a * 1.0, b * 1.0, strict=True)
    ]
    assert 0.93 < np.mean(within) < 0.98


def test_of_heads_that_cannot_be_told_apart_the_one_with_the_smallest_nll_is_taken_and_softmax_in_doubt():
    rng = np.random.default_rng(2)
    good, bad = rng.random((2, 800)) < 0.8, rng.random((2, 800)) < 0.5
    heads = {
        "cosine": row(good, 0.7),
        "hinge": row(good, None),
        "softmax": row(good, 0.705),
        "spherical": row(bad, 0.1),
    }
    rights = {
        "cosine": good.mean(axis=0),
        "hinge": good.mean(axis=0),
        "softmax": good.mean(axis=0),
        "spherical": bad.mean(axis=0),
    }
    found = verdict(heads, rights)
    assert found["take"] == "softmax" and set(found["not_told_from_it"]) == {"cosine", "hinge", "softmax"}
    heads["softmax"]["nll_scaled"] = 0.9
    assert verdict(heads, rights)["take"] == "cosine"
    alone = verdict({"a": row(good), "b": row(bad)}, {"a": good.mean(axis=0), "b": bad.mean(axis=0)})
    assert alone["take"] == "a" and "more than its doubt" in alone["why"][0]


# ---------------------------------------------------------------- the whole
def test_all_heads_are_tried_under_one_budget_and_reported(files, quick, tmp_path, capsys):
    features, labels = files(labels=np.array(list("abcdef"))[files.y])
    words = ["--features", str(features), "--labels", str(labels), "--passes", "20", "--out", str(tmp_path / "out")]
    assert main(["advise", *words]) == 0
    said = capsys.readouterr()
    found = json.loads((tmp_path / "out" / "advice.json").read_text())
    assert found["samples"] == {"train": 302, "tune": 34, "score": 84, "all_to_train": 302}
    assert f"take {found['verdict']['take']}" in said.out
    assert set(found["heads"]) | set(found["left_out"]) >= set(HEADS)
    assert found["heads"]["softmax"]["accuracy"] > 0.7
    for name, head in found["heads"].items():
        assert set(map(int, head["curve"])) == {6, 20} and len(head["accuracies"]) == 2, name
        assert min(head["step_ms"], head["predict_ms"], head["parameters_mb"], head["step_mb"]) > 0, name
        assert (head["ece"] is None) == (not HEADS[name.split()[0]].distribution), name
        assert f"`{name}`" in (tmp_path / "out" / "advice.md").read_text()
    assert (tmp_path / "out" / "advice.png").stat().st_size > 10_000


def test_the_same_seeds_give_the_same_heads(files):
    task = of_files(*files(), seed=0)
    for name in ("softmax", "gumbel_softmax", "sampled"):
        first, again = (trial.train(Candidate(name), task, 0.01, 2, seed=1) for _ in range(2))
        assert trial.scores(first.head, task)["nll"] == trial.scores(again.head, task)["nll"]


def test_no_head_begins_as_the_head_of_a_run_began():
    """The features of a run are used to it: that one would learn faster on them than it can."""
    run = build_model("mlp", "softmax", EQUAL, (4, 4, 1), seed=0, model_opts={"hidden": (8,)})
    for seed in range(3):
        w = Candidate("softmax").build(8, EQUAL, seed).params["w"]
        assert w.shape == run.head.params["w"].shape
        assert abs(np.corrcoef(w.ravel(), run.head.params["w"].ravel())[0, 1]) < 0.5


def test_a_rate_at_the_end_of_those_tried_is_not_the_last_word(files, monkeypatch):
    task, tried = of_files(*files(), seed=0), []

    def pretended(candidate, task, rate, passes, seed):
        tried.append(rate)
        if rate > 0.05:
            raise InputError("the loss became nan")
        return trial.Trained(None, -abs(math.log(rate / 0.03)))

    monkeypatch.setattr(trial, "train", pretended)
    assert trial.choose_rate(Candidate("softmax"), task, 1, 0)[0] == pytest.approx(0.03)
    assert tried == pytest.approx([1e-3, 3e-3, 1e-2, 3e-2, 9e-2])
    monkeypatch.setattr(trial, "train", lambda *_: pretended(*_[:2], 1.0, *_[3:]))
    with pytest.raises(InputError, match="did not train at any rate"):
        trial.choose_rate(Candidate("softmax"), task, 1, 0)


def test_in_little_time_all_heads_get_fewer_samples(files):
    task = of_files(*files(), seed=0)
    assert comparison._within(task, of_all=1.0, passes=1, seeds=1, seconds=100) is task
    fewer = comparison._within(task, of_all=1e6, passes=1, seeds=1, seconds=1)
    assert len(fewer.train) == 302  # never below LEAST_STEPS steps
    assert np.bincount(task.smaller(60).train.y).tolist() == [10] * 6


def test_parts_are_disjoint_standardised_and_the_scored_one_is_a_fifth(files):
    task = of_files(*files(), seed=3)
    assert task.train.h.mean(axis=0) == pytest.approx(np.zeros(8), abs=1e-5)
    assert task.train.h.std(axis=0) == pytest.approx(np.ones(8), abs=1e-4)
    rows = np.concatenate([task.train.h, task.tune.h, task.score.h])
    assert len(np.unique(rows, axis=0)) == 420 and len(task.score) == 84
    constant = np.hstack([files.h, np.full((420, 1), 7.0)])
    assert np.isfinite(of_files(*files(features=constant), seed=0).train.h).all()


def test_a_run_is_scored_on_what_it_held_out(tmp_path, quick, capsys):
    typed = ["--data", "digits", "--model", "mlp", "--model-opt", "hidden=16", "--epochs", "1", "--quiet", "--no-plots"]
    for name, split in (("run", "0.2"), ("all", "0")):
        assert main(["train", *typed, "--val-split", split, "--out", str(tmp_path / name)]) == 0
    task = of_run(tmp_path / "run", "best", 0)
    assert (len(task.train), len(task.tune) + len(task.score), task.features) == (1150, 287, 16)
    with pytest.raises(InputError, match="held out no images"):
        of_run(tmp_path / "all", "best", 0)


# ---------------------------------------------------------------- what is refused
def broken(h, i=3, value=math.nan):
    h = h.copy()
    h[i, 0] = value
    return h


BAD = {
    "not a number": (lambda f: f(features=broken(f.h)), "1 of 420 samples, the first is 3, are not finite"),
    "infinite": (lambda f: f(features=broken(f.h, 9, math.inf)), "the first is 9"),
    "lengths": (lambda f: f(labels=f.y[:-1]), "has 420 samples, but .* 419 labels"),
    "one class": (lambda f: f(labels=np.zeros(420, int)), "one class alone"),
    "real labels": (lambda f: f(labels=f.y * 1.0), r"y\.astype\(int\)"),
    "one-hot": (lambda f: f(labels=np.eye(6)[f.y]), r"argmax\(axis=1\)"),
    "sets of labels": (lambda f: f(labels=np.ones((420, 6), int)), "only sigmoid takes those"),
    "labels of two axes": (lambda f: f(labels=f.y.reshape(70, 6)), r"shape \(70, 6\)"),
    "images": (lambda f: f(features=np.zeros((420, 4, 4, 3))), "npsoftmax advise RUN"),
    "no features": (lambda f: f(features=np.zeros((420, 0))), r"\(420, 0\)"),
    "words for features": (lambda f: f(features=f.h.astype(str)), "real numbers were expected"),
    "objects": (lambda f: f(features=f.h.astype(object)), r"Python objects.*h\.astype"),
    "words as objects": (lambda f: f(labels=f.y.astype(str).astype(object)), r"y\.astype\(str\)"),
    "beyond float32": (lambda f: f(features=f.h.astype(np.float64) * 1e39), r"not finite in float32.*h\[good\]"),
    "few samples": (lambda f: f(f.h[:60], f.y[:60]), "60 samples, but at least 100"),
    "many classes": (lambda f: f(np.zeros((20_002, 1)), np.arange(20_002) // 2), "10,001 classes.*choosing-a-head"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(files, name):
    write, expected = BAD[name]
    with pytest.raises(InputError, match=expected):
        of_files(*write(files), seed=0)


def test_files_that_are_no_arrays_are_refused(tmp_path, files):
    features, labels = files()
    (tmp_path / "text.npy").write_text("1,2,3")
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    for path, expected in (("text.npy", "no array"), ("many.npz", "several arrays"), ("nowhere.npy", "no such file")):
        with pytest.raises(InputError, match=expected):
            of_files(tmp_path / path, labels, seed=0)
        with pytest.raises(InputError, match=expected):
            of_files(features, tmp_path / path, seed=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "needs --features F.npy and --labels Y.npy"),
        (["--features", "F.npy"], "needs --features F.npy and --labels Y.npy"),
        (["run", "--features", "F.npy"], "give either RUN"),
        (["nowhere"], "there is no folder"),
        (["--features", "F.npy", "--labels", "y.npy", "--checkpoint", "last"], "no effect without a run"),
        (["--features", "F.npy", "--labels", "y.npy", "--passes", "0"], "--passes is 0"),
        (["--features", "F.npy", "--labels", "y.npy", "--minutes", "0"], "--minutes is 0"),
    ],
)
def test_bad_words_are_refused(tmp_path, monkeypatch, words, expected, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["advise", *words]) == 2
    assert expected in capsys.readouterr().err


def test_a_head_that_rules_classes_out_is_not_taken_for_an_nll_that_is_finite_by_luck():
    class Luck:
        distribution = likelihood = True
        classes = ClassInfo(3)

        def log_prob(self, h, rng):
            with np.errstate(divide="ignore"):
                return np.log(np.tile(self.p, (len(h), 1)))

        def predict(self, h, rng):
            return np.zeros((len(h), 1), dtype=int)

    part, head = Part(np.zeros((20, 2), np.float32), np.arange(20) % 2), Luck()
    task = Task(part, part, part, ClassInfo(3), "")
    head.p = np.array([0.6, 0.3, 0.1])
    assert trial.scores(head, task)["nll_scaled"] is not None
    head.p = np.array([0.6, 0.4, 0.0])
    assert trial.scores(head, task)["nll_scaled"] is None


def test_the_most_accurate_head_is_not_counted_among_the_others():
    good = np.random.default_rng(2).random((2, 800)) < 0.8
    found = verdict(
        {"a": row(good, 0.7), "b": row(good, 0.6), "c": row(good, 0.8)}, dict.fromkeys("abc", good.mean(axis=0))
    )
    assert "2 other heads cannot be told from the most accurate (a)" in found["why"][0]
