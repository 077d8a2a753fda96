"""How the cost of a training step grows with the number of classes: heads of npsoftmax beside PyTorch, on the CPU.

    python benchmarks/head_scaling.py
    python benchmarks/head_scaling.py --classes 100,10000,1000000 --json scaling.json --plot scaling.png
    python benchmarks/head_scaling.py --redraw scaling.json --plot scaling.svg

A step is forward, backward (with the gradient of the features) and update by plain SGD, in float32, on another batch
of labels each time, with the loss read as a number. `torch tree` is the tree of `hierarchical` written by a user of
PyTorch with sparse embeddings. Before any timing, the sides that are the same model train three steps from the same
weights, and must have the same losses. README.md beside this file says more about noise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import (
    BenchmarkError,
    Job,
    Summary,
    describe,
    entry,
    machine,
    name_list,
    new_file,
    run_worker,
    table,
    take_turns,
    version,
    whole_number,
    write_json,
)

from npsoftmax.bench.networks import our_settings
from npsoftmax.files import read_json
from npsoftmax.plots.many_lines import draw_look, looks, note, number_ends
from npsoftmax.plots.style import FORMATS, INK, TEXT, TITLE, dress, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEATURES, BATCH, RATE = 256, 128, 0.01
CLASSES = ("100", "1000", "10000", "100000", "1000000")
OURS = ("hierarchical", "adaptive", "sampled", "softmax")
# Each rival, and which of our heads is the same model.
RIVALS = {"torch softmax": "softmax", "torch adaptive": "adaptive", "torch tree": "hierarchical"}
BATCHES = 40  # of labels, taken in turn: a step must not find its rows in the cache
WARM_UP, LEAST_STEPS, SECONDS = 3, 5, 1.0
KEYS = ("classes", "median", "min", "max")  # of a measurement in the JSON file
LOSS_TOLERANCE = 1e-4  # relative, in float32

Weights = dict[str, np.ndarray]
Step = Callable[[np.ndarray, int], float]  # labels (N,), number of the step -> loss


# ---------------------------------------------------------------- the same start for both sides
def start(model: str, n: int, cutoffs: Sequence[int]) -> Weights:
    """Weights (outputs, inputs) of a model; what is no `softmax`, `adaptive` or tree has those of softmax."""
    rng = np.random.default_rng(0)

    def linear(outputs: int, inputs: int) -> np.ndarray:
        w = rng.standard_normal((outputs, inputs), dtype=np.float32)
        w *= inputs**-0.5
        return w

    if model == "hierarchical":
        return {"w": linear(n - 1, FEATURES), "b": np.zeros(n - 1, dtype=np.float32)}
    if model != "adaptive":
        return {"w": linear(n, FEATURES), "b": np.zeros(n, dtype=np.float32)}
    weights = {"head.w": linear(cutoffs[0] + len(cutoffs), FEATURES)}
    for g, (low, high) in enumerate(zip(cutoffs, (*cutoffs[1:], n), strict=True), 1):
        width = FEATURES // 4**g
        weights |= {f"tail{g}.proj": linear(width, FEATURES), f"tail{g}.w": linear(high - low, width)}
    return weights


def batches(n: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Features (N, D) and many batches of labels (N,), every class as likely as any other."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((BATCH, FEATURES), dtype=np.float32), [rng.integers(0, n, BATCH) for _ in range(BATCHES)]


def default_cutoffs(n: int) -> tuple[int, ...]:
    """Those of npsoftmax, for both sides."""
    from npsoftmax.heads.adaptive import default_cutoffs as ours

    return ours(n)


# ---------------------------------------------------------------- our side
def ours(name: str, n: int, h: np.ndarray) -> Step:
    from npsoftmax.heads import HEADS, ClassInfo
    from npsoftmax.options import option_defaults
    from npsoftmax.params import replace_leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import SGD

    counts = np.arange(n, 0, -1)  # label = rank, as in PyTorch
    options = {"init": "zeros"} if "init" in option_defaults(HEADS[name]) else {}
    head = HEADS[name](FEATURES, ClassInfo(n, counts), rng=Rng(0), **options)
    weights = start(name, n, default_cutoffs(n))
    if name == "softmax":
        weights["w"] = np.ascontiguousarray(weights["w"].T)
    replace_leaves(head.params, lambda leaf, _: weights[leaf])
    optimiser, noise = SGD(head.params), Rng(0, "noise")

    def step(t: np.ndarray, number: int) -> float:
        loss, cache = head.loss(h, t, train=True, rng=noise.at(number))
        _, grads = head.backward(cache)
        optimiser.step(head.params, grads, lr=RATE)
        return float(loss)

    return step


# ---------------------------------------------------------------- PyTorch's side
def torchs(name: str, n: int, h: np.ndarray, threads: int) -> Step:
    import torch

    torch.set_num_threads(threads)
    weights = {k: torch.from_numpy(w) for k, w in start(RIVALS[name], n, default_cutoffs(n)).items()}
    make = {"torch softmax": torch_softmax, "torch adaptive": torch_adaptive, "torch tree": torch_tree}[name]
    parameters, loss_of = make(weights, n)
    optimiser = torch.optim.SGD(parameters, lr=RATE)
    x = torch.from_numpy(h)

    def step(t: np.ndarray, number: int) -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(x.detach().requires_grad_(), torch.from_numpy(t))
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def torch_softmax(weights: dict[str, Any], n: int) -> tuple[list[Any], Callable[..., Any]]:
    import torch

    linear = torch.nn.Linear(FEATURES, n, device="meta")
    linear.weight, linear.bias = torch.nn.Parameter(weights["w"]), torch.nn.Parameter(weights["b"])
    return list(linear.parameters()), lambda x, t: torch.nn.functional.cross_entropy(linear(x), t)


def torch_adaptive(weights: dict[str, Any], n: int) -> tuple[list[Any], Callable[..., Any]]:
    import torch

    head = torch.nn.AdaptiveLogSoftmaxWithLoss(FEATURES, n, list(default_cutoffs(n)), div_value=4.0)
    parameters = dict(head.named_parameters())
    names = {"head.weight": "head.w"}
    for g in range(len(head.tail)):
        names |= {f"tail.{g}.0.weight": f"tail{g + 1}.proj", f"tail.{g}.1.weight": f"tail{g + 1}.w"}
    with torch.no_grad():
        for theirs, ours_ in names.items():
            parameters[theirs].copy_(weights[ours_])
    return list(parameters.values()), lambda x, t: head(x, t).loss


def torch_tree(weights: dict[str, Any], n: int) -> tuple[list[Any], Callable[..., Any]]:
    """A heap of n - 1 inner nodes, counted from 1: leaf n + label, place p hangs on p // 2, odd places are right."""
    import torch

    functional = torch.nn.functional
    w, b = torch.nn.Parameter(weights["w"]), torch.nn.Parameter(weights["b"][:, None])
    up = torch.arange((2 * n - 1).bit_length() - 1)

    def loss_of(x: Any, t: Any) -> Any:
        child = (t[:, None] + n) >> up
        node = child >> 1
        on_path = (node >= 1).float()
        sign = 2 * (child & 1).float() - 1
        rows = (node - 1).clamp(min=0)
        z = torch.bmm(functional.embedding(rows, w, sparse=True), x[:, :, None])[:, :, 0]
        z = z + functional.embedding(rows, b, sparse=True)[:, :, 0]
        return (functional.softplus(-sign * z) * on_path).sum(dim=1).mean()

    return [w, b], loss_of


# ---------------------------------------------------------------- workers
def work(job: Job) -> dict[str, Any]:
    """In a process of its own: the losses of three steps, or the seconds of a step."""
    with nullcontext() if job["side"] in RIVALS else our_settings(job["threads"]):
        return measure(job)


def measure(job: Job) -> dict[str, Any]:
    side, n = job["side"], job["classes"]
    h, labels = batches(n)
    step = torchs(side, n, h, job["threads"]) if side in RIVALS else ours(side, n, h)
    if job["task"] == "losses":
        return {"losses": [step(labels[i], i) for i in range(3)]}
    for i in range(WARM_UP):
        step(labels[i], i)
    seconds: list[float] = []
    while len(seconds) < LEAST_STEPS or sum(seconds) < SECONDS:
        i = WARM_UP + len(seconds)
        began = time.perf_counter()
        step(labels[i % BATCHES], i)
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds), "steps": len(seconds)}


def guard(args: argparse.Namespace) -> None:
    """Stop unless sides that are the same model have the same losses."""
    n = int(args.classes[0])
    for rival, own in RIVALS.items():
        if {rival, own} <= set(args.sides):
            job = {"classes": n, "threads": args.threads, "task": "losses"}
            found, expected = (run_worker(__file__, {**job, "side": side})["losses"] for side in (own, rival))
            if not np.allclose(found, expected, rtol=LOSS_TOLERANCE):
                raise BenchmarkError(f"{own} and {rival} are not the same model: losses {found} and {expected}")


# ---------------------------------------------------------------- what the user types and sees
def parse(argv: Sequence[str]) -> argparse.Namespace:
    sides = (*OURS, *RIVALS) if version("torch") else OURS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--classes",
        type=lambda text: tuple(str(whole_number(10)(part.strip())) for part in text.split(",")),
        default=CLASSES,
        metavar="N,N",
        help=f"numbers of classes (default: {','.join(CLASSES)}; a million takes 6 GB of memory)",
    )
    parser.add_argument(
        "--sides",
        type=lambda text: name_list("side", text, sides),
        default=sides,
        metavar="NAME,NAME",
        help=f"which of {', '.join(sides)} (default: all)",
    )
    for name, default, what in (("--threads", 2, "threads of every side"), ("--rounds", 3, "turns of every side")):
        parser.add_argument(name, type=whole_number(1), default=default, metavar="N", help=f"{what} ({default})")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--plot", type=picture, metavar="FILE", help="draw them here (.png, .svg or .pdf)")
    parser.add_argument(
        "--redraw", type=Path, metavar="JSON", help="measure nothing: draw what an earlier --json holds, with --plot"
    )
    args = parser.parse_args(argv)
    if args.redraw and (args.json or not args.plot):
        parser.error("--redraw JSON goes with --plot FILE, and not with --json")
    return args


def picture(text: str) -> Path:
    """The path of a figure that may be written; its name says the form."""
    if Path(text).suffix.lower().removeprefix(".") not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text} ends in none of {', '.join(f'.{form}' for form in FORMATS)}")
    return new_file(text)


def main(argv: Sequence[str]) -> int:
    args = parse(argv)
    if args.redraw:
        content = read_json(args.redraw)
        plot(content["milliseconds"], content["settings"]["threads"], args.plot)
        return 0
    here = machine(args.threads)
    print(describe(here))
    guard(args)

    def measure(side: str, n: str) -> float:
        job = {"side": side, "classes": int(n), "threads": args.threads, "task": "time"}
        return 1e3 * run_worker(__file__, job)["seconds"]

    figures = take_turns([(side, n) for n in args.classes for side in args.sides], args.rounds, measure, "ms")
    print(as_table(figures, args))
    print("\n".join(claims(figures, args)))
    results = [{"side": side, "classes": int(n), **figure} for (side, n), figure in figures.items()]
    plot_file = args.plot
    args.plot = plot_file and str(plot_file)
    write_json(args, {"machine": here, "milliseconds": results})
    if plot_file:
        plot(results, args.threads, plot_file)
    return 0


def as_table(figures: dict[tuple[str, ...], Summary], args: argparse.Namespace) -> str:
    rows = [[side, *(f"{figures[side, n]['median']:.3f}" for n in args.classes)] for side in args.sides]
    return "\nmilliseconds a step, median of the rounds\n" + table(["head", *args.classes], rows, 1)


def claims(figures: dict[tuple[str, ...], Summary], args: argparse.Namespace) -> list[str]:
    """What the figures say about growth, and about each head beside PyTorch."""
    few, many = args.classes[0], args.classes[-1]
    lines = []
    for side in args.sides:
        growth = figures[side, many]["median"] / figures[side, few]["median"]
        lines.append(f"{side}: x{growth:.1f} from {few} to {many} classes")
    for rival in RIVALS:
        for own in OURS:
            if {rival, own} <= set(args.sides) and (own == "hierarchical" or RIVALS[rival] == own):
                ratios = (f"x{figures[rival, n]['median'] / figures[own, n]['median']:.2f}" for n in args.classes)
                lines.append(f"{own} is faster than {rival}: {'  '.join(ratios)}")
    return ["", *lines]


def plot(results: Sequence[dict[str, Any]], threads: int, path: Path) -> None:
    """Draw `milliseconds` of the JSON file: medians of the rounds, both axes logarithmic.

    PyTorch is dashed and hollow, in the colour of our same model. Bars go from the fastest round to the slowest.
    """
    figure = figure_of(results, threads)
    save_figure(figure, path, path.suffix.lower().removeprefix("."))


def figure_of(results: Sequence[dict[str, Any]], threads: int) -> Figure:
    """The figure that `plot` writes."""
    from matplotlib.figure import Figure

    height = 5.2
    figure = Figure(figsize=(7.2, height), layout="constrained", facecolor="white")
    figure.suptitle("A training step, by the number of classes", fontsize=TITLE, color=INK)
    ax = figure.subplots()
    dress(ax, "classes", "milliseconds a step")
    ax.set(xscale="log", yscale="log")
    sides = list(dict.fromkeys(found["side"] for found in results))
    look = looks(dict.fromkeys(RIVALS.get(side, side) for side in sides))
    lines = []
    for side in sides:
        own = sorted((found for found in results if found["side"] == side), key=lambda found: found["classes"])
        classes, medians, low, high = (np.array([found[key] for found in own]) for key in KEYS)
        style = look[RIVALS.get(side, side)] | {"linestyle": "--" if side in RIVALS else "-"}
        lines.append(draw_look(ax, classes, medians, style, side))
        if side in RIVALS:
            lines[-1].set(markerfacecolor="white", markeredgecolor=style["color"], markeredgewidth=1.2)
        if (high > low).any():
            reach = (medians - low, high - medians)
            ax.errorbar(classes, medians, reach, fmt="none", ecolor=style["color"], elinewidth=1.2, capsize=3)
    rounds = {len(found["rounds"]) for found in results}
    what = (
        "One round, so no error bars." if rounds == {1} else "Median of the rounds; bars: the fastest to the slowest."
    )
    settings = f"{FEATURES} features, batches of {BATCH}, {threads} thread{'s' * (threads > 1)}"
    note(ax, f"{settings}. {what} PyTorch is dashed and hollow.")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,g}")
    ordered = number_ends(ax, lines, height - 1.2)
    ax.legend(
        ordered,
        [f"{number}  {line.get_label()}" for number, line in enumerate(ordered, 1)],
        fontsize=TEXT - 1,
        labelcolor=INK,
        edgecolor="none",
        handlelength=3.2,
    )
    return figure


if __name__ == "__main__":
    sys.exit(entry(main, work))
