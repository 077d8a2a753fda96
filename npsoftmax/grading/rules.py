"""Rules for any exercise: what can be said of a wrong answer that no catalogue knows. Each says only what is proved.

An output is compared with the right one on every trial: it is the right value times N, it is transposed, it is dy
itself. What holds on some trials only, or for some elements, is said by no rule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from npsoftmax.grading.agreement import Answers, Arrays, always
from npsoftmax.grading.patterns import by_row, nearly, one_case, places, shapes, too_large
from npsoftmax.grading.trial import Trial, as_array, close


def factor_rule(answers: Answers) -> str:
    """One factor in all elements of all trials, if it is one that has a meaning here; else ""."""
    arrays = answers.arrays()
    return "" if arrays is None else next(_factors(arrays), "")


def batch_rule(answers: Answers) -> str:
    """Whether all elements of all trials are N times too large or too small; `answers.right` may be wrong already."""
    arrays = answers.arrays()
    if arrays is None or not all(trial.case.sizes.get("N", 0) and right.any() for trial, _, right in arrays):
        return ""
    for power, sentence in (
        (1, "besides, all of it is N times too large: the 1/N is missing, or a sum stands where a mean is needed."),
        (-1, "besides, all of it is divided by N: a mean where a sum over the batch is needed, or 1/N twice."),
    ):
        if always(arrays, Factor("N", 1, (("N", power),))):
            return sentence
    return ""


def output_rule(answers: Answers) -> str:
    """The sentence of the first rule about places, shapes and values that holds on all trials; "" where none does."""
    arrays = answers.arrays()
    if arrays is None:
        return _left_out(answers)
    if any(yours.shape != right.shape for _, yours, right in arrays):
        return next(shapes(answers.name, arrays), "")
    return next(itertools.chain(_themselves(answers.name, arrays), _values(arrays), places(arrays)), "")


def pattern_rule(answers: Answers) -> str:
    """What can be said where no change is known that gives this answer: in which cases, rows or digits it is wrong."""
    arrays = answers.arrays()
    if arrays is None or any(yours.shape != right.shape for _, yours, right in arrays):
        return ""
    return next(itertools.chain(too_large(arrays), one_case(arrays), nearly(arrays), by_row(arrays)), "")


def _left_out(answers: Answers) -> str:
    """What is right but where it has to be None, since an argument is."""
    absent: list[str] = []
    for trial in answers.trials:
        yours, right = (of(trial).outputs.get(answers.name) for of in (answers.outcome, answers.right))
        if (yours is None) != (right is None):
            absent = [name for name, value in trial.case.args.items() if value is None]
            if right is not None or not absent:
                return ""
        elif not close(yours, right):
            return ""
    return f"{answers.name} has to be None where {' and '.join(absent)} is None."


# ---------------------------------------------------------------- factors
@dataclass(frozen=True)
class Factor:
    """constant · Π size^power, with the sizes and numbers of the case."""

    name: str
    constant: float = 1.0
    powers: tuple[tuple[str, float], ...] = ()
    sentence: str = ""

    def __call__(self, trial: Trial, right: np.ndarray) -> np.ndarray | None:
        """The right value times the factor; None where the case has no such size."""
        value = self.constant
        for name, power in self.powers:
            size = trial.case.sizes.get(name, trial.case.numbers.get(name))
            if not size:
                return None
            value *= float(size) ** power
        return right * value


def _factors(arrays: Arrays) -> Iterator[str]:
    if any(right.dtype.kind == "b" for _, _, right in arrays) or sum(right.size for _, _, right in arrays) < 2:
        return
    for factor in _named(arrays[0][0]):
        if always(arrays, factor):
            yield factor.sentence or f"it is the right value times {factor.name}, everywhere."


def _named(trial: Trial) -> Iterator[Factor]:
    """The factors that mean something here."""
    yield Factor("-1", -1, sentence="the sign is flipped everywhere.")
    for name, constant in (("2", 2.0), ("½", 0.5), ("-2", -2.0), ("-½", -0.5)):
        yield Factor(name, constant)
    for base in (2, 10):
        told = f"it is the right value divided by ln {base}: a logarithm to the base {base} for np.log."
        yield Factor(f"1/ln {base}", 1 / math.log(base), sentence=told)
    for name in trial.case.sizes | trial.case.numbers:
        size = trial.case.sizes.get(name)
        called = name if size is None else f"{name} = {size}"
        times, over = f"it is the right value times {called}", f"it is the right value divided by {called}"
        if name == "N":
            times += ": the 1/N is missing, or a sum stands where a mean is needed."
            over += ": a mean where a sum over the batch is needed, or 1/N twice."
        else:
            times, over = f"{times}, everywhere.", f"{over}, everywhere."
        yield Factor(name, 1, ((name, 1),), times)
        yield Factor(f"1/{name}", 1, ((name, -1),), over)
        for text, constant, power in (("-{}", -1, 1), ("-1/{}", -1, -1), ("{}²", 1, 2), ("1/{}²", 1, -2)):
            yield Factor(text.format(name), constant, ((name, power),))
        yield Factor(f"√{name}", 1, ((name, 0.5),))
        yield Factor(f"1/√{name}", 1, ((name, -0.5),))
    for a, b in itertools.combinations(trial.case.sizes | trial.case.numbers, 2):
        mean = f"it is the right value divided by {a}·{b}: a mean over both where a sum is needed."
        both = mean if {a, b} <= set(trial.case.sizes) else ""
        yield Factor(f"{a}·{b}", 1, ((a, 1), (b, 1)))
        yield Factor(f"1/({a}·{b})", 1, ((a, -1), (b, -1)), both)
        yield Factor(f"{a}/{b}", 1, ((a, 1), (b, -1)))
        yield Factor(f"{b}/{a}", 1, ((b, 1), (a, -1)))


# ---------------------------------------------------------------- an argument in the place of the answer, or around it
def _themselves(name: str, arrays: Arrays) -> Iterator[str]:
    for number in (0, 1):
        if always(arrays, partial(_filled, number)):
            yield f"{name} is {number} everywhere."
    for key in _arguments(arrays[0][0]):
        if always(arrays, partial(_alike, key)):
            yield f"{name} is {key} itself, unchanged."
        for sentence, change in (
            (f"it is the right value times {key}: a factor too many.", np.multiply),
            (f"it is the right value divided by {key}: the factor {key} is missing.", np.divide),
            (f"it is the right value plus {key}: {key} is added, but should not be.", np.add),
            (f"it is the right value minus {key}: {key} is missing.", np.subtract),
        ):
            if always(arrays, partial(_joined, key, change)):
                yield sentence


def _filled(number: int, trial: Trial, right: np.ndarray) -> np.ndarray:
    return np.full_like(right, number)


def _arguments(trial: Trial) -> dict[str, np.ndarray]:
    """name -> value of the arguments that are arrays of numbers, or numbers."""
    found = {}
    for key, value in trial.arrays(trial.inputs()):
        array = as_array(value)
        if array is not None and array.dtype.kind == "f" and "[" not in key:
            found[key] = array
    return found


def _alike(key: str, trial: Trial, right: np.ndarray) -> np.ndarray | None:
    value = _arguments(trial).get(key)
    return value if value is not None and value.shape == right.shape else None


def _joined(key: str, change: Callable[..., Any], trial: Trial, right: np.ndarray) -> np.ndarray | None:
    value = _arguments(trial).get(key)
    if value is None or right.dtype.kind != "f" or not value.size:
        return None
    try:
        result = np.asarray(change(right, value))
    except ValueError:
        return None
    return result if result.shape == right.shape else None


# ---------------------------------------------------------------- a function of the right value
def _less_than_one(right: np.ndarray) -> Any:
    return 1 - right


def _plus_one(right: np.ndarray) -> Any:
    return right + 1


def _minus_one(right: np.ndarray) -> Any:
    return right - 1


_FUNCTIONS: dict[Callable[[np.ndarray], Any], str] = {
    np.exp: "it is e to the power of the right value: an exponential too many, or the logarithm is missing.",
    np.log: "it is the logarithm of the right value: a logarithm too many.",
    np.square: "it is the square of the right value.",
    np.sqrt: "it is the root of the right value.",
    np.reciprocal: "it is 1 over the right value.",
    _less_than_one: "it is 1 minus the right value.",
    _plus_one: "it is the right value plus 1.",
    _minus_one: "it is the right value minus 1.",
    np.abs: "it is the absolute value of the right one: the signs are lost.",
}


def _values(arrays: Arrays) -> Iterator[str]:
    if arrays[0][2].dtype.kind == "b":
        if always(arrays, partial(_of_right, np.logical_not)):
            yield "True and False are exchanged."
        return
    for function, sentence in _FUNCTIONS.items():
        if always(arrays, partial(_of_right, function)):
            yield sentence
    for axis in range(arrays[0][2].ndim):
        if all(right.ndim > axis for _, _, right in arrays) and always(arrays, partial(_flipped, axis)):
            yield f"the right numbers stand in the opposite order along axis {axis}."
    if always(arrays, partial(_of_right, np.transpose)):
        yield "it is transposed."


def _of_right(function: Callable[[np.ndarray], Any], trial: Trial, right: np.ndarray) -> Any:
    return function(right)


def _flipped(axis: int, trial: Trial, right: np.ndarray) -> np.ndarray:
    return np.flip(right, axis)
