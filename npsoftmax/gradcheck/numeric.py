"""Derivatives from function values alone: fourth-order central differences that know when not to be trusted.

Design: an output that moves is known to about eps · |f|, so a quotient of differences to the sum of that over the
step. A gap between analytic and numeric below 20 times this, the floor, is rounding, not a mistake. An output that
stays where it is counts as constant, however large it is: that of a mask, for example. Where the floor is not small
beside the gradient, longer steps are tried; if that does not help, the derivative cannot be measured, and nothing
passes for right. Where the stencil straddles a kink, a tie or the edge of the domain, the quotient means nothing.
That is judged from function values alone, never from the analytic gradient, so a wrong gradient cannot pass for a
kink. Smaller steps are tried first; what is left has no derivative, and at most a slope on each side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError

Index = tuple[int, ...]

RELATIVE = 1e-6  # of the larger of the analytic and the numeric value
SMALL = 1e-4  # a floor above this share of the gradient hides too much
ROUNDING = 20 * float(np.finfo(np.float64).eps)
ELEMENT_STEPS = (1e-4, 1e-5, 1e-6)
# A direction moves every element at once and so meets more kinks: one smaller step is worth its rounding.
DIRECTION_STEPS = (*ELEMENT_STEPS, 1e-7)
LONG_STEPS = (0.1, 0.01, 0.001)  # where rounding hides the gradient
# Elements above the first size, and below the second, have steps in proportion to themselves as well.
LARGE, TINY = 100.0, 0.1
RESOLVED = 1e-8  # of an element: shorter steps are not those that its rounded neighbours are away


@dataclass(frozen=True)
class Slope:
    """A numeric derivative and its rounding floor.

    hidden: the floor if outputs of which none moved were not constant, but too large to show it; else the floor.
    """

    value: float
    floor: float
    hidden: float = 0.0

    def tolerance(self, analytic: float) -> float:
        """1e-6 · max(|analytic|, |numeric|) + 20 · eps · Σ |f · dy| / step, the sum over outputs that moved."""
        return RELATIVE * max(abs(analytic), abs(self.value)) + self.floor

    def share(self, analytic: float) -> float:
        """The share of the tolerance that `analytic` uses up; above 1 it is wrong."""
        gap = abs(analytic - self.value)
        return gap / self.tolerance(analytic) if gap else 0.0

    def is_zero(self, unit: float) -> bool:
        """Whether it is 0 up to rounding that is small beside `unit`, an upstream gradient."""
        return abs(self.value) <= self.floor and max(self.floor, self.hidden) <= RELATIVE * unit

    def is_small_beside(self, gradient: float) -> bool:
        """Whether the floor is small beside the derivative, or beside others of the same tensor."""
        return self.floor <= SMALL * max(abs(self.value), gradient)

    def judge(self, analytic: float, gradient: float, unit: float) -> bool | None:
        """Whether `analytic` is right, where others of its tensor are as large as `gradient`; None: it cannot tell."""
        if gradient == 0 and abs(self.value) <= self.floor:  # nothing in the tensor is more than rounding
            if abs(analytic) > max(self.floor, self.hidden):
                return False
            return True if self.is_zero(unit) and abs(analytic) <= self.floor / 100 else None
        if self.share(analytic) > 1:
            return False
        return True if self.is_small_beside(gradient) else None


def slope(
    change: Callable[[float], float], rounding: Callable[[float], tuple[float, float]], steps: Iterable[float]
) -> Slope | None:
    """The derivative at t = 0 of `change(t)` = F(t) - F(0), or None where F has a kink or an edge there.

    (8 · (F(h) - F(-h)) - (F(2h) - F(-2h))) / (12 · h), at the first h of `steps` whose stencil is smooth; `rounding(h)`
    is floor and hidden floor. Four values of F settle most elements, six the rest.
    """
    for step in steps:
        far_left, left, right, far_right = (change(k * step) for k in (-2, -1, 1, 2))
        value, bend = _stencil(far_left, left, right, far_right, step)
        if not math.isfinite(value):  # outside the domain, such as the logarithm of a negative number
            continue
        found = Slope(value, *rounding(step))
        if step < DIRECTION_STEPS[-1] and not found.is_small_beside(0.0):
            continue  # so short a step finds any kink smooth, and measures nothing
        tolerance = found.tolerance(0.0)
        drift = abs((far_right - far_left) - 2 * (right - left)) / (4 * step)  # h² · F''' / 2 where F is smooth
        if bend <= tolerance / 4 and drift <= tolerance / 4:
            return found
        # A kink bends the inner stencil, or sets the two apart, by about as much as it spoils the value.
        halved, bend = _stencil(left, change(-step / 2), change(step / 2), right, step / 2)
        if bend <= tolerance / 2 and abs(value - halved) <= tolerance / 2:
            return found
    return None


def _stencil(far_left: float, left: float, right: float, far_right: float, step: float) -> tuple[float, float]:
    """The derivative, and the bend: h³ · F'''' / 4 where F is smooth, half the jump in slope at a kink."""
    value = (8 * (right - left) - (far_right - far_left)) / (12 * step)
    bend = abs((far_left + far_right) - 4 * (left + right)) / (4 * step)
    return value, bend


def element_steps(x: float) -> Iterator[float]:
    """Steps for an element of value x: the usual ones, then those in proportion to it."""
    size = abs(x)
    yield from (step for step in ELEMENT_STEPS if step >= RESOLVED * size)
    if size > LARGE:
        yield from (step * size for step in (*DIRECTION_STEPS, RESOLVED))
    elif 0 < size < TINY:
        yield from (step * size for step in ELEMENT_STEPS)


class Objective:
    """F = sum(f · dy), where f reads arrays that are moved in place and put back."""

    def __init__(self, evaluate: Callable[[], Array], y: np.ndarray, dy: np.ndarray) -> None:
        self.evaluate, self.dy = evaluate, dy
        self.y = y.copy()  # y may be a view of the array that is moved
        self.sizes = np.abs(self.y * dy)
        self.unit = float(np.max(np.abs(dy), initial=0.0))
        self.total = float(np.sum(self.sizes))
        self.typical = 0.0  # of an output: those near 0 are differences of such as this, rounded like them
        self.moved = np.zeros(self.y.shape, dtype=bool)

    def change(self) -> float:
        """F now minus F at the start, summed element by element: what did not move adds no rounding."""
        difference = self.evaluate() - self.y
        np.logical_or(self.moved, difference != 0, out=self.moved)
        return float(np.sum(difference * self.dy))

    def rounding(self, step: float) -> tuple[float, float]:
        """The floor of a quotient over `step`, by the outputs that moved; and by all if none did."""
        floor = ROUNDING * (float(np.sum(self.sizes, where=self.moved)) + self.typical) / step
        return floor, floor if self.moved.any() else max(floor, ROUNDING * self.total / step)

    # ------------------------------------------------------------ one number
    def along_element(self, x: Array, index: Index, steps: Iterable[float] | None = None) -> Slope | None:
        """dF / dx[index], by `steps` (None: those that suit the element)."""
        old = float(x[index])
        self.moved[...] = False
        try:
            return slope(self._mover(x, index, old), self.rounding, element_steps(old) if steps is None else steps)
        finally:
            x[index] = old

    def along_direction(self, x: Array, direction: Array, steps: Iterable[float] = DIRECTION_STEPS) -> Slope | None:
        """The derivative of F at x + t · direction with respect to t."""
        old = x.copy()
        self.moved[...] = False

        def moved(t: float) -> float:
            x[...] = old + t * direction
            return self.change()

        try:
            return slope(moved, self.rounding, steps)
        finally:
            x[...] = old

    def _mover(self, x: Array, index: Index, old: float) -> Callable[[float], float]:
        def moved(t: float) -> float:
            x[index] = old + t
            return self.change()

        return moved

    def sides(self, x: Array, index: Index) -> tuple[float, float] | None:
        """The least and the largest slope on either side of x[index], for a kink; None at the edge of the domain."""
        old = float(x[index])
        moved = self._mover(x, index, old)
        try:
            found = [(4 * moved(s * h) - moved(2 * s * h)) / (2 * s * h) for h in DIRECTION_STEPS for s in (-1, 1)]
        finally:
            x[index] = old
        if not np.isfinite(found).all():
            return None
        slack = SMALL * max(map(abs, found)) + self.rounding(DIRECTION_STEPS[-1])[0]
        return min(found) - slack, max(found) + slack

    # ------------------------------------------------------------ many
    def slopes(self, x: Array, indices: Iterable[Index], enough: float = math.inf) -> dict[Index, Slope | None]:
        """The slope along each element, None at a kink; no more once `enough` have one.

        Where rounding may hide a gradient, longer steps take over, if the function is smooth over these as well.
        """
        self.typical = self._typical(x)
        found: dict[Index, Slope | None] = {}
        for index in indices:
            if enough <= 0:
                break
            found[index] = self.along_element(x, index)
            enough -= found[index] is not None
        gradient = largest(found.values())
        for index, short in found.items():
            if short is None or short.is_zero(self.unit) or max(short.floor, short.hidden) <= SMALL * gradient:
                continue
            if max(short.floor, short.hidden) > SMALL * abs(short.value):
                size = max(1.0, abs(float(x[index])))
                found[index] = self.along_element(x, index, [step * size for step in LONG_STEPS]) or short
        return found

    def _typical(self, x: Array) -> float:
        """The median |f · dy| of the outputs that move with x."""
        old = x.copy()
        self.moved[...] = False
        try:
            x[...] = old + ELEMENT_STEPS[0] * array_module(x).maximum(abs(old), TINY)
            self.change()
        finally:
            x[...] = old
        moving = self.sizes[self.moved]
        return float(np.median(moving)) if moving.size else min(1.0, float(np.max(self.sizes, initial=0.0)))


def largest(slopes: Iterable[Slope | None]) -> float:
    """The largest derivative that is more than rounding, or 0."""
    return max((abs(s.value) for s in slopes if s is not None and abs(s.value) > s.floor), default=0.0)


def numeric_gradient(function: Callable[[Array], Array], x: Array, dy: Array | float = 1.0) -> np.ndarray:
    """The gradient of sum(function(x) · dy) with respect to x, without any calculus.

    x float64, of any shape and strides; it is moved in place and put back. function(x) -> y, an array or a
    number; dy has the shape of y. Returns an array of the shape of x, with NaN where the function has a kink.
    Raises InputError if x is not float64, or if dy has another shape than y.
    """
    require_movable("x", x, "pass x.astype('float64')")
    saved = x.copy()
    try:
        y, dy = np.array(to_numpy(function(x))), np.asarray(to_numpy(dy))
        if y.shape != dy.shape:
            raise InputError(f"dy has shape {dy.shape}, but function(x) has {y.shape}: pass a dy of that shape.")
        objective = Objective(lambda: to_numpy(function(x)), y, dy)
        gradient = np.empty(x.shape)
        with np.errstate(all="ignore"):
            for index, found in objective.slopes(x, np.ndindex(x.shape)).items():
                gradient[index] = math.nan if found is None else found.value
    finally:
        x[...] = saved
    return gradient


def require_float64(name: str, x: Array, remedy: str) -> None:
    """Raises InputError unless x is a float64 array; `remedy` says what to type."""
    if not hasattr(x, "dtype") or not hasattr(x, "__setitem__"):
        raise InputError(f"{name} is of type {type(x).__name__}, but an array was expected: pass np.array({name}).")
    if x.dtype != np.float64:
        raise InputError(
            f"{name} is {x.dtype}, but gradients are checked in float64, where rounding hides no mistake: {remedy}."
        )


def require_movable(name: str, x: Array, remedy: str) -> None:
    """Raises InputError unless x is a float64 array that can be written."""
    require_float64(name, x, remedy)
    if not getattr(x.flags, "writeable", True):
        raise InputError(f"{name} is read-only, but its elements are moved in place: pass {name}.copy().")
