"""`npsoftmax COMMAND`: finds the command and turns InputError into one line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from npsoftmax._version import __version__
from npsoftmax.cli._parser import Parser
from npsoftmax.cli._surroundings import (
    INTERRUPTED,
    ending_at_once,
    lost_folder,
    nobody_reads,
    prepare_surroundings,
    refused_by_system,
    with_home,
)
from npsoftmax.errors import InputError, unknown_name

COMMANDS = {
    "train": "train a model and write a run directory",
    "eval": "evaluate a checkpoint of a run",
    "predict": "classes and probabilities of image files, by a run",
    "calibrate": "fit a temperature to a run: probabilities that mean what they say",
    "conform": "sets of classes that hold the right one as often as was asked for",
    "plot": "draw the plots of a run again",
    "look": "a page on this machine: see inside a network, a head, a gradient",
    "compare": "run several recipes or heads and write a report",
    "doctor": "find a wrong wiring in somebody else's work, from its numbers",
    "advise": "which head to take, tried on your features or a run's",
    "heads": "the table of softmax heads, or one head with its options",
    "tree": "the tree of a run's head, or one that is learned from a run",
    "grade": "check the exercises of an assignment",
    "defend": "three questions about your own function",
    "assignments": "start an assignment, or reset a function",
    "data": "download, verify or list data sets",
    "export": "write the weights of a run for PyTorch",
    "import": "make a run of weights that come from PyTorch",
    "info": "what is installed, or a model: shapes, parameters, multiply-adds",
    "bench": "measure speed and memory, beside PyTorch",
}


def build_parser(wanted: str | None, words: Sequence[str] = ()) -> Parser:
    """The parser; only the command that is `wanted` gets its options, so that `--help` need not load them all.

    InputError for a command that does not exist; words: all that was typed.
    """
    if wanted is not None and wanted not in COMMANDS:
        later = next((word for word in words if word in COMMANDS), None)
        if later is not None:
            raise InputError(f"the command comes first; type npsoftmax {later} …, and its options after it.")
        raise unknown_name("command", wanted, COMMANDS)
    parser = Parser(
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
    typed = sys.argv[1:] if argv is None else argv
    return run_program(lambda wanted: build_parser(wanted, typed), typed)


def run_program(make_parser: Callable[[str | None], Parser], typed: Sequence[str]) -> int:
    """Parse what was typed and run it, whatever the console is. make_parser gets the first word that is no option."""
    prepare_surroundings()
    words = with_home(typed)
    wanted = next((word for word in words if not word.startswith("-")), None)
    if wanted == "help":
        words, wanted = ["--help"], None

    def run(args: argparse.Namespace) -> int:
        with ending_at_once():
            args = make_parser(wanted).settings(words)
        if "words" in args:  # a command that wants to know what was typed
            args.words = words
        return args.run(args)

    return run_command(argparse.Namespace(run=run))


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command: 0, 2 for a mistake in the input, 130 after a second Ctrl-C, 141 where nobody reads."""
    try:
        try:
            code = args.run(args)
            sys.stdout.flush()  # the last of it may be what a full disk, or a closed pipe, does not take
            return code
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise refused_by_system(error) from error
    except InputError as error:
        print(f"npsoftmax: error: {error}{lost_folder()}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"npsoftmax: error: there is not enough memory: {error or 'something is too large'}.", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        print(
            "npsoftmax: error: this needs a thread, and the system starts none: a browser's Python has no threads, and "
            "elsewhere a limit may be reached (ulimit -u).",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("npsoftmax: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        nobody_reads()
        return 141


if __name__ == "__main__":
    sys.exit(main())
