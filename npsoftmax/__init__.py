"""npsoftmax: deep learning from scratch, every gradient written by hand and checked.

Names are loaded on first use, so that `import npsoftmax` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from npsoftmax._version import __version__

_HOME = {
    "InputError": "npsoftmax.errors",
    "get_backend": "npsoftmax.backend",
    "set_threads": "npsoftmax.backend",
    "Rng": "npsoftmax.random",
    "HEADS": "npsoftmax.heads",
    "ClassInfo": "npsoftmax.heads",
    "MODELS": "npsoftmax.models",
    "build_model": "npsoftmax.models",
    "check_gradients": "npsoftmax.gradcheck",
    "load_dataset": "npsoftmax.data",
    "load_run": "npsoftmax.training",
    "ImageClassifier": "npsoftmax.estimators",
    "SoftmaxClassifier": "npsoftmax.estimators",
    "load_torch": "npsoftmax.torch_weights",
    "save_torch": "npsoftmax.torch_weights",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'npsoftmax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
