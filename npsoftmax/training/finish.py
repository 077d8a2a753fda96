"""After training: the chosen parameters on the test set, written to the run directory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from npsoftmax.backend import single_threaded_blas, to_numpy
from npsoftmax.heads.legacy_flat import CrossEntropyOfOutputs
from npsoftmax.metrics import CONFUSION_CLASSES, confusion_matrix, write_confusion, write_reliability
from npsoftmax.training.checkpoint import restore_model, write_json
from npsoftmax.training.evaluate import Predictions, metrics_of, outputs_of, predict_all
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Session
from npsoftmax.training.state import State


def finish_run(session: Session, run: RunDirectory, state: State, interrupted: bool = False) -> dict[str, Any]:
    """Evaluate the parameters that `tested` names (without validation the last) and write summary.json and the tables.

    All processes of a group share the work; the first one reads the parameters and writes.
    The test set is looked at here, once, and decides nothing. With very many classes there is no confusion matrix
    (CONFUSION_CLASSES) and no reliability table (MANY_CLASSES of evaluate.py).
    """
    with run.explaining_write_errors():
        return _finish(session, run, state, interrupted)


def _finish(session: Session, run: RunDirectory, state: State, interrupted: bool) -> dict[str, Any]:
    chosen = "last" if state.best_epoch is None or session.config.tested == "last" else "best"
    source, model, group = run.checkpoint_file(chosen), session.model, session.group
    tested = State.of(restore_model(model, source), source) if group.is_first else state
    tested = group.broadcast(tested)
    group.copy_from_first({"params": model.params, "buffers": model.buffers})
    summary = summarise(session, state) | {
        "checkpoint": chosen,
        "checkpoint_epoch": tested.epoch,
        "interrupted": interrupted,
    }
    with single_threaded_blas():
        test = predict_all(model, session.test, session.backend, session.rng, group)
        summary["test"] = metrics_of(model, test)
        summary |= closer_look(session, test.accuracy)
        summary["validation"] = None
        if session.validation is not None:
            held_out = predict_all(model, session.validation, session.backend, session.rng, group)
            summary["validation"] = metrics_of(model, held_out)
    if group.is_first:
        _write(session, run, summary, test)
    return summary


def _write(session: Session, run: RunDirectory, summary: dict[str, Any], test: Predictions) -> None:
    if session.dataset.n_classes <= CONFUSION_CLASSES:
        matrix = confusion_matrix(test.targets, test.labels[:, 0], session.dataset.n_classes)
        write_confusion(run.path / "confusion.csv", matrix, session.dataset.class_names)
    if test.reliability is not None:
        write_reliability(run.path / "reliability.csv", test.reliability)
    write_json(run.summary_file, summary)


def closer_look(session: Session, accuracy: float) -> dict[str, Any]:
    """test_without_noise, where the head draws noise in evaluation; double_normalisation, where it normalises twice."""
    head, found = session.model.head, {}
    if getattr(head, "eval_noise", False):
        head.eval_noise = False
        try:
            clean = predict_all(session.model, session.test, session.backend, session.rng, session.group)
        finally:
            head.eval_noise = True
        found["test_without_noise"] = metrics_of(session.model, clean)
    if isinstance(head, CrossEntropyOfOutputs):
        found["double_normalisation"] = double_normalisation(session, accuracy)
    return found


def double_normalisation(session: Session, accuracy: float) -> dict[str, float]:
    """What the loss of a cross entropy of probabilities p must be, and is, on the test set.

    Always loss = mean lse(p) − mean p_y; where the largest p of nearly every sample is 1, ln(e + C − 1) − accuracy.
    """
    lse, target, largest, loss, n = 0.0, 0.0, 0.0, 0.0, len(session.test.y)
    for outputs, value, t in outputs_of(session.model, session.test, session.backend, session.rng):
        p = to_numpy(outputs).astype(np.float64)
        lse += float(np.log(np.exp(p).sum(axis=1)).sum())
        target += float(p[np.arange(len(t)), t].sum())
        largest += float(p.max(axis=1).sum())
        loss += value * len(t)
    saturated = math.log(math.e + session.dataset.n_classes - 1) - accuracy
    found = {"loss": loss, "mean_lse": lse, "mean_p_target": target, "mean_max_p": largest}
    return {name: total / n for name, total in found.items()} | {"if_saturated": saturated, "accuracy": accuracy}


def summarise(session: Session, state: State) -> dict[str, Any]:
    """What summary.json says of the run itself."""
    config, model = session.config, session.model
    return {
        "dataset": session.dataset.name,
        "classes": session.dataset.n_classes,
        "model": config.model,
        "head": config.head,
        "recipe": config.recipe,
        "shortened": config.shortened,
        "backend": config.backend,
        "processes": session.group.size,
        "parameters": model.parameter_count(),
        "epochs": state.epoch,
        "planned_epochs": config.epochs,
        "seed": config.seed,
        "train_images": session.train_images,
        "likelihood": model.head.likelihood,
        "legacy": model.head.legacy,
        "seconds_per_epoch": state.total_seconds / state.epoch if state.epoch else None,
        "images_per_second": state.images / state.train_seconds if state.train_seconds else None,
        **session.backend.memory(),
    }
