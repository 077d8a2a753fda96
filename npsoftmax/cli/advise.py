"""`npsoftmax advise`: which head to take, tried on features of yours or of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from npsoftmax.cli._parser import number, whole_number
from npsoftmax.errors import InputError

DESCRIPTION = """Train every head that makes sense on frozen features, all under one budget, and say which to take and
how sure that is: accuracy, NLL, calibration, memory, time. Features: two files of np.save, or what the network of a run
makes of its images, scored on those that it held out. advice.md, advice.json and advice.png have all of it."""


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    plain: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser = subparsers.add_parser("advise", help="which head to take, tried on your features", description=DESCRIPTION)
    parser.add_argument("directory", nargs="?", metavar="RUN", help="a run directory, for the features of its network")
    parser.add_argument("--features", type=Path, metavar="F.npy", help="numbers (N, D), a row a sample")
    parser.add_argument("--labels", type=Path, metavar="Y.npy", help="labels (N,): whole numbers or words")
    parser.add_argument("--ordered", action="store_true", help="the classes have an order: grades, ages, ratings")
    parser.add_argument(
        "--passes",
        type=whole_number,
        metavar="N",
        help="over the samples (default: 3, or more where that were fewer than 400 steps)",
    )
    parser.add_argument("--seeds", type=whole_number, default=2, metavar="N", help="of each head (default: 2)")
    parser.add_argument(
        "--minutes",
        type=number,
        default=2.5,
        metavar="M",
        help="if more were needed, all heads get fewer samples (default: 2.5)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the parts (default: 0)")
    parser.add_argument("--threads", type=whole_number, metavar="N", help="threads of the kernels", **plain)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: RUN, or advice)")
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last", "previous"),
        help="of the run, which parameters (default: best)",
        **plain,
    )
    parser.add_argument("--data-dir", metavar="DIR", help="of the run, where the data is now", **plain)
    parser.add_argument("--quiet", action="store_true", help="do not tell of every head")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Try, write and say; returns the exit code."""
    from npsoftmax.advise.compare import compare
    from npsoftmax.advise.report import write
    from npsoftmax.host import set_threads

    for name, least in (("passes", 1), ("seeds", 1), ("seed", 0)):
        given = getattr(args, name)
        if given is not None and given < least:
            raise InputError(f"--{name} is {given}, but at least {least} is needed.")
    if not 0 < args.minutes < float("inf"):
        raise InputError(f"--minutes is {args.minutes}, but a time above 0 was expected.")
    out = args.out or Path(args.directory or "advice")
    if out.is_file():
        raise InputError(f"--out {out} is a file; name a folder.")
    task = task_of(args)
    set_threads(getattr(args, "threads", None))
    print(f"{task.source}; {task.features} features, {task.classes.n:,} classes", file=sys.stderr)

    def tell(line: str) -> None:
        if not args.quiet:
            print(line, file=sys.stderr, flush=True)

    found = compare(task, passes=args.passes, seeds=args.seeds, minutes=args.minutes, ordered=args.ordered, tell=tell)
    paths = write(found, out)
    print(f"take {found['verdict']['take']}")
    for line in found["verdict"]["why"]:
        print(line)
    for path in paths:
        print(path)
    return 0


def task_of(args: argparse.Namespace) -> Any:
    """The features and labels that were named. InputError for none, for half, and for both kinds."""
    from npsoftmax.advise.task import of_files, of_run

    changes = {name: vars(args)[name] for name in ("data_dir", "threads") if name in args}
    given = [args.features is not None, args.labels is not None]
    if args.directory is not None:
        if any(given):
            raise InputError("a run has its own labels and features: give either RUN or --features and --labels.")
        return of_run(args.directory, getattr(args, "checkpoint", "best"), args.seed, **changes)
    if not all(given):
        raise InputError("advise needs --features F.npy and --labels Y.npy, or the directory of a run.")
    for name in ("checkpoint", "data_dir"):
        if name in args:
            raise InputError(f"--{name.replace('_', '-')} would have no effect without a run. Leave it out.")
    return of_files(args.features, args.labels, args.seed)
