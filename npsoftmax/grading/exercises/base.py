"""What an exercise is: a function of the library, the cases it is tried on, and what a student is told about it."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

SEED = 0  # of everyday grading; a teacher's hidden test is another one
# Arguments with an axis of samples in front; `mask` is one of scores or of features.
PER_SAMPLE = {"z", "p", "t", "noise", "x", "u", "mask", "q", "k", "v", "y", "h", "signs", "labels"}
PER_SAMPLE |= {"z_group", "z_class"}


@dataclass(frozen=True)
class Case:
    """One input of an exercise.

    sizes: the axes, for the report ("N=4 C=3"), all different, so that a transposed answer cannot fit;
    args: of the function, or of its forward, by name; wrt: those that get a gradient (none where a numeric derivative
    would mean nothing, as where exponentials overflow: the case is then not one for the backward);
    numbers: other quantities that a wrong answer may be off by, such as tau; note: what is special about it.
    gradients: dy -> the gradients that are right where no derivative exists, as at a tie; the one asked for first.
    """

    sizes: dict[str, int]
    args: dict[str, Any]
    wrt: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    note: str = ""
    gradients: Callable[[Any], list[tuple[np.ndarray, ...]]] | None = None


class Draw:
    """Random numbers for one case: the same seed gives the same case, another one other values and other shapes."""

    def __init__(self, seed: int, name: str, number: int):
        self.rng = np.random.default_rng([seed, number, zlib.crc32(name.encode())])

    def sizes(self, names: str, low: int = 2, high: int = 7) -> dict[str, int]:
        """A different size from low to high for each one-letter name."""
        return dict(zip(names, self.rng.permutation(np.arange(low, high + 1))[: len(names)].tolist(), strict=True))

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Normal numbers, float64."""
        return self.rng.standard_normal(shape) * scale

    def apart(self, *shape: int) -> np.ndarray:
        """Numbers of both signs, no two closer than 0.1 and none closer than 0.05 to 0: far from every tie and kink."""
        count = int(np.prod(shape))
        values = 0.1 * (np.arange(count) - count // 2) + 0.05
        return self.rng.permutation(values).reshape(shape)

    def positive(self, *shape: int) -> np.ndarray:
        """Numbers from 0.5 to 1.5."""
        return 0.5 + self.rng.random(shape)

    def labels(self, n: int, classes: int) -> np.ndarray:
        """Labels (n,) below `classes`."""
        return self.rng.integers(0, classes, n)

    def upstream(self, shape: tuple[int, ...]) -> Any:
        """dy: random signs times 0.5 to 1.5. With ones the gradient of a softmax is 0, and `return zeros` would
        pass."""
        dy = self.rng.choice((-1.0, 1.0), shape) * (0.5 + self.rng.random(shape))
        return dy if shape else np.float64(dy)  # a number with an array's methods: dloss is annotated as Array


def one_sample(kind: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
    """The same kind of case with its first sample only: a result that loses the axis of samples shows."""

    def make(draw: Draw) -> Case:
        case = kind(draw)
        args = {k: v[:1] if k in PER_SAMPLE and isinstance(v, np.ndarray) else v for k, v in case.args.items()}
        return replace(case, sizes=case.sizes | {"N": 1}, args=args)

    return make


@dataclass(frozen=True, eq=False)
class Assignment:
    """A folder of exercises. about: the first line of the student's file; header: its imports; more: the same two of
    further files, by name; given: what the imports are, for the head of the student's file."""

    id: str
    folder: str
    file: str
    title: str
    about: str
    header: str
    more: dict[str, tuple[str, str]] = field(default_factory=dict)
    given: str = ""


@dataclass(frozen=True, eq=False)
class Exercise:
    """One function that a student writes.

    assignment, name: "a1", "softmax_backward"; module: where the library's own function of that name is;
    returns: names of what it returns, "cache" last where there is one; cases: Draw -> Case, the most telling first;
    step: of the README; hints: each says more than the one before. oracle: what a forward (or a plain function) is
    compared with: slow and written independently; without one it is a backward, compared with numeric gradients of
    `forward`. cache: what the cache holds, with its shapes, for the stubs of a pair; uses: earlier exercises it may
    call, which are then the library's, so that it is judged alone; settle: puts outputs that may come in several orders
    into one; remark: a comment in the stub; run: how it is called, where that is not function(**args);
    float64: where float64 comes from in this exercise, if it is not from what an answer does with most others;
    timed: for an exercise that is compiled by Cython as well, the case on which its speed is measured; refuses: cases
    that have no answer, for which it has to raise InputError.
    """

    assignment: str
    name: str
    module: str
    returns: tuple[str, ...]
    cases: tuple[Callable[[Draw], Case], ...]
    step: int
    hints: tuple[str, ...]
    points: int = 1
    oracle: Callable[..., Any] | None = None
    cache: str = ""
    uses: tuple[str, ...] = ()
    remark: str = ""
    settle: Callable[[Case, dict[str, Any]], dict[str, Any]] | None = None
    judged: tuple[str, ...] = ()
    run: Callable[[Callable[..., Any], dict[str, Any]], Any] | None = None
    file: str = ""
    float64: str = ""
    timed: Callable[[Draw], Case] | None = None
    refuses: tuple[Callable[[Draw], Case], ...] = ()

    @property
    def compiled(self) -> bool:
        """Whether it is compiled by Cython as well."""
        return self.timed is not None

    @property
    def is_backward(self) -> bool:
        """Whether it takes (dy, cache) and is compared with numeric gradients."""
        return self.oracle is None

    @property
    def reference(self) -> Callable[..., Any]:
        """The library's own function."""
        return getattr(importlib.import_module(self.module), self.name)

    @property
    def pair(self) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
        """forward and backward of the pair that it belongs to; None for a plain function."""
        stem, _, half = self.name.rpartition("_")
        if half == "backward" if self.is_backward else self.returns[-1] == "cache":
            module = importlib.import_module(self.module)
            return getattr(module, f"{stem}_forward"), getattr(module, f"{stem}_backward")
        return None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is judged: all that it returns, the cache aside."""
        return self.judged or tuple(name for name in self.returns if name != "cache")


def pair(
    assignment: str,
    name: str,
    module: str,
    step: int,
    cases: tuple[Callable[[Draw], Case], ...],
    oracle: Callable[..., Any],
    cache: str,
    forward_hints: tuple[str, ...],
    backward_hints: tuple[str, ...],
    *,
    outputs: tuple[str, ...] = ("y",),
    grads: tuple[str, ...] = ("dz",),
    points: tuple[int, int] = (1, 2),
    uses: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    remark: str = "",
    refuses: tuple[Callable[[Draw], Case], ...] = (),
) -> tuple[Exercise, Exercise]:
    """The two exercises of a pair; the backward is tried on those of the cases that have a `wrt`."""
    forward, backward, returns = f"{name}_forward", f"{name}_backward", (*outputs, "cache")
    first = (
        assignment,
        forward,
        module,
        returns,
        cases,
        step,
        forward_hints,
        points[0],
        oracle,
        cache,
        uses[0],
        remark,
    )
    return (
        Exercise(*first, refuses=refuses),
        Exercise(
            assignment, backward, module, grads, cases, step, backward_hints, points[1], cache=cache, uses=uses[1]
        ),
    )
