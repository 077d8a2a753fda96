"""`npsoftmax COMMAND`: finds the command and turns InputError into one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from npsoftmax._version import __version__
from npsoftmax.errors import InputError

COMMANDS = {
    "train": "train a model and write a run directory",
    "eval": "evaluate a checkpoint of a run",
    "plot": "draw the plots of a run again",
    "compare": "run several recipes or heads and write a report",
    "heads": "the table of softmax heads, or one head with its options",
    "grade": "check the exercises of an assignment",
    "assignments": "start an assignment, or reset a function",
    "data": "download, verify or list data sets",
    "export": "write the weights of a run for PyTorch",
    "import": "make a run of weights that come from PyTorch",
    "info": "what is installed, or a model: shapes, parameters, multiply-adds",
    "bench": "measure speed and memory, beside PyTorch",
}


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    """The parser; only the command that is `wanted` gets its options, so that `--help` need not load them all."""
    parser = argparse.ArgumentParser(
        prog="npsoftmax", description="Deep learning from scratch, with every softmax head written and checked by hand."
    )
    parser.add_argument("--version", action="version", version=f"npsoftmax {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        if name == wanted:
            module = "import_" if name == "import" else name  # a word of Python's own
            importlib.import_module(f"npsoftmax.cli.{module}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    wanted = next((word for word in words if not word.startswith("-")), None)
    args = build_parser(wanted).parse_args(words)
    if "words" in args:  # a command that wants to know what was typed
        args.words = words
    return run_command(args)


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command: 0, 2 for a mistake in the input, 130 after a second Ctrl-C."""
    try:
        return args.run(args)
    except InputError as error:
        print(f"npsoftmax: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"npsoftmax: error: there is not enough memory: {error or 'something is too large'}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("npsoftmax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: nobody is left to tell
        return 141


if __name__ == "__main__":
    sys.exit(main())
