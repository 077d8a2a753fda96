"""What the workers of gpu.py run: models, heads and convolutions of both sides, and a whole run of ours."""

from __future__ import annotations

import gc
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import BenchmarkError, Job

from npsoftmax.autocast import widened
from npsoftmax.bench.task import CLASSES, IMAGE, LEARNING_RATE, MOMENTUM, batch

OURS, OURS_BF16, TORCH, TORCH_BF16 = "npsoftmax tf32", "npsoftmax bf16", "torch tf32", "torch bf16"
SIDES = (OURS, OURS_BF16, TORCH, TORCH_BF16)
COLUMNS = "npsoftmax columns"  # a side of single convolutions
FEATURES, HEAD_BATCH, RATE = 256, 128, 0.01
WARM_UP, STEPS = 10, 10
TRIAL = 1  # steps of either kind with --cpu

Step = Callable[[], Any]


# ---------------------------------------------------------------- our side
def our_backend(job: Job) -> Any:
    from npsoftmax.backend import get_backend

    precision = "fp32" if job["task"] == "guard" else "bf16" if job["side"] == OURS_BF16 else "auto"
    return get_backend("numpy") if job["cpu"] else get_backend("cupy", job["device"], precision)


def our_model(job: Job) -> tuple[Step, Step]:
    """A training step that returns the loss, and what waits for the device."""
    from npsoftmax.models import build_model, model_builder
    from npsoftmax.options import option_defaults
    from npsoftmax.params import leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    backend = our_backend(job)
    options = {"dropout": 0.0} if "dropout" in option_defaults(model_builder(job["model"])) else {}
    model = build_model(job["model"], "softmax", CLASSES, IMAGE, model_opts=options)
    if job.get("start"):
        np.savez(job["start"], **dict(leaves(model.params)))
    model.to(backend)
    x, t = (backend.asarray(array) for array in batch(job["number"]))
    optimizer, noise = SGD(model.params, momentum=MOMENTUM), Rng(0, "noise")

    def step() -> Any:
        loss, cache = model.loss(x, t, train=True, rng=noise.at(optimizer.steps))
        optimizer.step(model.params, model.backward(cache), lr=LEARNING_RATE)
        return loss

    return (captured(backend.xp, step) if job.get("graph") else step), backend.synchronize


def captured(xp: Any, step: Step) -> Step:
    """The step as one CUDA graph, after one by hand. Its loss is in the same place each time."""
    from npsoftmax.training.graph import Capturing

    step()
    capturing, found = Capturing(xp), []
    graph = capturing.graph_of(lambda: found.append(step()))
    kept = capturing, step  # with all arrays that the graph reads and writes

    def launch() -> Any:
        graph.launch()
        return kept and found[0]

    return launch


def our_head(job: Job) -> tuple[Step, Step]:
    from npsoftmax.heads import HEADS as OUR_HEADS
    from npsoftmax.heads import ClassInfo
    from npsoftmax.params import replace_leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    backend, n = our_backend(job), job["number"]
    head = OUR_HEADS[job["model"]](FEATURES, ClassInfo(n, np.arange(n, 0, -1)), rng=Rng(0))
    for tree in (head.params, head.buffers):
        replace_leaves(tree, lambda _, array: backend.asarray(array))
    h, t = features(n)
    h, t = backend.asarray(h), t if head.reads_labels else backend.asarray(t)
    optimizer, noise = SGD(head.params), Rng(0, "noise")

    def step() -> Any:
        loss, cache = head.loss(h, t, train=True, rng=noise.at(optimizer.steps))
        optimizer.step(head.params, head.backward(cache)[1], lr=RATE)
        return loss

    return step, backend.synchronize


def features(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((HEAD_BATCH, FEATURES), dtype=np.float32), rng.integers(0, n, HEAD_BATCH)


def our_convolution(job: Job) -> tuple[Step, Step]:
    """Output and both gradients of one convolution, 3x3, padded by 1, as a step of training makes them.

    In bf16 x and dy lie there as bfloat16, and y and dx become that; with tf32 all are float32, and rounded within the
    step, dy once for both gradients. w is float32 and rounded within the step, here and on PyTorch's side.
    """
    from npsoftmax import autocast, kernels
    from npsoftmax.kernels.conv import device as device_conv

    if job["side"] == COLUMNS:
        device_conv.kind_for = lambda *_: None  # of this process
    backend, geometry = our_backend(job), ((1, 1), (1, 1))
    x, w, dy = (backend.asarray(array) for array in convolution(job))
    x, dy = autocast.narrowed(x), autocast.narrowed(dy)

    def step() -> Any:
        y = kernels.conv2d_tiled(x, w, None, *geometry)
        kernels.conv2d_tiled_backward(x, dy, w, *geometry)
        return y[0, 0, 0, 0]

    return step, backend.synchronize


def convolution(job: Job) -> tuple[np.ndarray, ...]:
    """x, w and dy of layer "C>F@SIDE"."""
    channels, size = job["model"].split("@")
    c, f = map(int, channels.split(">"))
    rng, images = np.random.default_rng(2), (job["number"], int(size), int(size))
    shapes = (*images, c), (3, 3, c, f), (*images, f)
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


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
    x, t = (torch.from_numpy(array).to(device) for array in batch(job["number"]))
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(twin.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    half = job["side"] == TORCH_BF16

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
    n = job["number"]
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


def torch_convolution(job: Job) -> tuple[Step, Step]:
    torch, device, wait = torch_device(job)
    x, w, dy = (torch.from_numpy(array).to(device) for array in convolution(job))
    x, dy = x.permute(0, 3, 1, 2), dy.permute(0, 3, 1, 2)  # which is channels last
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    half = job["side"] == TORCH_BF16
    if half:
        x, dy = x.bfloat16(), dy.bfloat16()  # still channels last
    x.requires_grad_(), w.requires_grad_()

    def step() -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            y = torch.nn.functional.conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), dy)
        return y[0, 0, 0, 0].detach()

    return step, wait


# ---------------------------------------------------------------- workers
MAKERS = {
    "guard": (our_model, torch_model),
    "train": (our_model, torch_model),
    "head": (our_head, torch_head),
    "convolution": (our_convolution, torch_convolution),
}


def work(job: Job) -> dict[str, Any]:
    """What a worker is asked for: the device, a run, losses of three steps, or the seconds of a step of each case."""
    if job["task"] == "describe":
        return our_backend(job).describe()
    if job["task"] == "run":
        return run(job)
    if job["task"] == "guard":
        step, _ = made(job)
        return {"losses": [float(step()) for _ in range(3)]}
    return {"seconds": [timed({**job, "task": task, "model": model, "number": n}) for task, model, n in job["cases"]]}


def made(job: Job) -> tuple[Step, Step]:
    """A step of the job's side, and what waits for it."""
    return MAKERS[job["task"]][is_torch(job)](job)


def is_torch(job: Job) -> bool:
    return job["side"] in (TORCH, TORCH_BF16)


def timed(job: Job) -> float:
    """Seconds of a step of one case."""
    seconds = seconds_of(*made(job), job)
    free_memory(job)
    return seconds


def wait_for(job: Job) -> None:
    """Wait for the device of the job's side: an error of it that stays is raised here."""
    (torch_device(job)[2] if is_torch(job) else our_backend(job).synchronize)()


def free_memory(job: Job) -> None:
    """Give the device back what a case held, so that the next has the memory to itself."""
    gc.collect()
    if is_torch(job):
        import torch

        torch.cuda.empty_cache()
    else:
        our_backend(job).free_memory()


def seconds_of(step: Step, wait: Step, job: Job) -> float:
    """Of one step: the median over runs of STEPS steps."""
    warm_up, steps = (TRIAL, TRIAL) if job["cpu"] or job.get("trial") else (WARM_UP, STEPS)
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
    if not math.isfinite(last := float(widened(loss))):
        raise BenchmarkError(f"the loss of {job['model']} became {last}: steps like these are not worth timing.")
    return statistics.median(taken)


def run(job: Job) -> dict[str, Any]:
    """A published experiment as a user would run it, from the first image to the last metric."""
    from npsoftmax.cli.main import main

    backend = ["--backend", "numpy"] if job["cpu"] else ["--backend", "cupy", "--device", str(job["device"])]
    short = ["--limit-train", "64", "--limit-test", "32"] if job["cpu"] else []
    with TemporaryDirectory() as folder:
        path, started = Path(folder, "run"), time.perf_counter()
        words = ["--recipe", job["model"], "--epochs", str(job["epochs"]), "--out", str(path), "--quiet", "--no-plots"]
        if main(["train", *words, *backend, *short]):
            raise BenchmarkError(f"{job['model']} did not run (see above); --epochs 0 leaves it out.")
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return {
        "minutes": (time.perf_counter() - started) / 60,
        "accuracy": summary["test"]["accuracy"],
        "images_per_second": summary["images_per_second"],
    }
