"""Rounds, medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Case = tuple[str, ...]
Summary = dict[str, Any]  # median, min, max, rounds
T = TypeVar("T")


def take_turns(
    cases: Iterable[Case], rounds: int, measure: Callable[..., T], tell: Callable[[int, Case, T], None]
) -> dict[Case, list[T]]:
    """What `measure(*case)` gave in each round, every case once a round (A B C A B C …); `tell` hears of each."""
    measured: dict[Case, list[T]] = {case: [] for case in cases}
    for number in range(1, rounds + 1):
        for case, values in measured.items():
            values.append(measure(*case))
            tell(number, case, values[-1])
    return measured


def of_kind(measured: Mapping[Case, Sequence[T]], kind: str) -> dict[Case, Sequence[T]]:
    """The cases that begin with `kind`, without it."""
    return {case[1:]: values for case, values in measured.items() if case[0] == kind}


def summary(values: Sequence[float]) -> Summary:
    """Median, smallest, largest, and the figure of each round."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def ratio_to_better(side: Summary, rivals: Sequence[Summary], better: Callable[..., float] = max) -> dict[str, Any]:
    """`side` against the better of `rivals`: "ratio" of the medians, "ratio_per_round"; None both without rivals."""
    if not rivals:
        return {"ratio": None, "ratio_per_round": None}
    per_round = [
        own / better(others)
        for own, *others in zip(side["rounds"], *(rival["rounds"] for rival in rivals), strict=True)
    ]
    return {"ratio": side["median"] / better(rival["median"] for rival in rivals), "ratio_per_round": per_round}
