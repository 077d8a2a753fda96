"""The scripts of examples/, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    """examples/<name>.py; skips the test where there is none."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    if not path.exists():
        pytest.skip("the example is in a source checkout")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
