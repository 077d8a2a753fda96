"""All mappings, and all heads, of the same few logits: probabilities, losses and gradients by the library itself."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.functional.mappings import MAPPINGS
from npsoftmax.heads import HEADS, ClassInfo, FlatHead, Head
from npsoftmax.look.plain import numbers
from npsoftmax.random import Rng

MOST_LOGITS = 20
LARGEST = 1e6  # of a logit that is dragged
# Options with a slider on the page: name -> least, most.
SLIDERS = {"tau": (0.05, 5.0), "order": (2, 12), "alpha": (1.05, 4.0), "sink": (-10.0, 10.0), "eps": (1e-6, 1.0)}


def mappings(z: list[float], options: dict[str, float], noise: int) -> list[dict[str, Any]]:
    """p under every mapping that gives probabilities. noise: the number of the draw, for those that have noise."""
    logits = _checked(z)
    g = Rng(noise, "look").gumbel((1, len(logits)), np.float64, np)
    rows = []
    for mapping in MAPPINGS.values():
        if mapping.kind != "probability":
            continue
        own = {name: options[name] for name in mapping.options if name in options}
        if "order" in own:
            own["order"] = 2 * round(own["order"] / 2)
        extra = (g,) if mapping.needs_noise else ()
        p, _ = mapping.forward(logits[None], *extra, **mapping.check(own))
        rows.append(
            {
                "name": mapping.name,
                "formula": mapping.formula,
                "options": {name: own.get(name, default) for name, default in mapping.options.items()},
                "noise": mapping.needs_noise,
                "p": numbers(p[0]),
            }
        )
    return rows


def losses(z: list[float], target: int, noise: int) -> list[dict[str, Any]]:
    """p, the loss of the target and its gradient, dz, under every head that has one score a class, in training."""
    logits = _checked(z)
    if not 0 <= target < len(logits):
        raise InputError(f"the target is {target}, but one of {len(logits)} logits was expected.")
    return [_row(name, logits, target, noise) for name, cls in HEADS.items() if _takes_scores(cls)]


def _takes_scores(cls: type[Head]) -> bool:
    """Whether a head can do without a linear map: then the logits are its features."""
    return issubclass(cls, FlatHead) and "linear" in cls.__signature__.parameters


def _row(name: str, logits: np.ndarray, target: int, noise: int) -> dict[str, Any]:
    card = HEADS[name].card
    row: dict[str, Any] = {"name": name, "formula": card.formula, "mistake": card.mistake, "legacy": HEADS[name].legacy}
    try:
        head = _head(name, len(logits))
        loss, cache = head.loss(logits[None], np.array([target]), train=True, rng=Rng(noise, "look"))
        dz, _ = head.backward(cache)
        p = np.exp(head.log_prob(logits[None], rng=Rng(noise, "look")))
    except InputError as error:  # a head that needs a linear map of its own, or more classes
        return row | {"why": str(error)}
    return row | {"p": numbers(p[0]), "loss": numbers(loss), "dz": numbers(dz[0]), "likelihood": head.likelihood}


@functools.cache
def _head(name: str, classes: int) -> Any:
    counts = np.maximum(1000 >> np.arange(classes), 1)  # each class half as frequent as the one before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a legacy wiring: the page says it
        made: Any = HEADS[name]
        return made(classes, ClassInfo(classes, counts), rng=Rng(0), linear=False)


def _checked(z: list[float]) -> np.ndarray:
    logits = np.array(z, np.float64)
    if not (logits.ndim == 1 and 2 <= len(logits) <= MOST_LOGITS and (np.abs(logits) <= LARGEST).all()):
        raise InputError(f"2 to {MOST_LOGITS} logits were expected, each from {-LARGEST:g} to {LARGEST:g}.")
    return logits
