"""Which heads make sense for some classes, and why the others are left out: one rule, said in every report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from npsoftmax.errors import InputError
from npsoftmax.heads import HEADS, ClassInfo, Head
from npsoftmax.random import Rng

UNEQUAL = 2.0  # from this ratio of the largest class to the smallest on, classes are of unequal size

# The same function as another by another route (docs/softmax-family.md).
SAME = {
    "log_softmax": "softmax",
    "log_gumbel_softmax": "gumbel_softmax",
    "log_taylor_softmax": "taylor_softmax",
}
FOR_UNEQUAL = ("balanced", "ldam")
FOR_ORDER = ("ordinal",)


@dataclass(frozen=True)
class Candidate:
    """A head with its options, and how it is called in the report."""

    head: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.head, *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, features: int, classes: ClassInfo, seed: int) -> Head:
        """A new one. Not drawn as a run draws its head: the features of a run are used to how that one began."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a head is not at its best here is what is measured
            return HEADS[self.head](features, classes, rng=Rng(seed, "advise"), **self.options)


def candidates(features: int, classes: ClassInfo, ordered: bool = False) -> tuple[list[Candidate], dict[str, str]]:
    """The heads to try, and name -> why not of the others.

    Left out are legacy wirings, second routes to the same function, heads for classes of unequal size where they are
    equal, heads for ordered classes unless `ordered`, and what cannot be built for these classes. Beside the defaults
    there are softmax with label smoothing, and trees of the superclasses, where there are any, or by Huffman, where
    classes are unequal.
    """
    unequal = _ratio(classes) >= UNEQUAL
    chosen, left_out = [], {}
    for name, cls in HEADS.items():
        why = _why_not(name, cls, unequal, ordered)
        if why:
            left_out[name] = why
        else:
            chosen.append(Candidate(name))
    variants = [Candidate("softmax", {"label_smoothing": 0.1})]
    if classes.coarse is not None:
        variants.append(Candidate("hierarchical", {"tree": "superclass"}))
    if unequal:
        variants.append(Candidate("hierarchical", {"tree": "huffman"}))
    built = []
    for candidate in chosen + variants:
        try:
            candidate.build(features, classes, seed=0)
            built.append(candidate)
        except InputError as error:
            left_out[candidate.name] = str(error)
    return built, left_out


def _ratio(classes: ClassInfo) -> float:
    counts = classes.counts
    assert counts is not None  # they come from labels
    return float(counts.max() / max(1, counts.min()))


def _why_not(name: str, cls: type[Head], unequal: bool, ordered: bool) -> str:
    if cls.legacy:
        return "a published miswiring"
    if name in SAME and SAME[name] in HEADS:
        return f"the same function as {SAME[name]}"
    if name in FOR_UNEQUAL and not unequal:
        return f"for classes of unequal size; here the largest is less than {UNEQUAL:g} times the smallest"
    if name in FOR_ORDER and not ordered:
        return "for classes that have an order; say so with --ordered"
    return ""


Tell = Callable[[str], None]
