"""How far the largest activations of transformers stick out, block by block: what softmax1 in attention is to mend.

    npsoftmax compare claims/attention_softmax claims/attention_softmax1 --seeds 3 --out runs/attention
    python benchmarks/attention_outliers.py runs/attention --json outliers.json

Of the tokens behind each block, over test images: kurtosis, E (x - μ)^4 / σ^4 over the numbers of a token, mean over
all tokens (3 for a normal distribution), and the largest |x| of a token over the root of its mean of squares. Large
ones are what makes transformers hard to quantise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import new_file, write_json

from npsoftmax.compare import Comparison
from npsoftmax.errors import InputError
from npsoftmax.training import load_run

MEASURES = ("kurtosis", "peak")


def measured(x: np.ndarray) -> dict[str, float]:
    """Kurtosis (mean) and peak (largest) of tokens x (N, T, D)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    kurtosis = (centred**4).mean(axis=-1) / (centred**2).mean(axis=-1) ** 2
    peak = np.abs(x).max(axis=-1) / np.sqrt((x**2).mean(axis=-1))
    return {"kurtosis": float(kurtosis.mean()), "peak": float(peak.max())}


def of_run(path: Path, batches: int, data_dir: str | None) -> list[dict[str, float]]:
    """`measured` behind each block of a run's transformer, mean over batches of test images."""
    session = load_run(path, "last", **({} if data_dir is None else {"data_dir": data_dir}))
    found: list[list[dict[str, float]]] = []
    for (x, _, _), _ in zip(session.test.epoch(0), range(batches), strict=False):
        found.append([])
        for name, layer in session.model.trunk.layers.items():
            x, _ = layer.forward(x)
            if name.startswith("block") and x.ndim == 3 and x.shape[1] > 1:  # the last has the class token alone
                found[-1].append(measured(x))
    if not found[0]:
        raise InputError(f"{path} is a {session.model.name}, but transformers were expected (--model vit).")
    return [
        {name: statistics.mean(one[name] for one in each) for name in MEASURES} for each in zip(*found, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every finished run of a comparison; print a table, one row a block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="the --out of npsoftmax compare")
    parser.add_argument("--batches", type=int, default=8, help="batches of test images (default: 8)")
    parser.add_argument("--data-dir", help="where the data is now")
    parser.add_argument("--json", type=new_file, help="write the figures here")
    args = parser.parse_args(argv)
    runs: dict[str, list[list[dict[str, float]]]] = {}
    for job in Comparison.existing(args.comparison).jobs():
        if job.row.config.model.startswith("vit"):
            runs.setdefault(job.row.name, []).append(of_run(job.folder, args.batches, args.data_dir))
    rows: list[dict[str, Any]] = []
    for name, seeds in runs.items():
        for block, each in enumerate(zip(*seeds, strict=True), 1):
            figures = {key: [round(one[key], 3) for one in each] for key in MEASURES}
            rows.append({"row": name, "block": block, **figures})
            print(f"{name:<28} block {block}  " + "  ".join(f"{key} {values}" for key, values in figures.items()))
    write_json(argparse.Namespace(json=args.json, batches=args.batches), {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
