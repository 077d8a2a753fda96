"""Which head to take, and how sure that is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

DEVIATIONS = 2.0  # of the difference, that two heads must be apart to be told apart


def doubt(a: dict[str, Any], b: dict[str, Any], right_a: np.ndarray, right_b: np.ndarray) -> float:
    """The standard deviation of the difference of two heads' accuracies.

    Two things make it: that these samples were scored and no others, √(Var_n(a_n - b_n) / N), where both heads are
    asked the same samples; and that the seeds were these, √((s_a² + s_b²) / S).
    """
    samples = np.var(right_a - right_b) / len(right_a)
    seeds = sum(
        np.var(head["accuracies"], ddof=1) / len(head["accuracies"]) for head in (a, b) if len(head["accuracies"]) > 1
    )
    return math.sqrt(samples + seeds)


def verdict(heads: dict[str, dict[str, Any]], rights: dict[str, np.ndarray]) -> dict[str, Any]:
    """The head to take, and those that cannot be told from the best.

    Of those that are less than DEVIATIONS deviations behind the most accurate one, it is the one with the smallest NLL
    after a temperature; softmax, if no other's is smaller by more than its doubt of a hundredth.
    """
    best = max(heads, key=lambda name: heads[name]["accuracy"])
    behind = {}
    for name, head in heads.items():
        behind[name] = {
            "points": 100 * (heads[best]["accuracy"] - head["accuracy"]),
            "doubt": 100 * doubt(heads[best], head, rights[best], rights[name]),
        }
    equal = [name for name, gap in behind.items() if gap["points"] <= DEVIATIONS * gap["doubt"]]
    likely = [name for name in equal if heads[name]["nll_scaled"] is not None]
    take = min(likely, key=lambda name: heads[name]["nll_scaled"]) if likely else best
    if "softmax" in likely and heads["softmax"]["nll_scaled"] - heads[take]["nll_scaled"] < 0.01:
        take = "softmax"
    return {
        "take": take,
        "most_accurate": best,
        "not_told_from_it": sorted(equal, key=lambda name: behind[name]["points"]),
        "behind": behind,
        "why": _why(take, best, equal, heads),
    }


def _why(take: str, best: str, equal: list[str], heads: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences: the choice, and what other wishes would choose."""
    accuracy, others = 100 * heads[take]["accuracy"], len(equal) - 1
    doubted = f"{others} other {'head' if others == 1 else 'heads'} cannot be told from the most accurate"
    if len(equal) == 1:
        said = [f"{take} is the most accurate, {accuracy:.2f}%, by more than its doubt."]
    elif take == "softmax":
        said = [
            f"softmax, {accuracy:.2f}%: {doubted} ({best}, "
            f"{100 * heads[best]['accuracy']:.2f}%), and of those none has a clearly smaller NLL. It is the plainest."
        ]
    else:
        nll = heads[take]["nll_scaled"]
        likely = "" if nll is None else f", and of those its NLL after a temperature is the smallest, {nll:.3f}"
        said = [f"{take}, {accuracy:.2f}%: {doubted} ({best}){likely}."]
    near = [name for name in heads if heads[best]["accuracy"] - heads[name]["accuracy"] <= 0.01]

    def least(key: str, among: list[str]) -> str | None:
        known = [name for name in among if heads[name][key] is not None]
        return min(known, key=lambda name: heads[name][key]) if known else None

    calibrated = least("ece", near)
    if calibrated:
        said.append(
            f"Best calibrated as it is, within a point of the best: {calibrated} (ECE {heads[calibrated]['ece']:.3f})."
        )
    widest = max((n for head in heads.values() for n in head["curve"]), default=0)
    known = {name: head["curve"][widest] for name, head in heads.items() if widest in head["curve"]}
    if known:
        cheap = min(known, key=lambda name: known[name])
        said.append(
            f"Cheapest step with {widest:,} classes on this machine: {cheap}, {known[cheap]:.1f} ms; its accuracy here "
            f"is {100 * heads[cheap]['accuracy']:.2f}%."
        )
    return said
