"""The first epoch of a speedrun's recipe, npsoftmax beside PyTorch: the same network, images, changes and rates.

    mkdir -p DIR
    python benchmarks/speedrun.py [--recipe speedrun/cifar100_75] [--data-dir CIFAR] --rounds 3 --json DIR/rivals.json
    npsoftmax compare speedrun/cifar100_75 --seeds 5 --out DIR

First a guard: all sides take the same two steps of the recipe on one batch, from the same parameters. Then every side
trains the first epoch in a process of its own, in turns, PyTorch (speedrun_torch.py) in both of its layouts; where
images grow during the recipe, an epoch of each size. The mean losses of an epoch must be near each other, though the
sides see other random numbers. "recipe" weighs the sizes as the recipe's steps do. What is timed: resizing, drawing,
changing and normalising the images, training steps, reading losses; for npsoftmax its log of every tenth step and
accuracy in training, too. Preparing (reading the data, mean colour, whitening, building) is timed by itself. npsoftmax
draws its batches ahead in a thread; PyTorch does so between the steps, and "drawing" in the file says how long it took,
"updating" how long the optimisers.

A file rivals.json in the folder of a comparison becomes a table of its report. --images N shortens the epochs, for a
first look.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import (
    SPEEDRUNS,
    BenchmarkError,
    Job,
    describe,
    entry,
    machine,
    new_file,
    run_worker,
    table,
    version,
    whole_number,
    write_json,
)

from npsoftmax.bench import turns
from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.networks import our_settings
from npsoftmax.bench.report import RATIO_COLUMNS, ratio_cells, unsteady, with_spread
from npsoftmax.bench.step import differences
from npsoftmax.bench.workers import refuse_torch
from npsoftmax.compare.plan import Row
from npsoftmax.data import load_dataset
from npsoftmax.data.sizes import Growth
from npsoftmax.errors import InputError
from npsoftmax.metrics import read_columns
from npsoftmax.params import leaves
from npsoftmax.recipes import load_recipe
from npsoftmax.training import Progress, RunDirectory, TrainConfig, Trainer, prepare
from npsoftmax.training.session import make_optimizer, make_step, run_schedule

SIDES = (OURS, *RIVALS)
NEAR = 0.15  # nats between the mean losses of an epoch
GUARD_IMAGES, GUARD_EPOCHS = 64, 8  # one step each, of which the second has the highest rate
GUARD_RATE = 1 / 6  # of the recipe's: rounding errors do not grow much in two steps
IMAGES, PIXELS = 50_000, 32  # of CIFAR-100
RECIPE_EPOCH = "recipe"  # the mean of the sizes, weighed


def work(job: Job) -> dict[str, Any]:
    """What a worker does: an epoch of one side, or its two steps for the guard."""
    if job["task"] == "guard":
        return our_steps(job) if job["side"] == OURS else their_steps(job)
    return ours(job) if job["side"] == OURS else theirs(job)


def config_of(job: Job) -> TrainConfig:
    """The recipe as this job runs it."""
    config = load_recipe(job["recipe"]).config
    where = {"data_dir": job["data_dir"], "threads": job["threads"], "limit_train": job["images"]}
    return replace(config, **where, image_sizes=job["sizes"])


# ---------------------------------------------------------------- an epoch of each side
def ours(job: Job) -> dict[str, float]:
    """As `npsoftmax train` trains it: with its logs and checkpoints."""
    session = prepare(config_of(job))
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder, "run"))
        run.make()
        state = Trainer(session, run, Progress(session.config.epochs, quiet=True), stop_after=1).fit()
        loss = read_columns(run.metrics_file, ("train_loss",))["train_loss"][0]
    refuse_torch()
    return {"seconds": state.train_seconds, "loss": float(loss), "prepare": state.prepare_seconds}


def theirs(job: Job) -> dict[str, float]:
    """As a user of PyTorch would write it."""
    from speedrun_torch import prepared

    run, _, seconds = prepared(config_of(job), job["side"].removeprefix("torch-"))
    return {**run.epoch(0), "prepare": seconds}


# ---------------------------------------------------------------- the guard
def check_same_steps(shared: Job) -> None:
    """BenchmarkError where the sides do not take the same two steps of the recipe."""
    with tempfile.TemporaryDirectory() as folder:
        start = str(Path(folder, "start.npz"))  # written by our side, read by the others
        job = {**shared, "task": "guard", "images": GUARD_IMAGES, "sizes": None, "start": start}
        figures = {side: run_worker(__file__, {**job, "side": side}) for side in SIDES}
    for side in RIVALS:
        found = differences(figures[OURS], figures[side])
        if found:
            complaint = f"{OURS} and {side} do not take the same steps of {shared['recipe']}; no ratio is given."
            raise BenchmarkError("\n".join([complaint, *found]))


def guarded(job: Job) -> TrainConfig:
    """The recipe with all the images in one batch, few epochs and lower rates."""
    config = config_of(job)
    rates = {"lr": GUARD_RATE * config.lr, "muon_lr": GUARD_RATE * config.muon_lr}
    return replace(config, batch_size=job["images"], epochs=GUARD_EPOCHS, **rates)


def our_steps(job: Job) -> dict[str, Any]:
    """Losses of two steps and an evaluation, and how far each parameter moved; the start is written to a file."""
    with our_settings(job["threads"]):
        session = prepare(guarded(job))
        model, data, schedule = session.model, session.dataset, run_schedule(session)
        step, n = make_step(session, make_optimizer(session.config, model)), len(data.y_train)
        start: dict[str, Any] = {name: p.copy() for name, p in leaves(model.params)}
        np.savez(job["start"], **start)
        x, t, losses = session.train.normalize.apply(data.x_train), data.y_train.astype(np.int64), []
        for number in range(2):
            found = step.forward(x, t, np.arange(n), number, n)
            step.update(found, *schedule(number))
            losses.append(float(found.loss))
        losses.append(-float(model.log_prob(x)[np.arange(n), t].mean()))
        return {"losses": losses, "moves": moves(start, dict(leaves(model.params)))}


def their_steps(job: Job) -> dict[str, Any]:
    """As `our_steps`, from the start that our side wrote; the filters that whiten are their own."""
    import torch
    from speedrun_torch import prepared

    from npsoftmax.bench.twins import load_parameters, our_parameters

    def copies() -> dict[str, np.ndarray]:
        return {name: p.detach().numpy().copy() for name, p in our_parameters(run.model).items()}

    run, *_ = prepared(guarded(job), job["side"].removeprefix("torch-"))
    with np.load(job["start"]) as start:
        load_parameters(run.model, start)
    before, x, t = copies(), run.normalised(run.images), run.labels
    losses = [run.step(x, t) for _ in range(2)]
    run.model.eval()
    with torch.inference_mode():
        losses.append(torch.nn.functional.cross_entropy(run.model(x) / run.step.temperature, t).item())
    return {"losses": losses, "moves": moves(before, copies())}


def moves(start: Mapping[str, np.ndarray], end: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far each parameter is from where it was."""
    return {name: float(np.linalg.norm(end[name] - p)) for name, p in start.items()}


# ---------------------------------------------------------------- for the user
def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the CIFAR-100 files (default: where npsoftmax finds them)")
    parser.add_argument("--recipe", default=SPEEDRUNS[0], choices=SPEEDRUNS, help="default: %(default)s")
    parser.add_argument("--threads", type=whole_number(1), default=2)
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="epochs of each side, in turns (default: 3)")
    parser.add_argument("--images", type=whole_number(1), help="of the training images so many alone")
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    config = load_recipe(args.recipe).config
    refuse(args, config)
    here = machine(args.threads)
    print(describe(here), file=sys.stderr)
    shared = {name: getattr(args, name) for name in ("recipe", "data_dir", "threads", "images")}
    check_same_steps(shared)
    stages = stages_of(config)
    epochs = take_epochs(shared, stages, args.rounds)
    check_losses(epochs)
    figures = figures_of(epochs, stages, config.epochs, args.images or IMAGES)
    print(tables(args.recipe, figures))
    warning = unsteady(figures["images_per_second"].values())
    if warning:
        print(warning, file=sys.stderr)
    rivals = [] if args.images else [rival(args, config, figures)]
    del args.data_dir  # a folder of this machine
    raw = {" ".join(case): found for case, found in epochs.items()}
    write_json(args, {"machine": here, "rivals": rivals, "epochs": raw, **figures})
    return 0


def refuse(args: argparse.Namespace, config: TrainConfig) -> None:
    """BenchmarkError for what would end the first worker: no torch, no images."""
    if importlib.util.find_spec("torch") is None:
        raise BenchmarkError("PyTorch is not installed. Type: pip install torch")
    try:
        load_dataset(config.data, args.data_dir, limit_train=args.images)
    except InputError as error:
        raise BenchmarkError(str(error)) from error


class Stage(NamedTuple):
    """Images of one size: what --image-sizes makes a first epoch of them, and their share of the recipe's steps."""

    option: str | None
    share: float


def stages_of(config: TrainConfig) -> dict[str, Stage]:
    """Pixels of a side -> their stage."""
    if config.image_sizes is None:
        return {str(PIXELS): Stage(None, 1.0)}
    steps = config.epochs * -(-IMAGES // config.batch_size)
    *smaller, last = (*Growth.of(config.image_sizes, PIXELS, steps).stages, (PIXELS, steps))
    stages, begun = {}, 0
    for height, end in smaller:
        stages[str(height)], begun = Stage(f"{height}:0.9999", (end - begun) / steps), end
    return stages | {str(last[0]): Stage(str(last[0]), (last[1] - begun) / steps)}


Epochs = dict[tuple[str, ...], list[dict[str, float]]]  # (pixels, side) -> what came of each round's


def take_epochs(shared: Job, stages: Mapping[str, Stage], rounds: int) -> Epochs:
    """All epochs: in each round size by size, and the sides one after the other."""

    def measure(pixels: str, side: str) -> dict[str, float]:
        return run_worker(__file__, {**shared, "task": "epoch", "sizes": stages[pixels].option, "side": side})

    def tell(number: int, case: tuple[str, ...], found: dict[str, float]) -> None:
        said = f"{found['seconds']:.1f} s, mean loss {found['loss']:.3f}, prepared in {found['prepare']:.1f} s"
        print(f"round {number}/{rounds}  {' '.join(case)}  {said}", file=sys.stderr)

    return turns.take_turns([(pixels, side) for pixels in stages for side in SIDES], rounds, measure, tell)


def check_losses(epochs: Epochs) -> None:
    """BenchmarkError where a side does not learn what the others do."""
    mean = {case: statistics.mean(epoch["loss"] for epoch in found) for case, found in epochs.items()}
    for (pixels, side), loss in mean.items():
        if not abs(loss - mean[pixels, OURS]) <= NEAR:  # not: a NaN is a difference
            losses = {other: mean[pixels, other] for other in SIDES}
            raise BenchmarkError(f"{side} does not learn what {OURS} does: the mean losses of the epoch are {losses}.")


def figures_of(epochs: Epochs, stages: Mapping[str, Stage], number: int, images: int) -> dict[str, Any]:
    """Seconds and images a second of each size and of the recipe, ratios to the faster layout; seconds to prepare.

    An epoch of the recipe is the mean of those of its sizes, weighed; it has `number` of them.
    """
    seconds = {
        pixels: {side: [epoch["seconds"] for epoch in epochs[pixels, side]] for side in SIDES} for pixels in stages
    }
    weights = [stage.share for stage in stages.values()]
    of_rounds = {side: zip(*(seconds[pixels][side] for pixels in stages), strict=True) for side in SIDES}
    seconds[RECIPE_EPOCH] = {
        side: [sum(w * s for w, s in zip(weights, of_sizes, strict=True)) for of_sizes in rounds]
        for side, rounds in of_rounds.items()
    }
    speeds = {}
    for what, of_side in seconds.items():
        sides = {side: turns.summary([images / value for value in values]) for side, values in of_side.items()}
        ratio = turns.ratio_to_better(sides[OURS], [sides[side] for side in RIVALS])
        speeds[what] = {"sides": sides, **ratio}
    prepare = {
        side: statistics.median(epoch["prepare"] for pixels in stages for epoch in epochs[pixels, side])
        for side in SIDES
    }
    whole = {
        side: prepare[side] + number * statistics.median(values) * IMAGES / images
        for side, values in seconds[RECIPE_EPOCH].items()
    }
    return {
        "images": images,
        "seconds": seconds,
        "images_per_second": speeds,
        "prepare_seconds": prepare,
        "recipe_seconds": whole,
    }


def tables(recipe: str, figures: Mapping[str, Any]) -> str:
    """Images a second of each size and of the recipe; then the seconds of the whole recipe."""
    speeds = figures["images_per_second"]
    cells = [
        [what, side, with_spread(speed), *(ratio_cells(of) if side == OURS else ["-"] * len(RATIO_COLUMNS))]
        for what, of in speeds.items()
        for side, speed in of["sides"].items()
    ]
    whole = [
        [side, f"{figures['prepare_seconds'][side]:.1f}", f"{seconds:,.0f}"]
        for side, seconds in figures["recipe_seconds"].items()
    ]
    said = "prepare + train at this speed, s"
    said += "" if figures["images"] == IMAGES else f" (from epochs of {figures['images']:,} images: too long if few)"
    return "\n\n".join(
        [
            table([recipe, "side", "images/s (min-max)", *RATIO_COLUMNS], cells, 2),
            "ratio to the faster PyTorch layout, above 1 is faster",
            table([recipe, "prepare, s", said], whole, 1),
        ]
    )


def rival(args: argparse.Namespace, config: TrainConfig, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of rivals.json: seconds of an epoch, beside the layout that is faster on the recipe."""
    seconds = figures["seconds"][RECIPE_EPOCH]
    faster = min(RIVALS, key=lambda side: statistics.median(seconds[side]))
    return {
        "row": args.recipe,
        "train": Row(args.recipe, config, (0,)).settings(),
        "rival": f"PyTorch {version('torch')}, {faster.removeprefix('torch-')}",
        "threads": args.threads,
        "ours": seconds[OURS],
        "theirs": seconds[faster],
    }


if __name__ == "__main__":
    sys.exit(entry(main, work))
