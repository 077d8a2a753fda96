"""How good predicted sets of labels are: what of them is right, each label by itself, and the order of the scores.

Design: as in metrics.py, scikit-learn does the counting, and what is here says what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from npsoftmax.backend import Array, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.metrics import csv_lines, csv_number, write_csv

LABEL_COLUMNS = ("images", "predicted", "precision", "recall", "f1", "average_precision")


# ---------------------------------------------------------------- scores
def set_metrics(targets: Array, sets: Array, scores: Array) -> dict[str, float | None]:
    """Every score of a set of predictions, as plain numbers for JSON.

    targets, sets (N, C): 1 where a label is in the true set, in the predicted one; scores (N, C): the higher, the
    likelier. accuracy = mean |true ∩ predicted| / |true ∪ predicted|, 1 where both are empty, which is the accuracy
    where each image has one label; subset_accuracy: the share of images whose set is right as a whole. f1_micro: of all
    N·C decisions together; precision, recall and f1 (macro): means over the labels, 0 where a denominator is 0.
    mean_average_precision: over the labels that occur, of all images in the order of their scores. ranking: over the
    images, of the labels in the order of theirs (1: all that are true come first). Raises InputError for what is no
    0 or 1, no samples, or shapes that differ.
    """
    from sklearn.metrics import label_ranking_average_precision_score

    targets, sets, scores = _checked(targets, sets, scores)
    table = label_table(targets, sets, scores)
    both, either = (targets & sets).sum(), (targets | sets).sum()
    occur = table["images"] > 0
    return {
        "accuracy": float(overlap(targets, sets).mean()),
        "subset_accuracy": float((targets == sets).all(axis=1).mean()),
        "precision_macro": float(table["precision"].mean()),
        "recall_macro": float(table["recall"].mean()),
        "f1_macro": float(table["f1"].mean()),
        "f1_micro": float(2 * both / (both + either)) if either else 0.0,
        "mean_average_precision": float(table["average_precision"][occur].mean()) if occur.any() else None,
        "ranking": float(label_ranking_average_precision_score(targets, scores)),
        "top5": None,
        "nll": None,
        "ece": None,
    }


def overlap(targets: Array, sets: Array) -> Array:
    """|true ∩ predicted| / |true ∪ predicted| of every sample, 1 where both are empty. Booleans (N, C) -> (N,)."""
    either = (targets | sets).sum(axis=1)
    return ((targets & sets).sum(axis=1) + (either == 0)) / (either + (either == 0))


def label_table(targets: Array, sets: Array, scores: Array) -> dict[str, np.ndarray]:
    """LABEL_COLUMNS, each (C,): in how many images a label is and was predicted, and how well.

    Arguments as for `set_metrics`. The average precision of a label that never occurs is NaN.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    targets, sets, scores = _checked(targets, sets, scores)
    precision, recall, f1, images = precision_recall_fscore_support(targets, sets, average=None, zero_division=0)
    found = [average_precision_score(t, s) if t.any() else np.nan for t, s in zip(targets.T, scores.T, strict=True)]
    columns = (images, sets.sum(axis=0), precision, recall, f1, np.array(found, dtype=np.float64))
    return dict(zip(LABEL_COLUMNS, columns, strict=True))


def _checked(targets: Array, sets: Array, scores: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Booleans, booleans and numbers, all (N, C)."""
    targets, sets, scores = (to_numpy(a) for a in (targets, sets, scores))
    if targets.ndim != 2 or not targets.size or not targets.shape == sets.shape == scores.shape:
        raise InputError(
            f"targets have shape {targets.shape}, sets {sets.shape} and scores {scores.shape}; expected (N, C) each, "
            "with at least one sample."
        )
    for name, a in (("targets", targets), ("sets", sets)):
        if a.dtype != bool and not ((a == 0) | (a == 1)).all():
            raise InputError(f"{name} hold other numbers than 0 and 1, but a label is in a set or it is not.")
    if not np.isfinite(scores).all():
        row = int((~np.isfinite(scores).all(axis=1)).argmax())
        raise InputError(
            f"the scores of sample {row} are not all finite; if the loss became NaN, lower the learning rate."
        )
    return targets.astype(bool), sets.astype(bool), scores


# ---------------------------------------------------------------- files
def write_labels(path: Path, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    """CSV of a `label_table`, a row a label, its name first; what is NaN is left blank."""
    columns = [to_numpy(table[name]).tolist() for name in LABEL_COLUMNS]
    rows = (["" if value != value else value for value in row] for row in zip(names, *columns, strict=True))
    write_csv(path, ("label", *LABEL_COLUMNS), rows)


def read_labels(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """(table, label names) of a file of `write_labels`; InputError names the wrong line."""
    lines = csv_lines(path)
    line, header = next(lines, (1, []))
    if tuple(header) != ("label", *LABEL_COLUMNS):
        raise InputError(f"{path} line {line}: expected the header label,{','.join(LABEL_COLUMNS)}.")
    names, rows = [], []
    for line, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{path} line {line}: {len(cells)} cells under {len(header)} columns.")
        names.append(cells[0])
        rows.append([csv_number(path, line, cell) for cell in cells[1:]])
        if not all(value >= 0 or value != value for value in rows[-1]) or max(rows[-1][2:5]) > 1:
            raise InputError(f"{path} line {line}: expected counts, and shares from 0 to 1.")
    if not rows:
        raise InputError(f"{path}: there is no label in it; expected a row for each.")
    return dict(zip(LABEL_COLUMNS, np.array(rows).T, strict=True)), names
