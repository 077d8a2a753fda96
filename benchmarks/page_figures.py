"""The pictures on the pages of docs/: one for each family of heads, every value computed by the library itself.

    python benchmarks/page_figures.py                    # all of them, into docs/images
    python benchmarks/page_figures.py taylor attention   # those of two pages
    python benchmarks/page_figures.py --out FOLDER

A figure has the name of its page: docs/taylor.md shows docs/images/taylor.png. Each is drawn by one function below.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from npsoftmax.calibration import Scaling, fit_temperature
from npsoftmax.calibration.subtrees import Subtrees
from npsoftmax.errors import unknown_name
from npsoftmax.functional.attention import attention_weights_forward
from npsoftmax.functional.centres import angular_margin_forward
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.functional.ordinal import cumulative_log_prob_forward, thresholds
from npsoftmax.functional.taylor import taylor_polynomial
from npsoftmax.heads import HEADS, ClassInfo, Head
from npsoftmax.heads.margin import with_margin
from npsoftmax.kernels.conv.reference import matrices
from npsoftmax.kernels.windows.reference import im2col
from npsoftmax.metrics import calibration_error, reliability
from npsoftmax.plots.many_lines import DASHES, draw_look, looks
from npsoftmax.plots.style import BLUE, DPI, FAINT, INK, ORANGE, TEXT, dress, save_figure
from npsoftmax.random import Rng

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, LEAST_TEXT = 6.8, TEXT - 1  # inches; points
LIGHT = "#CFE3F1"
COLOURS = 128  # of a file
Curves = dict[str, Any]


# ---------------------------------------------------------------- one look
def panels(height: float, rows: int = 1, columns: int = 2, **grid: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, **grid)


def plain_looks(names: Any) -> dict[str, dict[str, Any]]:
    """Those of the plots, but with other dashes from line to line, for readers without colours."""
    return {name: {**look, "linestyle": DASHES[i % len(DASHES)]} for i, (name, look) in enumerate(looks(names).items())}


def curves(ax: Any, x: np.ndarray, lines: Curves, look: dict[str, Any] | None = None) -> None:
    """The lines by name, each with its own colour, dashes and marker."""
    look = plain_looks(lines) if look is None else look
    for name, y in lines.items():
        draw_look(ax, x, np.asarray(y, dtype=float), look[name], name)


def legend(ax: Any, **where: Any) -> None:
    ax.legend(**{"fontsize": LEAST_TEXT, "labelcolor": INK, "frameon": False, "handlelength": 3.2, **where})


def shared_legend(figure: Figure, ax: Any, columns: int = 3) -> None:
    handles, labels = ax.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "handlelength": 3.2}
    figure.legend(handles, labels, fontsize=LEAST_TEXT, labelcolor=INK, frameon=False, **where)


def title(ax: Any, text: str) -> None:
    ax.set_title(text, fontsize=TEXT, color=INK, loc="left")


def write(ax: Any, x: float, y: float, text: str, **style: Any) -> None:
    ax.text(x, y, text, **{"fontsize": LEAST_TEXT, "color": INK, "ha": "center", "va": "center", **style})


# ---------------------------------------------------------------- heads without a linear map
def head(name: str, classes: int | ClassInfo, **options: Any) -> Head:
    """A head whose features are the scores."""
    info = classes if isinstance(classes, ClassInfo) else ClassInfo(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a legacy wiring, which the page is about
        return HEADS[name](info.n, info, rng=Rng(0), linear=False, **options)


def loss_and_pull(z: np.ndarray, name: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (N, C) with target 0, in training: the loss, and how hard the target's score is pulled up."""
    made, targets = head(name, z.shape[1], **options), np.zeros(len(z), dtype=int)
    losses, cache = made.losses_forward(z, targets, True, Rng(0))
    return losses, -made.losses_backward(np.ones(len(z)), cache)[0][:, 0]


def first_of(z: np.ndarray, *others: float) -> np.ndarray:
    """Rows (z, others…)."""
    return np.column_stack([z, *(np.full_like(z, other) for other in others)])


def mapped(name: str, z: np.ndarray, **options: Any) -> np.ndarray:
    return MAPPINGS[name].forward(z, **options)[0]


# ---------------------------------------------------------------- mappings and softmax heads
def mappings() -> Figure:
    x = np.linspace(-5, 5, 401)
    rows = first_of(x, 1, 0)
    noise = np.broadcast_to(Rng(3).gumbel((3,), dtype=np.float64), rows.shape)
    smooth = ("softmax", "softmax1", "taylor_softmax", "spherical_softmax")
    sparse: Curves = {name: mapped(name, rows)[:, 0] for name in ("entmax15", "sparsemax")}
    sparse = {"entmax, α = 1.25": mapped("entmax", rows, alpha=1.25)[:, 0], **sparse}
    drawn = {name: mapped(name, rows, noise=noise)[:, 0] for name in ("gumbel_softmax", "gumbel_softmax_hard")}
    figure, axes = panels(3.6, sharey=True)
    curves(axes[0], x, {name: mapped(name, rows)[:, 0] for name in smooth})
    curves(axes[1], x, {"softmax": mapped("softmax", rows)[:, 0], **sparse, **drawn})
    for ax, text in zip(axes, ("no class gets exactly 0", "exact zeros; one draw of noise"), strict=True):
        dress(ax, "logit z of the first class; the others: 1 and 0", "")
        title(ax, text)
        legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1, handlelength=2.6)
    axes[0].set_ylabel("p of the first class", fontsize=TEXT, color=INK)
    return figure


def softmax_family() -> Figure:
    x = np.linspace(-8, 10, 361)
    rows = first_of(x, *[0] * 9)
    options: dict[str, tuple[str, dict[str, Any]]] = {
        "softmax": ("softmax", {}),
        "label_smoothing=0.1": ("softmax", {"label_smoothing": 0.1}),
        "temperature=2": ("softmax", {"temperature": 2.0}),
        "soft_cap=4": ("softmax", {"soft_cap": 4.0}),
        "z_loss=0.01": ("softmax", {"z_loss": 0.01}),
        "legacy_double_softmax": ("legacy_double_softmax", {}),
    }
    found = {name: loss_and_pull(rows, which, **more) for name, (which, more) in options.items()}
    figure, axes = panels(3.4)
    for i, (ax, label) in enumerate(zip(axes, ("loss", "pull on the target's score, −∂L/∂z"), strict=True)):
        curves(ax, x, {name: pair[i] for name, pair in found.items()})
        dress(ax, "score of the target; nine others: 0", label)
        ax.set_xticks(range(-8, 11, 4))
    axes[1].axhline(0, color=INK, linewidth=0.8)
    shared_legend(figure, axes[0])
    return figure


def focal_and_robust() -> Figure:
    p = np.linspace(0.005, 0.995, 199)
    rows = first_of(np.log(p / (1 - p)), 0)
    found = {
        "cross entropy": loss_and_pull(rows, "softmax"),
        "focal, γ = 2": loss_and_pull(rows, "focal"),
        "Poly-1, ε = 2": loss_and_pull(rows, "focal", gamma=0.0, epsilon=2.0),
        "generalised, q = 0.7": loss_and_pull(rows, "generalised_cross_entropy"),
        "generalised, q = 1": loss_and_pull(rows, "generalised_cross_entropy", q=1.0),
    }
    figure, axes = panels(3.4)
    curves(axes[0], p, {name: loss for name, (loss, _) in found.items()})
    curves(axes[1], p, {name: pull / found["cross entropy"][1] for name, (_, pull) in found.items()})
    dress(axes[0], "probability of the target", "loss")
    dress(axes[1], "probability of the target", "pull A, in that of cross entropy")
    axes[0].set_ylim(0, 5)
    shared_legend(figure, axes[0])
    return figure


def gumbel() -> Figure:
    z = np.array([1.0, 0.3, -0.3])
    corners = np.array([[0, 0], [1, 0], [0.5, math.sqrt(0.75)]])
    noise = Rng(1).gumbel((400, 3), dtype=np.float64)
    share = np.bincount((z + noise).argmax(axis=1), minlength=3) / len(noise)
    figure, axes = panels(2.7, columns=3)
    for ax, tau in zip(axes, (0.2, 1.0, 5.0), strict=True):
        points = mapped("gumbel_softmax", np.tile(z, (400, 1)), noise=noise, tau=tau) @ corners
        ax.fill(*corners.T, facecolor="none", edgecolor=INK, linewidth=1)
        ax.scatter(*points.T, s=7, color=BLUE, alpha=0.45, linewidths=0, clip_on=False)
        where = mapped("softmax", z) @ corners
        ax.scatter(*where, s=150, marker="*", color=ORANGE, edgecolor=INK, linewidth=0.9, zorder=3)
        for c, (x, y) in enumerate(corners):
            write(ax, x, y + (0.1 if c == 2 else -0.1), f"class {c}\n{share[c]:.0%}" if tau < 1 else f"class {c}")
        ax.set(xlim=(-0.18, 1.18), ylim=(-0.24, 1.06), aspect="equal")
        ax.axis("off")
        ax.set_title(f"τ = {tau:g}", fontsize=TEXT, color=INK)
    return figure


def taylor() -> Figure:
    x, wide = np.linspace(-4, 2.5, 261), np.linspace(-8, 8, 321)
    polynomials = {f"order {n}": taylor_polynomial(x, n) for n in (2, 4, 6)}
    shares = {f"order {n}": mapped("taylor_softmax", first_of(wide, 0, 0), order=n)[:, 0] for n in (2, 4, 6)}
    figure, axes = panels(3.2)
    curves(axes[0], x, {"exponential, softmax": np.exp(x), **polynomials})
    curves(axes[1], wide, {"exponential, softmax": mapped("softmax", first_of(wide, 0, 0))[:, 0], **shares})
    dress(axes[0], "score z", "f(z)")
    dress(axes[1], "score z of the first class; two others: 0", "p of the first class")
    axes[1].set_xticks(range(-8, 9, 4))
    shared_legend(figure, axes[0], 4)
    return figure


def sparse() -> Figure:
    names = {"softmax": 1.0, "entmax, α = 1.25": 1.25, "entmax15": 1.5, "sparsemax": 2.0}

    def of(z: np.ndarray, alpha: float) -> np.ndarray:
        return mapped("softmax", z) if alpha == 1 else mapped("entmax", z, alpha=alpha)

    z, scores = np.linspace(2, -2.5, 10), Rng(0).normal((50, 100), dtype=np.float64)
    spreads = np.geomspace(0.1, 10, 25)
    support = {name: [(of(s * scores, a) > 0).sum(axis=1).mean() for s in spreads] for name, a in names.items()}
    figure, axes = panels(3.2)
    curves(axes[0], z, {name: of(z, alpha) for name, alpha in names.items()})
    curves(axes[1], spreads, support)
    dress(axes[0], "score of each of 10 classes", "probability")
    dress(axes[1], "spread of 100 random scores", "classes with p > 0")
    axes[0].invert_xaxis()
    axes[1].set(xscale="log", yscale="log")
    shared_legend(figure, axes[0], 4)
    return figure


def margins_and_priors() -> Figure:
    figure, axes = panels(6.0, rows=2)
    lead, angle = np.linspace(-3, 4, 281), np.linspace(0, math.pi, 181)
    softmax, soft, hinge = (
        loss_and_pull(first_of(lead, 0), *given, **options)[0]
        for *given, options in (("softmax", {}), ("sm_softmax", {"margin": 1.0}), ("hinge", {"rivals": "worst"}))
    )
    curves(axes[0, 0], lead, {"softmax": softmax, "sm_softmax margin=1": soft, "hinge rivals=worst": hinge})
    dress(axes[0, 0], "lead of the target over one rival", "loss in training")
    cosine = np.cos(angle)
    arcs = angular_margin_forward(cosine, 0.5)[0]
    gap = with_margin(first_of(cosine, 0), np.zeros(len(cosine), dtype=int), 0.35)[:, 0]
    curves(axes[0, 1], np.degrees(angle), {"cosine": cosine, "cosface, m = 0.35": gap, "arcface, m = 0.5": arcs})
    dress(axes[0, 1], "angle to the own centre, degrees", "target's score / s")
    _priors(axes[1, 0])
    counts = np.geomspace(10, 10_000, 31).round().astype(int)
    ldam = HEADS["ldam"](8, ClassInfo(len(counts), counts), rng=Rng(0))
    curves(axes[1, 1], counts, {"ldam margin=0.5": ldam.buffers["margins"]})
    dress(axes[1, 1], "training samples of the class", "its margin, in cosines")
    axes[1, 1].set(xscale="log", ylim=(0, 0.55))
    for ax in axes.flat:
        legend(ax, handlelength=2.6)
    return figure


def _priors(ax: Any) -> None:
    """p of a class with a tenth of the samples: what training fits, and what evaluation says."""
    z, info = np.linspace(-4, 6, 201), ClassInfo(2, np.array([100, 900]))
    rare = np.zeros(len(z), dtype=int)
    scaled = head("balanced", info, scaling=0.3)
    shown = {
        "evaluation": np.exp(head("balanced", info).log_prob(first_of(z, 0)))[:, 0],
        "training": np.exp(-head("balanced", info).losses_forward(first_of(z, 0), rare, True, None)[0]),
        "training, scaling=0.3": np.exp(-scaled.losses_forward(first_of(z, 0), rare, True, None)[0]),
    }
    curves(ax, z, shown)
    dress(ax, "lead of a class with 10 % of the samples", "its p under balanced")
    ax.set_ylim(-0.05, 1.42)


# ---------------------------------------------------------------- many classes
ANIMALS = ("cat", "dog", "hen", "owl", "ship")


def hierarchical() -> Figure:
    tree = HEADS["hierarchical"](1, ClassInfo(5), rng=Rng(0), tree=[[[0, 1], [2, 3]], 4])
    turns = {0: 0.4, 1: 0.4, 2: 0.45, 3: 0.3}  # node -> what goes to the right
    children = tree.tree.buffers["children"]
    tree.params["w"] = np.zeros_like(tree.params["w"])
    tree.params["b"][:] = [math.log(p / (1 - p)) for p in turns.values()]
    mass = Subtrees(tree.parents(), 5).masses(np.exp(tree.log_prob(np.zeros((1, 1)))))[0]
    figure, ax = panels(3.3, columns=1)
    places = {0: (2.7, 3.0), 1: (1.5, 2.0), 2: (0.5, 1.0), 3: (2.5, 1.0)}
    places |= {4 + c: (x, 2.0 if c == 4 else 0.0) for c, x in enumerate((0.0, 1.0, 2.0, 3.0, 4.0))}
    for node, below in enumerate(children.tolist()):
        for child in below:
            (x, y), (to_x, to_y) = places[node], places[child]
            ax.plot([x, to_x], [y, to_y], color=BLUE, linewidth=1 + 9 * mass[child], zorder=1, solid_capstyle="round")
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            write(ax, (x + to_x) / 2, (y + to_y) / 2, f"{mass[child] / mass[node]:.2f}", bbox=box)
    for place, (x, y) in places.items():
        name = f"{ANIMALS[place - 4]}\n{mass[place]:.3f}" if place >= 4 else f"{mass[place]:.2f}"
        best = place == 4 + mass[4:].argmax()
        box = {"boxstyle": "round,pad=0.35", "facecolor": LIGHT if best else "white", "edgecolor": INK}
        write(ax, x, y, name, bbox=box, fontsize=TEXT, fontweight="bold" if best else "normal")
    ax.set(xlim=(-0.4, 4.5), ylim=(-0.4, 3.35))
    ax.axis("off")
    return figure


def zipf(classes: int) -> np.ndarray:
    """How often each of the classes comes by Zipf's law, the rarest once."""
    return (classes / np.arange(1, classes + 1)).round().astype(int)


def adaptive() -> Figure:
    counts = zipf(10_000)
    made = HEADS["adaptive"](64, ClassInfo(len(counts), counts), rng=Rng(0))
    ranks, share = np.arange(1, len(counts) + 1), counts / counts.sum()
    figure, ax = panels(3.2, columns=1)
    ax.plot(ranks, share, color=INK, linewidth=1.8)
    ends = (0, *made.ends)
    for g, (first, last) in enumerate(pairwise(ends)):
        ax.axvspan(max(first, 0.9), last, color=BLUE, alpha=(0.32, 0.18, 0.07)[g], linewidth=0)
        width = made.params[f"tail{g}"]["w"].shape[1] if g else made.features
        name, part = f"cluster {g}" if g else "short list", share[first:last].sum()
        text = f"{name}\n{last - first:,} classes\n{part:.0%}\nof samples"
        write(ax, math.sqrt(max(first, 1) * last), 0.35, f"{text}\nD = {width}")
    dress(ax, "rank of the class", "share of the samples")
    ax.set(xscale="log", yscale="log", xlim=(0.9, len(counts)), ylim=(5e-6, 3))
    return figure


def sampled() -> Figure:
    counts = zipf(10_000)
    info, ranks = ClassInfo(len(counts), counts), np.arange(1, len(counts) + 1)
    some = np.unique(np.geomspace(1, len(counts), 200).round().astype(int)) - 1
    options: dict[str, dict[str, Any]] = {
        "log_uniform": {"distribution": "log_uniform"},
        "counts, power=1: Zipf": {"power": 1.0},
        "counts, power=0.75": {"power": 0.75},
        "uniform": {"distribution": "uniform"},
    }
    figure, ax = panels(3.3, columns=1)
    made = {name: HEADS["nce"](1, info, rng=Rng(0), samples=1000, **more) for name, more in options.items()}
    lines = {name: np.exp(one.buffers["log_kq"])[some] / one.samples for name, one in made.items()}
    curves(ax, ranks[some], lines)
    drawer = HEADS["nce"](1, info, rng=Rng(0), samples=100_000, distribution="log_uniform")
    drawn, times = drawer.draw(Rng(0), np.zeros(1))
    kept = np.isin(drawn, some)
    dots = {"color": INK, "s": 9, "marker": "x", "linewidths": 0.8, "zorder": 3}
    ax.scatter(drawn[kept] + 1, times[kept] / drawer.samples, label="100,000 draws of log_uniform", **dots)
    dress(ax, "rank of the class", "q, probability of a draw")
    ax.set(xscale="log", yscale="log")
    legend(ax)
    return figure


# ---------------------------------------------------------------- other questions
def ordinal() -> Figure:
    s, theta = np.linspace(-7, 7, 281), np.array([-3.0, 1.85, 1.85, 1.85])
    p = np.exp(cumulative_log_prob_forward(s, theta)[0])
    names = [f"class {k}" for k in range(5)]
    look = plain_looks(names)
    figure, axes = panels(3.4)
    curves(axes[0], s, dict(zip(names, p.T, strict=True)), look)
    curves(axes[1], s, dict(zip(names[:4], p.cumsum(axis=1).T, strict=False)), look)
    for ax, label in zip(axes, ("probability of the class", "P(y ≤ class)"), strict=True):
        for b in thresholds(theta)[0]:
            ax.axvline(b, color=FAINT, linewidth=0.8, linestyle=":")
        dress(ax, "score s (dotted: the thresholds)", label)
    shared_legend(figure, axes[0], 5)
    return figure


def attention() -> Figure:
    scores = np.array([2.5, 2.0, 1.0, 0.3, 0.0, -0.5, -1.5, -3.0])
    names = ("softmax", "softmax1", "taylor_softmax", "spherical_softmax", "entmax15", "sparsemax")
    one, keys = np.ones((1, 1)), scores[:, None]
    p = np.concatenate([attention_weights_forward(one, keys, mapping=name, scale=1.0)[0] for name in names])
    figure, ax = panels(3.1, columns=1)
    ax.imshow(p, cmap="Blues", vmin=0, vmax=0.9, aspect="auto")
    for (i, j), weight in np.ndenumerate(p):
        text = "0" if weight == 0 else f"{weight:.3f}".lstrip("0")
        write(ax, j, i, text, color="white" if weight > 0.5 else INK)
    for i, total in enumerate(p.sum(axis=1)):
        write(ax, len(scores), i, f"{total:.2f}")
    ax.set_xticks(range(len(scores) + 1), [*(f"{z:g}".replace("-", "−") for z in scores), "sum"])
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(labelsize=TEXT, colors=INK, length=0, labeltop=True, labelbottom=False)
    ax.set_xlabel("scores of eight keys for one query", fontsize=TEXT, color=INK)
    ax.xaxis.set_label_position("top")
    ax.set_xlim(-0.5, len(scores) + 0.5)
    ax.spines[:].set_visible(False)
    return figure


def multi_label() -> Figure:
    names, z = ("dog", "ball", "grass", "cat", "car"), np.array([[3.0, 2.5, 0.4, -2.0, -3.0]])
    figure, ax = panels(2.9, columns=1)
    for i, (name, style) in enumerate(
        {"softmax": {"color": LIGHT, "hatch": "///"}, "sigmoid": {"color": BLUE}}.items()
    ):
        p = np.exp(head(name, 5).log_prob(z))[0]
        at = np.arange(5) + 0.38 * (i - 0.5)
        ax.bar(at, p, 0.36, edgecolor=INK, linewidth=0.7, label=f"{name}, sum {p.sum():.2f}", **style)
        for x, height in zip(at, p, strict=True):
            write(ax, x, height + 0.04, f"{height:.2f}")
    ax.axhline(0.5, color=INK, linewidth=1, linestyle="--", label="threshold")
    dress(ax, "", "probability")
    ax.set_xticks(range(5), [f"{n}\nz = {s:g}".replace("-", "−") for n, s in zip(names, z[0], strict=True)])
    ax.set_ylim(0, 1.08)
    legend(ax)
    return figure


def calibration() -> Figure:
    rng = np.random.default_rng(0)
    true = 1.5 * rng.normal(size=(6000, 10))
    log_p = mapped("log_softmax", true)
    t = (np.exp(log_p).cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1).clip(0, 9)
    sure = mapped("log_softmax", 2.2 * true)  # a network that says too much
    temperature = fit_temperature(sure[:3000], t[:3000])
    after = Scaling.by_temperature(temperature)(sure[3000:])
    figure, axes = panels(3.6, sharey=True)
    for ax, shown, when in zip(axes, (sure[3000:], after), ("before", f"after, T = {temperature:.2f}"), strict=True):
        table = reliability(shown, t[3000:], bins=10)
        filled = table["count"] > 0
        low, confidence, accuracy = (table[name][filled] for name in ("low", "confidence", "accuracy"))
        ax.bar(low, accuracy, 0.1, align="edge", color=LIGHT, edgecolor=INK, linewidth=0.7, label="right")
        ax.plot(confidence, accuracy, "o", color=BLUE, markersize=5, label="at its mean confidence")
        ax.plot([0, 1], [0, 1], "--", color=INK, linewidth=1, label="as sure as right")
        title(ax, f"{when}: ECE {calibration_error(table):.3f}")
        dress(ax, "confidence (largest probability)", "")
        ax.set(xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("share that is right", fontsize=TEXT, color=INK)
    shared_legend(figure, axes[0])
    return figure


# ---------------------------------------------------------------- convolutions
def how_it_is_fast() -> Figure:
    figure, axes = panels(3.6, width_ratios=[1.25, 1])
    _columns(axes[0])
    _tiles(axes[1])
    for ax in axes:
        ax.set_aspect("equal", anchor="N")
        ax.invert_yaxis()
        ax.axis("off")
    return figure


def cell(ax: Any, x: float, y: float, text: str = "", face: str = "white", **style: Any) -> None:
    ax.add_patch(Rectangle((x, y), 1, 1, facecolor=face, edgecolor=INK, linewidth=0.6, **style))
    write(ax, x + 0.5, y + 0.5, text)


def _columns(ax: Any) -> None:
    """An image of 4x4 pixels, and the columns of its four 3x3 windows; the second one shaded."""
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    columns = im2col(image, (3, 3), (1, 1), (0, 0)).astype(int)
    for pixel in range(16):
        shade = LIGHT if pixel in columns[1] else "white"
        cell(ax, 2.5 + pixel % 4, pixel // 4, "abcdefghijklmnop"[pixel], shade)
    for (row, tap), pixel in np.ndenumerate(columns):
        cell(ax, tap, 6 + row, "abcdefghijklmnop"[pixel], LIGHT if row == 1 else "white")
    ax.add_patch(Rectangle((3.5, 0), 3, 3, fill=False, edgecolor=INK, linewidth=2))
    ax.add_patch(Rectangle((0, 7), 9, 1, fill=False, edgecolor=INK, linewidth=2))
    ax.annotate("", (4.5, 5.9), (4.5, 4.1), arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.4})
    write(ax, 4.8, 5, "im2col", ha="left")
    ax.set(xlim=(-0.2, 9.2), ylim=(-0.2, 10.2))
    title(ax, "im2col: a window becomes a row")


def _tiles(ax: Any) -> None:
    """Two neighbouring tiles of Winograd's F(4x4): what they read, what they write."""
    write_size, read = (len(matrix) for matrix in matrices(4)[:2])
    for y in range(read):
        for x in range(read + write_size):
            both = write_size <= x < read
            inside = 1 <= y <= write_size and 1 <= x <= 2 * write_size
            cell(ax, x, y, "•" if inside else "", LIGHT if both else "white")
    looks_of = ({"edgecolor": BLUE, "linestyle": "-"}, {"edgecolor": ORANGE, "linestyle": (0, (4, 1.5))})
    for i, style in enumerate(looks_of):
        ax.add_patch(Rectangle((write_size * i, 0), read, read, fill=False, linewidth=2.6, zorder=3 + i, **style))
        name = f"{'first' if i == 0 else 'second'} tile\nreads {read}x{read}"
        write(ax, (2.2, 7.8)[i], -1.0, name, color=style["edgecolor"])
    ax.plot([write_size + 1] * 2, [1, write_size + 1], color=INK, linewidth=1.8)
    write(ax, 5, read + 1.0, f"• outputs, {write_size}x{write_size} a tile\nshaded: pixels read twice")
    ax.set(xlim=(-0.3, 10.3), ylim=(-2, 8.2))
    title(ax, "Winograd: tiles overlap by 2")


# ---------------------------------------------------------------- the command
DRAWN: tuple[Callable[[], Figure], ...] = (
    mappings,
    softmax_family,
    focal_and_robust,
    gumbel,
    taylor,
    sparse,
    margins_and_priors,
    hierarchical,
    adaptive,
    sampled,
    ordinal,
    attention,
    multi_label,
    calibration,
    how_it_is_fast,
)
FIGURES = {draw.__name__.replace("_", "-"): draw for draw in DRAWN}  # page -> what draws its figure


def save(figure: Figure, path: Path) -> None:
    """A PNG of few colours, the same bytes every time."""
    whole = io.BytesIO()
    save_figure(figure, whole, "png")
    Image.open(whole).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the files (default: docs/images)")
    args = parser.parse_args(words)
    for name in args.names:
        if name not in FIGURES:
            parser.error(str(unknown_name("figure", name, FIGURES)))
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or FIGURES:
        save(FIGURES[name](), args.out / f"{name}.png")
        print(args.out / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
