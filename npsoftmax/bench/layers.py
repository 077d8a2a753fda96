"""How fast layers are one by one: a worker that times the passes of a layer, and what the times mean."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.shapes import FLOPS, Conv, Shape, parse_shape
from npsoftmax.bench.turns import Case, ratio_to_better, summary
from npsoftmax.bench.workers import BenchmarkError, Job, refuse_torch, time_in_turn

SAMPLES = 256  # values of each result that all sides must agree on
TOLERANCE = 1e-3  # of their mean size, in float32


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """Median seconds of each pass of the layer "shape", and a sample of each result."""
    shape = parse_shape(job["shape"])
    arrays = inputs(shape, job["batch_size"])
    if job["side"] in RIVALS:
        return _theirs(shape, arrays, job)
    answer = _ours(shape, arrays, job)
    refuse_torch()
    return answer


def inputs(shape: Shape, n: int) -> dict[str, np.ndarray]:
    """The same x, dy and, for a convolution, w and b in every process."""
    rng = np.random.default_rng(0)

    def normal(*size: int) -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    if isinstance(shape, Conv):
        c, f, pixels = shape.inputs, shape.outputs, (shape.size, shape.size)
        w = normal(3, 3, c, f) * np.float32((2 / (9 * c)) ** 0.5)
        return {"x": normal(n, *pixels, c), "dy": normal(n, *pixels, f), "w": w, "b": normal(f)}
    side = shape.size // getattr(shape, "window", 1)
    return {"x": normal(n, shape.size, shape.size, shape.channels), "dy": normal(n, side, side, shape.channels)}


def _ours(shape: Shape, arrays: dict[str, np.ndarray], job: Job) -> dict[str, Any]:
    from npsoftmax.bench import our_layers
    from npsoftmax.bench.networks import our_settings

    with our_settings(job["threads"]):
        passes, algorithm = our_layers.passes(shape, job["algorithm"], arrays)
        return {**_timed(passes, job["seconds"]), "algorithm": algorithm}


def _theirs(shape: Shape, arrays: dict[str, np.ndarray], job: Job) -> dict[str, Any]:
    import torch

    from npsoftmax.bench import torch_layers

    torch.set_num_threads(job["threads"])
    return _timed(torch_layers.passes(shape, job["side"], arrays), job["seconds"])


def _timed(passes: Mapping[str, Callable[[], Sequence[Array]]], seconds: float) -> dict[str, Any]:
    medians = {name: statistics.median(taken) for name, taken in time_in_turn(passes, seconds).items()}
    samples = {name: [sample(result) for result in call()] for name, call in passes.items()}
    return {"seconds": medians, "samples": samples}


def sample(result: Array) -> list[float]:
    """Values from all over a result."""
    places = np.linspace(0, result.size - 1, min(SAMPLES, result.size)).astype(int)
    return [float(result[np.unravel_index(place, result.shape)]) for place in places]


# ---------------------------------------------------------------- sides
def cases(shapes: Iterable[Shape], sides: Sequence[str], algorithms: Sequence[str]) -> list[Case]:
    """What to take turns with: ("layer", shape, side, algorithm), the algorithm "auto" unless by name."""
    found: list[Case] = []
    for shape in shapes:
        found += [("layer", shape.name, OURS, "auto")]
        if isinstance(shape, Conv):
            found += [("layer", shape.name, OURS, algorithm) for algorithm in algorithms if algorithm != "auto"]
        found += [("layer", shape.name, side, "auto") for side in sides if side != OURS]
    return found


def label(side: str, algorithm: str) -> str:
    """What the table calls a side: 'npsoftmax', 'winograd', 'torch-nchw'."""
    return side if algorithm == "auto" else algorithm


# ---------------------------------------------------------------- the guard
def check_same_results(measured: Mapping[Case, Sequence[dict[str, Any]]]) -> None:
    """BenchmarkError unless all sides that measured a layer came to the same results.

    measured: (shape, side, algorithm) -> the workers' answers, round by round.
    """
    reference: dict[tuple[str, str], tuple[str, list[list[float]]]] = {}
    for (shape, side, algorithm), answers in measured.items():
        for name, samples in answers[0]["samples"].items():
            who = label(side, algorithm)
            first, expected = reference.setdefault((shape, name), (who, samples))
            if not agree(samples, expected):
                raise BenchmarkError(f"{who} and {first} do not come to the same {name} of {shape}; no ratio is given.")


def agree(samples: list[list[float]], expected: list[list[float]]) -> bool:
    """Whether two samples of the same results differ by rounding only."""
    if [len(values) for values in samples] != [len(values) for values in expected]:
        return False
    distances = [np.abs(np.subtract(a, b)).mean() / np.abs(b).mean() for a, b in zip(samples, expected, strict=True)]
    return all(distance <= TOLERANCE for distance in distances)  # not a NaN


# ---------------------------------------------------------------- figures
def figures_of(
    measured: Mapping[Case, Sequence[dict[str, Any]]], roofs: Mapping[str, float], n: int
) -> list[dict[str, Any]]:
    """One record a layer and pass: work, intensity, and of each side seconds and speed; ratio and share are ours.

    measured: as above; batches of n. Speed is GFLOP/s of a convolution and GB/s of the others, share is of the roof
    for that.
    """
    speeds: dict[tuple[str, str], dict[str, Any]] = {}
    for (name, side, algorithm), answers in measured.items():
        for which in answers[0]["seconds"]:
            seconds = summary([answer["seconds"][which] for answer in answers])
            found = {"seconds": seconds, "algorithm": answers[0].get("algorithm")}
            speeds.setdefault((name, which), {})[label(side, algorithm)] = found
    return [
        _record(parse_shape(name), which, sides, roofs, n) for (name, which), sides in speeds.items() if OURS in sides
    ]


def _record(shape: Shape, which: str, sides: dict[str, Any], roofs: Mapping[str, float], n: int) -> dict[str, Any]:
    work, computes = shape.work(which, n), shape.unit == FLOPS
    amount = work.flops if computes else work.bytes
    for found in sides.values():
        found["speed"] = summary([1e-9 * amount / seconds for seconds in found["seconds"]["rounds"]])
    rivals = [sides[side]["speed"] for side in RIVALS if side in sides]
    roof = roofs["sgemm" if computes else "DRAM"]
    return {
        "layer": shape.name,
        "kind": shape.kind,
        "pass": which,
        "flops": work.flops,
        "bytes": work.bytes,
        "intensity": work.intensity,
        "unit": shape.unit,
        "sides": sides,
        "share_of_roof": sides[OURS]["speed"]["median"] / roof,
        **ratio_to_better(sides[OURS]["speed"], rivals),
    }
