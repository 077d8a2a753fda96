"""The capstone of a6: a small network trained for a few epochs on a student's ingredients, and once without each.

Design: everything goes through the modules in which `capstone.in_place` puts the student's functions, in float64, so
that the student's run and the library's are one curve. What an ingredient bought is the difference to a run in which
what is usual stands in its place: one seed, the same batches and the same first numbers in all. Rates and shares were
chosen on training images of the digits that were held out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Array, get_backend
from npsoftmax.data import Dataset, augment, load_dataset
from npsoftmax.errors import InputError
from npsoftmax.functional import activation, newton_schulz, resize, smoothing, whitening
from npsoftmax.grading.capstone import MOST_IMAGES, MOST_TESTED, Capstone, Curves, in_place, student_functions
from npsoftmax.grading.capstone_models import PlainSoftmax, layers_of, to_each
from npsoftmax.grading.exercises.a6 import with_these_signs
from npsoftmax.host import single_threaded_blas
from npsoftmax.layers import PatchWhitening
from npsoftmax.models import Model, build_model
from npsoftmax.params import leaves
from npsoftmax.random import Rng

BATCH, SMOOTHING, EPS = 64, 0.1, 5e-4
LEARNING_RATE, MUON_RATE, MOMENTUM, NEWTON_SCHULZ = 0.1, 0.1, 0.85, 3
SMALL, SMALL_UNTIL = 0.75, 0.25  # of the height, for this share of the steps
NETWORK = {"widths": (16, 32), "inner": (16, 32), "kernels": (3, 1, 1, 3, 3, 1)}
# Ingredient -> what stands in its place where it is left out.
INGREDIENTS = {
    "label smoothing": "one-hot targets",
    "SiLU": "ReLU",
    "whitened patches": "patches as they are",
    "small images first": "full size throughout",
    "alternating flips": "images as they are",
    "Muon": "SGD with Nesterov's momentum",
}
ALL = frozenset(INGREDIENTS)


class SoftTargets(PlainSoftmax):
    """The softmax head with the cross entropy of a6."""

    soft_targets = True

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        value, cache = smoothing.soft_cross_entropy_forward(z, targets)
        return to_each(value, len(z)), cache

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return smoothing.soft_cross_entropy_backward(dlosses.sum(), cache)


def whitened_net(data: Dataset) -> Model:
    """A small network of the speedrun's kind, on which SiLU and the loss are the readable pairs."""
    shape = data.x_train.shape[1:]
    model = build_model("whitened_resnet", "softmax", len(data.class_names), shape, seed=0, model_opts=NETWORK)
    model.head = SoftTargets(model.head)
    for part in (*layers_of(model.trunk), model.head.map):
        for option in ("fused", "threaded"):
            if hasattr(part, option):
                setattr(part, option, False)
    return model.to(get_backend("numpy"), np.float64)


NEWTON, RESIZE, SMOOTH, WHITEN = (
    f"npsoftmax.functional.{name}" for name in ("newton_schulz", "resize", "smoothing", "whitening")
)
SPEEDRUN = Capstone(
    "a6",
    "a whitened network in a few epochs, on your ingredients",
    whitened_net,
    {
        "whitening_filters": WHITEN,
        "patch_covariance": WHITEN,
        "smoothed_targets": SMOOTH,
        "soft_cross_entropy_forward": SMOOTH,
        "soft_cross_entropy_backward": SMOOTH,
        "silu_forward": "npsoftmax.functional.activation",
        "silu_backward": "npsoftmax.functional.activation",
        "resizing_weights": RESIZE,
        "resize_forward": RESIZE,
        "alternating_flip": "npsoftmax.data.augment",
        "newton_schulz_step": NEWTON,
        "orthogonalised": NEWTON,
        "muon_step": NEWTON,
    },
)


@dataclass(frozen=True)
class Run:
    """One training: the loss of every step, the share of test images that are right, and the seconds it took."""

    losses: np.ndarray
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Worth:
    """The library's run, the student's, and the student's without each ingredient; epochs and number of test images."""

    reference: Run
    whole: Run
    without: dict[str, Run]
    epochs: float
    tested: int

    @property
    def curves(self) -> Curves:
        """The two losses beside each other."""
        return Curves(self.reference.losses, self.whole.losses, self.reference.accuracy, self.whole.accuracy)

    @property
    def deviation(self) -> float:
        """What chance alone does to an accuracy on so many images."""
        return (self.whole.accuracy * (1 - self.whole.accuracy) / self.tested) ** 0.5

    def rows(self) -> Iterator[tuple[str, str, Run, float]]:
        """Ingredient, what stood in its place, the run, and by how much the whole is better."""
        for name, run in self.without.items():
            yield name, INGREDIENTS[name], run, self.whole.accuracy - run.accuracy


def worth(
    folder: Path,
    steps: int,
    data: str = "digits",
    tell: Callable[[str, int, float], None] = lambda who, step, loss: None,
    *,
    unfinished: Collection[str] = (),
    data_dir: str | None = None,
) -> Worth:
    """Train with the library's functions, with those in `folder`, and with those without each ingredient.

    unfinished: names of functions that stay the library's. The student's code runs in this process: grade it first.
    """
    functions = student_functions(folder, SPEEDRUN, unfinished)
    images = load_dataset(data, data_dir)
    if images.multi_label:
        raise InputError(
            f"--my-gradients trains on one label an image, but {data} has sets of them; type --data digits."
        )

    def told(who: str) -> Callable[[int, float], None]:
        return lambda step, loss: tell(who, step, loss)

    reference = train(images, steps, ALL, told("library"))
    with in_place(functions, SPEEDRUN):
        whole = train(images, steps, ALL, told("yours"))
        without = {name: train(images, steps, ALL - {name}, told(f"without {name}")) for name in INGREDIENTS}
    seen = min(len(images.x_train), MOST_IMAGES)
    return Worth(reference, whole, without, steps * min(BATCH, seen) / seen, min(len(images.x_test), MOST_TESTED))


def train(data: Dataset, steps: int, chosen: Collection[str], tell: Callable[[int, float], None]) -> Run:
    """A run of so many steps with these ingredients. Always the same batches, and the same first numbers."""
    x, t = scaled(data.x_train[:MOST_IMAGES]), data.y_train[:MOST_IMAGES]
    with single_threaded_blas(), nullcontext() if "SiLU" in chosen else in_place(RELU, SPEEDRUN):
        start, model = time.perf_counter(), whitened_net(data)
        buffers: dict[str, Any] = {}
        if "whitened patches" in chosen:
            whiten(model, x)
        losses = np.empty(steps)
        for step, (epoch, rows) in enumerate(batches(len(x), steps)):
            small = "small images first" in chosen and step < SMALL_UNTIL * steps
            q = targets(t[rows], len(data.class_names), SMOOTHING if "label smoothing" in chosen else 0.0)
            image = seen(x[rows], rows if "alternating flips" in chosen else None, epoch, small)
            losses[step], cache = model.loss(image, q, train=True)
            move(model, model.backward(cache), buffers, rate(step, steps), "Muon" in chosen)
            tell(step, losses[step])
        seconds = time.perf_counter() - start
        return Run(losses, accuracy(model, data), seconds)


RELU: dict[str, Callable[..., Any]] = {
    "silu_forward": activation.relu_forward,
    "silu_backward": activation.relu_backward,
}


def scaled(images: np.ndarray) -> np.ndarray:
    """Pixels from -1 to 1, with less noise than one step of grey.

    Black areas would tie in every max-pooling, and rounding, which is not the student's fault, decide who gets the
    gradient.
    """
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, images.shape)
    return np.asarray((images + noise) / 127.5 - 1.0)


def batches(n: int, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, rows) of each step: every epoch in an order of its own, without what is left over at its end."""
    rng, size = np.random.default_rng(0), min(BATCH, n)
    each = n // size
    for step in range(steps):
        if step % each == 0:
            order = rng.permutation(n)
        first = step % each * size
        yield step // each, order[first : first + size]


def whiten(model: Model, x: np.ndarray) -> None:
    """Set the filters of the first layer. Which of a filter and its opposite comes first is the same for everybody."""
    layer = next(part for part in layers_of(model.trunk) if isinstance(part, PatchWhitening))
    found = whitening.whitening_filters(x, layer.k, EPS)
    layer.buffers["w"][...] = with_these_signs({"filters": found})["filters"]


def targets(t: np.ndarray, classes: int, share: float) -> Array:
    """Rows of targets, one-hot or smoothed."""
    one_hot = np.eye(classes)[t]
    return smoothing.smoothed_targets(one_hot, share) if share else one_hot


def seen(x: Array, rows: np.ndarray | None, epoch: int, small: bool) -> Array:
    """The images as a step sees them: mirrored by their numbers `rows`, if there are any, and made smaller."""
    if rows is not None:
        u = Rng(0, "flips").at(0, rows).uniform((len(rows),), np.float64)
        x = augment.alternating_flip(x, u, epoch)
    if small:
        height, width = (max(5, round(SMALL * size)) for size in x.shape[1:3])
        x, _ = resize.resize_forward(x, height, width)
    return x


def rate(step: int, steps: int) -> float:
    """Up in a straight line over the first quarter of the steps, and down to 0."""
    done = (step + 0.5) / steps
    return min(done / 0.25, (1 - done) / 0.75)


def move(model: Model, grads: Any, buffers: dict[str, Any], share: float, muon: bool) -> None:
    """One step of the parameters: filters by Muon, if it is chosen, everything else by SGD with Nesterov's momentum."""
    found = dict(leaves(grads))
    for name, p in leaves(model.params):
        g, b = found[name], buffers.get(name, np.zeros_like(p))
        if muon and p.ndim == 4:
            p[...], buffers[name] = newton_schulz.muon_step(p, g, b, share * MUON_RATE, MOMENTUM, NEWTON_SCHULZ)
        else:
            buffers[name] = MOMENTUM * b + g
            p -= share * LEARNING_RATE * (g + MOMENTUM * buffers[name])


def accuracy(model: Model, data: Dataset) -> float:
    """The share of test images of full size that are right, one view."""
    x, t = scaled(data.x_test[:MOST_TESTED]), data.y_test[:MOST_TESTED]
    found = np.concatenate([model.predict(x[i : i + 100])[:, 0] for i in range(0, len(x), 100)])
    return float((found == t).mean())


def table(result: Worth) -> str:
    """What each bought, as lines of at most 80 columns."""
    lines = [f"{'':<22}{'in its place':<30}{'right':>8}{'bought':>9}{'seconds':>9}"]
    lines += [f"{'all of them':<22}{'':<30}{result.whole.accuracy:>8.1%}{'':>9}{result.whole.seconds:>9.1f}"]
    for name, instead, run, bought in result.rows():
        lines.append(f"- {name:<20}{instead:<30}{run.accuracy:>8.1%}{100 * bought:>+9.1f}{run.seconds:>9.1f}")
    return "\n".join(lines)


def draw(result: Worth, path: Path, about: str) -> None:
    """The losses of the two whole runs, and the accuracy without each ingredient beside that with all."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import BLUE, DPI, FAINT, ORANGE, TITLE, add_legend, dress

    figure = Figure(figsize=(9.6, 4.0), dpi=DPI, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    dress(left, "step", "loss")
    steps = np.arange(1, len(result.whole.losses) + 1)
    left.plot(steps, result.reference.losses, color=BLUE, linewidth=4, alpha=0.35, label="the library")
    left.plot(steps, result.whole.losses, color=ORANGE, linewidth=1.4, linestyle="--", label="your ingredients")
    add_legend(left)
    dress(right, "% of test images right, without it", "")
    names = list(result.without)[::-1]
    right.barh(names, [100 * result.without[name].accuracy for name in names], color=BLUE, alpha=0.6)
    right.axvline(100 * result.whole.accuracy, color=ORANGE, label="with all of them")
    for side in (-1, 1):
        right.axvline(100 * (result.whole.accuracy + side * result.deviation), color=FAINT, linestyle=":")
    add_legend(right)
    figure.suptitle(f"{about}: {result.epochs:.1f} epochs, one seed", fontsize=TITLE)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
