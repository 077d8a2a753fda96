"""The first epoch of speedrun/speednet, npsoftmax beside PyTorch: the same network, images, augmentation and rates.

    mkdir -p DIR
    python benchmarks/speedrun.py --data-dir CIFAR --rounds 3 --json DIR/rivals.json
    npsoftmax compare speedrun --seeds 3 --out DIR

First the guard of `npsoftmax bench step`: all sides make the same two steps on one batch. Then every side trains the
first epoch of the recipe in a process of its own, in turns, PyTorch in both of its layouts; the mean losses of the
epoch must be near each other, though the sides see other random numbers. What is timed: drawing, changing and
normalising the batches, training steps, reading losses; for npsoftmax its log of every tenth step and accuracy in
training, too. Loading and the mean colour are not. npsoftmax draws its batches ahead in a thread; PyTorch does so
between the steps, and "drawing" says how long it took.

A file rivals.json in the folder of a comparison becomes a table of its report.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import (
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
from npsoftmax.bench.report import RATIO_COLUMNS, ratio_cells, unsteady, with_spread
from npsoftmax.bench.step import check_same_work
from npsoftmax.compare.plan import Row
from npsoftmax.recipes import load_recipe

RECIPE = "speedrun/speednet"
SIDES = (OURS, *RIVALS)
NEAR = 0.15  # nats between the mean losses of an epoch
BORDER = 4  # pixels, as augment = "standard" has it


def work(job: Job) -> dict[str, float]:
    """Seconds and mean loss of an epoch of one side."""
    return ours(job) if job["side"] == OURS else theirs(job)


# ---------------------------------------------------------------- npsoftmax, as a user starts it
def ours(job: Job) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, Path(folder, "said").open("w+", encoding="utf-8") as said:
        out = Path(folder, "run")
        command = [sys.executable, "-m", "npsoftmax.cli.main", "train", "--recipe", RECIPE]
        options = ["--data-dir", job["data_dir"], "--threads", str(job["threads"]), "--out", str(out)]
        with subprocess.Popen([*command, *options], stdout=said, stderr=said) as run:
            try:
                while (epoch := first_epoch(out / "metrics.csv")) is None:
                    if run.poll() is not None:
                        said.seek(0)
                        raise BenchmarkError(said.read().strip()[-2000:])
                    time.sleep(0.5)
            finally:
                run.kill()  # the other epochs are not needed
    return {"seconds": float(epoch["seconds"]), "loss": float(epoch["train_loss"])}


def first_epoch(path: Path) -> dict[str, str] | None:
    """The first row of metrics.csv; None until it is there, as a whole line."""
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:2]
    return next(csv.DictReader(lines)) if len(lines) == 2 and lines[1].endswith("\n") else None


# ---------------------------------------------------------------- PyTorch, as a user would write it
def theirs(job: Job) -> dict[str, float]:
    import torch

    from npsoftmax.bench.twins import TWINS
    from npsoftmax.data import load_dataset
    from npsoftmax.data.normalize import fit_normalization

    config = load_recipe(RECIPE).config
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    data = load_dataset(config.data, job["data_dir"])
    images, labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    scale, shift = (torch.from_numpy(f) for f in fit_normalization(config.normalize, data.x_train).factors())
    layout = torch.channels_last if job["side"] == "torch-channels-last" else torch.contiguous_format
    model = TWINS[config.model]().to(memory_format=layout)
    step = torch_step(model, config, config.epochs * -(-len(images) // config.batch_size))
    losses, drawing = [], 0.0
    started = ready = time.perf_counter()
    for x, t in torch_batches(images, labels, config.batch_size):
        x = (x * scale - shift).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        drawing += time.perf_counter() - ready
        losses.append(step(x, t) * len(t))
        ready = time.perf_counter()
    return {"seconds": time.perf_counter() - started, "drawing": drawing, "loss": sum(losses) / len(images)}


def torch_step(model: Any, config: Any, steps: int) -> Callable[[Any, Any], float]:
    """A function (x, t) -> loss that makes a step of the recipe, whose schedule has so many steps."""
    import torch

    optimizer = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, steps, **config.schedule_opts)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=config.head_opts["label_smoothing"])
    model.train()

    def step(x: Any, t: Any) -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x), t)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    return step


def torch_batches(images: Any, labels: Any, size: int, border: int = BORDER) -> Iterator[tuple[Any, Any]]:
    """The images, uint8 (N, H, W, C), in random order, each mirrored or not and shifted by up to `border` pixels."""
    import torch
    import torch.nn.functional as F

    height, width = images.shape[1:3]
    for chosen in torch.randperm(len(images)).split(size):
        x = F.pad(images[chosen], (0, 0, border, border, border, border))
        n = len(chosen)
        rows = torch.randint(2 * border + 1, (n, 1)) + torch.arange(height)
        columns = torch.randint(2 * border + 1, (n, 1)) + torch.arange(width)
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        yield x[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]], labels[chosen]


# ---------------------------------------------------------------- for the user
def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the CIFAR-100 files")
    parser.add_argument("--threads", type=whole_number(1), default=2)
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="epochs of each side, in turns (default: 3)")
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    here, config = machine(args.threads), load_recipe(RECIPE).config
    print(describe(here), file=sys.stderr)
    check_same_work({"work": "step", "model": config.model, "batch_size": 64, "threads": args.threads})
    epochs = take_epochs(args)
    check_losses(epochs)
    figures = figures_of(epochs)
    cells = [
        [side, with_spread(speed), *(ratio_cells(figures) if side == OURS else ["-"] * len(RATIO_COLUMNS))]
        for side, speed in figures["sides"].items()
    ]
    print(table([RECIPE, "epochs an hour (min-max)", *RATIO_COLUMNS], cells, 1))
    print("ratio to the faster PyTorch layout, above 1 is faster")
    warning = unsteady([figures])
    if warning:
        print(warning, file=sys.stderr)
    rival = {
        "row": RECIPE,
        "train": Row(RECIPE, config, (0,)).settings(),
        "rival": f"PyTorch {version('torch')}, {figures['faster'].removeprefix('torch-')}",
        "threads": args.threads,
        "ours": [epoch["seconds"] for epoch in epochs[OURS]],
        "theirs": [epoch["seconds"] for epoch in epochs[figures["faster"]]],
    }
    del args.data_dir  # a folder of this machine
    write_json(args, {"machine": here, "rivals": [rival], "epochs": epochs, **figures})
    return 0


def take_epochs(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What each side's epochs came to, in turns."""

    def measure(side: str) -> dict[str, float]:
        return run_worker(__file__, {"side": side, "threads": args.threads, "data_dir": args.data_dir})

    def tell(number: int, case: tuple[str, ...], found: dict[str, float]) -> None:
        said = f"{case[0]}  {found['seconds']:.1f} s, mean loss {found['loss']:.3f}"
        print(f"round {number}/{args.rounds}  {said}", file=sys.stderr)

    found = turns.take_turns([(side,) for side in SIDES], args.rounds, measure, tell)
    return {side: epochs for (side,), epochs in found.items()}


def check_losses(epochs: dict[str, list[dict[str, float]]]) -> None:
    """BenchmarkError where a side does not learn what the others do."""
    mean = {side: statistics.mean(epoch["loss"] for epoch in found) for side, found in epochs.items()}
    for side, loss in mean.items():
        if not abs(loss - mean[OURS]) <= NEAR:  # not: a NaN is a difference
            raise BenchmarkError(f"{side} does not learn what {OURS} does: the mean losses of the epoch are {mean}.")


def figures_of(epochs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Epochs an hour of each side, the faster layout of PyTorch, the ratio to it."""
    speed = {side: turns.summary([3600 / epoch["seconds"] for epoch in found]) for side, found in epochs.items()}
    faster = max(RIVALS, key=lambda side: speed[side]["median"])
    return {"sides": speed, "faster": faster, **turns.ratio_to_better(speed[OURS], [speed[side] for side in RIVALS])}


if __name__ == "__main__":
    sys.exit(entry(main, work))
