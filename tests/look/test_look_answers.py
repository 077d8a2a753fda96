"""What the page is told: the library's own numbers, put together again from what is shown."""

from __future__ import annotations

import base64
import io
import json
import shutil

import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.heads import HEADS
from npsoftmax.look.answers import Answers
from npsoftmax.look.plain import plain
from npsoftmax.look.subject import Subject
from npsoftmax.training.session import load_run

MODELS = ["convnet", "vit", "resnet9"]


def places(y, count, seed=0):
    rng = np.random.default_rng(seed)
    return [[int(rng.integers(n)) for n in y.shape] for _ in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_the_network_that_is_shown_is_that_of_the_run(answers, folders, name):
    session = load_run(folders[name])
    found = answers[name].ask("forward", {"image": 5})
    x = session.train.normalize.apply(session.dataset.x_test[5:6])
    np.testing.assert_allclose(found["log_p"], session.model.log_prob(x)[0], atol=2e-5)
    assert found["top"][0]["label"] == session.model.predict(x)[0, 0] and found["label"] == session.dataset.y_test[5]
    assert base64.b64decode(found["image"]["data"]) == session.dataset.x_test[5].tobytes()


@pytest.mark.parametrize("name", [*MODELS, "whitened"])
def test_every_unit_is_made_of_what_is_shown(answers, name):
    subject, kinds = answers[name].subjects[0], set()
    for path in subject.layers:
        subject.run(3)
        if path not in subject.trace.seen:
            continue
        y = subject.seen(path).y
        y = y[0] if len(y) == 1 else y
        for place in places(y, 4):
            unit = answers[name].ask("unit", {"image": 3, "path": path, "place": place})
            assert unit["value"] == pytest.approx(float(y[tuple(place)]), rel=1e-12)
            assert unit.get("made", unit["value"]) == pytest.approx(unit["value"], rel=1e-9, abs=1e-12), path
            if unit["kind"] == "attention":
                np.testing.assert_allclose(np.sum(unit["weights"], axis=1), 1, rtol=1e-12)
            kinds.add(unit["kind"])
    expected = {
        "convnet": {"convolution", "largest", "moved", "products", "elementwise"},
        "vit": {"products", "attention", "norm", "sum"},
        "resnet9": {"convolution", "norm", "sum", "largest"},
        "whitened": {"convolution", "norm", "sum", "largest"},
    }
    assert kinds >= expected[name]


def test_the_score_of_a_class_is_a_sum_of_products(answers):
    unit = answers["convnet"].ask("unit", {"image": 0, "path": "head", "place": [7]})
    terms = sum(term["x"] * term["w"] for term in unit["terms"])
    assert terms + unit["others"] + unit["bias"] == pytest.approx(unit["value"], rel=1e-12)


@pytest.mark.parametrize("name", [*MODELS, "tree"])
def test_differences_agree_with_backward(answers, name):
    checked = 0
    for path in [*answers[name].subjects[0].layers, "head"]:
        question = {"image": 2, "target": 4, "path": path}
        try:
            shown = answers[name].ask("gradient", question)
        except InputError as error:
            assert "look at the one around it" in str(error)
            continue
        for tensor in shown["tensors"]:
            for index in places(np.empty(tensor["size"]), 2, seed=1):
                found = answers[name].ask("element", question | {"tensor": tensor["name"], "index": index})
                kink = abs(found["up"] - found["down"]) > 1e-3
                assert kink or found["numeric"] == pytest.approx(found["analytic"], rel=1e-4, abs=1e-8), (path, tensor)
                checked += 1
    assert checked > 20


def test_looking_changes_nothing(answers):
    before = answers["convnet"].ask("forward", {"image": 1})
    for path, tensor, index in (("conv1", "w", [0, 0, 0, 0]), ("conv2", "x", [0, 0, 0]), ("head", "b", [1])):
        where = {"image": 1, "target": 0, "path": path, "tensor": tensor, "index": index}
        answers["convnet"].ask("element", where)
    assert answers["convnet"].ask("forward", {"image": 1}) == before


# ---------------------------------------------------------------- the head
Z = [2.0, -1.0, 0.5, 0.0]


def test_every_mapping_of_probabilities_is_there_with_its_own_numbers(answers):
    rows = answers["convnet"].ask("mappings", {"z": Z, "noise": 3, "tau": 0.5, "order": 4, "alpha": 1.7, "sink": 1.0})
    assert [row["name"] for row in rows["rows"]] == [m.name for m in MAPPINGS.values() if m.kind == "probability"]
    for row in rows["rows"]:
        mapping = MAPPINGS[row["name"]]
        if not mapping.needs_noise:
            p, _ = mapping.forward(np.array([Z]), **row["options"])
            np.testing.assert_allclose(row["p"], p[0], rtol=1e-12)
    again = answers["convnet"].ask("mappings", {"z": Z, "noise": 4})["rows"]
    changed = {row["name"] for row, other in zip(rows["rows"], again, strict=True) if row["p"] != other["p"]}
    assert {"gumbel_softmax", "taylor_softmax", "entmax", "softmax1"} <= changed and "softmax" not in changed


def test_losses_and_gradients_are_those_of_the_heads(answers):
    rows = {row["name"]: row for row in answers["convnet"].ask("losses", {"z": Z, "target": 2, "noise": 0})["rows"]}
    p = np.exp(Z) / np.exp(Z).sum()
    assert rows["softmax"]["loss"] == pytest.approx(-np.log(p[2]), rel=1e-12)
    np.testing.assert_allclose(rows["softmax"]["dz"], p - np.eye(4)[2], atol=1e-12)
    assert rows["legacy_double_softmax"]["legacy"] and "softmax" in rows["legacy_double_softmax"]["mistake"]
    assert set(rows) <= set(HEADS) and sum("p" in row for row in rows.values()) > 15
    assert all("p" in row or row["why"] for row in rows.values())


@pytest.mark.parametrize("name", ["tree", "groups"])
def test_the_way_through_a_tree_multiplies_to_the_probability(answers, name):
    ways = answers[name].ask("tree", {"image": 4})["ways"]
    log_p = answers[name].ask("forward", {"image": 4})["log_p"]
    for way in (ways["said"], ways["right"]):
        product = np.prod([turn["p"] for turn in way["turns"]])
        assert product == pytest.approx(np.exp(log_p[way["label"]]), rel=1e-9)
        assert way["turns"][-1]["here"]["count"] == 1
    assert answers["convnet"].ask("tree", {"image": 4})["ways"] is None


# ---------------------------------------------------------------- the run
def test_the_images_of_a_cell_are_as_many_as_its_count(answers):
    table = answers["convnet"].ask("confusion", {})
    counts = np.array(table["counts"])
    right, said = np.unravel_index(counts.argmax(), counts.shape)
    found = answers["convnet"].ask("cell", {"right": int(right), "said": int(said)})
    assert found["count"] == counts[right, said] and {tuple(image["right"]) for image in found["images"]} == {(right,)}


def test_curves_and_galleries(answers):
    curves = answers["convnet"].ask("curves", {})
    assert curves["finished"] and curves["epochs"]["epoch"] == [1.0, 2.0] and len(curves["steps"]["loss"]) > 2
    images = answers["convnet"].ask("images", {"first": 50})
    assert images["total"] == 60 and [image["number"] for image in images["images"]] == list(range(50, 60))


def test_images_with_a_set_of_labels(answers, folders):
    found, y = answers["sets"].ask("forward", {"image": 3}), load_run(folders["sets"]).dataset.y_test
    assert y.ndim == 2 and found["right"] == np.flatnonzero(y[3]).tolist() and found["label"] is None
    assert answers["sets"].ask("images", {"first": 3})["images"][0]["right"] == found["right"]
    assert answers["sets"].ask("cell", {"right": 0, "said": 0})["count"] == 0


def test_two_runs_on_the_same_image(folders):
    both = Answers([Subject.of_run(folders["convnet"]), Subject.of_run(folders["tree"])])
    runs = both.ask("compare", {"image": 8})["runs"]
    assert [run["head"] for run in runs] == ["softmax", "hierarchical"]
    for run in runs:
        assert sum(run["p"]) == pytest.approx(1, abs=1e-9) and 0 <= run["entropy"] <= np.log(10)


def test_an_image_of_ones_own(answers):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(file, "PNG")
    own = answers["convnet"].upload(file.getvalue())["image"]
    found = answers["convnet"].ask("forward", {"image": own})
    assert own < 0 and found["label"] is None and found["image"]["shape"] == [8, 8, 1]
    with pytest.raises(InputError, match="cannot be read as an image"):
        answers["convnet"].upload(b"GIF89a nonsense")


# ---------------------------------------------------------------- what does not fit
WRONG = {
    "an image that is not there": ("forward", {"image": 60}),
    "an own image that is not there": ("forward", {"image": -1000}),
    "no image": ("forward", {}),
    "an image that is a word": ("forward", {"image": "0"}),
    "an image that is true": ("forward", {"image": True}),
    "a huge number": ("forward", {"image": 10**30}),
    "a layer that is none": ("unit", {"image": 0, "path": "../conv1", "place": [0, 0, 0]}),
    "a place outside": ("unit", {"image": 0, "path": "conv1", "place": [0, 0, 99]}),
    "a place of other axes": ("unit", {"image": 0, "path": "conv1", "place": [0]}),
    "a place below 0": ("unit", {"image": 0, "path": "conv1", "place": [-1, 0, 0]}),
    "one logit": ("mappings", {"z": [1.0], "noise": 0}),
    "too many logits": ("mappings", {"z": [1.0] * 500, "noise": 0}),
    "a logit that is infinite": ("mappings", {"z": [float("inf"), 1.0], "noise": 0}),
    "tau of 0": ("mappings", {"z": Z, "noise": 0, "tau": 0.0}),
    "an order that is negative": ("mappings", {"z": Z, "noise": 0, "order": -4}),
    "a huge order": ("mappings", {"z": Z, "noise": 0, "order": 1e200}),
    "a target that is none": ("losses", {"z": Z, "target": 4, "noise": 0}),
    "a class that is none": ("gradient", {"image": 0, "target": 10, "path": "conv1"}),
    "a gradient that is none": ("element", {"image": 0, "target": 0, "path": "conv1", "tensor": "v", "index": [0]}),
    "an index outside": ("element", {"image": 0, "target": 0, "path": "conv1", "tensor": "b", "index": [4]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(answers, name):
    with pytest.raises(InputError) as caught:
        answers["convnet"].ask(*WRONG[name])
    assert "\n" not in str(caught.value)


def test_everything_that_is_answered_is_json(answers):
    for question, given in (("start", {}), ("forward", {"image": 0}), ("curves", {}), ("confusion", {})):
        json.dumps(plain(answers["resnet9"].ask(question, given)), allow_nan=False)
    rows = answers["convnet"].ask("losses", {"z": [1e6, -1e6, 0.0], "target": 1, "noise": 0})
    json.dumps(plain(rows), allow_nan=False)


def test_a_run_on_words_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        Subject.of_run(tmp_path / "none")


def test_parameters_are_shown_and_the_set_of_an_image_where_there_are_sets(answers, folders, tmp_path):
    shown = answers["convnet"].ask("parameters", {"path": "conv1"})["tensors"]
    assert [(tensor["name"], tensor["size"]) for tensor in shown] == [("w", [3, 3, 1, 4]), ("b", [4])]
    w = answers["convnet"].subjects[0].layers["conv1"].params["w"]
    assert shown[0]["low"] == w.min() and shown[0]["high"] == w.max() and shown[0]["maps"] == 4
    assert answers["convnet"].ask("forward", {"image": 0})["set"] is None
    shutil.copytree(folders["convnet"], tmp_path / "run")
    assert main(["conform", str(tmp_path / "run"), "--coverage", "0.8"]) == 0
    subject = Subject.of_run(tmp_path / "run")
    found = subject.forward(0)
    assert "0.8" in subject.described()["fitted"] or "80%" in subject.described()["fitted"]
    assert set(found["set"]) <= set(subject.names) and subject.names[found["top"][0]["label"]] in found["set"]


def test_where_the_class_token_looks_in_the_last_block(answers):
    subject = answers["vit"].subjects[0]
    subject.run(3)
    last = [path for path in subject.layers if path.endswith("attention")][-1]
    unit = answers["vit"].ask("unit", {"image": 3, "path": last, "place": [0, 0]})
    tokens = subject.seen(last).x.shape[1]
    assert np.shape(unit["weights"]) == (2, tokens) and tokens == 17
    np.testing.assert_allclose(np.sum(unit["weights"], axis=1), 1, rtol=1e-12)
