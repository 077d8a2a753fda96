"""Trees of very many classes under a Zipf distribution: building, a training step, and four ways to predict.

    python benchmarks/tree_search.py
    python benchmarks/tree_search.py --classes 100000 --exponent 0 --json search.json

Class r is seen in proportion to 1 / (r + 1), as words are (--exponent 0: all alike). Its features are a point of its
own, drawn once, plus noise. A head is trained on them for --steps steps, so that it is sure of frequent classes and in
doubt about rare ones, and then predicts samples that it has not seen: by all leaves, by best-first search, by the
head's own `predict`, and by beams: of the places of each level the best `width` are opened and all others forgotten.
All but the beams are exact.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from common import Job, describe, entry, machine, new_file, run_worker, table, whole_number, write_json

TREES = ("balanced", "huffman")
BUILT = ("balanced", "halving", "huffman")
WIDTHS = (1, 2, 4, 8, 16, 64)
BATCH, RATE = 128, 3e-3
SURE = (0.5, 0.1, 0.01, 0.0)  # lower ends of the groups of samples, by the winner's probability


# ---------------------------------------------------------------- data
class Words:
    """Labels by Zipf's law and their features: label -> point of the class + noise."""

    def __init__(self, classes: int, features: int, noise: float, exponent: float):
        self.points = np.random.default_rng(0).standard_normal((classes, features), dtype=np.float32)
        self.share = np.cumsum(np.arange(1.0, classes + 1) ** -exponent)
        self.share /= self.share[-1]
        self.noise = noise

    def counts(self, samples: int) -> np.ndarray:
        """How often each class is expected among so many samples, at least once."""
        return np.maximum(1, np.diff(self.share, prepend=0) * samples).astype(np.int64)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, D) and labels (n,)."""
        t = np.minimum(np.searchsorted(self.share, rng.random(n)), len(self.share) - 1)
        return self.points[t] + np.float32(self.noise) * rng.standard_normal((n, self.points.shape[1]), np.float32), t


# ---------------------------------------------------------------- what is measured, each in a process of its own
def work(job: Job) -> dict[str, Any]:
    """One part of the benchmark: "build" or "use" of one tree."""
    return build(job) if job["part"] == "build" else use(job)


def build(job: Job) -> dict[str, Any]:
    """Seconds and MiB of the tree alone, and what it costs a sample."""
    from npsoftmax.heads import ClassInfo, tree

    words = Words(job["classes"], 1, 0, job["exponent"])
    classes = ClassInfo(job["classes"], words.counts(10**9))
    start = time.perf_counter()
    children = tree.build(job["tree"], classes)
    up = tree.uplinks(children)
    seconds = time.perf_counter() - start
    depths = tree.depths(children)
    mean = float((depths * np.diff(words.share, prepend=0)).sum())
    return {
        "seconds": seconds,
        "mib": (children.nbytes + up.nbytes) / 2**20,
        "mean": mean,
        "longest": int(depths.max()),
    }


def use(job: Job) -> dict[str, Any]:
    """Train a head, then predict in all ways."""
    from npsoftmax.heads import HEADS, ClassInfo
    from npsoftmax.host import set_threads
    from npsoftmax.params import leaves
    from npsoftmax.random import Rng
    from npsoftmax.training.optimizers import Adam

    set_threads(job["threads"])
    words = Words(job["classes"], job["features"], job["noise"], job["exponent"])
    head = HEADS["hierarchical"](
        job["features"], ClassInfo(job["classes"], words.counts(10**9)), rng=Rng(0), tree=job["tree"]
    )
    optimiser, rng = Adam(head.params), np.random.default_rng(1)
    seconds, losses = [], []
    for number in range(job["steps"]):
        h, t = words.draw(rng, BATCH)
        start = time.perf_counter()
        loss, cache = head.loss(h, t, train=True)
        _, grads = head.backward(cache)
        optimiser.step(head.params, grads, lr=RATE * (1 - number / job["steps"]))
        losses.append(float(loss))
        seconds.append(time.perf_counter() - start)
    last = slice(-max(1, job["steps"] // 10), None)
    weights = sum(array.nbytes for _, array in leaves(head.params)) / 2**20
    found = {
        "step": 1e3 * float(np.median(seconds[last])),
        "loss": float(np.mean(losses[last])),
        "weights_mib": weights,
    }
    return found | predictions(head, *words.draw(np.random.default_rng(2), job["samples"]))


def predictions(head: Any, h: np.ndarray, t: np.ndarray) -> dict[str, Any]:
    """Each way to predict: milliseconds a sample, nodes opened, and how often it finds the most probable class."""
    from npsoftmax.kernels import tree as kernels

    w, b, children = head.params["w"], head.params["b"], head.buffers["children"]
    inner = len(children)
    best, log_p, opened, everything = np.empty(len(t), dtype=int), np.empty(len(t)), np.empty(len(t)), 0.0
    for i in range(0, len(t), 8):  # eight samples have a few hundred MiB of scores
        start = time.perf_counter()
        scores = head.log_prob(h[i : i + 8])
        best[i : i + 8] = scores.argmax(axis=1)
        everything += time.perf_counter() - start
        log_p[i : i + 8] = scores.max(axis=1)
        opened[i : i + 8] = opened_by_search(head, h[i : i + 8], log_p[i : i + 8])
    ways: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "best-first": lambda: (kernels.best_first(h, w, b, children, 1, inner)[:, 0], opened),
        "predict": lambda: (head.predict(h)[:, 0], np.where(opened > inner // 16, inner, opened)),
    }
    for width in WIDTHS:
        ways[f"beam {width}"] = lambda width=width: beam(h, w, b, children, width)
    rows = {"all leaves": row(1e3 * everything / len(t), np.full(len(t), inner), best, best, t)}
    for name, way in ways.items():
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            labels, nodes = way()
            seconds.append(time.perf_counter() - start)
        rows[name] = row(1e3 * min(seconds) / len(t), nodes, labels, best, t)
    p, groups = np.exp(log_p), []
    for low, high in zip(SURE, (2.0, *SURE), strict=False):
        own = (p >= low) & (p < high)
        if own.any():
            agree = {f"beam {k}": float((beam(h[own], w, b, children, k)[0] == best[own]).mean()) for k in WIDTHS}
            groups.append({"from": low, "share": float(own.mean()), "opened": float(np.median(opened[own])), **agree})
    return {"ways": rows, "groups": groups, "given_up": float((opened > inner // 16).mean())}


def row(ms: float, nodes: np.ndarray, labels: np.ndarray, best: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """What is said of a way to predict."""
    middle, most = np.median(nodes), nodes.max()
    agree, right = (labels == best).mean(), (labels == t).mean()
    figures = {"ms": ms, "median": middle, "mean": nodes.mean(), "most": most, "agree": agree, "right": right}
    return {name: float(value) for name, value in figures.items()}


def opened_by_search(head: Any, h: np.ndarray, winner: np.ndarray) -> np.ndarray:
    """Inner nodes at least as probable as the winner: those that best-first search opens. (N, D), (N,) -> (N,)."""
    from npsoftmax.heads.tree import levels
    from npsoftmax.kernels import tree as kernels

    children = head.buffers["children"]
    inner = len(children)
    z = kernels.all_scores(h, head.params["w"], head.params["b"])
    reach = np.zeros((len(h), 2 * inner + 1), dtype=np.float32)
    for first, last in levels(children):
        here, level = reach[:, first:last], z[:, first:last]
        reach[:, children[first:last, 0]] = here - np.logaddexp(level, 0)
        reach[:, children[first:last, 1]] = here - np.logaddexp(-level, 0)
    return (reach[:, :inner] >= winner[:, None]).sum(axis=1)


def beam(
    h: np.ndarray, w: np.ndarray, b: np.ndarray, children: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best leaf that a beam meets, and the nodes that it opens. h (N, D) -> labels (N,), nodes (N,).

    Of the children on each level the `width` most probable inner nodes are kept, and none that is below the best leaf.
    """
    from npsoftmax.kernels import tree as kernels

    n, inner = len(h), len(children)
    places, log_p = np.zeros((n, 1), dtype=np.int64), np.zeros((n, 1), dtype=np.float32)
    label, best, nodes = np.full(n, -1), np.full(n, -np.inf, dtype=np.float32), np.zeros(n, dtype=np.int64)
    while (places >= 0).any():
        nodes += (places >= 0).sum(axis=1)
        z = kernels.chosen_scores(h, w, b, places)
        below = children[places].reshape(n, -1)  # left and right of each in turn
        turns = np.stack([-np.logaddexp(z, 0), -np.logaddexp(-z, 0)], axis=2)
        log_p = np.where((places >= 0)[:, :, None], log_p[:, :, None] + turns, -np.inf).reshape(n, -1)
        leaves = np.where(below >= inner, log_p, -np.inf)
        found = leaves.argmax(axis=1)[:, None]
        value = np.take_along_axis(leaves, found, axis=1)[:, 0]
        label = np.where(value > best, np.take_along_axis(below, found, axis=1)[:, 0] - inner, label)
        best = np.maximum(best, value)
        log_p = np.where((below < inner) & (log_p > best[:, None]), log_p, -np.inf)
        if log_p.shape[1] > width:
            kept = np.argpartition(-log_p, width - 1, axis=1)[:, :width]
            log_p, below = np.take_along_axis(log_p, kept, axis=1), np.take_along_axis(below, kept, axis=1)
        places = np.where(log_p > -np.inf, below, -1)
    return label, nodes


# ---------------------------------------------------------------- for the user
def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=whole_number(2), default=1_000_000)
    parser.add_argument("--features", type=whole_number(1), default=128)
    parser.add_argument("--noise", type=float, default=1.0, help="deviation of the noise; that of the points is 1")
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--steps", type=whole_number(1), default=10_000, help=f"of training, on {BATCH} samples each")
    parser.add_argument("--samples", type=whole_number(1), default=128, help="that are predicted")
    parser.add_argument("--threads", type=whole_number(1), default=1)
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    here = machine(args.threads)
    print(describe(here), file=sys.stderr)
    options = {
        name: vars(args)[name] for name in ("classes", "features", "noise", "exponent", "steps", "samples", "threads")
    }
    built = {name: run_worker(__file__, {"part": "build", "tree": name, **options}) for name in BUILT}
    rows = [
        [name, f"{f['seconds']:.2f}", f"{f['mib']:.0f}", f"{f['mean']:.2f}", str(f["longest"])]
        for name, f in built.items()
    ]
    print(table(["tree", "seconds to build", "MiB", "decisions a sample", "at most"], rows, 1))
    used = {}
    for name in TREES:
        print(f"training {name} …", file=sys.stderr)
        used[name] = run_worker(__file__, {"part": "use", "tree": name, **options})
        print(told(name, used[name]), flush=True)
    write_json(args, {"machine": here, "build": built, "use": used})
    return 0


def told(name: str, found: dict[str, Any]) -> str:
    """The tables of one tree."""
    rows = []
    for way, f in found["ways"].items():
        nodes = (f"{f[name]:,.0f}" for name in ("median", "mean", "most"))
        rows.append([way, f"{f['ms']:.3f}", *nodes, f"{100 * f['agree']:.1f}", f"{100 * f['right']:.1f}"])
    columns = ["way", "ms a sample", "nodes: median", "mean", "most", "finds the argmax %", "right %"]
    beams = [f"beam {width}" for width in WIDTHS]
    groups = [
        [f"from {group['from']:g}", f"{100 * group['share']:.1f}", f"{group['opened']:,.0f}",
         *(f"{100 * group[beam_]:.1f}" for beam_ in beams)]
        for group in found["groups"]
    ]  # fmt: skip
    head = f"{name}: {found['step']:.2f} ms a step, loss {found['loss']:.3f}, weights {found['weights_mib']:,.0f} MiB"
    given_up = f"{100 * found['given_up']:.1f} % of the searches are given up by predict"
    return "\n".join(
        [f"\n{head}; {given_up}", table(columns, rows, 1), "",
         table(["winner's p", "samples %", "search opens", *(f"{beam_} agrees %" for beam_ in beams)], groups, 1)]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(entry(main, work))
