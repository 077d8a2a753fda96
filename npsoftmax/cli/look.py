"""`npsoftmax look [RUN]`: a page on this machine where a network, a head and a gradient can be looked at."""

from __future__ import annotations

import argparse
import time
import webbrowser
from pathlib import Path
from typing import Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.errors import InputError

EXAMPLE = Path("runs") / "look-example"


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "look",
        help="a page on this machine: see inside a network, a head and a gradient",
        description="Open a page where a network, its head and its gradients can be looked at, computed by this "
        "library. It is served to this machine alone and needs no network; Ctrl-C ends it. Without RUN, a small "
        "example is trained first (some seconds), and kept in runs/look-example.",
    )
    parser.add_argument("directory", nargs="?", metavar="RUN", help="the run directory")
    parser.add_argument("other", nargs="?", metavar="OTHER", help="a second run on the same data, to compare")
    parser.add_argument("--data-dir", metavar="DIR", help="where the data set lies now")
    parser.add_argument("--port", type=whole_number, default=0, metavar="N", help="(default: one that is free)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    from npsoftmax.look.answers import Answers
    from npsoftmax.look.server import LookServer
    from npsoftmax.look.subject import Subject

    given = [args.directory or _example(), *([args.other] if args.other else [])]
    changes = {"data_dir": args.data_dir} if args.data_dir else {}
    subjects = [Subject.of_run(path, **changes) for path in given]
    _check_alike(subjects)
    try:
        with LookServer(Answers(subjects), args.port) as server:
            print(f"{' and '.join(map(str, given))}: open this address in a browser of this machine", flush=True)
            print(f"    {server.address}", flush=True)
            for subject in subjects:
                if subject.note:
                    print(subject.note, flush=True)
            print("Ctrl-C ends it.", flush=True)
            if not args.no_browser:
                webbrowser.open(server.address)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("\nended")
        return 0


def _example() -> Path:
    """A small run of the embedded images, trained once."""
    from npsoftmax.cli.main import main

    if not (EXAMPLE / "summary.json").is_file():
        print(f"training a small example in {EXAMPLE} …", flush=True)
        words = [
            "--data=synthetic100",
            "--epochs=3",
            "--model=convnet",
            "--model-opt=widths=8,16,32",
            "--model-opt=fc=64",
        ]
        resumed = ["--resume", str(EXAMPLE)] if (EXAMPLE / "config.toml").is_file() else ["--out", str(EXAMPLE), *words]
        if main(["train", *resumed, "--no-plots"]):
            raise InputError(f"the example could not be trained; remove {EXAMPLE}, or give a run.")
    return EXAMPLE


def _check_alike(subjects: list[Any]) -> None:
    """InputError where two runs have other classes or images of another shape."""
    first, *others = subjects
    for other in others:
        if (other.names, other.model.input_shape) != (first.names, first.model.input_shape):
            raise InputError(
                f"{first.path} and {other.path} have other classes or images; compare runs of the same data."
            )
