"""`npsoftmax heads`: the table of heads; `npsoftmax heads NAME`: one of them, with its options."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npsoftmax.cli._surroundings import columns_of_output

NOT_A_TERMINAL = 150  # columns, where the output goes to a file or a pipe
WIDE = 110  # columns from which all columns of the tables fit


def add_parser(subparsers: Any) -> None:
    """Register the command on the `add_subparsers()` of the main parser."""
    parser = subparsers.add_parser("heads", help="the table of heads, or one with its options", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="describe this head")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; returns the exit code."""
    from npsoftmax.heads import HEADS

    if args.name:
        show(*describe(args.name))
    else:
        right = [name for name, cls in HEADS.items() if not cls.legacy]
        wrong = [name for name, cls in HEADS.items() if cls.legacy]
        wide = (columns_of_output() or NOT_A_TERMINAL) >= WIDE
        more = "the options" if wide else "parameters, reference and options"
        show(table(right, wide), legacy_table(wrong, wide), f"npsoftmax heads NAME shows {more} of one.")
    return 0


def show(*parts: Any) -> None:
    """Print rich renderables; characters that the terminal does not have become question marks."""
    from rich.console import Console

    console = Console(width=columns_of_output() or NOT_A_TERMINAL, markup=False, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    encoding = sys.stdout.encoding or "utf-8"
    print(captured.get().encode(encoding, "replace").decode(encoding), end="")


def table(names: list[str], wide: bool = True) -> Any:
    """A rich table of these heads: formula, cost of a step and of a prediction in C; if wide, parameters, reference."""
    from npsoftmax.heads import head_class

    columns = ("head", "probability of a class", "step", "predict", "parameters", "reference")
    rows = []
    for name in names:
        card = head_class(name).card
        reference = re.sub(r" \(arXiv [\d.]+\)", "", card.reference)  # in full where one head is described
        rows.append((name, card.formula, card.step, card.prediction, card.parameters, reference))
    title = "z: scores, g: noise, y: target, D features, C classes; costs are those of one sample"
    shown = len(columns) if wide else columns.index("parameters")
    return _rich_table(title, columns[:shown], [row[:shown] for row in rows])


def legacy_table(names: list[str], wide: bool = True) -> Any:
    """A rich table of the legacy wirings: what each computes and what it gets wrong."""
    from npsoftmax.heads import head_class

    cards = {name: head_class(name).card for name in names}
    rows = [(name, card.formula, card.mistake, card.instead) for name, card in cards.items()]
    title = "Published miswirings, kept to be studied"
    if wide:
        return _rich_table(title, ("head", "what it computes", "what it gets wrong", "instead"), rows)
    return _rich_table(title, ("head", "what it gets wrong", "instead"), [(row[0], *row[2:]) for row in rows])


def describe(name: str) -> list[Any]:
    """What there is to say of the head called `name`. InputError for an unknown one."""
    from npsoftmax.heads import head_class
    from npsoftmax.options import option_defaults

    cls = head_class(name)
    card = cls.card
    facts = [
        ("formula", card.formula),
        ("cost of a step", card.step),
        ("of a prediction", card.prediction),
        ("parameters", card.parameters),
        ("likelihood", "yes" if cls.likelihood else "no: its loss is not -log p, and no NLL is reported"),
        ("soft targets", "yes" if cls.soft_targets or cls.multi_label else "no: one label a sample"),
        ("reference", card.reference),
        ("source", inspect.getsourcefile(cls) or ""),
    ]
    if cls.legacy:
        facts += [("what is wrong", card.mistake), ("instead", card.instead)]
    options = [(option, _as_typed(value)) for option, value in option_defaults(cls).items()]
    return [
        f"{name}: {_with_pages(inspect.getdoc(cls) or '')}\n",
        _rich_table(None, ("", ""), facts),
        _rich_table("--head-opt KEY=VALUE", ("option", "default"), options),
    ]


def _with_pages(text: str) -> str:
    """The text; where the package was installed without the pages that it names, it says where they are."""
    if Path(__file__).parents[2].joinpath("docs", "concept.md").exists():
        return text
    return re.sub(r"\bdocs/[\w-]+\.md\b", r"\g<0> in the source distribution", text)


def _as_typed(value: Any) -> str:
    """A default as one would type it."""
    if isinstance(value, tuple):
        return ",".join(map(_as_typed, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _rich_table(title: str | None, columns: tuple[str, ...], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE, title=title and Text(title), title_justify="left", show_header=any(columns))
    for number, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))  # Text: a bracket in a formula is no markup
    return made
