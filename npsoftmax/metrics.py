"""How good predictions are: accuracy, macro precision, recall and F1, likelihood, calibration; and its files.

Design: a test holds the counting to scikit-learn's, which is not imported for it: that takes longer than a short run.
Arrays may live on a device: each is moved to NumPy where it comes in. The files are plain CSV; a last line without its
line end (a run killed while writing it) is no line yet.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.arguments import whole
from npsoftmax.backend import Array, to_numpy
from npsoftmax.errors import InputError, as_number
from npsoftmax.files import write_replacing

BINS = 15
CORNER = "true/predicted"
CONFUSION_CLASSES = 2000  # a confusion matrix of more is 32 MB and up, and nothing that anybody looks at
RELIABILITY_COLUMNS = ("low", "high", "count", "confidence", "accuracy")
# exp(log_prob) may pass 1 by rounding in float32; more than this and the numbers are no log-probabilities.
ROUNDING = 1e-3


# ---------------------------------------------------------------- scores
def classification_metrics(
    targets: Array, predicted: Array, log_prob: Array | None, n_classes: int, *, likelihood: bool
) -> dict[str, float | None]:
    """Every score of a set of predictions, as plain numbers for JSON.

    targets (N,); predicted (N, k) labels, best first; log_prob (N, C) or None; `likelihood`: of the head.

    accuracy = correct / N and top5 = (target among the first five) / N. Precision, recall and F1 are means
    over all C classes, each 0 for a class where its denominator is 0. nll = -mean log_prob[target] in nats;
    for ece see `calibration_error`. None stands for what there is not: top5 for k < min(5, C), nll without a
    likelihood, nll and ece without log_prob. Raises InputError for labels outside 0 … C-1, no samples, or
    shapes that do not fit.
    """
    targets, predicted = _labels("targets", targets, n_classes), _labels("predicted", predicted, n_classes)
    if predicted.ndim != 2 or targets.shape != predicted.shape[:1]:
        raise InputError(f"predicted has shape {predicted.shape}, targets {targets.shape}; expected (N, k) and (N,).")
    best = predicted[:, 0]
    right = best == targets
    hit, guessed, true = (np.bincount(labels, minlength=n_classes) for labels in (targets[right], best, targets))
    scores = {
        "accuracy": float(np.mean(right)),
        "top5": _top5(targets, predicted, n_classes),
        "precision_macro": float(np.mean(_shares(hit, guessed))),
        "recall_macro": float(np.mean(_shares(hit, true))),
        "f1_macro": float(np.mean(_shares(2 * hit, guessed + true))),
        "nll": None,
        "ece": None,
    }
    if log_prob is not None:
        log_prob = _log_prob(log_prob, targets, n_classes)
        scores["ece"] = calibration_error(reliability(log_prob, targets))
        if likelihood:
            mean = np.mean(log_prob[np.arange(len(targets)), targets], dtype=np.float64)
            scores["nll"] = float(0.0 - mean)  # a plain minus would show a perfect score as -0.0
    return scores


def ordinal_metrics(targets: Array, predicted: Array) -> dict[str, float | None]:
    """What counts where classes are ranks: how far a prediction is off. targets, predicted (N,).

    mean_absolute_error = mean |i - j|, in ranks. quadratic_kappa = 1 - mean (i - j)² / what it would be if the same
    predictions were shuffled: 1 for all right, 0 for chance; None where there is one rank only, and nothing to shuffle.
    Source: Cohen, 1968.
    """
    i, j = (to_numpy(x).astype(np.float64) for x in (targets, predicted))
    by_chance = i.var() + j.var() + (i.mean() - j.mean()) ** 2
    kappa = 1 - np.mean((i - j) ** 2) / by_chance if by_chance else None
    return {
        "mean_absolute_error": float(np.mean(np.abs(i - j))),
        "quadratic_kappa": None if kappa is None else float(kappa),
    }


def confusion_matrix(targets: Array, predicted: Array, n_classes: int) -> np.ndarray:
    """Counts (C, C) int64: row = true class, column = predicted class.

    targets (N,); predicted (N,) labels, or (N, k) labels of which the first column counts.
    """
    targets, predicted = _labels("targets", targets, n_classes), _labels("predicted", predicted, n_classes)
    best = predicted[:, 0] if predicted.ndim == 2 else predicted
    if best.shape != targets.shape:
        raise InputError(f"predicted has shape {predicted.shape}, but targets has shape {targets.shape}.")
    return np.bincount(targets * n_classes + best, minlength=n_classes**2).reshape(n_classes, n_classes)


def reliability(log_prob: Array, targets: Array, bins: int = BINS) -> dict[str, np.ndarray]:
    """Confidence against accuracy in equal-width bins of the confidence max_c p (Guo et al., ICML 2017).

    log_prob (N, C), where -inf is a probability of 0; targets (N,). Returns arrays (bins,): low, high, count,
    and the mean confidence and accuracy of the bin's samples (NaN in an empty bin). A bin holds
    low <= confidence < high, the last one also 1. Raises InputError for NaN, for a row without a finite
    entry and for a probability above 1.
    """
    if as_number(bins) < 1:
        raise InputError(f"bins is {bins}, but at least 1 is needed.")
    bins = whole("bins", bins)
    if to_numpy(log_prob).ndim != 2:
        raise InputError(f"log_prob has shape {to_numpy(log_prob).shape}; expected (N, C).")
    n_classes = to_numpy(log_prob).shape[-1]
    targets = _labels("targets", targets, n_classes)
    log_prob = _log_prob(log_prob, targets, n_classes)
    confidence = np.minimum(np.exp(log_prob.max(axis=1).astype(np.float64)), 1.0)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.minimum(np.searchsorted(edges, confidence, side="right") - 1, bins - 1)
    count = np.bincount(place, minlength=bins)
    correct = log_prob.argmax(axis=1) == targets
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        mean_confidence = np.bincount(place, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(place, weights=correct, minlength=bins) / count
    columns = (edges[:-1], edges[1:], count, mean_confidence, accuracy)
    return dict(zip(RELIABILITY_COLUMNS, columns, strict=True))


def joined_reliability(tables: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The reliability table of all samples, from those of parts of them with the same bins."""
    count = np.sum([table["count"] for table in tables], axis=0)
    joined = {"low": tables[0]["low"], "high": tables[0]["high"], "count": count}
    for name in ("confidence", "accuracy"):
        total = np.sum([table["count"] * np.nan_to_num(table[name]) for table in tables], axis=0)
        joined[name] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return joined


def calibration_error(table: dict[str, np.ndarray]) -> float:
    """Expected calibration error of a reliability table: Σ_b count_b / N · |accuracy_b - confidence_b|."""
    count = table["count"]
    gap = np.where(count > 0, np.abs(table["accuracy"] - table["confidence"]), 0.0)
    return float(count @ gap / count.sum())


def _shares(parts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """parts / totals, and 0 where a total is."""
    return parts / np.maximum(totals, 1)


def _top5(targets: np.ndarray, predicted: np.ndarray, n_classes: int) -> float | None:
    if predicted.shape[1] < min(5, n_classes):
        return None
    return float(np.mean((predicted[:, :5] == targets[:, None]).any(axis=1)))


def _labels(what: str, values: Array, n_classes: int) -> np.ndarray:
    labels = to_numpy(values)
    if labels.size == 0:
        raise InputError(f"{what} is empty (shape {labels.shape}); metrics need at least one sample.")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{what} is of type {labels.dtype}; expected whole numbers from 0 to {n_classes - 1}.")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= n_classes:
        raise InputError(f"{what} has labels {low} to {high}; {n_classes} classes are 0 to {n_classes - 1}.")
    return labels.astype(np.int64, copy=False)


def _log_prob(log_prob: Array, targets: np.ndarray, n_classes: int) -> np.ndarray:
    """`log_prob` as NumPy, checked: one row a target, each with a finite maximum of at most 0."""
    log_prob = to_numpy(log_prob)
    if log_prob.shape != (len(targets), n_classes):
        expected = (len(targets), n_classes)
        raise InputError(f"log_prob has shape {log_prob.shape}; expected (N, C) = {expected}.")
    best = log_prob.max(axis=1)  # NaN if any of the row is
    bad = ~np.isfinite(best)
    if bad.any():
        raise InputError(
            f"log_prob of sample {bad.argmax()} is not a number, or gives no class a positive probability "
            f"({bad.sum()} of {len(best)} samples). If the loss became NaN, lower the learning rate."
        )
    if best.max() > ROUNDING:
        raise InputError(
            f"log_prob of sample {best.argmax()} reaches {best.max():.4g}, a probability above 1; "
            "give log-probabilities (a head's log_prob), not logits."
        )
    return log_prob


# ---------------------------------------------------------------- files
def write_confusion(path: Path, matrix: Array, names: Sequence[str]) -> None:
    """CSV of a confusion matrix (C, C): a header of class names, then a row a true class, its name first."""
    rows = ([name, *row] for name, row in zip(names, to_numpy(matrix).tolist(), strict=True))
    write_csv(path, [CORNER, *names], rows)


def read_confusion(path: Path) -> tuple[np.ndarray, list[str]]:
    """(matrix (C, C) int64, class names) of a file of `write_confusion`; InputError names the wrong line."""
    lines = csv_lines(path)
    line, header = next(lines, (1, []))
    names = header[1:]
    if header[:1] != [CORNER] or not names:
        raise InputError(f"{path} line {line}: expected the header {CORNER},<class names>.")
    matrix = []
    for name, (line, cells) in zip(names, lines, strict=False):  # names first: no line is taken and lost
        if len(cells) != len(header) or cells[0] != name:
            raise InputError(f"{path} line {line}: expected class {name!r} and {len(names)} counts.")
        matrix.append([_count(path, line, cell) for cell in cells[1:]])
    if len(matrix) != len(names) or next(lines, None) is not None:
        raise InputError(f"{path} line {line}: expected one row for each of the {len(names)} classes.")
    counts = np.array(matrix, dtype=np.int64)
    if not counts.any():
        raise InputError(f"{path}: every count is 0; expected those of at least one sample.")
    return counts, names


def write_reliability(path: Path, table: dict[str, np.ndarray]) -> None:
    """CSV of a reliability table, a row a bin; the confidence and accuracy of an empty bin are left blank."""
    columns = [to_numpy(table[name]).tolist() for name in RELIABILITY_COLUMNS]
    rows = (["" if math.isnan(value) else value for value in row] for row in zip(*columns, strict=True))
    write_csv(path, RELIABILITY_COLUMNS, rows)


def read_reliability(path: Path) -> dict[str, np.ndarray]:
    """The table of a file of `write_reliability`; InputError where it is malformed or holds no sample."""
    table = read_columns(path, RELIABILITY_COLUMNS)
    low, high, count = table["low"], table["high"], table["count"]
    edges = np.append(low, high[-1:])
    if len(low) == 0 or not (edges[0] == 0 and edges[-1] == 1 and (low[1:] == high[:-1]).all()):
        raise InputError(f"{path}: the bins low to high must follow each other from 0 to 1.")
    if not ((count >= 0) & (count < 2**53) & (np.floor(count) == count)).all() or count.sum() == 0:
        raise InputError(f"{path}: the counts must be whole numbers, not all of them 0.")
    for name in ("confidence", "accuracy"):
        filled = table[name][count > 0]
        if not ((filled >= 0) & (filled <= 1)).all():
            raise InputError(f"{path}: the {name} of a bin that has samples must be between 0 and 1.")
    return {**table, "count": count.astype(np.int64)}


def read_columns(path: Path, required: Iterable[str]) -> dict[str, np.ndarray]:
    """column name -> float64 array of a CSV of numbers with a header; a blank cell is NaN.

    Raises InputError naming the file and the line: a column missing, a row too short or too long, a cell that
    is no number.
    """
    lines = csv_lines(path)
    line, header = next(lines, (1, []))
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(f"{path} line {line}: no column {', '.join(missing)} in header {','.join(header)!r}.")
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{path} line {line}: {len(cells)} cells under {len(header)} columns.")
        rows.append([csv_number(path, line, cell) for cell in cells])
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(header))
    return {name: values[:, i] for i, name in enumerate(header)}


def write_csv(path: Path, header: Iterable[str], rows: Iterable[list[Any]]) -> None:
    """A CSV file of a header and rows, all of it or (WriteError) nothing."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_replacing(path, text.getvalue().encode())


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every complete line of a CSV file; blank lines are passed over."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file in UTF-8: {error}.") from error
    reader = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: {error}.") from error


def csv_number(path: Path, line: int, cell: str) -> float:
    """The number in a cell, NaN where it is blank; InputError names the line."""
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError:
        raise InputError(f"{path} line {line}: {cell!r} is not a number.") from None


def _count(path: Path, line: int, cell: str) -> int:
    # int() alone would take a sign, spaces and underscores, and more digits than an int64 holds.
    if not (cell.isascii() and cell.isdigit() and len(cell) < 19):
        raise InputError(f"{path} line {line}: {cell!r} is not a count (0, 1, 2, …).")
    return int(cell)
