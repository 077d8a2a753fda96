"""The capstone: a convolutional network whose every pass is a student's, trained beside the library's own.

Design: layers call pairs through their modules (`conv.conv2d_im2col_forward`), so a student's function put in the
place of one is the one that runs. Where a layer or head has a faster version, `fused` or `threaded` set to False brings
the readable pair back. Both runs start from the same numbers and see the same batches in float64; so the two loss
curves are one curve.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import get_backend
from npsoftmax.data import Dataset, load_dataset
from npsoftmax.errors import InputError
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.gradebook import Row, grade_folder
from npsoftmax.grading.loading import load
from npsoftmax.grading.student import find_file
from npsoftmax.heads.flat import FlatHead
from npsoftmax.host import single_threaded_blas
from npsoftmax.layers import Layer
from npsoftmax.models import Model, build_model
from npsoftmax.training.optimizers import SGD

# The function of a student -> the module in which the network looks it up.
REPLACED = {
    "conv2d_im2col_forward": "npsoftmax.functional.conv",
    "conv2d_im2col_backward": "npsoftmax.functional.conv",
    "max_pool": "npsoftmax.kernels",
    "max_pool_backward": "npsoftmax.kernels",
    "relu_forward": "npsoftmax.functional.activation",
    "relu_backward": "npsoftmax.functional.activation",
    "dense_forward": "npsoftmax.functional.dense",
    "dense_backward": "npsoftmax.functional.dense",
    "softmax_cross_entropy_forward": "npsoftmax.functional.loss",
    "softmax_cross_entropy_backward": "npsoftmax.functional.loss",
}
# All that has to pass: these, and what they may call in the student's file.
NEEDED = tuple(dict.fromkeys(name for f in REPLACED for name in (*EXERCISES[f].uses, f)))
SAME, STEPS_COMPARED = 1e-6, 20
BATCH, LEARNING_RATE = 32, 0.05
MOST_IMAGES = 2000


@dataclass(frozen=True)
class Curves:
    """The losses of every step, the library's and the student's."""

    reference: np.ndarray
    student: np.ndarray

    @property
    def gap(self) -> float:
        """The largest relative difference within the first 20 steps."""
        a, b = self.reference[:STEPS_COMPARED], self.student[:STEPS_COMPARED]
        return float(np.max(np.abs(a - b) / np.abs(a)))

    @property
    def same(self) -> bool:
        return self.gap <= SAME


def obstacles(folder: Path, seed: int = 0, tell: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """The rows of the exercises that are needed and do not pass: training would only hide where it goes wrong."""
    rows = grade_folder(folder, [EXERCISES[name] for name in NEEDED], seed, tell=tell)
    return [row for row in rows if row["state"] != "passed"]


def compare(
    folder: Path,
    steps: int,
    data: str = "digits",
    tell: Callable[[str, int, float], None] = lambda who, step, loss: None,
) -> Curves:
    """Train twice on data set `data`, with the library's functions and with those in `folder`.

    The student's code runs in this process: call `obstacles` first. Raises InputError for fewer than one step.
    """
    if steps < 1:
        raise InputError(f"--steps is {steps}, but at least 1 is needed.")
    functions = student_functions(folder)
    images = load_dataset(data)
    reference = train(images, steps, lambda step, loss: tell("reference", step, loss))
    with in_place(functions):
        student = train(images, steps, lambda step, loss: tell("yours", step, loss))
    return Curves(reference, student)


def student_functions(folder: Path) -> dict[str, Callable[..., Any]]:
    """The student's functions by name. Raises InputError where there is no file for one."""
    modules: dict[Path, Any] = {}
    functions = {}
    for name in REPLACED:
        file = find_file(folder, EXERCISES[name])
        if file is None:
            raise InputError(f"{folder} holds no file with {name}; type npsoftmax assignments start --to {folder}.")
        if file not in modules:
            modules[file] = load(file)
        functions[name] = getattr(modules[file], name)
    return functions


@contextmanager
def in_place(functions: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Within it the network runs on these functions."""
    modules = {name: importlib.import_module(REPLACED[name]) for name in functions}
    own = {name: getattr(module, name) for name, module in modules.items()}
    try:
        for name, function in functions.items():
            setattr(modules[name], name, function)
        yield
    finally:
        for name, function in own.items():
            setattr(modules[name], name, function)


def readable_convnet(data: Dataset) -> Model:
    """A small convnet in float64 on which only the readable pairs run."""
    shape, options = data.x_train.shape[1:], {"widths": (16, 32), "fc": 64}
    model = build_model("convnet", "softmax", len(data.class_names), shape, seed=0, model_opts=options)
    head = model.head
    last = [head.map] if isinstance(head, FlatHead) and head.map is not None else []
    for part in (*_layers(model.trunk), head, *last):
        for option, readable in (("fused", False), ("threaded", False), ("algorithm", "im2col")):
            if hasattr(part, option):
                setattr(part, option, readable)
    return model.to(get_backend("numpy"), np.float64)


def _layers(layer: Layer) -> Iterator[Layer]:
    yield layer
    for child in layer.children().values():
        yield from _layers(child)


def train(data: Dataset, steps: int, tell: Callable[[int, float], None]) -> np.ndarray:
    """The loss of each of `steps` steps of SGD with momentum; always the same model and the same batches."""
    model = readable_convnet(data)
    optimizer = SGD(model.params, momentum=0.9)
    rng = np.random.default_rng(0)
    x, t = data.x_train[:MOST_IMAGES], data.y_train[:MOST_IMAGES]
    losses = np.empty(steps)
    with single_threaded_blas():
        for step in range(steps):
            rows = rng.choice(len(x), min(BATCH, len(x)), replace=False)
            images = x[rows] / 127.5 - 1.0
            losses[step], cache = model.loss(images, t[rows], train=True)
            optimizer.step(model.params, model.backward(cache), lr=LEARNING_RATE)
            tell(step, losses[step])
    return losses


def draw(curves: Curves, path: Path) -> None:
    """The two curves in one figure: the student's, dashed, on the library's."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import BLUE, DPI, ORANGE, TITLE, add_legend, dress

    figure = Figure(figsize=(6.4, 4.2), dpi=DPI, layout="constrained", facecolor="white")
    ax = figure.subplots()
    dress(ax, "step", "loss")
    steps = np.arange(1, len(curves.reference) + 1)
    ax.plot(steps, curves.reference, color=BLUE, linewidth=4, alpha=0.35, label="the library")
    ax.plot(steps, curves.student, color=ORANGE, linewidth=1.4, linestyle="--", label="your gradients")
    figure.suptitle(f"convnet on your functions: largest difference {curves.gap:.1g}", fontsize=TITLE)
    add_legend(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
