"""What a tree costs in accuracy, and whether a learned one costs less: heads on the frozen features of a run.

    python benchmarks/learned_trees.py RUN --data-dir DIR --seeds 4 --json trees.json

RUN is a finished run with a flat head, such as one of `npsoftmax train --recipe trees/softmax`. Its network stays as it
is; every head below is trained anew on the features of the training images and judged by the validation images. So
minutes show what the recipes trees/… take an hour for, and only the tree differs. Test images are not looked at. Trees
that were tried and dropped are here too: cuts at any place, in place of halves, and confusions that are counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import describe, machine, new_file, table, whole_number, write_json

from npsoftmax.data import Batches
from npsoftmax.heads import HEADS, ClassInfo, tree
from npsoftmax.heads.learned_tree import from_confusions, from_means, grow
from npsoftmax.host import set_threads, single_threaded_blas
from npsoftmax.kernels import tree as kernels
from npsoftmax.random import Rng
from npsoftmax.training.optimizers import Adam
from npsoftmax.training.session import EVALUATION_BATCH, Session, load_run

BATCH, RATE = 128, 3e-3


@dataclass
class Features:
    """Of some images: features h (N, D), what the run's own head says p (N, C), labels t (N,)."""

    h: np.ndarray
    p: np.ndarray
    t: np.ndarray

    @classmethod
    def of(cls, session: Session, batches: Batches) -> Features:
        own = Batches(
            batches.x, batches.y, EVALUATION_BATCH, rng=session.rng, normalize=batches.normalize, shuffle=False
        )
        h = [session.model.features(x) for x, _, _ in own.epoch(0)]
        p = [np.exp(session.model.head.log_prob(part)) for part in h]
        return cls(np.concatenate(h), np.concatenate(p), batches.y.astype(np.int64))


# ---------------------------------------------------------------- trees
def heads(session: Session, train: Features) -> dict[str, tuple[str, dict[str, Any], np.ndarray | None]]:
    """Name of a row -> head, options, and superclasses where they are not those of the data."""
    n, coarse = session.dataset.n_classes, session.dataset.coarse
    own = [train.t == c for c in range(n)]
    means = np.stack([train.h[mask].mean(axis=0, dtype=np.float64) for mask in own])
    pixels = np.stack([session.train.x[mask].reshape(mask.sum(), -1).mean(axis=0) for mask in own])
    confusions = np.stack([train.p[mask].sum(axis=0, dtype=np.float64) for mask in own])
    answers = np.stack([np.bincount(train.p[mask].argmax(axis=1), minlength=n) for mask in own])
    learned = {
        "means of features": from_means(means),
        "confusions": from_confusions(confusions),
        "means of images": from_means(pixels),
        "confusions, counted": from_confusions(answers),
        "means of features, free cuts": grow(n, lambda classes: free_means(means[classes])),
        "confusions, free cuts": grow(n, lambda classes: free_cut(affinity(confusions)[np.ix_(classes, classes)])),
    }
    rows: dict[str, tuple[str, dict[str, Any], np.ndarray | None]] = {
        "softmax": ("softmax", {}, coarse),
        "heap in label order": ("hierarchical", {"tree": "balanced", "order": "label"}, coarse),
        "heap by superclass": ("hierarchical", {"tree": "balanced"}, coarse),
    }
    rows |= {name: ("hierarchical", {"tree": tree.to_json(found)}, coarse) for name, found in learned.items()}
    if coarse is not None:
        rows["two levels: superclasses"] = ("hierarchical", {"tree": "superclass"}, coarse)
    for level in (3, 4, 5):
        group = groups(learned["confusions"], level)
        name = f"two levels: {group.max() + 1} parts of the tree of confusions"
        rows[name] = ("hierarchical", {"tree": "superclass"}, group)
    return rows


def groups(children: np.ndarray, level: int) -> np.ndarray:
    """Below which node of this level each class is. children (n - 1, 2) -> (n,)."""
    first, last = tree.levels(children)[level]
    up, place = tree.uplinks(children), np.arange(len(children), 2 * len(children) + 1)
    while ((place < first) | (place >= last)).any():
        place = np.where((place < first) | (place >= last), up[place] >> 1, place)
    return place - first


def affinity(confusions: np.ndarray) -> np.ndarray:
    rates = confusions / confusions.sum(axis=1, keepdims=True)
    weights = rates + rates.T
    np.fill_diagonal(weights, 0)
    return weights


def free_means(points: np.ndarray) -> np.ndarray:
    """2-means without the demand for halves."""
    centred = points - points.mean(axis=0)
    chosen = one_each(centred @ np.linalg.svd(centred, full_matrices=False)[2][0])
    for _ in range(100):
        low, high = centred[~chosen].mean(axis=0), centred[chosen].mean(axis=0)
        moved = one_each((centred - (low + high) / 2) @ (high - low))
        if (moved == chosen).all():
            break
        chosen = moved
    return chosen


def free_cut(weights: np.ndarray) -> np.ndarray:
    """The normalised cut where the second eigenvector changes its sign."""
    roots = np.sqrt(weights.sum(axis=1))
    return one_each(np.linalg.eigh(weights / roots / roots[:, None])[1][:, -2])


def one_each(along: np.ndarray) -> np.ndarray:
    """Above 0, but at least one on either side."""
    chosen = along > 0
    chosen[along.argmax()], chosen[along.argmin()] = True, False
    return chosen


# ---------------------------------------------------------------- training and judging
def trained(name: str, head_name: str, options: dict[str, Any], coarse: np.ndarray | None, train: Features, seed: int,
            epochs: int) -> Any:  # fmt: skip
    """The head after `epochs` of Adam with a rate that falls to 0."""
    n = train.p.shape[1]
    head = HEADS[head_name](
        train.h.shape[1], ClassInfo(n, np.bincount(train.t, minlength=n), coarse), rng=Rng(seed), **options
    )
    optimiser, rng, steps = Adam(head.params), np.random.default_rng(seed), len(train.t) // BATCH
    for epoch in range(epochs):
        order = rng.permutation(len(train.t))
        for number in range(steps):
            batch = order[number * BATCH : (number + 1) * BATCH]
            _, cache = head.loss(train.h[batch], train.t[batch], train=True)
            _, grads = head.backward(cache)
            optimiser.step(head.params, grads, lr=RATE * (1 - (epoch * steps + number) / (epochs * steps)))
    return head


def judged(head: Any, held_out: Features, train: Features) -> dict[str, Any]:
    """Accuracy on training and validation, NLL, and of a binary tree how many decisions are right, level by level."""
    log_p, every = head.log_prob(held_out.h), np.arange(len(held_out.t))
    found: dict[str, Any] = {
        "validation": float((log_p.argmax(axis=1) == held_out.t).mean()),
        "training": float((head.log_prob(train.h).argmax(axis=1) == train.t).mean()),
        "nll": float(-log_p[every, held_out.t].mean()),
    }
    if "children" in head.buffers:
        depths = tree.depths(head.buffers["children"])
        nodes, signs = kernels.climb(head.buffers["up"], held_out.t, int(depths.max()), np.float32)
        z = kernels.chosen_scores(held_out.h, head.params["w"], head.params["b"], nodes)
        right, on_path = (z * signs > 0), nodes >= 0
        levels = tree.levels(head.buffers["children"])
        found |= {
            "levels": [float(right[(nodes >= first) & (nodes < last)].mean()) for first, last in levels],
            "decision": float(right[on_path].mean()),
            "greedy": float((right | ~on_path).all(axis=1).mean()),
            "depth": float(depths.mean()),
            "longest": float(depths.max()),
        }
    return found


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run with a flat head, and validation images")
    parser.add_argument("--data-dir", help="where its data is now")
    parser.add_argument("--epochs", type=whole_number(1), default=3)
    parser.add_argument("--seeds", type=whole_number(1), default=4)
    parser.add_argument("--threads", type=whole_number(1), default=1)
    parser.add_argument("--json", type=new_file, help="write the figures to this file")
    args = parser.parse_args(argv)
    here = machine(args.threads)
    print(describe(here), file=sys.stderr)
    set_threads(args.threads)
    figures = {}
    with single_threaded_blas():
        session = load_run(args.run, **({"data_dir": args.data_dir} if args.data_dir else {}))
        train, held_out = (Features.of(session, part) for part in (session.train, session.validation))
        rows = heads(session, train)
        middle, spread = train.h.mean(axis=0), train.h.std(axis=0) + 1e-6
        for part in (train, held_out):
            part.h = np.ascontiguousarray((part.h - middle) / spread)
        for name, (head_name, options, coarse) in rows.items():
            runs = [
                judged(trained(name, head_name, options, coarse, train, seed, args.epochs), held_out, train)
                for seed in range(args.seeds)
            ]
            figures[name] = {key: [run[key] for run in runs] for key in runs[0]}
            print(json.dumps({name: figures[name]["validation"]}), file=sys.stderr)
    print(told(figures))
    write_json(args, {"machine": here, "rows": figures})
    return 0


def told(figures: dict[str, dict[str, list[Any]]]) -> str:
    """A row a head: means over the seeds; and the levels of the binary trees."""
    rows, levels = [], []
    for name, found in figures.items():
        mean = {key: float(np.mean(values)) for key, values in found.items() if key != "levels"}
        deviation = f" ± {100 * np.std(found['validation'], ddof=1):.1f}" if len(found["validation"]) > 1 else ""
        percents = [f"{100 * mean[key]:.1f}" if key in mean else "–" for key in ("decision", "greedy")]
        depth = f"{mean['depth']:.2f} ({mean['longest']:.0f})" if "depth" in mean else "–"
        validation = f"{100 * mean['validation']:.1f}{deviation}"
        rows.append([name, validation, f"{100 * mean['training']:.1f}", f"{mean['nll']:.3f}", *percents, depth])
        if "levels" in found:
            levels.append([name, *(f"{100 * value:.1f}" for value in np.mean(found["levels"], axis=0)[:7])])
    columns = ["head", "validation %", "training %", "NLL", "a decision right %", "all of them %", "decisions (most)"]
    below = ["right decisions %, by level", "root", *(str(level) for level in range(2, 8))]
    return f"{table(columns, rows, 1)}\n\n{table(below, levels, 1)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
