"""`npsoftmax eval RUN`: the metrics of a run's checkpoint, computed anew."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.errors import InputError


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    plain = {"default": argparse.SUPPRESS}
    parser = subparsers.add_parser("eval", help="evaluate a checkpoint of a run")
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument(
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument(
        "--split", choices=("test", "validation", "calibration"), help="which images (default: test)", **plain
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where the data is now", **plain)
    parser.add_argument("--backend", metavar="{numpy,cupy}", help="where to compute", **plain)
    parser.add_argument("--threads", type=whole_number, metavar="N", help="threads of the kernels", **plain)
    parser.add_argument(
        "--weights-only", action="store_true", help="only look at the parameters, without any data: are they finite?"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; what was evaluated goes to standard error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was evaluated, and the metrics; returns the exit code."""
    what, found = weights(args) if args.weights_only else scores(args)
    print(what, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        width = max(16, *map(len, found))
        for name, value in found.items():
            print(f"{name:<{width}} {_shown(value)}")
    return 0


def scores(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What was evaluated, and its metrics."""
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.training.checks import refuse_without_effect
    from npsoftmax.training.evaluate import metrics_of, predict_all
    from npsoftmax.training.fitted import Fitted
    from npsoftmax.training.held_out import answers
    from npsoftmax.training.session import load_run

    changes = {name: vars(args)[name] for name in ("data_dir", "backend", "threads") if name in args}
    split = getattr(args, "split", "test")
    session = load_run(args.directory, args.checkpoint, **changes)
    refuse_without_effect({name: None for name in changes}, [session.config])
    batches = {"test": session.test, "validation": session.validation, "calibration": session.calibration}[split]
    if batches is None:
        raise InputError(f"this run held out no {split} images; use --split test.")
    with single_threaded_blas():
        metrics = metrics_of(session.model, predict_all(session.model, batches, session.backend, session.rng))
    assert session.chosen is not None
    fitted = Fitted.of(Path(args.directory), session.model, session.chosen)
    if fitted:
        metrics |= fitted.measure(session.model, answers(session, batches))
    for note in fitted.notes:
        print(f"note: {note}", file=sys.stderr)
    return f"{session.chosen}, {len(batches.y):,} {split} {session.dataset.samples} of {session.dataset.name}", metrics


def weights(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What was looked at, and what its parameters are. InputError beside options that need the data."""
    import numpy as np

    from npsoftmax.backend import to_numpy
    from npsoftmax.params import leaves
    from npsoftmax.training.session import load_model

    for name in ("split", "data_dir", "backend", "threads"):
        if name in args:
            raise InputError(f"--{name.replace('_', '-')} has no effect beside --weights-only, which reads no data.")
    model, chosen = load_model(args.directory, args.checkpoint)
    arrays = [to_numpy(array) for _, array in leaves(model.params)]
    finite = all(np.isfinite(array).all() for array in arrays)
    largest = max((float(np.abs(array).max(initial=0)) for array in arrays), default=0.0)
    found = {"parameters": model.parameter_count(), "arrays": len(arrays), "finite": finite, "largest": largest}
    return f"{chosen}, {model.name} with {model.head_name} head, no images read", found


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
