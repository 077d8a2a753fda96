"""After training: the chosen parameters on the test set, written to the run directory."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import single_threaded_blas
from npsoftmax.metrics import CONFUSION_CLASSES, confusion_matrix, write_confusion, write_reliability
from npsoftmax.training.checkpoint import restore_model, write_json
from npsoftmax.training.evaluate import metrics_of, predict_all
from npsoftmax.training.run import RunDirectory
from npsoftmax.training.session import Session
from npsoftmax.training.trainer import State


def finish_run(session: Session, run: RunDirectory, state: State, interrupted: bool = False) -> dict[str, Any]:
    """Evaluate the best parameters by validation (the last ones without it) and write summary.json and the tables.

    The test set is looked at here, once, and decides nothing. With very many classes there is no confusion matrix
    (CONFUSION_CLASSES) and no reliability table (MANY_CLASSES of evaluate.py).
    """
    chosen = "last" if state.best_epoch is None else "best"
    source = run.checkpoint_file(chosen)
    restore_model(session.model, source)
    summary = summarise(session, state) | {
        "checkpoint": chosen,
        "checkpoint_epoch": state.best_epoch if chosen == "best" else state.epoch,
        "interrupted": interrupted,
    }
    with single_threaded_blas():
        test = predict_all(session.model, session.test, session.backend, session.rng)
        summary["test"] = metrics_of(session.model, test)
        summary["validation"] = None
        if session.validation is not None:
            held_out = predict_all(session.model, session.validation, session.backend, session.rng)
            summary["validation"] = metrics_of(session.model, held_out)
    if session.dataset.n_classes <= CONFUSION_CLASSES:
        matrix = confusion_matrix(test.targets, test.labels[:, 0], session.dataset.n_classes)
        write_confusion(run.path / "confusion.csv", matrix, session.dataset.class_names)
    if test.reliability is not None:
        write_reliability(run.path / "reliability.csv", test.reliability)
    write_json(run.summary_file, summary)
    return summary


def summarise(session: Session, state: State) -> dict[str, Any]:
    """What summary.json says of the run itself."""
    config, model = session.config, session.model
    return {
        "dataset": session.dataset.name,
        "classes": session.dataset.n_classes,
        "model": config.model,
        "head": config.head,
        "backend": config.backend,
        "parameters": model.parameter_count(),
        "epochs": state.epoch,
        "planned_epochs": config.epochs,
        "seed": config.seed,
        "train_images": session.train_images,
        "likelihood": model.head.likelihood,
        "legacy": model.head.legacy,
        "seconds_per_epoch": state.total_seconds / state.epoch if state.epoch else None,
        "images_per_second": state.images / state.train_seconds if state.train_seconds else None,
    }
