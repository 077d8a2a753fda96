"""Derivatives from function values alone: fourth-order central differences that know when not to be trusted.

Design: a function is known to about eps · Σ |f · dy|, so a quotient of differences to that over the step; a gap
between analytic and numeric below 20 times this is rounding, not a mistake. Where the stencil straddles a
kink, a tie or the edge of the domain, the quotient means nothing. That is judged from function values alone,
never from the analytic gradient, so a wrong gradient cannot pass for a kink. Smaller steps are tried first;
what is left has no derivative that can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from npsoftmax.backend import Array, to_numpy
from npsoftmax.errors import InputError

RELATIVE = 1e-6  # of the larger of the analytic and the numeric value
ROUNDING = 20 * float(np.finfo(np.float64).eps)
ELEMENT_STEPS = (1e-4, 1e-5, 1e-6)
# A direction moves every element at once and so meets more kinks: one smaller step is worth its rounding.
DIRECTION_STEPS = (*ELEMENT_STEPS, 1e-7)


@dataclass(frozen=True)
class Slope:
    """A numeric derivative and its rounding floor."""

    value: float
    floor: float

    def tolerance(self, analytic: float) -> float:
        """1e-6 · max(|analytic|, |numeric|) + 20 · eps · Σ |f · dy| / step."""
        return RELATIVE * max(abs(analytic), abs(self.value)) + self.floor

    def share(self, analytic: float) -> float:
        """The share of the tolerance that `analytic` uses up; above 1 it is wrong."""
        gap = abs(analytic - self.value)
        return gap / self.tolerance(analytic) if gap else 0.0


def slope(change: Callable[[float], float], scale: float, steps: tuple[float, ...]) -> Slope | None:
    """The derivative at t = 0 of `change(t)` = F(t) - F(0), or None where F has a kink or an edge there.

    (8 · (F(h) - F(-h)) - (F(2h) - F(-2h))) / (12 · h), at the first h of `steps` whose stencil is smooth; F is known
    to eps · `scale`. Four values of F settle most elements, six the rest.
    """
    for step in steps:
        far_left, left, right, far_right = (change(k * step) for k in (-2, -1, 1, 2))
        value, bend = _stencil(far_left, left, right, far_right, step)
        if not math.isfinite(value):  # outside the domain, such as the logarithm of a negative number
            continue
        found = Slope(value, ROUNDING * scale / step)
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


class Objective:
    """F = sum(f · dy), where f reads arrays that are moved in place and put back."""

    def __init__(self, evaluate: Callable[[], Array], y: np.ndarray, dy: np.ndarray) -> None:
        self.evaluate, self.dy = evaluate, dy
        self.y = y.copy()  # y may be a view of the array that is moved
        self.scale = float(np.sum(np.abs(y * dy)))

    def change(self) -> float:
        """F now minus F at the start, summed element by element: what did not move adds no rounding."""
        return float(np.sum((self.evaluate() - self.y) * self.dy))

    def along_element(self, x: Array, index: tuple[int, ...]) -> Slope | None:
        """dF / dx[index]."""
        old = float(x[index])

        def moved(t: float) -> float:
            x[index] = old + t
            return self.change()

        try:
            return slope(moved, self.scale, ELEMENT_STEPS)
        finally:
            x[index] = old

    def along_direction(self, x: Array, direction: Array) -> Slope | None:
        """The derivative of F at x + t · direction with respect to t."""
        old = x.copy()

        def moved(t: float) -> float:
            x[...] = old + t * direction
            return self.change()

        try:
            return slope(moved, self.scale, DIRECTION_STEPS)
        finally:
            x[...] = old


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
            for index in np.ndindex(x.shape):
                found = objective.along_element(x, index)
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
