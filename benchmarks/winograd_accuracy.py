"""What Winograd costs in accuracy: rounding errors on a trained resnet9, and whole trainings with and without it.

    python benchmarks/winograd_accuracy.py --data-dir DIR --write docs/results/winograd-accuracy

Trains resnet9 for one epoch with `--conv tiled` and with `--conv winograd` from each seed (finished runs are kept, so
that the command can be stopped and started again). Then the first network trained with Winograd meets a batch of test
images: each convolution's own input and upstream gradient, its three results in float32 against float64.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.functional import conv
from npsoftmax.layers import Conv2d, all_layers
from npsoftmax.models import Model

ALGORITHMS = ("tiled", "winograd")
# What is measured, each as (name, forward, backward) with float32 arrays.
KINDS = {
    "tiled": (conv.conv2d_tiled_forward, conv.conv2d_tiled_backward, {}),
    "F(2x2)": (conv.conv2d_winograd_forward, conv.conv2d_winograd_backward, {"tile": 2}),
    "F(4x4)": (conv.conv2d_winograd_forward, conv.conv2d_winograd_backward, {"tile": 4}),
}
RESULTS = ("y", "dx", "dw")
Error = tuple[float, float]  # root mean square and largest, relative to those of the result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of the CIFAR-100 files (default: where npsoftmax finds them)")
    parser.add_argument("--limit-train", type=int, default=10_000, metavar="N", help="images to train on (10000)")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="seeds (default: 0,1,2)")
    parser.add_argument("--images", type=int, default=32, metavar="N", help="images for the rounding errors (32)")
    parser.add_argument("--runs", type=Path, default=Path("runs/winograd-accuracy"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="write FILE.md and FILE.json")
    args = parser.parse_args()

    seeds = [int(seed) for seed in args.seeds.split(",")]
    runs = {(a, seed): train(a, seed, args) for seed in seeds for a in ALGORITHMS}
    layers = rounding_errors(args.runs / f"winograd-{seeds[0]}", args.data_dir, args.images)
    text = "\n".join(
        ["# What Winograd costs in accuracy", "", *training_table(runs, seeds, args), *error_table(layers)]
    )
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
        record = {"runs": {f"{a}-{seed}": run for (a, seed), run in runs.items()}, "errors": layers}
        args.write.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


# ---------------------------------------------------------------- trainings
def train(algorithm: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The summary of one training, made now if it is not there."""
    folder = args.runs / f"{algorithm}-{seed}"
    summary = folder / "summary.json"
    if not summary.is_file():
        data = ["--data", "cifar100", *(["--data-dir", args.data_dir] if args.data_dir else [])]
        recipe = ["--model", "resnet9", "--epochs", "1", "--clip-value", "0.1", "--limit-train", str(args.limit_train)]
        chosen = ["--conv", algorithm, "--seed", str(seed), "--no-plots", "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "npsoftmax.cli.main", "train", *data, *recipe, *chosen], check=True)
    return json.loads(summary.read_text())


def training_table(
    runs: dict[tuple[str, int], dict[str, Any]], seeds: list[int], args: argparse.Namespace
) -> list[str]:
    lines = [
        f"resnet9, one epoch of {args.limit_train:,} images of CIFAR-100 (Adam, one cycle, gradients clipped at 0.1), "
        "the same seeds; test accuracy in % and test loss:",
        "",
        "| seed | tiled | Winograd | loss, tiled | loss, Winograd |",
        "|---|---:|---:|---:|---:|",
    ]
    for seed in seeds:
        tests = [runs[a, seed]["test"] for a in ALGORITHMS]
        accuracies, losses = [f"{100 * t['accuracy']:.2f}" for t in tests], [f"{t['nll']:.4f}" for t in tests]
        lines.append(f"| {' | '.join([str(seed), *accuracies, *losses])} |")
    by = {a: np.array([100 * runs[a, seed]["test"]["accuracy"] for seed in seeds]) for a in ALGORITHMS}
    means = [f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" for values in by.values()]
    return [*lines, f"| mean ± deviation | {' | '.join(means)} | | |", ""]


# ---------------------------------------------------------------- rounding errors
def rounding_errors(run: Path, data_dir: str | None, images: int) -> dict[str, dict[str, dict[str, Error]]]:
    """Layer -> kind -> result -> its error, on the images that the trained network sees."""
    from npsoftmax.host import single_threaded_blas
    from npsoftmax.random import Rng
    from npsoftmax.training.session import load_run

    session = load_run(run, "last", **({"data_dir": data_dir} if data_dir else {}))
    x, t, samples = next(iter(session.test.epoch(0)))
    with single_threaded_blas(), recorded(session.model) as seen:
        _, cache = session.model.loss(x[:images], t[:images], train=True, rng=Rng(0).at(0, samples[:images]))
        session.model.backward(cache)
    return {
        name: {kind: errors(layer, x, dy, *passes) for kind, passes in KINDS.items()}
        for name, (layer, x, dy) in seen.items()
        if layer.choice(x.shape[1:], len(x)).algorithm == "winograd"
    }


@contextmanager
def recorded(model: Model) -> Iterator[dict[str, tuple[Conv2d, np.ndarray, np.ndarray]]]:
    """Within it every convolution notes its input and upstream gradient; the layers are numbered from the image on."""
    seen: dict[str, Any] = {}
    layers = [layer for layer in all_layers(model.trunk) if isinstance(layer, Conv2d)]
    for number, layer in enumerate(layers, start=1):
        kernel = "x".join(str(n) for n in layer.k)
        note(layer, f"{number}: {layer.inputs} to {layer.outputs}, {kernel}", seen)
    yield seen
    for layer in layers:
        del layer.forward, layer.backward


def note(layer: Conv2d, name: str, seen: dict[str, Any]) -> None:
    forward, backward = layer.forward, layer.backward

    def noting_forward(x: np.ndarray, **rest: Any) -> Any:
        seen[name] = (layer, x, None)
        return forward(x, **rest)

    def noting_backward(dy: np.ndarray, cache: Any, **rest: Any) -> Any:
        seen[name] = (*seen[name][:2], dy)
        return backward(dy, cache, **rest)

    layer.forward, layer.backward = noting_forward, noting_backward


def errors(
    layer: Conv2d, x: np.ndarray, dy: np.ndarray, forward: Callable, backward: Callable, options: dict[str, Any]
) -> dict[str, Error]:
    """Of y, dx and dw, against the tiled algorithm in float64."""
    exact = results(layer, x, dy, conv.conv2d_tiled_forward, conv.conv2d_tiled_backward, {}, np.float64)
    found = results(layer, x, dy, forward, backward, options, np.float32)
    return {name: relative(a, b) for name, a, b in zip(RESULTS, found, exact, strict=True)}


def results(layer: Conv2d, x: Any, dy: Any, forward: Callable, backward: Callable, options: Any, dtype: Any) -> Any:
    x, dy, w, b = (a.astype(dtype) for a in (x, dy, layer.params["w"], layer.params["b"]))
    y, cache = forward(x, w, b, layer.stride, layer.pad, **options)
    return y, *backward(dy, cache)[:2]


def relative(found: np.ndarray, exact: np.ndarray) -> Error:
    error = found - exact
    return float(np.linalg.norm(error) / np.linalg.norm(exact)), float(np.abs(error).max() / np.abs(exact).max())


def error_table(layers: dict[str, dict[str, dict[str, Error]]]) -> list[str]:
    lines = [
        "Relative error in float32 against float64, on the activations and gradients of the trained network: root mean "
        "square / largest.",
        "",
        f"| convolution | result | {' | '.join(KINDS)} |",
        f"|---|---|{'---:|' * len(KINDS)}",
    ]
    for name, kinds in layers.items():
        for result in RESULTS:
            cells = [f"{rms:.1e} / {largest:.1e}" for rms, largest in (kinds[kind][result] for kind in KINDS)]
            lines.append(f"| {name} | {result} | {' | '.join(cells)} |")
    worst = {kind: max(e for kinds in layers.values() for e in kinds[kind].values()) for kind in KINDS}
    worsts = [f"{kind} {rms:.1e}" for kind, (rms, _) in worst.items()]
    return [*lines, "", f"Worst root mean square: {', '.join(worsts)}."]


if __name__ == "__main__":
    sys.exit(main())
