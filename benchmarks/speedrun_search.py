"""One run of a recipe with other settings, on training images alone: what settings of a speedrun are chosen by.

    python benchmarks/speedrun_search.py OUT [KEY=VALUE …] [--recipe speedrun/cifar100_75] [--hold-out 5000] [--seed 0]

KEY is a setting of `npsoftmax train`, such as lr or epochs, or an option such as model.widths or head.temperature.
The images held out are training images; the test set is never looked at. Each set of settings and seed has a folder of
its own in OUT: typed again after it was stopped, the run goes on where it was; typed again after its end, it is there
already. OUT/table.md has a row a run: accuracy on the images held out after the last epoch, seconds to prepare and
train, images a second.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import SPEEDRUNS, whole_number

from npsoftmax.errors import InputError, in_python
from npsoftmax.files import read_json
from npsoftmax.metrics import read_columns
from npsoftmax.options import parse_pairs
from npsoftmax.recipes import load_recipe
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare
from npsoftmax.training.checkpoint import write_json
from npsoftmax.training.checks import check_settings

RECIPE = SPEEDRUNS[0]
TABLES = {"head": "head_opts", "model": "model_opts", "schedule": "schedule_opts"}
ELSEWHERE = {  # settings that are no KEY -> what says them
    "seed": "--seed",
    "val_split": "--hold-out",
    "recipe": "--recipe",
    "data_dir": "--data-dir",
    "threads": "--threads",
    "checkpoint_every": "nothing: a run is saved every 20 steps",
}
HELD_OUT = 5000  # images, without --hold-out
SAVED_EVERY = 20  # steps
RESULT = "held_out.json"


def settings(recipe: str, changes: dict[str, Any], where: dict[str, Any]) -> TrainConfig:
    """The recipe's settings with those changes; InputError for what is none."""
    values = {name: value for name, value in asdict(load_recipe(recipe).config).items() if value is not None}
    for key, value in changes.items():
        table, _, option = key.partition(".")
        if option and table in TABLES:
            values[TABLES[table]] = values[TABLES[table]] | {option: value}
        else:
            values[key] = value
    values |= {"recipe": None, "checkpoint_every": SAVED_EVERY} | where
    return TrainConfig.of({name: value for name, value in values.items() if value is not None}, "the command")


def changes_of(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as settings; InputError for what is said elsewhere, and for a KEY that comes twice."""
    changes = parse_pairs(pairs)
    if len(changes) < len(pairs):
        raise InputError(f"a KEY comes twice in {' '.join(pairs)}: leave one of them out.")
    for key in changes:
        if key in ELSEWHERE:
            raise InputError(f"{key} is no KEY=VALUE; it is said by {ELSEWHERE[key]}.")
    sizes = changes.get("image_sizes")
    if isinstance(sizes, tuple):  # a word, though it has commas
        changes["image_sizes"] = ",".join(map(str, sizes))
    return changes


def planned(
    out: Path,
    changes: Sequence[str],
    *,
    recipe: str,
    hold_out: int,
    seed: int,
    data_dir: str | None,
    threads: int | None,
) -> tuple[TrainConfig, Path]:
    """The run with those KEY=VALUE and that seed: its settings, and its folder in `out`.

    InputError for settings that make no run, where that can be known before data is read.
    """
    where = {"val_split": hold_out, "seed": seed, "data_dir": data_dir, "threads": threads}
    found = changes_of(changes)
    with in_python():  # epochs, as typed here, and not --epochs
        config = settings(recipe, found, where)
        check_settings(config, "the command")
    other = [recipe] if recipe != RECIPE else []
    other += [f"hold-out={hold_out}"] if hold_out != HELD_OUT else []
    return config, out / re.sub(r"[^\w.=+-]+", "-", " ".join([*other, *sorted(changes), f"seed={seed}"]))


def result_of(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """What came out of a run that was planned; it is trained unless that is done already."""
    if not (folder / RESULT).is_file():
        train(config, folder)
    return dict(read_json(folder / RESULT))


def train(config: TrainConfig, folder: Path) -> None:
    """Train to the end, from where an earlier visit stopped, and write what came out."""
    begun = (folder / "config.toml").is_file()
    session = prepare(config)
    run = RunDirectory(folder)
    run.make()
    with run.locked():
        trainer = Trainer(session, run, Progress(config.epochs))
        if begun:
            trainer.resume()
        else:
            run.describe(session.config, session.dataset, session.train.normalize, session.backend)
        state = trainer.fit()
    if trainer.interrupted:
        sys.exit("stopped and saved; the same command goes on")
    write_json(
        folder / RESULT,
        {
            "epochs": config.epochs,
            "parameters": session.model.parameter_count(),
            "accuracy": float(read_columns(run.metrics_file, ("val_accuracy",))["val_accuracy"][-1]),
            "prepare_seconds": state.prepare_seconds,
            "train_seconds": state.train_seconds,
            "images_per_second": state.images / state.train_seconds,
        },
    )


def write_table(out: Path) -> str:
    """OUT/table.md, the best first."""
    found = sorted(
        ((read_json(path), path.parent.name) for path in out.glob(f"*/{RESULT}")), key=lambda row: -row[0]["accuracy"]
    )
    rows = [
        f"| {name} | {r['epochs']} | {100 * r['accuracy']:.2f} | {r['prepare_seconds'] + r['train_seconds']:,.0f} "
        f"| {r['images_per_second']:.0f} | {r['parameters']:,} |"
        for r, name in found
    ]
    head = "| settings | epochs | held out % | prepare + train s | images/s | parameters |\n|:--|--:|--:|--:|--:|--:|\n"
    text = head + "\n".join(rows) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    return text


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every search over settings is told."""
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=shown, allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--hold-out", type=whole_number(1), default=HELD_OUT)
    parser.add_argument("--data-dir")
    parser.add_argument("--threads", type=whole_number(1))
    return parser


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seed", type=whole_number(0), default=0)
    args = parser.parse_args()
    try:
        result_of(*planned(**vars(args)))
    except InputError as error:
        sys.exit(f"error: {error}")
    print(write_table(args.out))


if __name__ == "__main__":
    main()
