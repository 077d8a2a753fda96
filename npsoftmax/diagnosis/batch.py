"""What one batch shows: outputs and labels, the loss that was reported of them, the same batch evaluated again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.diagnosis.findings import Diagnosis, Finding
from npsoftmax.diagnosis.given import LEAST_DIGITS, Batch, as_array, coarseness
from npsoftmax.diagnosis.readings import (
    Reading,
    kind_of,
    right_readings,
    softmax,
    wrong_readings,
)
from npsoftmax.errors import InputError

APART = 1e-3  # of the loss, by which right readings must miss it before a wrong one is named
MOST_ROUNDING = 1e-3  # of the largest output: what two evaluations may differ by on a device that adds in any order
MOST_OF_16_BITS = 0.1  # the same where numbers have 16 bits
SAMPLES_A_CLASS = 10  # from which it is said that a class is never predicted

PER_SAMPLE = "the losses of the single samples (reduction='none', no class weights), with all their digits"
OTHERS = {
    "double_softmax",
    "probabilities_for_logarithms",
    "scores_for_logarithms",
    "unshifted_softmax1",
    "leaked_mass",
    "missing_decision",
}


def examine_batch(
    outputs: Any, labels: Any, loss: Any = None, *, again: Any = None, all_classes: bool = False
) -> Diagnosis:
    """What is wrong with outputs (N, C), labels (N,) or soft targets (N, C), and their loss: () or one a sample (N,).

    again (N, C): outputs of the same samples, evaluated once more. all_classes: whether the C classes are all there is,
    so that their probabilities have to sum to 1. InputError for shapes that do not fit.
    """
    batch = Batch.of(outputs, labels, loss)
    kind = kind_of(batch)
    facts = [_what_they_are(batch, kind), *_never_largest(batch)]
    found = _by_sums(batch, kind)
    looked_for = {"batch_axis"} if len(batch.o) > 1 else set()
    if loss is not None:
        known, fact, by_loss = _by_loss(batch, kind, all_classes)
        looked_for |= (OTHERS | ({"batch_shares"} if len(batch.o) > 1 else set())) if known else set()
        facts.append(fact)
        seen = {finding.wiring for finding in found}
        found += [
            finding
            for finding in by_loss
            if finding.wiring not in seen and not (finding.wiring == "leaked_mass" and "unshifted_softmax1" in seen)
        ]
    if again is not None:
        looked_for.add("noise_in_evaluation")
        fact, noise = _by_repetition(batch, as_array(again, "again"))
        facts.append(fact)
        found += noise
    return Diagnosis(tuple(facts), tuple(found), frozenset(looked_for))


def _could_be(wiring: str, evidence: str, bring: str) -> Finding:
    return Finding(wiring, False, evidence, bring)


# ---------------------------------------------------------------- what the outputs are
def _what_they_are(batch: Batch, kind: str) -> str:
    n, c = batch.o.shape
    rows = batch.o if "log" not in kind else np.exp(batch.o)
    sums = rows.sum(axis=1)
    words = {
        "probabilities": f"each row sums to 1 ({_range(sums)}), so they are probabilities",
        "log-probabilities": f"e to the power of each row sums to 1 ({_range(sums)}), so they are log-probabilities",
        "columns": f"no row, but each column sums to 1 ({_range(rows.sum(axis=0))})",
        "log-columns": f"e to the power of each column sums to 1 ({_range(rows.sum(axis=0))}), of no row",
        "shares": f"no row, but all of them together sum to 1 ({rows.sum():.6f})",
        "parts": f"they lie in [0, 1], and rows sum to less than 1 ({_range(sums)})",
        "log-parts": f"e to the power of each row sums to less than 1 ({_range(sums)})",
        "scores": f"they run from {batch.o.min():.4g} to {batch.o.max():.4g} and sum to nothing in particular: scores",
    }
    return f"Outputs: {n:,} samples of {c:,} classes; {words[kind]}."


def _range(sums: np.ndarray) -> str:
    low, high = f"{sums.min():.6f}", f"{sums.max():.6f}"
    return low if low == high else f"{low} to {high}"


def _never_largest(batch: Batch) -> list[str]:
    if batch.soft:
        return []
    counts = np.bincount(batch.q, minlength=batch.o.shape[1])
    predicted = np.bincount(batch.o.argmax(axis=1), minlength=len(counts))
    never = (counts >= SAMPLES_A_CLASS) & (predicted == 0)
    if not never.any():
        return []
    return [
        f"{never.sum()} classes are never the largest output, though each has at least {SAMPLES_A_CLASS} samples here "
        f"(class {int(never.argmax())} is the first): young networks are like that, and so are unreachable leaves."
    ]


# ---------------------------------------------------------------- what sums alone prove
def _by_sums(batch: Batch, kind: str) -> list[Finding]:
    found = []
    if kind in ("columns", "log-columns"):
        p = batch.o if kind == "columns" else np.exp(batch.o)
        evidence = (
            f"Each class divides its probability among the {len(p)} samples: columns sum to {_range(p.sum(axis=0))}, "
            f"rows to {_range(p.sum(axis=1))}."
        )
        found.append(Finding("batch_axis", True, evidence))
    if kind in ("parts", "log-parts"):
        found += _unshifted(batch.o if kind == "parts" else np.exp(batch.o))
    return found


def _unshifted(p: np.ndarray) -> list[Finding]:
    """In each row what is missing to 1 is the largest p: e^0 for the largest score beside an unshifted 1 = e^0."""
    missing, largest = 1 - p.sum(axis=1), p.max(axis=1)
    uneven = largest > 1.05 * p.min(axis=1)
    if len(p) < 2 or not uneven.all() or missing.min() < 1e-3:
        return []
    ratio = missing / largest
    if np.abs(ratio - 1).max() > 1e-4 or np.ptp(largest) < 1e-3:
        return []
    evidence = (
        f"In all {len(p)} rows the probability that is missing to 1 ({_range(missing)}) is that of the largest class, "
        f"to within {np.abs(ratio - 1).max():.0e}: so it is, however large the scores are, where the maximum was "
        "subtracted from them and not from the 0 of the class 'none of these'."
    )
    return [Finding("unshifted_softmax1", True, evidence)]


# ---------------------------------------------------------------- what the loss proves
def _by_loss(batch: Batch, kind: str, all_classes: bool) -> tuple[bool, str, list[Finding]]:
    """Whether the loss is one that is known, what it is, in a sentence, and what follows."""
    given = f"Loss: {_number(batch)}"
    right = list(right_readings(batch, kind))
    good = [reading for reading in right if batch.is_loss(reading.losses)]
    near = [reading for reading in right if batch.is_loss(reading.losses, APART * _height(batch))]
    bad = [reading for reading in wrong_readings(batch, kind) if batch.is_loss(reading.losses)]
    wirings = list(dict.fromkeys(reading.wiring for reading in bad))
    sure = not near and len(wirings) == 1 and batch.tolerance <= LEAST_DIGITS * _height(batch)
    sure = sure and (batch.single or not all(reading.of_scores for reading in bad))
    if good:
        fact = f"{given} is {good[0].words} ({good[0].losses.mean():.6g})."
        fact += f" So alike are the outputs that it is {bad[0].words}, too: bring a later batch." if bad else ""
    elif bad:
        fact = f"{given} is {bad[0].words} ({bad[0].losses.mean():.6g})."
    else:
        of = next((reading for reading in right if np.isfinite(reading.losses).all()), None)
        other = f"; {of.words} is {of.losses.mean():.6g}" if of else ""
        fact = f"{given} is no loss that is known here, right or wrong{other}; bring {PER_SAMPLE}."
    found = []
    for wiring in wirings if not good else []:
        reading = next(reading for reading in bad if reading.wiring == wiring)
        found.append(_judged(batch, kind, reading, right, sure, all_classes))
    if kind == "log-probabilities" and good:
        found += _twice_inside(batch)
    return bool(good or bad), fact, found


def _number(batch: Batch) -> str:
    assert batch.loss is not None
    return f"{batch.loss:.6g}" if batch.loss.ndim == 0 else f"{len(batch.o)} numbers of mean {batch.loss.mean():.6g}"


def _height(batch: Batch) -> float:
    assert batch.loss is not None
    return max(1.0, float(np.abs(batch.loss).max()))


def _judged(batch: Batch, kind: str, reading: Reading, right: list[Reading], sure: bool, all_classes: bool) -> Finding:
    """A wrong reading that gives the loss: proved, or what else it may be."""
    assert batch.loss is not None
    what = "The loss" if batch.loss.ndim == 0 else "Each loss"
    rival = next((other for other in right if np.isfinite(other.losses).all()), None)
    beside = "" if rival is None else f" and not {rival.words} ({rival.losses.mean():.6g})"
    evidence = f"{what} is {reading.words} ({reading.losses.mean():.6g}){beside}.{_more(batch, kind, reading)}"
    if reading.wiring == "leaked_mass":
        p = batch.o if kind == "parts" else np.exp(batch.o)
        evidence += f" The classes share {_range(p.sum(axis=1))} of the probability."
        if sure and not all_classes:
            rest = "the word that there is no class 'none of these': --all-classes (all_classes=True)"
            return _could_be(reading.wiring, evidence, rest)
    if sure:
        return Finding(reading.wiring, True, evidence)
    evidence = f"The loss may be {reading.words} ({reading.losses.mean():.6g}); as a mean it may be something else too."
    return _could_be(reading.wiring, evidence, PER_SAMPLE)


def _more(batch: Batch, kind: str, reading: Reading) -> str:
    """What follows from the wiring, in numbers."""
    c = batch.o.shape[1]
    highest = math.log(math.e + c - 1)
    if reading.wiring == "double_softmax":
        p = batch.o if kind == "probabilities" else softmax(batch.o)
        text = (
            f" With {c} classes such a loss cannot leave [{highest - 1:.4f}, {highest:.4f}], ln(e + {c - 1}) - 1 and 1 "
            "more, whatever is learned."
        )
        if "Taylor" in reading.words or batch.soft:
            return text
        twice, once = _largest_gradients(batch, p)
        return f"{text} The largest gradient of a score and a sample is {twice:.2g}; a cross entropy's is {once:.2g}."
    if reading.wiring == "probabilities_for_logarithms":
        return " It cannot fall below -1, and a sure mistake gets no gradient."
    if reading.wiring == "batch_shares":
        return f" Each share is about 1/{batch.o.size:,}, so all classes look alike to the loss: it stays near ln {c}."
    return ""


def _largest_gradients(batch: Batch, p: np.ndarray) -> tuple[float, float]:
    """The largest derivative of one sample's loss in a score: through two softmaxes, and through one. p (N, C)."""
    target = np.zeros_like(p)
    target[np.arange(len(p)), batch.q] = 1
    g = softmax(p) - target
    return float(np.abs(p * (g - (p * g).sum(axis=1, keepdims=True))).max()), float(np.abs(p - target).max())


def _twice_inside(batch: Batch) -> list[Finding]:
    """log softmax(p) of p that sum to 1: a row less its mean, plus 1/C, is p again, and lies in [0, 1]."""
    if not np.isfinite(batch.o).all() or batch.o.shape[1] < 10 or len(batch.o) < 16:
        return []
    p = batch.o - batch.o.mean(axis=1, keepdims=True) + 1 / batch.o.shape[1]
    if p.min() < -1e-4 or p.max() < 0.5:
        return []
    evidence = (
        f"These log-probabilities differ by at most {np.ptp(batch.o, axis=1).max():.4f} in a row, and shifted by one "
        f"number a row they are probabilities themselves ({p.min():.4f} to {p.max():.4f}): softmax may have been "
        "applied to a softmax."
    )
    return [_could_be("double_softmax", evidence, "what goes into the last softmax as outputs, and the loss")]


# ---------------------------------------------------------------- what a second evaluation proves
def _by_repetition(batch: Batch, again: np.ndarray) -> tuple[str, list[Finding]]:
    if again.shape != batch.o.shape:
        raise InputError(f"again has shape {again.shape}, but outputs {batch.o.shape}: bring the same samples twice.")
    first, second = (np.where(np.isfinite(o), o, 0) for o in (batch.o, again.astype(np.float64)))
    apart, largest = float(np.abs(first - second).max()), float(max(np.abs(first).max(), np.abs(second).max()))
    if apart == 0:
        return "Evaluated twice, the outputs are the same to the last bit.", []
    changed = (batch.o.argmax(axis=1) != again.argmax(axis=1)).sum()
    numbers = (
        f"Evaluated twice, outputs of the same samples differ by up to {apart:.3g} (the largest is {largest:.3g}), and "
        f"{changed} of {len(again)} predictions change."
    )
    share = apart / largest
    rounding = max(10 * batch.sums if batch.sums > 1e-4 else 0, 10 * max(coarseness(first), coarseness(second)))
    if share > max(MOST_ROUNDING, min(rounding, MOST_OF_16_BITS)):
        return numbers, [Finding("noise_in_evaluation", True, numbers)]
    return f"{numbers} Sums in another order differ as little.", []
