"""One training step is what its page says, and training asks a head for nothing else than it may."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
from resuming import begin

from npsoftmax import training
from npsoftmax.backend import get_backend
from npsoftmax.errors import InputError
from npsoftmax.heads import ClassInfo
from npsoftmax.heads.base import Head
from npsoftmax.models import build_model
from npsoftmax.params import leaves
from npsoftmax.random import Rng
from npsoftmax.training import finish_run
from npsoftmax.training import step as page
from npsoftmax.training.optimizers import SGD
from npsoftmax.training.step import TrainingStep

N, CLASSES = 12, 5


def batch(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, 4, 4, 1)).astype(np.float32)
    return x, rng.integers(0, CLASSES, N), np.arange(N)


def step_of(model=None, **options):
    model = model or build_model("mlp", "softmax", ClassInfo(CLASSES), (4, 4, 1), model_opts={"hidden": (6,)})
    return TrainingStep(model, SGD(model.params), get_backend(), Rng(0), **options)


def copied(step):
    return {name: p.copy() for name, p in leaves(step.model.params)}


def taken(step, number=0, lr=0.5):
    step.update(step.forward(*batch(), number, N), lr)
    return copied(step)


# ---------------------------------------------------------------- the step
def test_a_step_goes_down_the_gradient_of_the_mean_loss():
    step, (x, t, _) = step_of(), batch()
    before = copied(step)
    loss, cache = step.model.loss(x, t, train=True)
    grads = {name: g.copy() for name, g in leaves(step.model.backward(cache))}
    found = step.forward(x, t, np.arange(N), 0, N)
    assert found.loss == loss and found.share == 1
    step.update(found, lr=0.5)
    for name, p in leaves(step.model.params):
        np.testing.assert_allclose(p, before[name] - 0.5 * grads[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert step.optimizer.steps == 1


def test_between_its_halves_the_parameters_are_those_that_made_the_loss():
    step = step_of(mixup=0.4, clip_norm=0.1)
    before = copied(step)
    step.forward(*batch(), 0, N)
    for name, p in leaves(step.model.params):
        np.testing.assert_array_equal(p, before[name], err_msg=name)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str)
def test_the_same_step_taken_again_ends_the_same_and_another_does_not(mixing):
    def model():
        options = {"widths": (4,), "fc": 6, "dropout": 0.5}
        return build_model("convnet", "gumbel_softmax", ClassInfo(CLASSES), (4, 4, 1), model_opts=options)

    one, again, other = (taken(step_of(model(), **mixing), number) for number in (3, 3, 4))
    assert all(one[name].tobytes() == again[name].tobytes() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_a_mixed_image_is_called_what_its_larger_part_is():
    step, (x, t, samples) = step_of(mixup=1.0), batch()
    seen = set()
    for number in range(20):
        mixed = page.mix(x, Rng(0, "mixing").at(number), mixup=1.0)
        seen.add(mixed.weight >= 0.5)
        expected = t if mixed.weight >= 0.5 else t[mixed.partners]
        np.testing.assert_array_equal(step.forward(x, t, samples, number, N).labels, expected)
    assert seen == {True, False}


def test_gradients_are_clipped_by_value_and_then_by_norm():
    def moved(**limits):
        step = step_of(**limits)
        before, after = copied(step), taken(step, lr=1.0)
        return np.concatenate([(before[name] - after[name]).reshape(-1) for name in before])

    free = moved()
    clipped = np.clip(free, -0.01, 0.01)
    np.testing.assert_allclose(moved(clip_value=0.01), clipped, rtol=1e-4, atol=1e-6)
    small = 0.5 * np.linalg.norm(clipped)
    assert small < np.linalg.norm(clipped) < np.linalg.norm(free)
    np.testing.assert_allclose(moved(clip_value=0.01, clip_norm=small), 0.5 * clipped, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("limits", [{"clip_value": 0.0}, {"clip_norm": -1.0}])
def test_an_invalid_limit_is_refused_before_the_first_step(limits):
    with pytest.raises(InputError, match=r"of gradient clipping is .* above 0"):
        step_of(**limits)


def test_it_is_a_page_without_files_signals_and_sentences():
    source = inspect.getsource(page)
    assert len(source.splitlines()) < 100
    tree = ast.parse(source)
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.endswith((".files", ".run_directory", ".progress", ".checkpoint"))}
    assert {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} <= {"numpy"}
    assert not any(isinstance(node, ast.Raise | ast.JoinedStr) for node in ast.walk(tree))


# ---------------------------------------------------------------- what training asks of a head
ASKED = {"loss", "backward", "log_prob", "predict", "closer_look"}
SAID = {"classes", "likelihood", "legacy", "reads_labels", "mixes_samples", "ordered"}  # what a head says of itself
FOLDER = Path(training.__file__).parent


class Spying:
    """Notes what code in training/ reads of a head, and refuses what it sets there."""

    def __init__(self, monkeypatch):
        self.read = set()
        plain = Head.__getattribute__

        def noting(head, name):
            if inside_training(sys._getframe(1)):
                self.read.add(name)
            return plain(head, name)

        def setting(head, name, value):
            assert not inside_training(sys._getframe(1)), f"training sets {name} of a head"
            object.__setattr__(head, name, value)

        monkeypatch.setattr(Head, "__getattribute__", noting)
        monkeypatch.setattr(Head, "__setattr__", setting)


def inside_training(frame):
    return frame.f_globals.get("__name__", "").startswith("npsoftmax.training")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixup": 0.4},
        {"head": "adaptive", "head_opts": {"cutoffs": (4, 8)}},
        {"head": "gumbel_softmax", "head_opts": {"eval_noise": True}},
        {"head": "legacy_double_gumbel"},
        {"head": "legacy_batch_axis_softmax"},
    ],
    ids=str,
)
def test_training_asks_a_head_for_its_loss_its_predictions_and_a_closer_look(tmp_path, monkeypatch, changes):
    spying = Spying(monkeypatch)
    trainer = begin(tmp_path / "run", epochs=1, **changes)
    finish_run(trainer.session, trainer.run, trainer.fit())
    assert spying.read <= ASKED | SAID
    assert spying.read >= {"predict", "log_prob", "closer_look"}, "the spy sees what is asked"


@pytest.mark.parametrize("module", sorted(path.name for path in FOLDER.glob("*.py")))
def test_no_module_of_training_knows_a_kind_of_head(module):
    """Only what all heads have in common is imported, so that there is nothing to compare a head's class with."""
    names = set()
    for node in ast.walk(ast.parse((FOLDER / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("npsoftmax.heads"):
            names |= {alias.name for alias in node.names}
    assert names <= {"ClassInfo", "Head", "top_k"}


def test_most_heads_have_nothing_to_add():
    model = build_model("mlp", "softmax", ClassInfo(CLASSES), (4, 4, 1), model_opts={"hidden": (6,)})
    x, t, _ = batch()
    assert model.head.closer_look(model.features(x), t, Rng(0)) == {}
