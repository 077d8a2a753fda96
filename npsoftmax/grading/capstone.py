"""The capstone: networks whose passes are a student's, trained beside the library's own.

Design: a student's function is put in the place of the library's in the module where the network looks it up; the
networks (capstone_models) have nothing faster in the way. Both runs start from the same numbers and see the same
batches in float64; so the two loss curves are one curve, and both reach the same accuracy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.data import Dataset, load_dataset
from npsoftmax.errors import InputError
from npsoftmax.grading import capstone_models as models
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.gradebook import Row, grade_folder
from npsoftmax.grading.loading import load
from npsoftmax.grading.student import find_file
from npsoftmax.host import single_threaded_blas
from npsoftmax.models import Model
from npsoftmax.training.optimizers import SGD


@dataclass(frozen=True)
class Capstone:
    """What is trained for an assignment. about: what it is, in a sentence; build: makes the model; replaced: function
    of a student -> the module in which the network looks it up."""

    assignment: str
    about: str
    build: Callable[[Dataset], Model]
    replaced: dict[str, str]

    @property
    def needed(self) -> tuple[str, ...]:
        """All that is graded first: what the network calls, and what those may call in the student's file."""
        return tuple(dict.fromkeys(name for f in self.replaced for name in (*EXERCISES[f].uses, f)))


def _pairs(module: str, *names: str) -> dict[str, str]:
    return {f"{name}_{half}": f"npsoftmax.functional.{module}" for name in names for half in ("forward", "backward")}


ATTENTION = "npsoftmax.functional.softmax_attention"
CONVNET = {
    **_pairs("conv", "conv2d_im2col"),
    "max_pool": "npsoftmax.kernels",
    "max_pool_backward": "npsoftmax.kernels",
    **_pairs("activation", "relu"),
    **_pairs("dense", "dense"),
    **_pairs("loss", "softmax_cross_entropy"),
}
CAPSTONES = (
    Capstone("a3", "a convolutional network", models.convnet, CONVNET),
    Capstone(
        "a4",
        "vit_small with your attention",
        models.vit_small,
        {
            **_pairs("softmax_attention", "multi_head_attention", "scaled_dot_product_attention", "masked_softmax"),
            "split_heads": ATTENTION,
            "merge_heads": ATTENTION,
        },
    ),
    Capstone("a5", "your adaptive head", models.adaptive_net, _pairs("adaptive", "adaptive_loss")),
    Capstone("a5", "your two-level head", models.two_level_net, _pairs("two_level", "two_level_loss")),
)
SAME, STEPS_COMPARED = 1e-6, 20
BATCH, LEARNING_RATE = 32, 0.05
MOST_IMAGES, MOST_TESTED = 2000, 1000


@dataclass(frozen=True)
class Curves:
    """The losses of every step, the library's and the student's, and the accuracy on test images after them."""

    reference: np.ndarray
    student: np.ndarray
    reference_accuracy: float = 0.0
    student_accuracy: float = 0.0

    @property
    def gap(self) -> float:
        """The largest relative difference within the first 20 steps."""
        a, b = self.reference[:STEPS_COMPARED], self.student[:STEPS_COMPARED]
        return float(np.max(np.abs(a - b) / np.abs(a)))

    @property
    def same(self) -> bool:
        return self.gap <= SAME


def graded(folder: Path, capstone: Capstone, seed: int = 0) -> list[Row]:
    """The rows of all exercises that a capstone is made of. What is wrong would only hide in training; what is not
    started can be the library's."""
    return grade_folder(folder, [EXERCISES[name] for name in capstone.needed], seed)


def compare(
    folder: Path,
    steps: int,
    data: str = "digits",
    tell: Callable[[str, int, float], None] = lambda who, step, loss: None,
    *,
    capstone: Capstone = CAPSTONES[0],
    unfinished: Collection[str] = (),
    data_dir: str | None = None,
) -> Curves:
    """Train twice on data set `data`, with the library's functions and with those in `folder`.

    unfinished: names of functions that stay the library's. The student's code runs in this process: grade it first.
    Raises InputError for fewer than one step.
    """
    if steps < 1:
        raise InputError(f"--steps is {steps}, but at least 1 is needed.")
    functions = student_functions(folder, capstone, unfinished)
    images = load_dataset(data, data_dir)
    if images.multi_label:
        raise InputError(
            f"--my-gradients trains on one label an image, but {data} has sets of them; type --data digits."
        )
    reference, accuracy = train(capstone.build(images), images, steps, lambda i, loss: tell("library", i, loss))
    with in_place(functions, capstone):
        student, own = train(capstone.build(images), images, steps, lambda i, loss: tell("yours", i, loss))
    return Curves(reference, student, accuracy, own)


def student_functions(
    folder: Path, capstone: Capstone = CAPSTONES[0], unfinished: Collection[str] = ()
) -> dict[str, Callable[..., Any]]:
    """The student's functions by name, without the unfinished ones; where a file of theirs calls one of those, it gets
    the library's. Raises InputError where there is no file for one."""
    modules: dict[Path, Any] = {}
    functions = {}
    for name in capstone.needed:
        file = find_file(folder, EXERCISES[name])
        if name in unfinished and file is None:
            continue
        if file is None:
            raise InputError(f"{folder} holds no file with {name}; type npsoftmax assignments start --to {folder}.")
        if file not in modules:
            modules[file] = load(file)
        if name in unfinished:
            setattr(modules[file], name, EXERCISES[name].reference)
        elif name in capstone.replaced:
            functions[name] = getattr(modules[file], name)
    return functions


@contextmanager
def in_place(functions: dict[str, Callable[..., Any]], capstone: Capstone = CAPSTONES[0]) -> Iterator[None]:
    """Within it the network runs on these functions."""
    modules = {name: importlib.import_module(capstone.replaced[name]) for name in functions}
    own = {name: getattr(module, name) for name, module in modules.items()}
    try:
        for name, function in functions.items():
            setattr(modules[name], name, function)
        yield
    finally:
        for name, function in own.items():
            setattr(modules[name], name, function)


def train(model: Model, data: Dataset, steps: int, tell: Callable[[int, float], None]) -> tuple[np.ndarray, float]:
    """The loss of each of `steps` steps of SGD with momentum, always with the same batches, and the accuracy then."""
    optimizer = SGD(model.params, momentum=0.9)
    rng = np.random.default_rng(0)
    x, t = data.x_train[:MOST_IMAGES], data.y_train[:MOST_IMAGES]
    losses = np.empty(steps)
    with single_threaded_blas():
        for step in range(steps):
            rows = rng.choice(len(x), min(BATCH, len(x)), replace=False)
            losses[step], cache = model.loss(_scaled(x[rows]), t[rows], train=True)
            optimizer.step(model.params, model.backward(cache), lr=LEARNING_RATE)
            tell(step, losses[step])
        many = min(MOST_TESTED, len(data.x_test))
        predicted = [model.predict(_scaled(data.x_test[i : min(i + 100, many)]))[:, 0] for i in range(0, many, 100)]
    found = np.concatenate(predicted)
    return losses, float((found == data.y_test[: len(found)]).mean())


def _scaled(images: np.ndarray) -> np.ndarray:
    return images / 127.5 - 1.0


def draw(curves: Curves, path: Path, about: str) -> None:
    """The two curves in one figure: the student's, dashed, on the library's."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import BLUE, DPI, ORANGE, TITLE, add_legend, dress

    figure = Figure(figsize=(6.4, 4.2), dpi=DPI, layout="constrained", facecolor="white")
    ax = figure.subplots()
    dress(ax, "step", "loss")
    steps = np.arange(1, len(curves.reference) + 1)
    ax.plot(steps, curves.reference, color=BLUE, linewidth=4, alpha=0.35, label="the library")
    ax.plot(steps, curves.student, color=ORANGE, linewidth=1.4, linestyle="--", label="your gradients")
    figure.suptitle(f"{about}, on your functions: largest difference {curves.gap:.1g}", fontsize=TITLE)
    add_legend(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
