"""SGD, Adam, AdamW and Muon, with PyTorch's semantics; parameters are updated in place, gradients are left alone.

A rule a file: `sgd`, `adam`, `muon`. What they share is `base`.
"""

from __future__ import annotations

from npsoftmax.training.optimizers.adam import Adam, AdamW
from npsoftmax.training.optimizers.base import Optimizer
from npsoftmax.training.optimizers.muon import Muon
from npsoftmax.training.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Muon", "Optimizer"]

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "muon": Muon}
