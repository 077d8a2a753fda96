"""The published mistakes, each shown by a few numbers in a few seconds: the small half of docs/what-went-wrong.md.

python examples/what_went_wrong.py
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npsoftmax.functional import softmax, taylor
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.heads.base import Head
from npsoftmax.metrics import confusion_matrix
from npsoftmax.params import leaves
from npsoftmax.random import Rng

C, N = 100, 128
Numbers = Iterator[tuple[str, float]]


def head(name: str, features: int = C, **options: Any) -> Head:
    """A head of C classes."""
    return HEADS[name](features, ClassInfo(C), rng=Rng(0), **options)


def of_scores(name: str, **options: Any) -> Head:
    """A head whose features are the scores themselves."""
    return head(name, linear=False, **options)


def said(truth: np.ndarray, sure: float) -> np.ndarray:
    """Scores (n, C) that give one class `sure` more than all others: the one named."""
    return sure * np.eye(C)[truth]


def gradients(one: Head, h: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, Any]:
    """Of the mean loss: in the features, and in the parameters."""
    return one.backward(one.loss(h, truth)[1])


def largest_gradient(one: Head, scores: np.ndarray, truth: np.ndarray) -> float:
    """Of the loss of one sample in any of its scores."""
    return len(truth) * float(np.abs(gradients(one, scores, truth)[0]).max())


def never_trained(one: Head, h: np.ndarray, truth: np.ndarray) -> float:
    """How many nodes get no gradient at all."""
    return float((~gradients(one, h, truth)[1]["w"].any(axis=1)).sum())


# ---------------------------------------------------------------- wirings
def double_softmax() -> Numbers:
    """A cross entropy that applies log-softmax, given a softmax."""
    right, double = of_scores("softmax"), of_scores("legacy_double_softmax")
    truth = np.arange(N) % C
    other = (truth + 1) % C
    yield "loss when every answer is right and sure", double.loss(said(truth, 60), truth)[0]
    yield "loss when every answer is wrong and sure", double.loss(said(other, 60), truth)[0]
    half = np.where(np.arange(N) < N // 2, truth, other)
    yield "loss when half are right: 4.6222 - 0.5", double.loss(said(half, 60), truth)[0]
    start = np.zeros((N, C))
    shrunk = largest_gradient(right, start, truth) / largest_gradient(double, start, truth)
    yield "gradient at the start, times smaller than the cross entropy's", shrunk
    yield "largest gradient of a sure mistake, cross entropy", largest_gradient(right, said(other, 60), truth)
    yield "largest gradient of a sure mistake, softmax twice", largest_gradient(double, said(other, 60), truth)


def probabilities_for_logarithms() -> Numbers:
    """NLL, which wants log-probabilities, given probabilities."""
    wrong, truth = of_scores("legacy_nll_on_probabilities"), np.arange(N) % C
    yield "loss when every answer is right and sure", wrong.loss(said(truth, 60), truth)[0]
    yield "largest gradient at the start (cross entropy: 0.99)", largest_gradient(wrong, np.zeros((N, C)), truth)
    sure = said((truth + 1) % C, 60)
    yield "largest gradient of a sure mistake (cross entropy: 1)", largest_gradient(wrong, sure, truth)


def taylor_shares_of_the_batch() -> Numbers:
    """Taylor's shares, normalised over all N C scores of the batch."""
    wrong, truth = of_scores("legacy_taylor_unlogged"), np.arange(N) % C
    yield "loss at the start, ln 100", wrong.loss(np.zeros((N, C)), truth)[0]
    yield "loss when every answer is right and sure", wrong.loss(said(truth, 1e4), truth)[0]
    scores = np.random.default_rng(0).standard_normal((N, C))
    shares = taylor.taylor_softmax_forward(scores.reshape(1, -1), order=2)[0].reshape(N, C)
    rows = taylor.taylor_softmax_forward(scores, order=2)[0]
    logged = softmax.softmax_forward(np.log(shares))[0]
    yield "with the logarithm the batch's constant cancels: largest difference", np.abs(logged - rows).max()


def softmax_over_the_batch() -> Numbers:
    """Softmax along the wrong axis."""
    wrong, truth = of_scores("legacy_batch_axis_softmax"), np.arange(N) % C
    scores = said(truth, 10)
    log_p = wrong.log_prob(scores)[np.arange(N), truth]
    yield "loss of a right, sure answer, the only one of its class among 128", -log_p[truth >= N - C].mean()
    yield "the same where there is another of its class", -log_p[truth < N - C].mean()
    yield "loss of the same answer alone, ln 100", wrong.loss(scores[:1], truth[:1])[0]
    biased = head("legacy_batch_axis_softmax", 8)
    h = np.random.default_rng(0).standard_normal((N, 8))
    yield "largest gradient of a bias", np.abs(gradients(biased, h, truth)[1]["b"]).max()


def leaves_without_a_class() -> Numbers:
    """128 leaves for 100 classes."""
    wrong, h = head("legacy_heap128", 8, init="zeros"), np.random.default_rng(0).standard_normal((C, 8))
    yield "probability of all classes together at the start", float(np.exp(wrong.log_prob(h[:1])).sum())
    yield "loss at the start, ln 128 for ln 100 = 4.605", wrong.loss(h, np.arange(C))[0]
    yield "nodes of 127 that never train", never_trained(wrong, h, np.arange(C))


def missing_decision() -> Numbers:
    """A tree whose loss leaves out the last decision."""
    wrong = head("legacy_hierarchical_missing_step", 50, init="zeros")
    h = np.abs(np.random.default_rng(0).standard_normal((300, 50)))
    truth = np.arange(300) % C
    yield "nodes of 99 that never train", never_trained(wrong, h, truth)
    children = wrong.buffers["children"]
    alone = (children >= len(children)).sum(axis=1) == 1  # nodes above one leaf and one inner node
    lost = children[alone].max(axis=1) - len(children)
    yield "classes whose own decision only ever trains away from them", float(len(lost))
    wrong.params["w"] -= gradients(wrong, h, truth)[1]["w"]
    later = wrong.predict(np.abs(np.random.default_rng(1).standard_normal((20_000, 50))))
    yield "of 20,000 predictions after one step, those that name one of them", float(np.isin(later, lost).sum())


def untrained_head() -> Numbers:
    """Adaptive softmax, its parameters not given to the optimiser."""
    wrong, right = head("legacy_adaptive_untrained"), head("adaptive")
    h, truth = np.random.default_rng(0).standard_normal((N, C)), np.arange(N) % C
    for name, one in (("as published", wrong), ("as it should be", right)):
        grads = leaves(gradients(one, h, truth)[1])
        trained = sum(np.count_nonzero(getattr(g, "values", g)) for _, g in grads)
        yield f"parameters of the head that get a gradient, {name}", float(trained)


# ---------------------------------------------------------------- noise, evaluation, arithmetic
def noise_in_evaluation() -> Numbers:
    """Predictions of noisy scores."""
    rng, n = np.random.default_rng(0), 20_000
    truth = rng.integers(0, C, n)
    scores = rng.standard_normal((n, C))
    scores[np.arange(n), truth] += 4.0
    p = softmax.softmax_forward(scores)[0]
    yield "accuracy % without noise", 100 * (scores.argmax(axis=1) == truth).mean()
    yield "mean probability of the truth, %", 100 * p[np.arange(n), truth].mean()
    for tau in (1.0, 5.0):
        noisy = of_scores("log_gumbel_softmax", tau=tau, eval_noise=True).predict(scores, rng=Rng(1, "noise").at(0))
        yield f"accuracy % with Gumbel noise, tau {tau:g}", 100 * (noisy[:, 0] == truth).mean()


def softmax_plus_noise() -> Numbers:
    """log(softmax(z) + g), and the gradient that keeps a diagonal."""
    rng = np.random.default_rng(0)
    z, g = rng.standard_normal((N, C)), rng.gumbel(size=(N, C))
    yield "share of softmax(z) + g that has no logarithm", float((softmax.softmax_forward(z)[0] + g < 0).mean())
    p = softmax.softmax_forward(z + g)[0]
    truth = np.arange(N) % C
    right = p - np.eye(C)[truth]
    diagonal = np.zeros_like(p)
    rows = np.arange(N)
    diagonal[rows, truth] = -(1 - p[rows, truth])  # d(-log p_y)/dz_y alone
    gap = np.linalg.norm(diagonal - right, axis=1) / np.linalg.norm(right, axis=1)
    yield "relative error of the gradient that keeps the diagonal only", gap.mean()


def logarithms() -> Numbers:
    """The printed example."""
    for z, value in zip((8, 7, 1), softmax.log_softmax_forward(np.array([[8.0, 7.0, 1.0]]))[0][0], strict=True):
        yield f"log softmax of [8, 7, 1] at {z}", value


def mixed_confusion_matrices() -> Numbers:
    """One matrix that two models are counted into."""
    truth = np.arange(1000) % C
    good, bad = np.where(np.arange(1000) < 600, truth, (truth + 1) % C), np.where(truth < 13, truth, 0)
    first, second = (confusion_matrix(truth, labels, C) for labels in (good, bad))
    for name, matrix in (("first model", first), ("second model", second), ("second, counted on", first + second)):
        yield f"accuracy % by the matrix of the {name}", 100 * np.trace(matrix) / matrix.sum()


def sink_that_was_not_shifted() -> Numbers:
    """Where all 100 scores are low, and where one is sure: a sink, and one beside shifted scores."""
    low, truth = np.full((1, C), -50.0), np.zeros(1, int)
    for name in ("sink", "legacy_softmax1_unshifted"):
        one = of_scores(name)
        yield f"p of none, all scores -50, {name}", 1 - np.exp(one.log_prob(low)).sum()
        yield f"loss of a right and sure answer, {name}", float(one.loss(said(truth, 50.0), truth)[0])


CHECKS: tuple[tuple[str, Callable[[], Numbers]], ...] = (
    ("Softmax applied twice", double_softmax),
    ("Probabilities where logarithms are wanted", probabilities_for_logarithms),
    ("Taylor-softmax, shares of the whole batch", taylor_shares_of_the_batch),
    ("Softmax over the batch", softmax_over_the_batch),
    ("128 leaves for 100 classes", leaves_without_a_class),
    ("The last decision is missing", missing_decision),
    ("A head that is not trained", untrained_head),
    ("Noise in evaluation", noise_in_evaluation),
    ("Softmax plus noise", softmax_plus_noise),
    ("Logarithms of [8, 7, 1]", logarithms),
    ("A confusion matrix of two models", mixed_confusion_matrices),
    ("A sink that was not shifted", sink_that_was_not_shifted),
)


def main() -> int:
    """Print all numbers."""
    warnings.simplefilter("ignore")  # the heads here are the wrong ones on purpose
    for title, check in CHECKS:
        print(f"\n{title}")
        for what, value in check():
            print(f"  {value:12.6g}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
