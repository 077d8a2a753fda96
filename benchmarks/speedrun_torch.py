"""A recipe of the speedruns as a PyTorch program: the same network, images, steps and rates, for any CPU.

    python benchmarks/speedrun_torch.py [--recipe speedrun/cifar100_75] [--data-dir CIFAR] [--threads 2] [--seed 0]

It trains the whole recipe and prints what counts: seconds to prepare and to train, and the accuracy on the test images
after the last epoch. `speedrun.py` measures single epochs of it in turns with ours, after a guard that both take the
same two steps; so whitening, Muon and the rest are written here once more, as usual in PyTorch. The network is that of
npsoftmax/bench/twins.py; the reader of the files and the settings of the recipe are ours.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    sys.exit("error: PyTorch is not installed. Type: pip install torch")
from common import SPEEDRUNS, whole_number

from npsoftmax.bench.twins import TWINS
from npsoftmax.data import Dataset, load_dataset
from npsoftmax.data.augment import border_of
from npsoftmax.data.normalize import fit_normalization
from npsoftmax.data.sizes import Growth
from npsoftmax.errors import InputError
from npsoftmax.recipes import load_recipe
from npsoftmax.training import TrainConfig

LAYOUTS = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}
EVALUATION_BATCH = 250
WHITENED_FROM, WHITENING_EPS = 5000, 5e-4  # images; what is added to the eigenvalues


# ---------------------------------------------------------------- the network as it begins
def network(config: TrainConfig, images: torch.Tensor) -> nn.Module:
    """That of the recipe, with filters that whiten patches of `images` (N, C, H, W), if it has any."""
    model = TWINS[config.model]()
    for conv in model.modules() if config.model == "whitened_resnet" else ():
        if isinstance(conv, nn.Conv2d):
            nn.init.dirac_(conv.weight[: conv.in_channels])  # the other filters stay random
    whiten = getattr(getattr(model.trunk, "stem", None), "whiten", None)
    if whiten is not None:
        whiten.weight.copy_(whitening_filters(images, whiten.weight.shape[2]))
    return model


def whitening_filters(images: torch.Tensor, k: int) -> torch.Tensor:
    """Eigenvectors of the covariance of k x k patches over the roots of their eigenvalues, with both signs."""
    channels = images.shape[1]
    patches = F.unfold(images, k).transpose(1, 2).reshape(-1, channels * k * k).double()
    values, vectors = torch.linalg.eigh(torch.cov(patches.T, correction=0))
    values, vectors = values.flip(0), vectors.flip(1)
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    filters = (vectors * signs / (values.clamp_min(0) + WHITENING_EPS).sqrt()).T.reshape(-1, channels, k, k)
    return torch.cat([filters, -filters]).float()


# ---------------------------------------------------------------- the step
class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024, for convolution filters; with unit_filters they are first scaled to length 1 in the mean."""

    def __init__(self, params: Any, lr: float, momentum: float, steps: int, unit_filters: bool, weight_decay: float):
        options = {"momentum": momentum, "steps": steps, "unit_filters": unit_filters, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                b = self.state[p].setdefault("momentum", torch.zeros_like(p))
                b.mul_(group["momentum"]).add_(p.grad)
                m = p.grad.add(b, alpha=group["momentum"]).reshape(len(p), -1)
                scale = math.sqrt(max(1, m.shape[0] / m.shape[1]))
                if group["unit_filters"]:
                    p.mul_(math.sqrt(len(p)) / p.norm())
                    scale = 1.0
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(newton_schulz(m, group["steps"]).view_as(p), alpha=-group["lr"] * scale)


def newton_schulz(m: torch.Tensor, steps: int) -> torch.Tensor:
    """The matrix with the singular vectors of m and singular values near 1."""
    tall = m.shape[0] > m.shape[1]
    x = (m.T if tall else m) / m.norm().clamp_min(1e-7)
    for _ in range(steps):
        g = x @ x.T
        x = 3.4445 * x + (-4.7750 * g + 2.0315 * g @ g) @ x
    return x.T if tall else x


class Step:
    """A training step of the recipe, whose schedule has so many steps. Called with (x, t) it returns the loss."""

    def __init__(self, model: nn.Module, config: TrainConfig, steps: int):
        self.model, self.updating = model, 0.0  # seconds in the optimisers
        parameters, decay = list(model.parameters()), config.weight_decay
        filters = [p for p in parameters if p.ndim == 4 and config.optimizer == "muon"]
        others = [p for p in parameters if not any(p is f for f in filters)]
        nesterov = config.nesterov or bool(filters)
        self.optimizers = [torch.optim.SGD(others, config.lr, config.momentum, 0, decay, nesterov)]
        if filters:
            how = config.muon_momentum, config.muon_steps, config.muon_unit_filters, decay
            self.optimizers.append(Muon(filters, config.muon_lr, *how))
        self.schedules = [schedule_of(optimizer, config, steps) for optimizer in self.optimizers]
        self.temperature = config.head_opts.get("temperature", 1.0)
        self.loss_of = nn.CrossEntropyLoss(label_smoothing=config.head_opts["label_smoothing"])

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> float:
        self.model.train()
        self.model.zero_grad()
        loss = self.loss_of(self.model(x) / self.temperature, t)
        loss.backward()
        started = time.perf_counter()
        for part in (*self.optimizers, *self.schedules):
            part.step()
        self.updating += time.perf_counter() - started
        return loss.item()


def schedule_of(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> Any:
    """Up and down in straight lines, or one cycle."""
    if config.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, steps, **config.schedule_opts)
    rising = round(config.schedule_opts["pct_start"] * steps)

    def share(step: int) -> float:
        return (step + 1) / rising if step < rising else (steps - step) / (steps - rising)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


# ---------------------------------------------------------------- the images
def changed(x: torch.Tensor, border: int, mirrored: torch.Tensor) -> torch.Tensor:
    """Images (N, H, W, C), the `mirrored` (N,) of them mirrored, each shifted by up to `border` pixels."""
    n, height, width = x.shape[:3]
    x = F.pad(x, (0, 0, border, border, border, border))
    rows = torch.randint(2 * border + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(2 * border + 1, (n, 1)) + torch.arange(width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return x[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def resized(images: torch.Tensor, height: int) -> torch.Tensor:
    """uint8 (N, H, W, C) -> uint8 (N, height, height, C)."""
    x = images.permute(0, 3, 1, 2)
    return F.interpolate(x, (height, height), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


class Run:
    """A recipe, prepared: `epoch(0)`, `epoch(1)` and so on train it. `layout` is one of LAYOUTS."""

    def __init__(self, config: TrainConfig, data: Dataset, layout: str):
        self.config, self.layout = config, LAYOUTS[layout]
        self.images, self.labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        normalization = fit_normalization(config.normalize, data.x_train)
        self.scale, self.shift = (torch.from_numpy(factor) for factor in normalization.factors())
        n, some = len(self.images), min(len(self.images), WHITENED_FROM)
        self.model = network(config, self.normalised(self.images[torch.arange(some) * n // some]))
        self.model.to(memory_format=self.layout)
        self.epoch_steps = -(-n // config.batch_size)
        steps = config.epochs * self.epoch_steps
        self.step = Step(self.model, config, steps)
        sizes = config.image_sizes
        self.growth = Growth(()) if sizes is None else Growth.of(sizes, self.images.shape[1], steps)
        self.height, self.sized = None, self.images  # as the steps of one size see them
        self.mirrored = torch.rand(n) < 0.5  # in epochs of even number, where flips alternate

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) -> what the network is given, (N, C, H, W)."""
        return (x * self.scale - self.shift).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """x and labels of each step, in random order."""
        n, full = len(self.images), self.images.shape[1]
        for number, chosen in enumerate(torch.randperm(n).split(self.config.batch_size)):
            height = self.growth.height_at(epoch * self.epoch_steps + number)
            if height != self.height:
                self.height, self.sized = height, self.images if height is None else resized(self.images, height)
            shift, height = self.config.shift, height or full
            border = border_of(height, None if shift is None else round(shift * height / full))
            mirrored = torch.rand(len(chosen)) < 0.5
            if self.config.augment == "alternating":
                mirrored = self.mirrored[chosen] ^ bool(epoch % 2)
            yield self.normalised(changed(self.sized[chosen], border, mirrored)), self.labels[chosen]

    def epoch(self, number: int) -> dict[str, float]:
        """Train it. Seconds, those of them in drawing batches and in the optimisers, and the mean loss."""
        losses, drawing, before = [], 0.0, self.step.updating
        started = ready = time.perf_counter()
        for x, t in self.batches(number):
            drawing += time.perf_counter() - ready
            losses.append(self.step(x, t) * len(t))
            ready = time.perf_counter()
        seconds = time.perf_counter() - started
        updating = self.step.updating - before
        return {"seconds": seconds, "drawing": drawing, "updating": updating, "loss": sum(losses) / len(self.images)}

    def accuracy(self, data: Dataset) -> float:
        """On the test images, one view."""
        self.model.eval()
        batches = (torch.from_numpy(array).split(EVALUATION_BATCH) for array in (data.x_test, data.y_test))
        with torch.inference_mode():
            right = [(self.model(self.normalised(x)).argmax(1) == t).sum() for x, t in zip(*batches, strict=True)]
        return sum(right).item() / len(data.x_test)


def prepared(config: TrainConfig, layout: str) -> tuple[Run, Dataset, float]:
    """The recipe ready to be trained, its data, and the seconds that this took."""
    started = time.perf_counter()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    torch.manual_seed(config.seed)
    data = load_dataset(config.data, config.data_dir, limit_train=config.limit_train, limit_test=config.limit_test)
    with torch.no_grad():
        run = Run(config, data, layout)
    return run, data, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the CIFAR-100 files (default: where npsoftmax finds them)")
    parser.add_argument("--recipe", default=SPEEDRUNS[0], choices=SPEEDRUNS)
    parser.add_argument("--layout", choices=LAYOUTS, default="channels-last")
    parser.add_argument("--threads", type=whole_number(1), default=2)
    parser.add_argument("--seed", type=whole_number(0), default=0)
    parser.add_argument("--images", type=whole_number(1), help="train on so many images, to see that it runs")
    args = parser.parse_args()
    where = {"data_dir": args.data_dir, "threads": args.threads, "seed": args.seed, "limit_train": args.images}
    try:
        config = replace(load_recipe(args.recipe).config, **where)
        run, data, prepare_seconds = prepared(config, args.layout)
    except InputError as error:
        sys.exit(f"error: {error}")
    train_seconds = 0.0
    for number in range(config.epochs):
        found = run.epoch(number)
        train_seconds += found["seconds"]
        print(f"epoch {number + 1}/{config.epochs}  loss {found['loss']:.4f}  {found['seconds']:.1f} s", flush=True)
    print(f"prepare {prepare_seconds:.1f} s, train {train_seconds:.1f} s, test accuracy {run.accuracy(data):.2%}")


if __name__ == "__main__":
    main()
