"""What some heads add to summary.json: predictions without noise, and the loss of a cross entropy of probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from resuming import begin

from npsoftmax.training import finish_run, load_run
from npsoftmax.training.evaluate import metrics_of, predict_all

pytestmark = pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning")

IMAGES = 300  # of the test set: two batches, the second one smaller
NOISY = {"tau": 2.0, "eval_noise": True}


def finished(path, **changes):
    trainer = begin(path, epochs=2, limit_test=IMAGES, **changes)
    return finish_run(trainer.session, trainer.run, trainer.fit())


@pytest.mark.parametrize(
    ("head", "options"),
    [("gumbel_softmax", NOISY), ("legacy_nll_on_probabilities", NOISY | {"noise": "normal"})],
)
def test_predictions_without_noise_are_those_of_the_same_parameters_in_a_head_without(tmp_path, head, options):
    summary = finished(tmp_path / "run", head=head, head_opts=options)
    quiet = load_run(tmp_path / "run", head_opts=options | {"eval_noise": False})
    expected = metrics_of(quiet.model, predict_all(quiet.model, quiet.test, quiet.backend, quiet.rng))
    assert summary["test_without_noise"] == expected
    assert summary["test"] != expected
    assert list(summary)[-3:] == ["test", "test_without_noise", "validation"]


def test_the_loss_of_a_double_softmax_is_taken_apart(tmp_path):
    """Each figure found again in doubles, from the scores of all test images at once."""
    summary = finished(tmp_path / "run", head="legacy_double_softmax")
    session = load_run(tmp_path / "run")
    x, t = session.test.normalize.apply(session.test.x), session.test.y
    e = np.exp(session.model.head.scores(session.model.features(x))[0].astype(np.float64))
    p = e / e.sum(axis=1, keepdims=True)
    lse, right = np.log(np.exp(p).sum(axis=1)).mean(), (p.argmax(axis=1) == t).mean()
    expected = {
        "loss": lse - p[np.arange(IMAGES), t].mean(),
        "mean_lse": lse,
        "mean_p_target": p[np.arange(IMAGES), t].mean(),
        "mean_max_p": p.max(axis=1).mean(),
        "if_saturated": math.log(math.e + 9) - right,
        "accuracy": right,
    }
    assert list(summary["double_normalisation"]) == list(expected)
    assert summary["double_normalisation"] == pytest.approx(expected, rel=1e-6)
    assert right == summary["test"]["accuracy"] and "test_without_noise" not in summary


def test_a_head_that_does_both_tells_both_and_the_others_neither(tmp_path):
    added = {"test_without_noise", "double_normalisation"}
    plain = finished(tmp_path / "plain")
    assert not added & set(plain)
    assert set(finished(tmp_path / "both", head="legacy_double_gumbel")) == set(plain) | added
