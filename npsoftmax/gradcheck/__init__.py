"""Numeric proof of hand-written gradients: `check_gradients(thing, ...)` for pairs, layers, heads and models."""

from __future__ import annotations

from npsoftmax.gradcheck.checks import check_gradients, check_head, check_layer, check_model, check_pair
from npsoftmax.gradcheck.numeric import numeric_gradient
from npsoftmax.gradcheck.report import Report, TensorReport, WrongElement

__all__ = [
    "Report",
    "TensorReport",
    "WrongElement",
    "check_gradients",
    "check_head",
    "check_layer",
    "check_model",
    "check_pair",
    "numeric_gradient",
]
