"""The parser of all commands: a mistake gets its sentence and one line on help, not the list of all options."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from npsoftmax.errors import as_number

# What other programs call some options.
ELSEWHERE = {"--learning-rate": ("--lr",), "-e": ("--epochs",), "-b": ("--batch-size",), "-o": ("--out", "--to")}
ELSEWHERE |= {"--output": ("--out",), "--dataset": ("--data",), "--gpu": ("--device",), "--opt": ("--optimizer",)}
ELSEWHERE |= {"--num-epochs": ("--epochs",), "--wd": ("--weight-decay",), "--random-state": ("--seed",)}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that names the nearest options, and prints no usage before an error."""

    def error(self, message: str) -> NoReturn:
        """Print the error and how to get help; exit with 2."""
        self.exit(2, f"npsoftmax: error: {message}\nAll options are shown by: {self.prog} --help\n")

    def settings(self, words: Sequence[str]) -> argparse.Namespace:
        """What was typed; a word that nobody knows is an error that says what is near."""
        found, unknown = self.parse_known_args(words)
        if unknown:
            self._refuse(unknown, words)
        return found

    def _refuse(self, unknown: Sequence[str], words: Sequence[str]) -> NoReturn:
        parser = self._of_command(words)
        name = next((word for word in unknown if word.startswith("-")), None)
        if name is None:
            parser.error(f"{unknown[0]!r} is one word too many.")
        name = name.partition("=")[0]
        near = [option for option in ELSEWHERE.get(name.replace("_", "-"), ()) if option in parser.options()]
        near = near or difflib.get_close_matches(name, parser.options(), n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        parser.error(f"unknown option {name}.{hint}")

    def _of_command(self, words: Sequence[str]) -> Parser:
        """The parser of the command, or of the action of a command, that `words` name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word in words:
                    if word in action.choices:
                        return action.choices[word]._of_command(words)
        return self

    def print_help(self, file: Any = None) -> None:
        """Print it; argparse's own passes over an output that takes nothing."""
        print(self.format_help(), end="", file=file or sys.stdout, flush=True)

    def options(self) -> list[str]:
        """All options that it knows, such as --epochs."""
        return [option for action in self._actions for option in action.option_strings]


def whole_number(text: str) -> int:
    """A count, as typed. Raises ArgumentTypeError for anything else, with a word on fractions."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} was given, but {_expected(text)} was expected.") from None


def _expected(text: str) -> str:
    value = as_number(_as_typed(text))
    if value.is_integer():  # 32.0 and 1e3
        return f"a whole number, such as {int(value)},"
    return "a whole number" if value != value else "a whole number (a count, no fraction)"


def number(text: str) -> float:
    """A number, as typed. Raises ArgumentTypeError for anything else, with what was meant."""
    try:
        return float(text)
    except ValueError:
        meant = text.replace(",", ".").removesuffix("%")
        value = as_number(_as_typed(meant)) / (100 if text.endswith("%") else 1)
        such = "" if value != value else f", such as {value:g},"
        raise argparse.ArgumentTypeError(f"{text!r} was given, but a number{such} was expected.") from None


def _as_typed(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return None


def count_or_fraction(text: str) -> int | float:
    """0.2 is a fraction, 500 a count. Raises ArgumentTypeError for what is no number."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} was given, but a fraction such as {_fraction(text)}, or a count such as 500, was expected."
        ) from None


def _fraction(text: str) -> str:
    """0.1 for 10%; an example for anything else."""
    value = as_number(_as_typed(text.removesuffix("%"))) / 100
    return f"{value:g}" if text.endswith("%") and 0 < value < 1 else "0.2"
