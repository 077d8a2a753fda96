"""Training on a GPU beside PyTorch on the same one: full steps, convolutions, heads by number of classes, a whole run.

    python benchmarks/gpu.py --json docs/results/gpu.json --markdown docs/results/gpu.md
    python benchmarks/gpu.py --cpu --models convnet --batch-sizes 4 --classes 100 --epochs 0 --seconds 0.1  # a trial

Both sides with TF32 and in bfloat16: PyTorch (eager, channels last) by autocast, ours by --precision bf16, which is the
same (docs/gpu.md). A step is forward, backward and SGD with momentum on a batch that lies on the device; losses are not
read, and the device is waited for at the end of the measured steps only. Every side is a process of its own each round,
which measures all that the side has; sides take turns. First both sides train three steps from the same parameters in
full float32: where their losses differ there is no ratio. Of single convolutions output and both gradients are made, as
in training (in bf16 of activations that are bfloat16); ours once more by columns. The run is the recipe e1/log_softmax,
as a user would start it; it needs CIFAR-100 on disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    BenchmarkError,
    Job,
    entry,
    machine,
    name_list,
    new_file,
    run_worker,
    table,
    whole_number,
    write_json,
)
from gpu_sides import COLUMNS, OURS, OURS_BF16, SIDES, TORCH, TORCH_BF16, work

from npsoftmax.bench import turns

MODELS = ("tinyvgg", "convnet", "resnet9", "vit_small")
# C>F@SIDE of the 3x3 convolutions behind the first one: two of convnet, the others of resnet9.
LAYERS = ("32>64@16", "64>128@8", "64>128@32", "128>128@16", "128>256@16", "256>512@8", "512>512@4")
LAYER_SIDES = (COLUMNS, *SIDES)
HEADS = {
    OURS: ("softmax", "hierarchical", "adaptive", "sampled"),
    TORCH: ("torch softmax", "torch adaptive"),
}
RECIPE = "e1/log_softmax"
LOSS_TOLERANCE = 1e-3

Case = tuple[str, str, int]
Section = tuple[str, list[str], list[list[str]]]  # heading, columns, rows
Steps = dict[str, turns.Summary]  # seconds of a step, by "side task model number"


def check_same_work(shared: Job) -> list[float]:
    """Our losses; BenchmarkError where PyTorch's are others."""
    with tempfile.TemporaryDirectory() as folder:
        job = {**shared, "task": "guard", "start": str(Path(folder, "start.npz"))}
        ours, theirs = (run_worker(__file__, {**job, "side": side})["losses"] for side in (OURS, TORCH))
    if not np.allclose(ours, theirs, rtol=LOSS_TOLERANCE):
        raise BenchmarkError(f"the sides do not do the same on {shared['model']}: losses {ours} against {theirs}.")
    return ours


# ---------------------------------------------------------------- figures
def cases_of(args: argparse.Namespace, side: str) -> list[Case]:
    """(task, model, number) of all that a side has a figure for."""
    layers = [("convolution", layer, max(args.batch_sizes)) for layer in args.layers]
    if side == COLUMNS:
        return layers
    models = [("train", model, size) for model in args.models for size in args.batch_sizes]
    heads = [("head", head, n) for head in HEADS.get(side, ()) for n in args.classes]
    return models + layers + heads


def measured(args: argparse.Namespace, shared: Job) -> Steps:
    """Seconds of a step of each case of each side."""
    cases = {side: cases_of(args, side) for side in LAYER_SIDES}

    def measure(side: str) -> list[float]:
        return run_worker(__file__, {**shared, "task": "time", "side": side, "cases": cases[side]})["seconds"]

    def tell(number: int, case: tuple[str, ...], value: list[float]) -> None:
        print(f"round {number}/{args.rounds}  {case[0]}  {len(value)} figures", file=sys.stderr, flush=True)

    rounds = turns.take_turns(((side,) for side in LAYER_SIDES), args.rounds, measure, tell)
    return {
        f"{side} {task} {model} {number}": turns.summary(values)
        for (side,), found in rounds.items()
        for (task, model, number), values in zip(cases[side], zip(*found, strict=True), strict=True)
    }


def model_rows(args: argparse.Namespace, found: Steps) -> list[list[str]]:
    rows = []
    for model in args.models:
        for size in args.batch_sizes:
            speeds = {side: size / found[f"{side} train {model} {size}"]["median"] for side in SIDES}
            ratios = speeds[OURS] / speeds[TORCH], speeds[OURS_BF16] / speeds[TORCH_BF16]
            shown = [f"{speed:,.0f}" for speed in speeds.values()]
            rows.append([model, str(size), *shown, *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def layer_rows(args: argparse.Namespace, found: Steps) -> list[list[str]]:
    size = max(args.batch_sizes)
    names = {layer: [f"{side} convolution {layer} {size}" for side in LAYER_SIDES] for layer in args.layers}
    return [[layer, *(milliseconds(found[name]) for name in row)] for layer, row in names.items()]


def head_rows(args: argparse.Namespace, found: Steps) -> list[list[str]]:
    heads = [(side, head) for side, names in HEADS.items() for head in names]
    return [[f"{n:,}", *(milliseconds(found[f"{side} head {head} {n}"]) for side, head in heads)] for n in args.classes]


def milliseconds(figure: turns.Summary) -> str:
    return f"{1e3 * figure['median']:.3f}"


MODEL_COLUMNS = ["model", "batch", *SIDES, "ratio tf32", "ratio bf16"]
LAYER_COLUMNS = ["convolution", *LAYER_SIDES]
HEAD_COLUMNS = ["classes", *(head for names in HEADS.values() for head in names)]


def sections(args: argparse.Namespace, steps: Steps) -> list[Section]:
    """The three tables, each with what stands above it."""
    return [
        ("Images a second of a full training step:", MODEL_COLUMNS, model_rows(args, steps)),
        (
            f"Milliseconds of a 3x3 convolution with both gradients, {max(args.batch_sizes)} images:",
            LAYER_COLUMNS,
            layer_rows(args, steps),
        ),
        (
            "Milliseconds of a step of a head, 256 features, 128 samples, plain SGD:",
            HEAD_COLUMNS,
            head_rows(args, steps),
        ),
    ]


def page(args: argparse.Namespace, figures: dict[str, Any], shown: Sequence[Section]) -> str:
    """What is committed beside the figures."""
    device = figures["device"]
    where = "a CPU (a trial of the script)" if args.cpu else f"{device['device']}, driver for CUDA {device['driver']}"
    parts = [
        "# On a GPU, beside PyTorch",
        f"Measured on {where}, by `python benchmarks/gpu.py`; rounds: {args.rounds}; {versions(figures)}.",
        *(f"{heading}\n\n{markdown(columns, rows)}" for heading, columns, rows in shown),
        *([sentence(figures["run"])] if "run" in figures else []),
    ]
    return "\n\n".join(parts) + "\n"


def versions(figures: dict[str, Any]) -> str:
    return f"CuPy {figures['device'].get('cupy', '-')}, PyTorch {figures['machine'].get('torch', '-')}"


def sentence(run: dict[str, Any]) -> str:
    """The figures of a whole run, in a sentence."""
    return (
        f"{run['epochs']} epochs of {RECIPE}: {run['minutes']:.1f} minutes from start to end, "
        f"{run['images_per_second']:,.0f} images a second in training, test accuracy {run['accuracy']:.4f}."
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: name_list("model", text, MODELS), default=MODELS)
    parser.add_argument("--batch-sizes", type=numbers, default=[128, 512], metavar="N,N")
    parser.add_argument("--layers", type=lambda text: name_list("layer", text, LAYERS), default=LAYERS)
    parser.add_argument("--epochs", type=whole_number(0), default=100, metavar="N", help=f"of {RECIPE}; 0: no run")
    parser.add_argument("--classes", type=numbers, default=[100, 10_000, 100_000], metavar="C,C")
    parser.add_argument("--rounds", type=whole_number(1), default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of each figure")
    parser.add_argument("--device", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--cpu", action="store_true", help="no GPU: to try the script, not for figures")
    parser.add_argument("--json", type=new_file, metavar="FILE")
    parser.add_argument("--markdown", type=new_file, metavar="FILE")
    return parser.parse_args(argv)


def numbers(text: str) -> list[int]:
    read = whole_number(1)
    return [read(part.strip()) for part in text.split(",")]


def main(argv: Sequence[str]) -> int:
    args = parsed(argv)
    shared = {"cpu": args.cpu, "device": args.device, "seconds": args.seconds, "threads": 1}
    device = run_worker(__file__, {**shared, "side": OURS, "task": "describe"})
    for model in args.models:
        check_same_work({**shared, "model": model, "number": min(args.batch_sizes)})
    figures = {"machine": machine(1), "device": device, "steps": measured(args, shared)}
    if args.epochs:
        job = {**shared, "side": OURS, "task": "run", "model": RECIPE, "epochs": args.epochs}
        figures["run"] = {"epochs": args.epochs, **run_worker(__file__, job)}
    shown = sections(args, figures["steps"])
    for _, columns, rows in shown:
        print(table(columns, rows, 1))
    if "run" in figures:
        print(sentence(figures["run"]))
    if args.markdown:
        args.markdown.write_text(page(args, figures, shown), encoding="utf-8")
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "markdown")}
    write_json(argparse.Namespace(json=args.json, **settings), figures)
    return 0


if __name__ == "__main__":
    sys.exit(entry(main, work))
