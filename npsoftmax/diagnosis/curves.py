"""What a curve shows: losses and accuracies of epochs, or of steps.

Design: a curve is a handful of means, so nearly all that it shows is only possible, and the report says what to
bring. One relation is an equation: of softmax applied twice, once it is saturated, loss + accuracy = ln(e + C - 1) in
every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npsoftmax.diagnosis.findings import BATCH, SNAPSHOTS, Diagnosis, Finding

LEAST_ROWS, LEAST_SPREAD, MOST_GAP = 4, 0.05, 0.003  # of the relation that proves a double softmax
LEAST_CLASSES = 10  # with fewer, an ordinary curve may pass the relation by
LEAST_STEADY, UNSTEADY, MOST_JUMP = 8, 8.0, 0.03  # rows; validation beside training; share of the loss
STEEP = 2.0  # what a right cross entropy, as high as that, falls by and more while the accuracy rises by 1


@dataclass(frozen=True)
class Curve:
    """Losses and accuracies (0 to 1) of one split, NaN where there is none. split: "training" or "validation"."""

    split: str
    loss: np.ndarray
    accuracy: np.ndarray

    def both(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses and accuracies of the rows that have both."""
        known = np.isfinite(self.loss) & np.isfinite(self.accuracy)
        return self.loss[known], self.accuracy[known]


def examine_curve(curves: Sequence[Curve], classes: int | None) -> Diagnosis:
    """What losses and accuracies show; classes: C, without which only signs and bounds can be looked at."""
    facts, found, looked_for = [], [], set()
    for curve in curves:
        loss, accuracy = curve.both()
        known = curve.loss[np.isfinite(curve.loss)]
        facts.append(_described(curve, known, accuracy))
        found += _negative(curve, known)
        if classes is not None and len(loss):
            looked_for |= {"double_softmax"} if classes >= LEAST_CLASSES else set()
            found += _relation(curve, loss, accuracy, classes) or _flat(curve, known, accuracy, classes)
            found += _too_low(curve, loss, accuracy)
    found += _unsteady(curves)
    if classes is None:
        facts.append("The number of classes is not known; with --classes C the losses can be held against ln C.")
    return Diagnosis(tuple(facts), tuple(found), frozenset(looked_for))


def _described(curve: Curve, loss: np.ndarray, accuracy: np.ndarray) -> str:
    text = f"{curve.split.capitalize()}: {len(loss)} losses" + (
        f", {loss[0]:.4f} to {loss[-1]:.4f}" if len(loss) else ""
    )
    return text + (
        f"; accuracy {accuracy[0]:.2%} to {accuracy[-1]:.2%}." if len(accuracy) else "; no accuracy beside it."
    )


def _possible(wiring: str, curve: Curve, text: str, bring: str = BATCH) -> Finding:
    return Finding(wiring, False, f"In {curve.split} {text}", bring)


def _negative(curve: Curve, loss: np.ndarray) -> list[Finding]:
    if not len(loss) or loss.min() >= 0:
        return []
    fact = f"the loss falls to {loss.min():.4f}, and minus the logarithm of a probability is never negative"
    if loss.min() >= -1:
        return [_possible("probabilities_for_logarithms", curve, f"{fact}, but minus a probability is, down to -1.")]
    return [_possible("scores_for_logarithms", curve, f"{fact}; minus a score may be anything.")]


def _relation(curve: Curve, loss: np.ndarray, accuracy: np.ndarray, classes: int) -> list[Finding]:
    """loss + accuracy = ln(e + C - 1)."""
    top = math.log(math.e + classes - 1)
    both, spread = loss + accuracy, float(np.ptp(accuracy))
    inside = (loss > top - 1 - 1e-3).all() and (loss < top + 1e-3).all()
    if len(loss) >= LEAST_ROWS and spread >= LEAST_SPREAD and np.abs(both - top).max() <= MOST_GAP:
        proved = classes >= LEAST_CLASSES
        evidence = (
            f"In {curve.split} loss + accuracy is {both.min():.4f} to {both.max():.4f} in all {len(loss)} rows, while "
            f"the accuracy moves by {spread:.1%}. ln(e + {classes - 1}) = {top:.4f}: that is the cross entropy of "
            "outputs that are 0 and 1 already."
        )
        return [Finding("double_softmax", proved, evidence, "" if proved else BATCH)]
    fallen, gained = loss[0] - loss.min(), accuracy.max() - accuracy[0]
    if inside and len(loss) > 2 and gained >= 0.02 and fallen <= STEEP * gained:
        text = (
            f"all losses lie within [{top - 1:.4f}, {top:.4f}], ln(e + {classes - 1}) - 1 and 1 more, and fell by "
            f"{fallen:.4f} only while the accuracy rose by {gained:.1%}."
        )
        return [_possible("double_softmax", curve, text)]
    return []


def _flat(curve: Curve, loss: np.ndarray, accuracy: np.ndarray, classes: int) -> list[Finding]:
    """A loss that stays at ln C, or an accuracy that stays at 1/C while the loss falls."""
    if len(loss) < 3:
        return []
    chance, level = 1 / classes, math.log(classes)
    at_chance = accuracy.max() <= 2 * chance
    if np.abs(loss - level).max() <= 0.01:
        text = (
            f"the loss stays at ln {classes} = {level:.4f} ({loss.min():.4f} to {loss.max():.4f}): nothing is learned."
        )
        return [
            _possible("untrained_parameters", curve, text, SNAPSHOTS),
            _possible("batch_shares", curve, text),
        ]
    if at_chance and classes > 4 and loss[0] - loss.min() >= 0.1:
        text = (
            f"the loss falls from {loss[0]:.4f} to {loss.min():.4f}, and the accuracy stays at chance "
            f"({accuracy.max():.2%}; 1/C is {chance:.2%}): the loss may train one thing and the prediction read "
            "another."
        )
        return [
            _possible("untrained_parameters", curve, text, SNAPSHOTS),
            _possible("batch_axis", curve, text, "a batch of at least 2: outputs, labels, loss"),
        ]
    leaves = 2 ** (classes - 1).bit_length()
    if leaves != classes and abs(loss[0] - math.log(leaves)) <= 0.01:
        text = (
            f"the loss begins at {loss[0]:.4f}, which is ln {leaves} = {math.log(leaves):.4f} and not "
            f"ln {classes} = {level:.4f}."
        )
        return [_possible("leaked_mass", curve, text)]
    return []


def _too_low(curve: Curve, loss: np.ndarray, accuracy: np.ndarray) -> list[Finding]:
    """A wrong prediction has p of the target <= 1/2, so -mean log p >= (1 - accuracy) · ln 2."""
    least = (1 - accuracy) * math.log(2)
    low = (loss >= 0) & (loss < least - 1e-3)
    if not low.any():
        return []
    row = int(low.argmax())
    text = (
        f"a loss of {loss[row]:.4f} stands beside an accuracy of {accuracy[row]:.2%}, but -mean log p is then at least "
        f"{least[row]:.4f}: the loss is no likelihood (a hinge, say), or a part of the path to the class is not in it."
    )
    return [_possible("missing_decision", curve, text)]


def _unsteady(curves: Sequence[Curve]) -> list[Finding]:
    """A loss of validation that jumps about its course, while that of training does not."""
    if len(curves) < 2:
        return []
    jumps = [curve.loss[np.isfinite(curve.loss)] for curve in curves]
    if min(map(len, jumps)) < LEAST_STEADY:
        return []
    trained, validated = (float(np.sqrt(np.mean(np.diff(loss, 2) ** 2))) for loss in jumps)
    if validated < UNSTEADY * trained or validated < MOST_JUMP * abs(float(np.median(jumps[1]))):
        return []
    text = (
        f"the loss jumps about its course by {validated:.4f}, that of training by {trained:.4f} (second differences). "
        "A high rate does that too, and a small validation set."
    )
    return [
        _possible("noise_in_evaluation", curves[1], text, "the outputs of one batch, evaluated twice: outputs, again")
    ]


def curves_of(columns: Mapping[str, np.ndarray]) -> list[Curve]:
    """The curves in columns loss, accuracy, val_loss, val_accuracy, of which some may be missing."""
    found = []
    for split, before in (("training", ""), ("validation", "val_")):
        loss, accuracy = columns.get(f"{before}loss"), columns.get(f"{before}accuracy")
        if loss is not None and np.isfinite(loss).any():
            nothing = np.full(len(loss), math.nan)
            found.append(Curve(split, loss, nothing if accuracy is None else accuracy))
    return found
