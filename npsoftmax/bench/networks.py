"""The models that are measured whole, each with a batch and ready to step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from npsoftmax.bench.machine import OURS
from npsoftmax.bench.task import CLASSES, IMAGE, LEARNING_RATE, MOMENTUM, batch
from npsoftmax.bench.workers import Job
from npsoftmax.errors import unknown_name
from npsoftmax.host import keep_freed_memory, set_threads, single_threaded_blas
from npsoftmax.models import build_model, model_builder
from npsoftmax.options import option_defaults
from npsoftmax.params import leaves
from npsoftmax.random import Rng

# name -> (model, its options): those that have a twin in twins.py.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {}),
    "convnet": ("convnet", {}),
    "convnet_e4": ("convnet", {"widths": (6, 8, 10), "fc": 200}),  # the small network of a published comparison
    "tinyvgg": ("tinyvgg", {}),
    "resnet9": ("resnet9", {}),
    "speednet": ("speednet", {}),
    "whitened_resnet": ("whitened_resnet", {}),
    "vit_small": ("vit_small", {}),  # both sides compute the class token alone in the last block
    "vit_small_usual": ("vit_small", {}),  # PyTorch's side computes all tokens there, as it is usually written
}


class Ours:
    """A model of npsoftmax with its batch, ready to step; its methods are those of `twins.Torch`."""

    def __init__(self, job: Job):
        if job["model"] not in MODELS:
            raise unknown_name("model", job["model"], MODELS)
        name, options = MODELS[job["model"]]
        if "dropout" in option_defaults(model_builder(name)) and not job["dropout"]:
            options = options | {"dropout": 0.0}
        self.model = build_model(name, "softmax", CLASSES, IMAGE, model_opts=options)
        self.x, self.t = batch(job["batch_size"])
        self.samples = np.arange(len(self.t))
        self.noise, self.steps = Rng(0, "noise"), 0
        if job.get("start"):
            arrays: dict[str, Any] = {"x": self.x, "t": self.t, **self.parameters()}
            np.savez(job["start"], **arrays)

    @cached_property
    def optimizer(self) -> Any:
        """SGD with momentum, made at the first step as a user's would be."""
        from npsoftmax.training.optimizers import SGD

        return SGD(self.model.params, momentum=MOMENTUM)

    def train_step(self) -> float:
        """Forward, backward, update; the mean loss."""
        rng = self.noise.at(self.steps, self.samples)
        loss, cache = self.model.loss(self.x, self.t, train=True, rng=rng)
        grads = self.model.backward(cache)
        self.optimizer.step(self.model.params, grads, lr=LEARNING_RATE)
        self.steps += 1
        return float(loss)

    def evaluate(self) -> float:
        """Log-probabilities of all classes in evaluation; the mean negative one of the labels."""
        return -float(self.model.log_prob(self.x)[self.samples, self.t].mean())

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by name."""
        return {name: p.copy() for name, p in leaves(self.model.params)}


@contextmanager
def opened(job: Job) -> Iterator[Any]:
    """The network of `job`'s side, as its users train with it. Only PyTorch's workers import torch."""
    if job["side"] == OURS:
        with our_settings(job["threads"]):
            yield Ours(job)
    else:
        from npsoftmax.bench.twins import Torch

        yield Torch(job)


@contextmanager
def our_settings(threads: int) -> Iterator[None]:
    """The process as the Trainer sets it up; PyTorch's is left alone."""
    keep_freed_memory()
    set_threads(threads)
    with single_threaded_blas():
        yield
