"""What the table of heads says of a head, beside its docstring and the options in its signature."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One line of `npsoftmax heads`; z are the scores, D the features, C the classes.

    formula: what is computed; reference: where it comes from; step, prediction: the cost of a sample in C;
    parameters: how many; mistake: of a legacy wiring alone, what it gets wrong; instead: the head to use.
    """

    formula: str
    reference: str
    step: str = "O(C)"
    prediction: str = "O(C)"
    parameters: str = "(D + 1) C"
    mistake: str = ""
    instead: str = ""
