"""After training: the chosen parameters on the test set, written to the run directory."""

from __future__ import annotations

from typing import Any

from npsoftmax.host import single_threaded_blas
from npsoftmax.metrics import CONFUSION_CLASSES, confusion_matrix, write_confusion, write_reliability
from npsoftmax.set_metrics import write_labels
from npsoftmax.training.checkpoint import restore_model, write_json
from npsoftmax.training.evaluate import Predictions, SetPredictions, metrics_of, predict_all
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Session
from npsoftmax.training.state import State


def finish_run(session: Session, run: RunDirectory, state: State, interrupted: bool = False) -> dict[str, Any]:
    """Evaluate the parameters that `tested` names (without validation the last) and write summary.json and the tables.

    All processes of a group share the work; the first one reads the parameters and writes.
    The test set is looked at here, once, and decides nothing. With very many classes there is no confusion matrix
    (CONFUSION_CLASSES) and no reliability table (MANY_CLASSES of evaluate.py); where images have sets of labels, a
    table of the labels in the place of both.
    """
    with run.explaining_failures():
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
        test = predict_all(model, session.test, session.backend, session.rng, group, closely=True)
        summary["test"] = metrics_of(model, test)
        for name, found in test.closer.items() if isinstance(test, Predictions) else ():
            summary[name] = metrics_of(model, found) if isinstance(found, Predictions) else found
        summary["validation"] = None
        if session.validation is not None:
            held_out = predict_all(model, session.validation, session.backend, session.rng, group)
            summary["validation"] = metrics_of(model, held_out)
    if group.is_first:
        _write(session, run, summary, test)
    return summary


def _write(session: Session, run: RunDirectory, summary: dict[str, Any], test: Predictions | SetPredictions) -> None:
    if isinstance(test, SetPredictions):
        write_labels(run.path / "labels.csv", test.label_table(), session.dataset.class_names)
    elif session.dataset.n_classes <= CONFUSION_CLASSES:
        matrix = confusion_matrix(test.targets, test.labels[:, 0], session.dataset.n_classes)
        write_confusion(run.path / "confusion.csv", matrix, session.dataset.class_names)
    if isinstance(test, Predictions) and test.reliability is not None:
        write_reliability(run.path / "reliability.csv", test.reliability)
    write_json(run.summary_file, summary)


def summarise(session: Session, state: State) -> dict[str, Any]:
    """What summary.json says of the run itself."""
    config, model = session.config, session.model
    return {
        "dataset": session.dataset.name,
        "classes": session.dataset.n_classes,
        "label_sets": session.dataset.multi_label,
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
        "samples": session.dataset.samples,
        "likelihood": model.head.likelihood,
        "legacy": model.head.legacy,
        "seconds_per_epoch": state.total_seconds / state.epoch if state.epoch else None,
        "prepare_seconds": state.prepare_seconds,
        "train_seconds": state.train_seconds,
        "images_per_second": state.images / state.train_seconds if state.train_seconds else None,
        **_of_device(session),
    }


def _of_device(session: Session) -> dict[str, Any]:
    """Bytes on the device, with those that graphs work in, and why steps were no graphs; nothing on the host."""
    found: dict[str, Any] = dict(session.backend.memory())
    if session.pool is not None:
        found["device_bytes_held"] += session.pool.total_bytes()
    return found if session.backend.on_host else {**found, "steps_by_hand": session.by_hand or None}
