"""Reads what somebody brings: a CSV with losses, an NPZ with a batch, snapshots of parameters."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import numpy as np

from npsoftmax.data.archive import read_npz
from npsoftmax.errors import InputError
from npsoftmax.files import read_at_most
from npsoftmax.torch_files import read_tensors

MOST_CSV = 2**27  # bytes
COLUMNS = "loss or train_loss, accuracy or acc, val_loss, val_accuracy or val_acc"
ARRAYS = "arrays outputs (N, C), labels (N,) and loss were expected, and again (N, C) if you like"
# What others call the arrays of a batch, in lower case.
BATCH_NAMES = {
    "outputs": (
        "outputs",
        "output",
        "logits",
        "scores",
        "y_pred",
        "preds",
        "probs",
        "probabilities",
        "log_probs",
        "log_prob",
    ),
    "labels": ("labels", "label", "targets", "target", "y", "y_true"),
    "loss": ("loss", "losses"),
    "again": ("again", "outputs_again", "outputs2", "outputs_2"),
}
SPLITS = {"val": "val_", "valid": "val_", "validation": "val_", "test": "val_", "eval": "val_", "dev": "val_"}
SPLITS |= {"train": "", "training": "", "tr": ""}
MEASURES = {"loss": "loss", "nll": "loss", "xent": "loss", "ce": "loss", "acc": "accuracy", "accuracy": "accuracy"}
MEASURES |= {"top1": "accuracy", "acc1": "accuracy"}
PASSED_OVER = {"sparse", "categorical", "epoch", "step", "avg", "mean", "cross", "entropy", "top", "1", "multiclass"}


def read_batch(path: Path) -> dict[str, np.ndarray] | None:
    """outputs, labels, loss, again of an NPZ file, under our names; None where it holds no outputs, but parameters."""
    arrays = read_npz(path, ARRAYS)
    lowered = {name.lower(): array for name, array in arrays.items()}
    found = {
        ours: lowered[theirs[0]]
        for ours, names in BATCH_NAMES.items()
        if (theirs := [name for name in names if name in lowered])
    }
    if "outputs" not in found:
        return None
    if "labels" not in found:
        raise InputError(f"{path} holds {', '.join(arrays)}, but {ARRAYS}.")
    return found


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Name -> array, of an NPZ or a safetensors file."""
    return (
        read_npz(path, "the parameters by their names were expected") if path.suffix == ".npz" else read_tensors(path)
    )


def read_curve(path: Path) -> dict[str, np.ndarray]:
    """loss, accuracy, val_loss, val_accuracy of a CSV file, those of them that there are; accuracies from 0 to 1.

    Names as Keras, PyTorch's users, Lightning and this library have them; empty cells are NaN. InputError where there
    is no loss.
    """
    text = read_at_most(path, MOST_CSV).decode("utf-8-sig", "replace")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as CSV: {error}.") from error
    names = [cell.strip() for cell in rows[0]] if rows else []
    known = {our_name(name): place for place, name in reversed(list(enumerate(names))) if our_name(name)}
    if not {"loss", "val_loss"} & set(known):
        found = f"the columns {', '.join(names)}" if names else "nothing"
        raise InputError(f"{path} has {found}, but a column of losses was expected. Type in its first line: {COLUMNS}.")
    comma = delimiter == ";"
    columns = {
        name: np.array([_number(path, line, row, place, comma) for line, row in enumerate(rows[1:], 2)])
        for name, place in known.items()
    }
    if not any(np.isfinite(values).any() for values in columns.values()):
        raise InputError(f"{path} has the columns {', '.join(names)}, and no number below them.")
    for name in columns:
        if name.endswith("accuracy"):
            percent = "%" in names[known[name]] or np.nanmax(columns[name], initial=0) > 1
            columns[name] = columns[name] / 100 if percent else columns[name]
    return columns


def our_name(name: str) -> str:
    """ "Train Loss", "val/acc", "sparse_categorical_accuracy" -> loss, val_accuracy, accuracy; "" for anything else."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    split, measure = "", ""
    for word in words:
        if word in SPLITS:
            split = SPLITS[word]
        elif word in MEASURES and not measure:
            measure = MEASURES[word]
        elif word not in PASSED_OVER:
            return ""
    return f"{split}{measure}" if measure else ""


def _number(path: Path, line: int, row: list[str], place: int, comma: bool) -> float:
    cell = row[place].strip().removesuffix("%").strip() if place < len(row) else ""
    if not cell:
        return math.nan
    try:
        return float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        raise InputError(f"{path}, line {line}: {cell!r:.40} is no number, but one was expected there.") from None
