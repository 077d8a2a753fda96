"""`npsoftmax eval RUN`: the metrics of a run's checkpoint, computed anew."""

from __future__ import annotations

import argparse
import json
from typing import Any

from npsoftmax.cli._parser import whole_number


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser("eval", help="evaluate a checkpoint of a run")
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument(
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which images (default: test)")
    parser.add_argument("--data-dir", default=argparse.SUPPRESS, metavar="DIR", help="where the data is now")
    parser.add_argument("--backend", default=argparse.SUPPRESS, metavar="{numpy,cupy}", help="where to compute")
    parser.add_argument(
        "--threads", default=argparse.SUPPRESS, type=whole_number, metavar="N", help="threads of the kernels"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the metrics; returns the exit code."""
    from npsoftmax.errors import InputError
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.training.evaluate import metrics_of, predict_all
    from npsoftmax.training.session import load_run

    changes = {name: vars(args)[name] for name in ("data_dir", "backend", "threads") if name in args}
    session = load_run(args.directory, args.checkpoint, **changes)
    batches = session.test if args.split == "test" else session.validation
    if batches is None:
        raise InputError("this run held out no validation images; use --split test.")
    with single_threaded_blas():
        metrics = metrics_of(session.model, predict_all(session.model, batches, session.backend, session.rng))
    if args.json:
        print(json.dumps(metrics, indent=2))
    else:
        for name, value in metrics.items():
            print(f"{name:<16} {'–' if value is None else f'{value:.4f}'}")
    return 0
