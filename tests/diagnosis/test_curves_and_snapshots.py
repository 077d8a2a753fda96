"""`doctor` on curves and on snapshots of parameters, and what the command reads and says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from npsoftmax import HEADS, ClassInfo, InputError, Rng, doctor
from npsoftmax.cli.main import main
from npsoftmax.diagnosis.findings import WIRINGS
from npsoftmax.diagnosis.read import our_name, read_curve
from npsoftmax.params import SparseRows, leaves

pytestmark = [
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
    pytest.mark.filterwarnings("ignore:adaptive softmax"),
]

TOP = math.log(math.e + 99)
RISING = np.array([0.02, 0.05, 0.08, 0.11, 0.1337])


# ---------------------------------------------------------------- curves
def test_the_relation_of_a_double_softmax_proves_it():
    """The numbers of a published run: a loss of 4.4890 beside 13.37 %."""
    told = doctor(curve={"val_loss": TOP - RISING + 0.0005, "val_accuracy": RISING}, classes=100)
    assert told.named == ("double_softmax",) and "4.6222" in str(told)


@pytest.mark.parametrize(
    ("curve", "classes", "possible"),
    [
        ({"loss": TOP - RISING * 0.5, "accuracy": RISING}, 100, "double_softmax"),  # not saturated: softer outputs
        ({"loss": [-0.1, -0.5, -0.9], "accuracy": [0.1, 0.5, 0.9]}, 10, "probabilities_for_logarithms"),
        ({"loss": [-0.1, -5, -90]}, None, "scores_for_logarithms"),
        ({"loss": [math.log(100)] * 4, "accuracy": [0.01] * 4}, 100, "untrained_parameters"),
        ({"loss": [4.6, 4.3, 4.0], "accuracy": [0.01, 0.011, 0.009]}, 100, "untrained_parameters"),
        ({"loss": [4.852, 4.5, 4.2], "accuracy": [0.01, 0.05, 0.08]}, 100, "leaked_mass"),
        ({"loss": [0.9, 0.5, 0.3], "accuracy": [0.01, 0.05, 0.08]}, 100, "missing_decision"),
    ],
)
def test_what_a_curve_only_suggests_comes_with_what_would_decide_it(curve, classes, possible):
    told = doctor(curve=curve, classes=classes)
    assert told.named == () and possible in told.possible
    assert all(finding.bring for finding in told.findings)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("odd", [0.0, 0.3])
def test_no_ordinary_curve_is_accused(classes, odd):
    """Cross entropies that fall while the accuracy rises; odd: what smoothing or mixup adds."""
    rng = np.random.default_rng(classes)
    accuracy = 1 / classes + (1 - 1 / classes) * 0.7 * (1 - np.exp(-np.arange(12) / 4))
    loss = 1.1 * math.log(classes) * (1 - accuracy) * (1 - odd) + odd * math.log(classes) + rng.normal(size=12) * 0.002
    told = doctor(curve={"loss": loss, "accuracy": accuracy, "val_loss": loss + 0.1}, classes=classes)
    assert told.findings == ()


def test_a_validation_that_jumps_while_training_does_not_could_be_noise():
    loss = np.linspace(4, 2, 12)
    told = doctor(curve={"loss": loss, "val_loss": loss + 0.3 * (-1) ** np.arange(12)})
    assert told.named == () and told.possible == ("noise_in_evaluation",)
    assert doctor(curve={"loss": loss, "val_loss": loss + 0.002 * (-1) ** np.arange(12)}).findings == ()


def test_with_few_classes_the_relation_is_no_proof():
    accuracy = np.array([0.5, 0.6, 0.7, 0.8])
    told = doctor(curve={"loss": math.log(math.e + 1) - accuracy, "accuracy": accuracy}, classes=2)
    assert told.named == () and told.possible == ("double_softmax",)


# ---------------------------------------------------------------- snapshots
def after_steps(name, classes=20, features=8, steps=60, **options):
    """Parameters of a head before and after some steps of gradient descent on all classes."""
    rng = np.random.default_rng(0)
    head = HEADS[name](features, ClassInfo(classes, np.full(classes, 4)), rng=Rng(0), **options)
    before = {key: array.copy() for key, array in leaves(head.params)}
    for step in range(steps):
        h = np.abs(rng.normal(size=(2 * classes, features))).astype(np.float32)
        t = np.arange(2 * classes) % classes
        _, cache = head.loss(h, t, train=True, rng=Rng(0).at(step))
        gradients = dict(leaves(head.backward(cache)[1]))
        for key, array in leaves(head.params):
            g = gradients[key]
            if isinstance(g, SparseRows):
                array[g.rows] -= 0.1 * g.values
            else:
                array -= 0.1 * g
    return before, dict(leaves(head.params))


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if not head.legacy])
def test_the_parameters_of_every_right_head_move(name):
    before, after = after_steps(name)
    assert doctor(before=before, after=after).named == ()


def test_a_head_that_the_optimiser_never_saw_is_named():
    before, after = after_steps("legacy_adaptive_untrained", features=20, cutoffs=(2, 18))
    assert doctor(before=before, after=after).named == ("untrained_parameters",)
    told = doctor(before=before | {"trunk.w": np.zeros((2, 2))}, after=after | {"trunk.w": np.ones((2, 2))})
    assert told.named == ("untrained_parameters",) and "1 other array" in str(told)


@pytest.mark.parametrize(("name", "rows"), [("legacy_heap128", 31), ("legacy_hierarchical_missing_step", 19)])
def test_nodes_that_never_train_are_counted_and_what_would_decide_is_asked_for(name, rows):
    told = doctor(**dict(zip(("before", "after"), after_steps(name), strict=True)))
    assert told.named == () and told.possible == ("untrained_parameters",)
    assert f"of the {rows} rows of w stayed" in str(told)


def test_biases_that_stay_are_not_accused_since_some_have_no_gradient():
    before = {"conv.w": np.zeros((3, 3)), "conv.bias": np.ones(3)}
    told = doctor(before=before, after={"conv.w": np.ones((3, 3)), "conv.bias": np.ones(3)})
    assert told.named == () and "before a batch norm" in str(told)


def test_snapshots_have_to_be_of_one_model():
    with pytest.raises(InputError, match=r"w has shape \(2,\) in the first snapshot and \(3,\)"):
        doctor(before={"w": np.zeros(2)}, after={"w": np.zeros(3)})
    with pytest.raises(InputError, match="no array in common: w in the first, v in the second"):
        doctor(before={"w": np.zeros(2)}, after={"v": np.zeros(2)})
    with pytest.raises(InputError, match="give both"):
        doctor(before={"w": np.zeros(2)})
    with pytest.raises(InputError, match="no arrays of floats"):
        doctor(before={"w": np.arange(2)}, after={"w": np.arange(2)})


# ---------------------------------------------------------------- files
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("loss", "loss"),
        ("Train Loss", "loss"),
        ("train/loss_epoch", "loss"),
        ("sparse_categorical_accuracy", "accuracy"),
        ("val_sparse_categorical_accuracy", "val_accuracy"),
        ("Valid Acc (%)", "val_accuracy"),
        ("validation.loss", "val_loss"),
        ("test_acc", "val_accuracy"),
        ("train_cross_entropy_loss", "loss"),
        ("learning_rate", ""),
        ("epoch", ""),
        ("dice_loss", ""),
        ("top5_accuracy", ""),
    ],
)
def test_columns_are_known_by_the_names_that_others_give_them(name, ours):
    assert our_name(name) == ours


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_may_have_gaps_percents_and_semicolons(tmp_path):
    columns = read_curve(write(tmp_path / "a.csv", "epoch;loss;val_acc (%)\n1;1,5;\n2;;50\n"))
    np.testing.assert_array_equal(columns["loss"], [1.5, math.nan])
    np.testing.assert_array_equal(columns["val_accuracy"], [math.nan, 0.5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch,lr\n1,0.1\n", "has the columns epoch, lr, but a column of losses was expected. Type in its first line"),
        ("", "has nothing, but a column of losses"),
        ("loss\n", "no number below them"),
        ("loss\n1.0\nabc\n", "line 3: 'abc' is no number"),
    ],
)
def test_a_csv_that_does_not_do_says_what_it_has(tmp_path, text, says, capsys):
    assert main(["doctor", str(write(tmp_path / "a.csv", text))]) == 2
    assert says in capsys.readouterr().err


def test_the_command_reads_a_curve(tmp_path, capsys):
    lines = [f"{epoch},{TOP - a:.4f},{a:.4f}" for epoch, a in enumerate(RISING)]
    path = write(tmp_path / "log.csv", "\n".join(["epoch,val_loss,val_acc", *lines]))
    assert main(["doctor", str(path), "--classes", "100"]) == 1
    assert "PROVED: normalised twice" in capsys.readouterr().out
    assert main(["doctor", str(path)]) == 0  # without the number of classes
    assert "--classes C" in capsys.readouterr().out


def test_the_command_reads_a_batch_and_snapshots(tmp_path, capsys):
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=16)
    y = np.arange(16) % 10
    loss = (np.log(np.exp(p).sum(axis=1)) - p[np.arange(16), y]).mean()
    np.savez(tmp_path / "batch.npz", y_pred=p, y_true=y, loss=loss)
    assert main(["doctor", str(tmp_path / "batch.npz"), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["wiring"] == "double_softmax" and finding["proved"] and finding["type"]
    np.savez(tmp_path / "before.npz", w=np.zeros((3, 3)), v=np.zeros((2, 2)))
    np.savez(tmp_path / "after.npz", w=np.zeros((3, 3)), v=np.ones((2, 2)))
    assert main(["doctor", str(tmp_path / "before.npz"), str(tmp_path / "after.npz")]) == 1
    assert "w: 9 numbers are what they were" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["w.npz"], "two are needed, before and after an epoch; 1 were given"),
        (["w.npz", "--classes", "10"], "--classes is for a CSV"),
        (["w.npz", "w.npz", "--all-classes"], "--all-classes is for a batch"),
        (["half.npz"], "holds outputs, but arrays outputs (N, C), labels (N,) and loss were expected"),
        (["none.npz"], "there is no file"),
        (["model.h5"], "is neither a .csv nor a .npz"),
        (["w.npz", "--classes", "1"], "at least 2 classes"),
    ],
)
def test_files_that_do_not_do(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", w=np.zeros((3, 3)))
    np.savez("half.npz", outputs=np.zeros((3, 3)))
    assert main(["doctor", *words]) == 2
    assert says in capsys.readouterr().err


def test_help_and_the_page_say_of_every_wiring_what_shows_it(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name, wiring in WIRINGS.items():
        assert f"{wiring.title}: {wiring.shown_by}" in shown
        assert wiring.title in page and f"`{name}`" in page
