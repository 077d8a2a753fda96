"""Training on a GPU beside PyTorch on the same one: images a second of a full step, and heads by number of classes.

    python benchmarks/gpu.py --json docs/results/gpu.json --markdown docs/results/gpu.md
    python benchmarks/gpu.py --cpu --models convnet --batch-sizes 4 --classes 100 --seconds 0.1    # does it run?

PyTorch is eager and channels last, with TF32 (and once more in bfloat16 autocast). A step is forward, backward and SGD
with momentum on a batch that lies on the device; losses are not read, and the device is waited for at the end of the
measured steps only. Every figure is a process of its own, and sides take turns, round after round. First both sides
train three steps from the same parameters in full float32: where their losses differ there is no ratio.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
    take_turns,
    whole_number,
    write_json,
)

from npsoftmax.bench.networks import CLASSES, IMAGE, LEARNING_RATE, MOMENTUM, batch

MODELS = ("tinyvgg", "convnet", "resnet9", "vit_small")
OURS, TORCH, BF16 = "npsoftmax", "torch tf32", "torch bf16"
SIDES = (OURS, TORCH, BF16)
HEADS = ("softmax", "hierarchical", "adaptive", "sampled", "torch softmax", "torch adaptive")
FEATURES, HEAD_BATCH, RATE = 256, 128, 0.01
WARM_UP, STEPS, LOSS_TOLERANCE = 10, 10, 1e-3
TRIAL = 1  # steps of either kind with --cpu

Step = Callable[[], Any]


# ---------------------------------------------------------------- our side
def our_backend(job: Job) -> Any:
    from npsoftmax.backend import get_backend

    precision = "fp32" if job["task"] == "guard" else "auto"
    return get_backend("numpy") if job["cpu"] else get_backend("cupy", job["device"], precision)


def our_model(job: Job) -> tuple[Step, Step]:
    """A training step that returns the loss, and what waits for the device."""
    from npsoftmax.layers import leaves
    from npsoftmax.models import build_model, model_builder
    from npsoftmax.options import option_defaults
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    backend = our_backend(job)
    options = {"dropout": 0.0} if "dropout" in option_defaults(model_builder(job["model"])) else {}
    model = build_model(job["model"], "softmax", CLASSES, IMAGE, model_opts=options)
    if job.get("start"):
        np.savez(job["start"], **dict(leaves(model.params)))
    model.to(backend)
    x, t = (backend.asarray(array) for array in batch(job["batch_size"]))
    optimizer, noise = SGD(model.params, momentum=MOMENTUM), Rng(0, "noise")

    def step() -> Any:
        loss, cache = model.loss(x, t, train=True, rng=noise.at(optimizer.steps))
        optimizer.step(model.params, model.backward(cache), lr=LEARNING_RATE)
        return loss

    return step, backend.synchronize


def our_head(job: Job) -> tuple[Step, Step]:
    from npsoftmax.heads import HEADS as OUR_HEADS
    from npsoftmax.heads import ClassInfo
    from npsoftmax.layers import replace_leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    backend, n = our_backend(job), job["classes"]
    head = OUR_HEADS[job["model"]](FEATURES, ClassInfo(n, np.arange(n, 0, -1)), rng=Rng(0))
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, array: backend.asarray(array))
    h, t = (backend.asarray(array) for array in features(n))
    optimizer, noise = SGD(head.params), Rng(0, "noise")

    def step() -> Any:
        loss, cache = head.loss(h, t, train=True, rng=noise.at(optimizer.steps))
        optimizer.step(head.params, head.backward(cache)[1], lr=RATE)
        return loss

    return step, backend.synchronize


def features(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((HEAD_BATCH, FEATURES), dtype=np.float32), rng.integers(0, n, HEAD_BATCH)


# ---------------------------------------------------------------- PyTorch's side
def torch_device(job: Job) -> tuple[Any, Any, Step]:
    import torch

    torch.manual_seed(0)
    full = job["task"] == "guard"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not full
    torch.backends.cudnn.benchmark = not full
    if job["cpu"]:
        return torch, torch.device("cpu"), lambda: None
    if not torch.cuda.is_available():
        raise BenchmarkError("PyTorch finds no GPU here; --cpu tries this script without one.")
    return torch, torch.device("cuda", job["device"]), torch.cuda.synchronize


def torch_model(job: Job) -> tuple[Step, Step]:
    torch, device, wait = torch_device(job)
    from npsoftmax.bench.twins import TWINS, leave_out_dropout, load_parameters

    twin = TWINS[job["model"]]()
    leave_out_dropout(twin)
    if job.get("start"):
        load_parameters(twin, np.load(job["start"]))
    twin.to(device, memory_format=torch.channels_last)
    x, t = (torch.from_numpy(array).to(device) for array in batch(job["batch_size"]))
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(twin.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    half = job["side"] == BF16

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = torch.nn.functional.cross_entropy(twin(x), t)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, wait


def torch_head(job: Job) -> tuple[Step, Step]:
    torch, device, wait = torch_device(job)
    n = job["classes"]
    h, t = (torch.from_numpy(array).to(device) for array in features(n))
    if job["model"] == "torch softmax":
        linear = torch.nn.Linear(FEATURES, n).to(device)
        parameters, loss_of = linear.parameters(), lambda: torch.nn.functional.cross_entropy(linear(h), t)
    else:
        from npsoftmax.heads.adaptive import default_cutoffs

        adaptive = torch.nn.AdaptiveLogSoftmaxWithLoss(FEATURES, n, list(default_cutoffs(n))).to(device)
        parameters, loss_of = adaptive.parameters(), lambda: adaptive(h, t).loss
    h.requires_grad_()
    optimizer = torch.optim.SGD(parameters, lr=RATE)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        h.grad = None
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, wait


# ---------------------------------------------------------------- workers
def work(job: Job) -> dict[str, Any]:
    """The losses of three steps, or the seconds of one: the median over runs of STEPS steps."""
    torch_side = job["side"] != OURS
    make = (
        (torch_head if torch_side else our_head) if job["task"] == "head" else torch_model if torch_side else our_model
    )
    step, wait = make(job)
    if job["task"] == "guard":
        return {"losses": [float(step()) for _ in range(3)]}
    warm_up, steps = (TRIAL, TRIAL) if job["cpu"] else (WARM_UP, STEPS)
    for _ in range(warm_up):
        loss = step()
    wait()
    taken, end = [], time.perf_counter() + job["seconds"]
    while not taken or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(steps):
            loss = step()
        wait()
        taken.append((time.perf_counter() - started) / steps)
    if not math.isfinite(float(loss)):
        raise BenchmarkError(f"the loss of {job['model']} became {float(loss)}: these are no usual steps.")
    return {"seconds": statistics.median(taken)}


def check_same_work(shared: Job) -> list[float]:
    """Our losses; BenchmarkError where PyTorch's are others."""
    with tempfile.TemporaryDirectory() as folder:
        job = {**shared, "task": "guard", "start": str(Path(folder, "start.npz"))}
        ours, theirs = (run_worker(__file__, {**job, "side": side})["losses"] for side in (OURS, TORCH))
    if not np.allclose(ours, theirs, rtol=LOSS_TOLERANCE):
        raise BenchmarkError(f"the sides do not do the same on {shared['model']}: losses {ours} against {theirs}.")
    return ours


# ---------------------------------------------------------------- figures
def measure_models(args: argparse.Namespace, shared: Job) -> dict[str, Any]:
    for model in args.models:
        check_same_work({**shared, "model": model, "batch_size": min(args.batch_sizes)})
    cases = [(model, str(size), side) for model in args.models for size in args.batch_sizes for side in SIDES]

    def measure(model: str, size: str, side: str) -> float:
        job = {**shared, "task": "train", "model": model, "batch_size": int(size), "side": side}
        return int(size) / run_worker(__file__, job)["seconds"]

    found = take_turns(cases, args.rounds, measure, "images/s")
    return {" ".join(case): figures for case, figures in found.items()}


def measure_heads(args: argparse.Namespace, shared: Job) -> dict[str, Any]:
    cases = [(head, str(n)) for n in args.classes for head in HEADS]

    def measure(head: str, n: str) -> float:
        side = TORCH if head.startswith("torch") else OURS
        job = {**shared, "task": "head", "model": head, "classes": int(n), "side": side}
        return 1e3 * run_worker(__file__, job)["seconds"]

    return {" ".join(case): figures for case, figures in take_turns(cases, args.rounds, measure, "ms").items()}


def model_rows(args: argparse.Namespace, found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for model in args.models:
        for size in args.batch_sizes:
            ours, theirs, half = (found[f"{model} {size} {side}"]["median"] for side in SIDES)
            speeds = [f"{speed:,.0f}" for speed in (ours, theirs, half)]
            rows.append([model, str(size), *speeds, f"{ours / theirs:.2f}", f"{ours / half:.2f}"])
    return rows


def head_rows(args: argparse.Namespace, found: dict[str, Any]) -> list[list[str]]:
    return [[f"{n:,}", *(f"{found[f'{head} {n}']['median']:.3f}" for head in HEADS)] for n in args.classes]


MODEL_COLUMNS = ["model", "batch", *SIDES, "of tf32", "of bf16"]
HEAD_COLUMNS = ["classes", *HEADS]


def page(args: argparse.Namespace, figures: dict[str, Any]) -> str:
    """What is committed beside the figures."""
    device = figures["device"]
    where = "a CPU (a trial of the script)" if args.cpu else f"{device['device']}, driver for CUDA {device['driver']}"
    return "\n".join(
        [
            "# On a GPU, beside PyTorch\n",
            f"Measured on {where}, by `python benchmarks/gpu.py`; medians of {args.rounds} rounds.\n",
            "Images a second of a full training step:\n",
            markdown(MODEL_COLUMNS, model_rows(args, figures["models"])),
            "\nMilliseconds of a step of a head, 256 features, 128 samples, plain SGD:\n",
            markdown(HEAD_COLUMNS, head_rows(args, figures["heads"])),
            "",
        ]
    )


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: name_list("model", text, MODELS), default=MODELS)
    parser.add_argument("--batch-sizes", type=numbers, default=[128, 512], metavar="N,N")
    parser.add_argument("--classes", type=numbers, default=[100, 1000, 10_000, 100_000, 1_000_000], metavar="C,C")
    parser.add_argument("--rounds", type=whole_number(1), default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of each measurement")
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
    figures = {"machine": machine(1), "device": device, "models": measure_models(args, shared)}
    figures["heads"] = measure_heads(args, shared)
    print(table(MODEL_COLUMNS, model_rows(args, figures["models"]), 1))
    print(table(HEAD_COLUMNS, head_rows(args, figures["heads"]), 1))
    if args.markdown:
        args.markdown.write_text(page(args, figures), encoding="utf-8")
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "markdown")}
    write_json(argparse.Namespace(json=args.json, **settings), figures)
    return 0


def worker(job: Job) -> dict[str, Any]:
    """As `work`; and what the device is."""
    return our_backend(job).describe() if job["task"] == "describe" else work(job)


if __name__ == "__main__":
    sys.exit(entry(main, worker))
