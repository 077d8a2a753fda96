"""`doctor` on one batch: every published miswiring is named, no right head ever is, whatever the loss was."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npsoftmax import HEADS, ClassInfo, InputError, Rng, doctor
from npsoftmax.functional.softmax import softmax_forward
from npsoftmax.functional.taylor import taylor_softmax_forward
from npsoftmax.params import leaves
from npsoftmax.training.optimizers import Adam

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::npsoftmax.heads.LegacyWiringWarning"),
]

# What is wrong with each. Of the last one a batch shows nothing: its loss and probabilities are those of a right head.
WRONG = {
    "legacy_double_softmax": "double_softmax",
    "legacy_double_gumbel": "double_softmax",
    "legacy_nll_on_probabilities": "probabilities_for_logarithms",
    "legacy_taylor_unlogged": "batch_shares",
    "legacy_batch_axis_softmax": "batch_axis",
    "legacy_heap128": "leaked_mass",
    "legacy_hierarchical_missing_step": "missing_decision",
    "legacy_softmax1_unshifted": "unshifted_softmax1",
    "legacy_adaptive_untrained": None,
}
RIGHT = [name for name, head in HEADS.items() if not head.legacy]
OPTIONS = {
    "softmax": [{}, {"label_smoothing": 0.1}, {"label_smoothing": 0.03}, {"temperature": 2.0}, {"linear": False}],
    "cosine": [{}, {"scale": 1.0}],
}


class Case:
    """A head, a batch of features and labels, and what a user would bring of it."""

    def __init__(self, name, classes, n, scale, seed=0, /, **options):
        rng = np.random.default_rng(seed)
        d = classes if options.get("linear") is False or name == "legacy_adaptive_untrained" else 8
        if name == "legacy_adaptive_untrained":
            options["cutoffs"] = (max(classes // 10, 1), max(classes * 9 // 10, 2))
        self.head = HEADS[name](d, ClassInfo(classes, np.arange(1, classes + 1)), rng=Rng(seed), **options)
        self.h = (rng.normal(size=(n, d)) * scale).astype(np.float32)
        self.t = rng.integers(0, classes, n)
        self.rng = Rng(5).at(1)
        self.weights = rng.uniform(0.2, 3, n)

    def loss(self, train=False):
        return float(self.head.loss(self.h, self.t, train=train, rng=self.rng)[0])

    def given_to_the_loss(self):
        """What the outputs of the network are, where somebody has joined it with a loss by hand."""
        log_p = self.head.log_prob(self.h, rng=self.rng)
        if hasattr(self.head, "outputs"):
            return self.head.outputs(self.head.scores(self.h)[0], False, self.rng)[0]
        return np.exp(log_p) if type(self.head).__name__ == "LegacyNLLOnProbabilitiesHead" else log_p

    def right(self):
        """Outputs as scores, probabilities or their logarithms, each with losses that a right program may report."""
        log_p = self.head.log_prob(self.h, rng=self.rng)
        n, every = len(self.t), np.arange(len(self.t))
        forms = [log_p, np.exp(log_p)] + ([self.head.scores(self.h)[0]] if hasattr(self.head, "scores") else [])
        other = self.t[::-1]  # mixup
        q = np.zeros(log_p.shape)
        q[every, self.t] += 0.3
        q[every, other] += 0.7
        ce = -log_p[every, self.t]
        mixed = float((0.3 * ce - 0.7 * log_p[every, other]).mean())
        weighted = float((self.weights * ce).mean())
        normalised = float((self.weights * ce).sum() / self.weights.sum())
        losses = [(self.loss(), self.t), (self.loss(True), self.t)]
        if self.head.distribution:  # else these are no right losses of it
            losses += [(weighted, self.t), (normalised, self.t), (mixed, self.t), (mixed, q), (ce, self.t)]
        losses += [(None, self.t), (round(self.loss(), 4), self.t)]
        for outputs in forms:
            for loss, labels in losses:
                if loss is None or np.isfinite(loss).all():
                    yield outputs, labels, loss, n


def accused(name, classes, n, scale, seed=0, /, **options):
    """The wirings that are named of a right head, with what was brought."""
    case = Case(name, classes, n, scale, seed, **options)
    found = []
    for outputs, labels, loss, _ in case.right():
        told = doctor(outputs, labels, loss, again=outputs, all_classes=case.head.distribution)
        found += [(wiring, classes, n, scale, loss) for wiring in told.named]
    return found


# ---------------------------------------------------------------- what is wrong is named
@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if head.legacy])
@pytest.mark.parametrize("scale", [0.5, 3, 30])
def test_every_published_miswiring_is_named_from_its_outputs_and_its_loss(name, scale):
    for classes, n in ((100, 64), (10, 5)):
        case = Case(name, classes, n, scale)
        found = doctor(case.given_to_the_loss(), case.t, case.loss(), all_classes=True)
        assert found.named == (() if WRONG[name] is None else (WRONG[name],))
        assert str(found).count("PROVED") == len(found.named)


def test_the_evidence_is_the_numbers_themselves():
    case = Case("legacy_double_softmax", 100, 64, 3)
    (finding,) = doctor(case.given_to_the_loss(), case.t, case.loss()).findings
    bottom = math.log(math.e + 99) - 1
    assert f"{case.loss():.6g}" in finding.evidence and f"[{bottom:.4f}, {bottom + 1:.4f}]" in finding.evidence


def by_hand(rng, n=32, classes=20):
    z = rng.normal(size=(n, classes)) * 2
    y = rng.integers(0, classes, n)
    return z, y, np.arange(n)


def cross_entropies(z, y):
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]


SCORES = {  # scores are brought: what was done to them before the loss, one number a sample
    "double_softmax": lambda z, y: cross_entropies(softmax_forward(z)[0], y),
    "probabilities_for_logarithms": lambda z, y: -softmax_forward(z)[0][np.arange(len(y)), y],
    "scores_for_logarithms": lambda z, y: -z[np.arange(len(y)), y],
    "batch_axis": lambda z, y: cross_entropies(softmax_forward(z.T)[0].T, y),
    "batch_shares": lambda z, y: cross_entropies(taylor_softmax_forward(z.reshape(1, -1))[0].reshape(z.shape), y),
    "unshifted_softmax1": lambda z, y: -np.log(unshifted_softmax1(z)[np.arange(len(y)), y]),
}


def unshifted_softmax1(z):
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    return shifted / (1 + shifted.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("wiring", SCORES)
def test_scores_are_enough_where_the_single_losses_are_known(wiring):
    """Of their mean it is said that it could be: a temperature or a margin might give one number by chance."""
    z, y, _ = by_hand(np.random.default_rng(3))
    losses = SCORES[wiring](z, y)
    assert doctor(z, y, losses).named == (wiring,)
    mean = doctor(z, y, losses.mean())
    assert mean.named == () and mean.possible == (wiring,) and "reduction='none'" in str(mean)


def test_taylor_shares_of_each_row_taken_for_scores_are_normalised_twice():
    z, y, _ = by_hand(np.random.default_rng(4))
    p = taylor_softmax_forward(z)[0]
    assert doctor(p, y, cross_entropies(p, y).mean()).named == ("double_softmax",)
    assert doctor(z, y, cross_entropies(p, y)).named == ("double_softmax",)


def test_missing_mass_is_named_only_of_those_who_have_no_class_beside_the_others():
    case = Case("legacy_heap128", 100, 64, 1)
    told = doctor(case.given_to_the_loss(), case.t, case.loss())
    assert told.named == () and told.possible == ("leaked_mass",) and "--all-classes" in str(told)


def test_a_right_softmax1_is_not_taken_for_the_unshifted_one():
    z, y, every = by_hand(np.random.default_rng(5))
    shifted = np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True))
    for p, named in ((shifted, ()), (unshifted_softmax1(z), ("unshifted_softmax1",))):
        for outputs in (p, np.log(p)):
            assert doctor(outputs, y, -np.log(p[every, y]).mean()).named == named
            assert doctor(outputs, y).named == named


def test_two_evaluations_that_differ_prove_noise_and_rounding_does_not():
    case = Case("legacy_double_gumbel", 100, 64, 1)
    first, second = (case.head.outputs(case.head.scores(case.h)[0], False, Rng(5).at(step))[0] for step in (1, 2))
    assert doctor(first, case.t, again=second).named == ("noise_in_evaluation",)
    assert doctor(first, case.t, again=first * np.float32(1 + 1e-6)).named == ()
    assert doctor(first, case.t, again=first).named == ()


def test_outputs_that_are_all_alike_name_nothing_and_say_so():
    """At zero weights a softmax and two of them have the same loss."""
    y = np.arange(10)
    told = doctor(np.full((10, 10), 0.1), y, math.log(10))
    assert told.findings == () and "bring a later batch" in str(told)


def test_log_probabilities_of_a_softmax_of_a_softmax_only_could_be_that():
    case = Case("legacy_double_softmax", 100, 64, 30)
    told = doctor(case.head.log_prob(case.h), case.t, case.loss())
    assert told.named == () and told.possible == ("double_softmax",)


def test_a_loss_of_few_digits_proves_nothing():
    case = Case("legacy_double_softmax", 100, 64, 3)
    told = doctor(case.given_to_the_loss(), case.t, round(case.loss(), 2))
    assert told.named == () and told.possible == ("double_softmax",)
    assert doctor(case.given_to_the_loss(), case.t, round(case.loss(), 4)).named == ("double_softmax",)


# ---------------------------------------------------------------- what is right is not
@pytest.mark.parametrize("name", RIGHT)
def test_no_right_head_is_accused(name):
    assert [found for n in (2, 10) for scale in (0, 3) for found in accused(name, 10, n, scale)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_no_right_head_is_accused_at_any_size_and_stage(name):
    found = []
    for classes in (2, 3, 10, 100, 256):
        for n in (1, 2, classes, 64):
            for scale in (0, 1e-3, 1, 30):
                for options in OPTIONS.get(name, [{}]):
                    found += accused(name, classes, n, scale, **options)
    assert found == []


class Trained(Case):
    """A head that learns to tell clusters of points; `steps` at a time, with a batch that it has not seen."""

    def __init__(self, name, classes, **options):
        super().__init__(name, classes, 4 * classes, 1, **options)
        self.step, self.means = 0, np.random.default_rng(1).normal(size=(classes, self.h.shape[1])) * 2
        self.optimizer = Adam(self.head.params)
        self.h, self.t = self.drawn(10**6)

    def drawn(self, seed):
        rng = np.random.default_rng(seed)
        t = np.arange(4 * len(self.means)) % len(self.means)
        return (self.means[t] + rng.normal(size=(len(t), self.means.shape[1]))).astype(np.float32), t

    def train(self, steps):
        """Losses and accuracies of the steps."""
        curve = {"loss": [], "accuracy": []}
        for _ in range(steps):
            h, t = self.drawn(self.step)
            rng = Rng(0).at(self.step)
            loss, cache = self.head.loss(h, t, train=True, rng=rng)
            self.optimizer.step(self.head.params, self.head.backward(cache)[1], lr=0.02)
            curve["loss"].append(float(loss))
            curve["accuracy"].append(float((self.head.predict(h, rng=rng)[:, 0] == t).mean()))
            self.step += 1
        return curve


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("classes", [5, 40])
def test_no_right_head_is_accused_while_it_is_trained(name, classes):
    case, found, curve = Trained(name, classes), [], {"loss": [], "accuracy": []}
    for steps in (0, 5, 50, 300):
        before = {key: array.copy() for key, array in leaves(case.head.params)}
        seen = case.train(steps)
        curve = {key: curve[key] + seen[key] for key in curve}
        for outputs, labels, loss, _ in case.right():
            found += doctor(outputs, labels, loss, again=outputs, all_classes=case.head.distribution).named
        if steps:
            found += doctor(before=before, after=dict(leaves(case.head.params))).named
            found += doctor(curve=curve, classes=classes).named
    assert found == []
    assert np.mean(curve["accuracy"][-20:]) > 3 / classes or name in ("hinge", "ordinal")  # the classes have no order


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WRONG if WRONG[name]])
def test_every_miswiring_is_named_while_it_is_trained(name):
    case = Trained(name, 40)
    for steps in (0, 5, 50, 300 if name != "legacy_heap128" else 0):  # by then training has taken the leak back
        case.train(steps)
        found = doctor(case.given_to_the_loss(), case.t, case.loss(), all_classes=True)
        assert found.named == (WRONG[name],), steps


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((np.zeros((2, 3, 4)), [0, 1], 1.0), r"outputs have shape \(2, 3, 4\), but \(N, C\).*np.moveaxis"),
        ((np.zeros(4), [0, 1], 1.0), r"For one score of two classes, type np.stack"),
        ((np.full((2, 3), np.nan), [0, 1], 1.0), "NaN"),
        ((np.zeros((2, 3)), [0, 3], 1.0), "labels run from 0 to 3"),
        ((np.zeros((2, 3)), [0.0, 1.0], 1.0), "labels are float64"),
        ((np.zeros((2, 3)), [0, 1], np.zeros(5)), r"loss has shape \(5,\).*reduction='none'"),
        ((np.zeros((2, 3)), [0, 1], math.nan), "loss is not finite"),
        ((np.zeros((2, 3)), None, 1.0), "without labels"),
        ((None, [0, 1], 1.0), "without outputs"),
        ((None, None, None), "nothing to look at"),
        ((np.array([["a"]]), [0], 1.0), "but numbers were expected"),
        ((np.zeros((2, 3)), -np.ones((2, 3)), 1.0), "at least 0"),
    ],
)
def test_what_does_not_fit_is_said(given, says):
    with pytest.raises(InputError, match=says):
        doctor(*given)


def test_the_second_evaluation_has_to_be_of_the_same_samples():
    with pytest.raises(InputError, match="bring the same samples twice"):
        doctor(np.zeros((2, 3)), [0, 1], again=np.zeros((3, 3)))


@pytest.mark.parametrize("empty", [16, 13], ids=["bfloat16", "float16"])
def test_sums_of_16_bits_in_another_order_are_no_noise(empty):
    def narrow(x):  # numbers of 16 bits in float32, as x.float() has them in PyTorch
        return ((x.astype(np.float32).view(np.uint32) >> empty) << empty).view(np.float32)

    rng = np.random.default_rng(0)
    scores, labels = narrow(rng.normal(size=(32, 100))), np.arange(32)
    neighbour = narrow(scores * np.float32(1 + 2.0 ** (empty - 23)))
    assert not np.array_equal(scores, neighbour)
    assert doctor(scores, labels, again=neighbour).named == ()
    dropped = narrow(scores * (rng.random(scores.shape) > 0.1))
    assert doctor(scores, labels, again=dropped).named == ("noise_in_evaluation",)
    sure = np.eye(4)  # 0 and 1 are such numbers in any type
    assert doctor(sure, np.arange(4), again=sure[[0, 1, 3, 2]]).named == ("noise_in_evaluation",)


def test_labels_that_a_loss_ignores_and_rows_without_a_score_are_told():
    scores = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(InputError, match=r"2 of 4 labels are below 0.*outputs\[labels >= 0\]"):
        doctor(scores, [0, -100, 2, -100], 1.0)
    scores[2] = -np.inf
    with pytest.raises(InputError, match="1 rows of outputs"):
        doctor(scores, [0, 1, 2, 0], 1.0)
