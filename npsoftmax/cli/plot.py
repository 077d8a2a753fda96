"""`npsoftmax plot RUN`: draw the figures of a run again, from the files in its directory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("plot", help="draw the figures of a run again", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="directory of a run, such as runs/resnet18")
    parser.set_defaults(run=plot)


def plot(args: argparse.Namespace) -> int:
    """Draw and print the path of each PNG, one a line."""
    from npsoftmax.plots import plot_run

    paths = plot_run(args.run_dir)
    for path in paths:
        print(path)
    if not paths:
        print(f"{args.run_dir}: nothing is recorded yet, so there is nothing to draw.")
    return 0
