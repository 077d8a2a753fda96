"""Numeric proof of hand-written gradients: `check_gradients` takes a pair, a layer, a head, a model, or PyTorch's."""

from __future__ import annotations

from npsoftmax.gradcheck.checks import check_gradients, check_head, check_layer, check_model, check_pair, check_torch
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
    "check_torch",
    "numeric_gradient",
]
