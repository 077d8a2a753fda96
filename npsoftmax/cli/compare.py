"""`npsoftmax compare`, and examples/compare_heads.py: several runs and one report of them."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from npsoftmax.cli._display import Display
from npsoftmax.cli._parser import Parser, whole_number
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.options import parse_pairs

DESCRIPTION = """\
Runs several recipes or heads, each with several seeds, and writes report.html and report.md beside the runs. A run
that is finished is kept, one that was begun goes on: type the same command again after Ctrl-C or a failure. Settings of
`npsoftmax train` may be given too and hold for all runs; a recipe has its own.

  npsoftmax compare e3 --seeds 3
  npsoftmax compare --heads softmax,gumbel_softmax,hierarchical --model convnet --epochs 5
  npsoftmax compare --heads gumbel_softmax --vary head.tau=0.3,1,3 --epochs 3
  npsoftmax compare --report runs/compare-e3
"""
OWN = {"recipes", "heads", "vary", "seeds", "out", "jobs", "engine", "title", "report", "list"}
OWN |= {"command", "run", "words"}  # put there by the parser
ENGINES = ("local", "mpi")
FOLDERS = ("--data-dir", "--out")
PRINTED = ("row", "runs", "accuracy %", "F1", "NLL", "ECE", "s/epoch")  # columns of the report at the end
TABLES = {"head": "head_opts", "model": "model_opts", "schedule": "schedule_opts"}


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "compare",
        help="run several recipes or heads and write a report",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run, words=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of `compare`, and those of `train` that are settings."""
    from npsoftmax.cli import train

    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="a recipe such as e3/softmax, or a report: e3")
    parser.add_argument("--heads", metavar="NAMES", help="heads instead of recipes, with commas between; all for all")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=A,B,…",
        help="run every row with each of these values of a setting: lr, optimizer, data, model, … or head.tau, "
        "model.width, schedule.warmup, …; may be repeated",
    )
    parser.add_argument(
        "--seeds", type=whole_number, default=1, metavar="N", help="runs of each row, seeds following each other"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the runs and the report (default: runs/compare-<what>)")
    parser.add_argument(
        "--jobs", type=whole_number, default=1, metavar="N", help="runs at the same time; they share the cores"
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local, or mpi: mpiexec -n N npsoftmax compare … --engine mpi runs N - 1 at the same time, on a whole "
        "cluster (docs/cluster.md)",
    )
    parser.add_argument("--title", default="", help="heading of the report (default: the last one given)")
    parser.add_argument("--report", metavar="DIR", help="only write the report of this folder again")
    parser.add_argument("--list", action="store_true", help="list all recipes")
    train.add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run what is not finished, then write the report; 1 where runs are missing from it."""
    from npsoftmax.compare import Comparison, run_all, write_report

    if args.engine == "mpi" and not (args.list or args.report):
        return run_on_cluster(args)
    if args.list:
        return list_recipes()
    if args.report:
        refuse_beside_report(args)
        comparison = Comparison.existing(args.report)
        if args.title:
            comparison.title = args.title
            comparison.save()
        print_report(write_report(comparison))
        return 0
    check_counts(args)
    return run_and_report(args, lambda jobs, tell, watch: run_all(jobs, args.jobs, tell, watch))


def run_on_cluster(args: argparse.Namespace) -> int:
    """What each process of mpiexec does: the first one plans, hands out and writes, the others run."""
    from npsoftmax.cli._processes import ending_together
    from npsoftmax.compare.cluster import hand_out, work
    from npsoftmax.distributed import join

    command = "npsoftmax compare … --engine mpi"
    group = join(command)
    if group.size == 1:
        raise InputError(
            "--engine mpi hands the runs to other processes, but there is one process. For two runs at the same time, "
            f"type: mpiexec -n 3 {command}"
        )
    with ending_together(group):
        if not group.is_first:
            work(group)
            return 0
        check_counts(args)
        if args.jobs > 1:
            raise InputError("--jobs is for --engine local; with mpi, N processes run N - 1 at the same time.")
        return run_and_report(args, lambda jobs, tell, watch: hand_out(group, jobs, tell, watch))


def refuse_beside_report(args: argparse.Namespace) -> None:
    """InputError for what --report, which runs nothing, would pass over."""
    plain: dict[str, Any] = {"heads": None, "vary": [], "seeds": 1, "out": None, "jobs": 1, "recipes": []}
    beside = [name for name, unset in plain.items() if getattr(args, name) != unset]
    beside += [name for name in vars(args) if name not in OWN]
    if beside:
        name = "RECIPE" if beside[0] == "recipes" else f"--{beside[0].replace('_', '-')}"
        raise InputError(f"{name} would have no effect beside --report, which runs nothing. Leave it out.")


def check_counts(args: argparse.Namespace) -> None:
    """InputError for fewer than one seed or job."""
    for name in ("seeds", "jobs"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} is {getattr(args, name)}, but at least 1 is needed.")


def run_and_report(args: argparse.Namespace, run_jobs: Callable[..., bool]) -> int:
    """Plan, run by `run_jobs`, write the report."""
    from npsoftmax.compare import Comparison, write_report
    from npsoftmax.compare.collect import collect
    from npsoftmax.compare.report import counted

    given = {name: value for name, value in vars(args).items() if name not in OWN}
    rows = planned_rows(args.recipes, args.heads, args.vary, args.seeds, given)
    comparison = Comparison(args.out or default_folder(args.recipes, args.heads))
    comparison.check_alike(rows)
    comparison.add(rows, typed(args.words))
    comparison.title = args.title or comparison.title
    comparison.save()
    jobs = list(comparison.jobs())
    # Ended from outside, this process ends its jobs as Ctrl-C would: they save, and nothing runs on unseen.
    stop = Stop()
    with Display(jobs) as display:
        ended = run_jobs(jobs, display.tell, display.watch)
    if ended or any(result.runs for result in collect(comparison)):
        print_scores(comparison)
        print_report(write_report(comparison))
    if not ended:
        print("interrupted: the runs are saved; type the same command again to go on.", file=sys.stderr)
        return 128 + (stop.number or signal.SIGINT)
    if display.failed:
        print(f"{counted(display.failed, 'run')} failed; type the same command again to go on.", file=sys.stderr)
    return 1 if display.failed else 0


class Stop:
    """SIGTERM, and SIGHUP where nohup does not ignore it, as Ctrl-C from now on; number: which one came."""

    def __init__(self) -> None:
        self.number: int | None = None
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.note)

    def note(self, number: int, _: Any) -> None:
        """What the signal does."""
        if self.number is None:  # a closed terminal may send its signal twice
            self.number = number
            raise KeyboardInterrupt


def typed(words: Sequence[str]) -> str:
    """The command as the report quotes it: for any machine, so without the folders of this one."""
    quoted, before = ["npsoftmax", "compare"], ""
    for word in words[words[:1] == ["compare"] :]:
        name = word.partition("=")[0]
        quoted.append("DIR" if before in FOLDERS else f"{name}=DIR" if name in FOLDERS and name != word else word)
        before = word
    return shlex.join(quoted)


def print_scores(comparison: Any) -> None:
    """The scores and times of the report as a table of text; nothing before a run has ended."""
    from npsoftmax.compare.collect import collect
    from npsoftmax.compare.tables import score_table

    results = collect(comparison)
    if not any(result.runs for result in results):
        return
    table = score_table(results)
    chosen = [table.columns.index(name) for name in PRINTED if name in table.columns]
    lines = [[line[i] for i in chosen] for line in (table.columns, *table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(chosen))]
    for first, *rest in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())


def print_report(paths: Sequence[Path]) -> None:
    """Say where the report is."""
    for path in paths:
        if path.suffix in (".html", ".md"):
            print(f"the report is in {path}")


def list_recipes() -> int:
    """A line a recipe."""
    from npsoftmax.recipes import load_recipe, recipe_names

    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {load_recipe(name).title}")
    return 0


# ---------------------------------------------------------------- what is to be run
def planned_rows(
    recipes: Sequence[str], heads: str | None, vary: Sequence[str], seeds: int, given: dict[str, Any]
) -> list[Any]:
    """The rows of the report; InputError for names and settings that do not exist, before anything runs."""
    from npsoftmax.cli._settings import new_config, settings_of
    from npsoftmax.compare import Row
    from npsoftmax.heads import HEADS
    from npsoftmax.recipes import load_recipe, recipes_called
    from npsoftmax.training.checks import check_settings, refuse_without_effect

    if "head" in given:
        raise InputError("npsoftmax compare takes --heads, with commas between their names, and not --head.")
    if recipes and all(name in HEADS for name in recipes):
        raise InputError(f"{recipes[0]!r} is a head; type --heads {','.join(filter(None, [heads, *recipes]))}.")
    if bool(recipes) == bool(heads):
        raise InputError("give recipes (such as e3/softmax; --list shows them) or --heads softmax,gumbel_softmax.")
    if heads:
        configs = {name: new_config(given | {"head": name}) for name in head_names(heads)}
    else:
        names = dict.fromkeys(one for name in recipes for one in recipes_called(name))
        configs = {name: load_recipe(name).config_with(settings_of(given)) for name in names}
    if vary and not heads:
        raise InputError("--vary goes with --heads: a recipe has its settings.")
    rows = []
    for name, config in configs.items():
        for values in itertools.product(*(parse_variation(text) for text in vary)):
            label = " ".join([name, *(f"{key.rpartition('.')[2]}={shown(value)}" for key, value in values)])
            changed = varied(config, values)
            check_settings(changed, f"row {label!r}")
            row_seeds = tuple(range(config.seed, config.seed + seeds))
            rows.append(Row(label, changed, row_seeds, {key.rpartition(".")[2]: value for key, value in values}))
    keys = {text.partition("=")[0].strip().replace("-", "_"): text for text in vary}
    refuse_without_effect(given | keys, [row.config for row in rows])
    return rows


def head_names(text: str) -> list[str]:
    """'a,b' or 'all' -> names of heads; all are those without mistakes."""
    from npsoftmax.heads import HEADS

    if text == "all":
        return [name for name, head in HEADS.items() if not head.legacy]
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in HEADS:
            raise unknown_name("head", name, HEADS)
    refuse_twice("--heads", names)
    return names


def refuse_twice(option: str, values: Sequence[str]) -> None:
    """InputError for a value that is named twice: one row of the table would be all there is of it."""
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{option} has {value} twice; for several runs of it, type --seeds 2.")


def parse_variation(text: str) -> list[tuple[str, Any]]:
    """'head.tau=0.5,1' -> [('head.tau', 0.5), ('head.tau', 1)]."""
    from npsoftmax.training import TrainConfig

    key, equals, values = text.partition("=")
    key = key.strip().replace("-", "_")
    table, dot, _ = key.partition(".")
    known = [f.name for f in fields(TrainConfig) if f.name not in TABLES.values()]
    if not equals or not values:
        raise InputError(f"--vary {text!r} is not of the form key=a,b; type for example --vary head.tau=0.5,1,2.")
    if (dot and table not in TABLES) or (not dot and key not in known):
        raise unknown_name("setting in --vary", key, [*known, *(f"{name}.…" for name in TABLES)])
    if key == "seed":
        raise InputError("--vary seed would have no effect: every row has its seeds. Type --seeds 2, and --seed 7.")
    refuse_twice(f"--vary {key}", [value.strip() for value in values.split(",")])
    return [(key, parse_pairs([f"x={value}"])["x"]) for value in values.split(",")]


def varied(config: Any, values: Iterable[tuple[str, Any]]) -> Any:
    """The settings with these values."""
    for key, value in values:
        table, dot, option = key.partition(".")
        if dot:
            name = TABLES[table]
            config = replace(config, **{name: getattr(config, name) | {option: value}})
        else:
            config = replace(config, **{key: value})
    return config


def default_folder(recipes: Sequence[str], heads: str | None) -> Path:
    """runs/compare-<what>: the same for the same command, so that it goes on where it was."""
    what = re.sub(r"[^\w.]+", "-", "-".join(recipes) or heads or "")
    return Path("runs", f"compare-{what}"[:80])


def shown(value: Any) -> str:
    """A value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """The `compare` command as a program of its own: examples/compare_heads.py."""
    from npsoftmax.cli.main import run_program

    def make_parser(_: str | None) -> Parser:
        parser = Parser(
            prog=os.path.basename(sys.argv[0]),
            description=DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(parser)
        parser.set_defaults(run=run, words=None)
        return parser

    return run_program(make_parser, sys.argv[1:] if argv is None else argv)
