"""An epoch of the recipe speedrun/speednet, npsoftmax beside PyTorch: the same network, images, augmentation and rates.

    python benchmarks/speedrun.py --data-dir DIR --rounds 1 --json docs/results/speedrun/epochs.json
    npsoftmax compare speedrun --seeds 3 --out DIR && cp docs/results/speedrun/epochs.json DIR/rivals.json

Each epoch is trained by a process of its own, in turns; loading is not timed, drawing the batches is. The losses of the
last steps must be near each other: no side can win by learning less. A file rivals.json in the folder of a comparison
becomes a table of its report (`npsoftmax compare --report DIR`).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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

from npsoftmax.bench.report import RATIO_COLUMNS, ratio_cells, with_spread
from npsoftmax.bench.turns import ratio_to_better, summary, take_turns
from npsoftmax.recipes import load_recipe

RECIPE = "speedrun/speednet"
SIDES = ("npsoftmax", "torch")
LAST = 20  # steps whose mean loss is compared
NEAR = 0.15  # nats between the sides' mean losses: they start from other numbers and see other batches


def work(job: Job) -> dict[str, float]:
    """Seconds of an epoch of one side, and the mean loss of its last steps."""
    return ours(job) if job["side"] == "npsoftmax" else theirs(job)


# ---------------------------------------------------------------- npsoftmax, as a user starts it
def ours(job: Job) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "npsoftmax.cli.main",
        "train",
        "--recipe",
        RECIPE,
        "--epochs",
        "1",
        "--log-every=1",
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        options = ["--data-dir", job["data_dir"], "--threads", str(job["threads"]), "--out", str(out)]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(done.stderr.strip()[-2000:])
        seconds = float(column(out / "metrics.csv", "seconds")[0])
        losses = [float(loss) for loss in column(out / "steps.csv", "loss")]
    return {"seconds": seconds, "loss": statistics.mean(losses[-LAST:])}


def column(path: Path, name: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


# ---------------------------------------------------------------- PyTorch, as a user would write it
def theirs(job: Job) -> dict[str, float]:
    import torch
    from torch import nn

    from npsoftmax.bench.twins import TWINS
    from npsoftmax.data import load_dataset

    config = load_recipe(RECIPE).config
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    data = load_dataset(config.data, job["data_dir"])
    images, labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train.astype(np.int64))
    model = TWINS[config.model]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
    )
    steps = -(-len(images) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, steps, **config.schedule_opts)
    loss_of = nn.CrossEntropyLoss(label_smoothing=config.head_opts["label_smoothing"])
    losses = []
    model.train()
    started = time.perf_counter()
    for x, t in torch_batches(images, labels, config.batch_size):
        optimizer.zero_grad()
        loss = loss_of(model(x), t)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return {"seconds": time.perf_counter() - started, "loss": statistics.mean(losses[-LAST:])}


def torch_batches(images: Any, labels: Any, size: int, border: int = 4) -> Iterator[tuple[Any, Any]]:
    """The images (N, H, W, C) in random order, each mirrored or not and shifted by up to `border`, channels last."""
    import torch
    import torch.nn.functional as F

    pixels = images.reshape(-1, images.shape[-1]).float() / 255
    mean, std = pixels.mean(dim=0), pixels.std(dim=0)
    height, width = images.shape[1:3]
    for chosen in torch.randperm(len(images)).split(size):
        x = F.pad(images[chosen], (0, 0, border, border, border, border))
        n = len(chosen)
        rows = torch.randint(2 * border + 1, (n, 1)) + torch.arange(height)
        columns = torch.randint(2 * border + 1, (n, 1)) + torch.arange(width)
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        x = x[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        yield ((x.float() / 255 - mean) / std).permute(0, 3, 1, 2), labels[chosen]


# ---------------------------------------------------------------- for the user
def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the CIFAR-100 files")
    parser.add_argument("--threads", type=whole_number(1), default=2)
    parser.add_argument("--rounds", type=whole_number(1), default=1, help="epochs of each side, in turns (default: 1)")
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    here = machine(args.threads)
    print(describe(here), file=sys.stderr)
    losses: dict[str, list[float]] = {side: [] for side in SIDES}

    def measure(side: str) -> float:
        found = run_worker(__file__, {"side": side, "threads": args.threads, "data_dir": args.data_dir})
        losses[side].append(found["loss"])
        return found["seconds"]

    def tell(number: int, case: tuple[str, ...], seconds: float) -> None:
        print(
            f"round {number}/{args.rounds}  {case[0]}  {seconds:.1f} s, loss {losses[case[0]][-1]:.3f}", file=sys.stderr
        )

    seconds = take_turns([(side,) for side in SIDES], args.rounds, measure, tell)
    apart = abs(statistics.mean(losses["npsoftmax"]) - statistics.mean(losses["torch"]))
    if apart > NEAR:
        raise BenchmarkError(f"the losses at the end of the epoch are {apart:.2f} apart: not the same work. {losses}")
    found = {side: summary(seconds[side,]) for side in SIDES}
    speed = {side: summary([1 / value for value in seconds[side,]]) for side in SIDES}
    ratio = ratio_to_better(speed["npsoftmax"], [speed["torch"]])
    cells = [RECIPE, *(with_spread(found[side]) for side in SIDES), *ratio_cells(ratio)]
    print(table(["an epoch of", "npsoftmax s", "PyTorch s", *RATIO_COLUMNS], [cells], 1))
    rival = {"row": RECIPE, "rival": f"PyTorch {version('torch')}, channels last", "threads": args.threads}
    epochs = {"ours": seconds["npsoftmax",], "theirs": seconds["torch",], "losses": losses, **ratio}
    write_json(args, {"machine": here, "rivals": [rival | epochs]})
    return 0


if __name__ == "__main__":
    sys.exit(entry(main, work))
