"""npsoftmax: deep learning from scratch, every gradient written by hand and checked.

Names are loaded on first use, so that `import npsoftmax` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from npsoftmax._version import __version__

if TYPE_CHECKING:  # what _HOME says, for type checkers and editors
    from npsoftmax.backend import get_backend as get_backend
    from npsoftmax.data import load_dataset as load_dataset
    from npsoftmax.diagnosis import doctor as doctor
    from npsoftmax.diagnosis import doctor_torch as doctor_torch
    from npsoftmax.errors import InputError as InputError
    from npsoftmax.estimators import ImageClassifier as ImageClassifier
    from npsoftmax.estimators import SoftmaxClassifier as SoftmaxClassifier
    from npsoftmax.gradcheck import check_gradients as check_gradients
    from npsoftmax.grading.inline import check as check
    from npsoftmax.heads import HEADS as HEADS
    from npsoftmax.heads import ClassInfo as ClassInfo
    from npsoftmax.host import set_threads as set_threads
    from npsoftmax.models import MODELS as MODELS
    from npsoftmax.models import build_model as build_model
    from npsoftmax.random import Rng as Rng
    from npsoftmax.torch_weights import load_torch as load_torch
    from npsoftmax.torch_weights import save_torch as save_torch
    from npsoftmax.training import load_run as load_run

_HOME = {
    "InputError": "npsoftmax.errors",
    "get_backend": "npsoftmax.backend",
    "set_threads": "npsoftmax.host",
    "Rng": "npsoftmax.random",
    "HEADS": "npsoftmax.heads",
    "ClassInfo": "npsoftmax.heads",
    "MODELS": "npsoftmax.models",
    "build_model": "npsoftmax.models",
    "check": "npsoftmax.grading.inline",
    "check_gradients": "npsoftmax.gradcheck",
    "load_dataset": "npsoftmax.data",
    "doctor": "npsoftmax.diagnosis",
    "doctor_torch": "npsoftmax.diagnosis",
    "load_run": "npsoftmax.training",
    "ImageClassifier": "npsoftmax.estimators",
    "SoftmaxClassifier": "npsoftmax.estimators",
    "load_torch": "npsoftmax.torch_weights",
    "save_torch": "npsoftmax.torch_weights",
}

__all__ = ["__version__", *sorted(_HOME)]


if not TYPE_CHECKING:  # else a misspelt name would be Any

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(importlib.import_module(_HOME[name]), name)
        raise AttributeError(f"module 'npsoftmax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
