"""Arrays and state on disk: safetensors and JSON, each written beside its place and then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.layers import Tree, leaves, replace_leaves
from npsoftmax.models import Model


def write_replacing(path: Path, content: bytes) -> None:
    """Write a file so that at any moment the path holds all of the old or all of the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}. Free some space or choose another --out.") from error


def save_arrays(path: Path, tree: Tree, state: dict[str, Any] | None = None) -> None:
    """Save every leaf under its dotted name, and a plain `state` in the same file, so that the two always match."""
    from safetensors.numpy import save

    # safetensors 0.8.0 silently writes transposed arrays in the wrong order.
    arrays = {name: np.ascontiguousarray(to_numpy(array)) for name, array in leaves(tree)}
    metadata = None if state is None else {"state": json.dumps(state)}
    write_replacing(path, save(arrays, metadata=metadata))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Dotted name -> array. InputError where the file is missing or damaged."""
    from safetensors.numpy import load_file

    return _reading(path, lambda: load_file(path))


def load_state(path: Path) -> dict[str, Any]:
    """The state saved with the arrays. InputError where there is none."""
    from safetensors import safe_open

    def read() -> dict[str, Any]:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["state"])

    return _reading(path, read)


def _reading(path: Path, read: Callable[[], Any]) -> Any:
    from safetensors import SafetensorError

    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}.")
    try:
        return read()
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"checkpoint {path} is damaged and cannot be read: {error}") from error


def restore(tree: Tree, arrays: dict[str, np.ndarray], source: Path) -> None:
    """Copy saved arrays into the leaves of `tree`. InputError, with nothing changed, where they do not fit."""
    own = dict(leaves(tree))
    missing = [name for name in own if name not in arrays]
    if missing:
        raise InputError(f"{source} has no {missing[0]!r}: it was saved from another model or head.")
    for name, array in own.items():
        if tuple(arrays[name].shape) != tuple(array.shape):
            raise InputError(
                f"{source}: {name!r} has shape {arrays[name].shape}, but this model's has {tuple(array.shape)}."
            )

    def read(name: str, array: Array) -> Array:
        if not isinstance(array, np.ndarray):  # a new one: what is known of a device's array is known by the object
            return array_module(array).asarray(arrays[name], dtype=array.dtype)
        array[...] = arrays[name]
        return array

    replace_leaves(tree, read)


def restore_model(model: Model, source: Path) -> dict[str, np.ndarray]:
    """Copy a checkpoint into the parameters and buffers of `model`; returns all arrays of the file."""
    arrays = load_arrays(source)
    restore(model.params, arrays, source)
    restore(model.buffers, arrays, source)
    return arrays


def unflatten(arrays: dict[str, Any]) -> Tree:
    """Dotted names -> nested dicts."""
    tree: Tree = {}
    for dotted, value in arrays.items():
        *path, last = dotted.split(".")
        place = tree
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return tree


def write_json(path: Path, value: Any) -> None:
    """Save a plain value, readable; a number that is not finite becomes null."""
    write_replacing(path, (json.dumps(_finite(value), indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """InputError where the file is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
