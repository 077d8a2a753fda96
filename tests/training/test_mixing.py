"""Mixup and cutmix: what the images hold, that every head takes them, and that a resumed run mixes as it would have."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from npsoftmax.backend import get_backend
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import check_model
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.models import build_model
from npsoftmax.params import SparseRows, leaves, replace_leaves, tree_map
from npsoftmax.random import Rng
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare
from npsoftmax.training.checkpoint import load_arrays
from npsoftmax.training.mixing import mix, mixed_backward, mixed_forward
from npsoftmax.training.session import make_optimizer, undecayed

CLASSES = ClassInfo(7, counts=np.array([3, 9, 1, 4, 1, 5, 9]), coarse=np.array([0, 1, 0, 2, 1, 2, 0]))


def images(n=6, h=8, w=10):
    return np.random.default_rng(0).standard_normal((n, h, w, 3)).astype(np.float32)


# ---------------------------------------------------------------- images
@given(alpha=st.floats(0.1, 5), step=st.integers(0, 999))
def test_mixup_is_the_weighted_sum_of_two_images(alpha, step):
    x = images()
    x.flags.writeable = False
    mixed = mix(x, Rng(1).at(step), mixup=alpha)
    assert 0 <= mixed.weight <= 1 and sorted(mixed.partners) == list(range(6))
    assert mixed.images.dtype == np.float32
    expected = mixed.weight * x + (1 - mixed.weight) * x[mixed.partners]
    np.testing.assert_allclose(mixed.images, expected, rtol=1e-5, atol=1e-6)


@given(alpha=st.floats(0.1, 5), step=st.integers(0, 999))
def test_cutmix_pastes_a_rectangle_and_the_weight_is_what_it_left(alpha, step):
    x = np.zeros((4, 8, 10, 3), np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None]
    mixed = mix(x, Rng(1).at(step), cutmix=alpha)
    for image, own, partner in zip(mixed.images, range(4), mixed.partners, strict=True):
        pasted = (image == partner).all(axis=-1) if partner != own else None
        if pasted is None:
            continue
        assert ((image == own).all(axis=-1) ^ pasted).all()
        assert 1 - pasted.mean() == pytest.approx(mixed.weight, abs=1e-12)
        rows, columns = np.nonzero(pasted.any(axis=1))[0], np.nonzero(pasted.any(axis=0))[0]
        if len(rows):
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert pasted.sum() == len(rows) * len(columns)


def test_weights_follow_the_beta_distribution():
    weights = [mix(images(2), Rng(3).at(step), mixup=0.4).weight for step in range(2000)]
    assert scipy.stats.kstest(weights, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 0.001


def test_the_area_that_cutmix_leaves_has_the_mean_that_it_should_have_but_for_the_edges():
    whole = [mix(images(2, 32, 32), Rng(3).at(step), cutmix=1.0).weight for step in range(1000)]
    assert 0.5 < np.mean(whole) < 0.8  # 1/2 without the parts that fall over the edge


def test_with_both_a_coin_decides_and_one_batch_has_one_kind():
    x = images(3)
    kinds = []
    for step in range(200):
        mixed = mix(x, Rng(0).at(step), mixup=1.0, cutmix=1.0)
        blended = mix(x, Rng(0).at(step), mixup=1.0)
        kinds.append(np.array_equal(mixed.images, blended.images))
    assert 60 < sum(kinds) < 140


def test_mixing_is_a_function_of_seed_and_step():
    first, again, other_step, other_seed = (
        mix(images(), rng, mixup=1.0) for rng in (Rng(0).at(5), Rng(0).at(5), Rng(0).at(6), Rng(1).at(5))
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert first.weight == again.weight
    assert first.weight != other_step.weight and first.weight != other_seed.weight


# ---------------------------------------------------------------- every head
def tiny(head):
    options = {"hidden": (5,)}
    head_opts = {"cutoffs": (3, 5)} if head == "legacy_adaptive_untrained" else {}
    if head_opts:
        options["logits"] = CLASSES.n
    model = build_model("mlp", head, CLASSES, (2, 3), model_opts=options, head_opts=head_opts)
    return model.to(get_backend("numpy"), np.float64)


def mixed_batch():
    rng = np.random.default_rng(1)
    return rng.standard_normal((4, 2, 3)), rng.integers(0, 7, 4), rng.integers(0, 7, 4)


class Mixture:
    """A model whose loss is that of a mixed batch, for the gradient checker."""

    def __init__(self, model, others, weight):
        self.model, self.others, self.weight = model, others, weight
        self.trunk, self.params, self.buffers = model.trunk, model.params, model.buffers

    def loss(self, x, targets, *, train, rng):
        return mixed_forward(self.model, x, targets, self.others, self.weight, rng=rng)[1:]

    def backward(self, cache):
        return mixed_backward(self.model, cache)


@pytest.mark.parametrize("head", [head for head in HEADS if not HEADS[head].legacy])
def test_gradients_of_mixed_batches_with_every_head(head):
    x, t, others = mixed_batch()
    check_model(Mixture(tiny(head), others, 0.3), x, t, train=True, rng=Rng(1), elements=5).assert_ok()


@pytest.mark.filterwarnings("ignore:Legacy")
@pytest.mark.parametrize("head", HEADS)
def test_the_mixed_loss_is_the_weighted_sum_of_two_losses(head):
    model, (x, t, others) = tiny(head), mixed_batch()
    rng = Rng(1).at(3)
    h, value, cache = mixed_forward(model, x, t, others, 0.3, rng=rng)
    a, b = (model.loss(x, labels, train=True, rng=rng) for labels in (t, others))
    assert value == pytest.approx(0.3 * a[0] + 0.7 * b[0], rel=1e-12)
    np.testing.assert_array_equal(h, model.features(x))
    parts = [dict(leaves(model.backward(c, w))) for (_, c), w in ((a, 0.3), (b, 0.7))]
    for name, g in leaves(mixed_backward(model, cache)):
        dense = [p[name].to_dense() if isinstance(p[name], SparseRows) else p[name] for p in parts]
        got = g.to_dense() if isinstance(g, SparseRows) else g
        np.testing.assert_allclose(got, dense[0] + dense[1], rtol=1e-11, atol=1e-13, err_msg=name)


# ---------------------------------------------------------------- runs
VIT = {
    "data": "digits",
    "limit_train": 300,
    "limit_test": 100,
    "model": "vit",
    "model_opts": {"patch": 4, "dim": 8, "depth": 2, "heads": 2, "mlp": 8, "dropout": 0.1, "drop_path": 0.1},
    "epochs": 2,
    "batch_size": 64,
    "lr": 0.01,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "schedule_opts": {"warmup": 3},
    "log_every": 2,
}


def begin(path, stop_after=None, **changes):
    session = prepare(TrainConfig(**{**VIT, **changes}))
    run = RunDirectory.plan(session.config, session.dataset.name, str(path))
    trainer = Trainer(session, run, Progress(session.config.epochs, quiet=True), stop_after=stop_after)
    run.describe(session.config, session.dataset, session.train.normalize, session.backend)
    return trainer


@pytest.mark.parametrize("attention", ["softmax", "gumbel_softmax"])
def test_a_mixed_run_of_a_transformer_resumes_bit_for_bit(tmp_path, attention):
    options = {"mixup": 0.8, "cutmix": 1.0, "model_opts": VIT["model_opts"] | {"attention": attention}}
    whole = begin(tmp_path / "whole", **options)
    whole.fit()
    begin(tmp_path / "halves", stop_after=1, **options).fit()
    run = RunDirectory.existing(tmp_path / "halves")
    second = Trainer(prepare(TrainConfig.load(run.config_file)), run, Progress(2, quiet=True))
    second.resume()
    second.fit()
    a, b = (load_arrays(t.run.checkpoint_file("last")) for t in (whole, second))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_training_accuracy_counts_the_label_of_the_larger_part(tmp_path):
    """A run that cannot learn (learning rate 1e-9) predicts one class: its accuracy is that label's share."""
    trainer = begin(tmp_path / "run", mixup=1.0, lr=1e-9, epochs=1, model="mlp", model_opts={}, val_split=0.0)
    trainer.fit()
    with open(trainer.run.metrics_file) as file:
        (row,) = csv.DictReader(file)
    expected, session = 0, trainer.session
    for step, (x, t, _) in enumerate(session.train.epoch(0)):
        mixed = mix(x, session.rng.child("mixing").at(step), mixup=1.0)
        larger = t if mixed.weight >= 0.5 else t[mixed.partners]
        expected += (session.model.predict(mixed.images)[:, 0] == larger).sum()
    assert float(row["train_accuracy"]) == pytest.approx(expected / 300, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"), [({"mixup": -0.1}, "--mixup is -0.1"), ({"cutmix": np.inf}, "--cutmix")]
)
def test_alphas_that_are_none(options, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**options)


# ---------------------------------------------------------------- what decays
def decayed(decay, model, **opts):
    """Names of the parameters that a step without gradient makes smaller, and of all."""
    built = build_model(model, model_opts=opts)
    replace_leaves(built.params, lambda _, p: np.ones_like(p))
    optimizer = make_optimizer(TrainConfig(optimizer="adamw", weight_decay=0.1, decay=decay), built)
    optimizer.step(built.params, tree_map(np.zeros_like, built.params), lr=0.1)
    names = {name: bool((p < 1).all()) for name, p in leaves(built.params)}
    return {name for name, smaller in names.items() if smaller}, set(names)


SMALL = {"dim": 6, "heads": 2, "depth": 1, "mlp": 5}


def test_a_transformer_decays_its_weights_alone():
    found, names = decayed("auto", "vit", **SMALL)
    assert found == {name for name in names if name.endswith(".w")}
    assert {"trunk.positions.position", "trunk.class_token.token", "head.b", "trunk.norm.gamma"} <= names - found
    assert decayed("weights", "vit", **SMALL)[0] == found
    everything, names = decayed("all", "vit", **SMALL)
    assert everything == names


def test_other_networks_decay_everything_unless_they_are_told():
    found, names = decayed("auto", "resnet9", widths=(2, 2, 2, 2))
    assert found == names
    found, names = decayed("weights", "resnet9", widths=(2, 2, 2, 2))
    assert found == {name for name in names if name.endswith(".w")}
    assert undecayed("weights", build_model("mlp")) == ("b",)


def test_a_decay_that_there_is_not():
    with pytest.raises(InputError, match="Did you mean 'weights'"):
        TrainConfig(decay="weight")
