"""What `npsoftmax calibrate` and `conform` share: the options of a run, and what they were fitted on."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from npsoftmax.cli._parser import whole_number


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The run, its checkpoint, and where and how to compute."""
    plain: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument(
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where the data is now", **plain)
    parser.add_argument("--backend", metavar="{numpy,cupy}", help="where to compute", **plain)
    parser.add_argument("--threads", type=whole_number, metavar="N", help="threads of the kernels", **plain)
    parser.add_argument("--json", action="store_true", help="print JSON; remarks go to standard error")


def changes_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the run that were typed anew."""
    return {name: vars(args)[name] for name in ("data_dir", "backend", "threads") if name in args}


def say(args: argparse.Namespace, found: dict[str, Any], coverage: float | None = None) -> bool:
    """Print JSON where that was asked for; whether it was."""
    from npsoftmax.training.held_out import remark

    if not args.json:
        return False
    note = remark(found["basis"], coverage)
    if note:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps({name: value for name, value in found.items() if name != "basis"}, indent=2))
    return True


def say_basis(args: argparse.Namespace, found: dict[str, Any], coverage: float | None = None) -> None:
    """Which parameters, and which images: what they have chosen is said, always."""
    from npsoftmax.training.held_out import remark

    basis = found["fitted_on"]
    epoch = "" if found["epoch"] is None else f" (epoch {found['epoch']})"
    print(
        f"checkpoint {found['checkpoint']}{epoch} of {args.directory}, fitted on {basis['images']:,} {basis['part']} "
        f"images, which chose {basis['chose']} before"
    )
    note = remark(found["basis"], coverage)
    if note:
        print(f"note: {note}")
