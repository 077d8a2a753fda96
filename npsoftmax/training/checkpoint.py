"""Checkpoints and small files of a run: safetensors and JSON, each written beside its place and then renamed.

Design: a checkpoint holds its arrays, the plain state that belongs to them, and a checksum of both, in one file, so
that they always match and damage is seen: a flipped bit among the parameters would otherwise train on unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.files import copy_replacing, replacing, write_new, write_replacing
from npsoftmax.models import Model
from npsoftmax.params import Tree, leaves, replace_leaves

# What odd content of a file makes safetensors, NumPy and json raise: types without a name in NumPy, sizes beyond all
# numbers, nesting without an end.
ODD_CONTENT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Saved(NamedTuple):
    """What a checkpoint holds: dotted name -> array, and the state (None where none was saved)."""

    arrays: dict[str, np.ndarray]
    state: Any


def save_arrays(path: Path, tree: Tree, state: dict[str, Any] | None = None, *, before: Path | None = None) -> None:
    """Save every leaf under its dotted name, and a plain `state` in the same file.

    before: where that which `path` holds now is kept.
    """
    from safetensors.numpy import save

    # safetensors 0.8.0 silently writes transposed arrays in the wrong order.
    arrays = {name: np.ascontiguousarray(to_numpy(array)) for name, array in leaves(tree)}
    text = json.dumps(state)
    content = save(arrays, metadata={"state": text, "sha256": _checksum(arrays, text)})
    with replacing(path) as beside:
        write_new(beside, content)
        if before is not None and path.exists():
            copy_replacing(path, before)


def load_saved(path: Path) -> Saved:
    """Read a checkpoint. InputError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        text = metadata.get("state", "null")
        # A file from before there were checksums has the state alone; a damaged name must not make it look like one.
        if "state" in metadata and not metadata.keys() <= {"state", "sha256"}:
            raise ValueError(f"its metadata are {', '.join(map(repr, sorted(metadata)))}"[:200])
        if metadata.get("sha256", None) not in (None, _checksum(arrays, text)):
            raise ValueError("its checksum is not that of its content")
        return Saved(arrays, json.loads(text))
    except (SafetensorError, OSError, *ODD_CONTENT) as error:
        raise InputError(f"checkpoint {path} is damaged and cannot be read: {error}.") from error


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Dotted name -> array. InputError where the file is missing or damaged."""
    return load_saved(path).arrays


def load_state(path: Path) -> dict[str, Any]:
    """The state saved with the arrays. InputError where there is none."""
    state = load_saved(path).state
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} is damaged and cannot be read: it has no state.")
    return state


def _checksum(arrays: dict[str, np.ndarray], state: str) -> str:
    """SHA-256 of all that a checkpoint means, whatever the order in the file."""
    found = hashlib.sha256(state.encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def restore(tree: Tree, arrays: dict[str, np.ndarray], source: Path) -> None:
    """Copy saved arrays into the leaves of `tree`. InputError, with nothing changed, where they do not fit."""
    _check_fit(dict(leaves(tree)), arrays, source)

    def read(name: str, array: Array) -> Array:
        if not isinstance(array, np.ndarray):  # a new one: what is known of a device's array is known by the object
            return array_module(array).asarray(arrays[name], dtype=array.dtype)
        array[...] = arrays[name]
        return array

    replace_leaves(tree, read)


def fill_model(model: Model, arrays: dict[str, np.ndarray], source: Path) -> None:
    """`restore` for parameters and buffers: both fit, or nothing is changed."""
    _check_fit(dict(leaves(model.buffers)), arrays, source)
    restore(model.params, arrays, source)
    restore(model.buffers, arrays, source)


def _check_fit(own: dict[str, Array], arrays: dict[str, np.ndarray], source: Path) -> None:
    missing = [name for name in own if name not in arrays]
    if missing:
        raise InputError(f"{source} has no {missing[0]!r}: it was saved from another model or head.")
    for name, array in own.items():
        found = arrays[name]
        if tuple(found.shape) != tuple(array.shape):
            raise InputError(f"{source}: {name!r} has shape {found.shape}, but this model's has {tuple(array.shape)}.")
        if found.dtype.kind != array.dtype.kind:
            raise InputError(f"{source}: {name!r} is {found.dtype}, but this model's is {array.dtype}.")


def restore_model(model: Model, source: Path) -> Any:
    """Copy a checkpoint into the parameters and buffers of `model`; returns the state saved with them."""
    saved = load_saved(source)
    fill_model(model, saved.arrays, source)
    return saved.state


def write_json(path: Path, value: Any) -> None:
    """Save a plain value, readable; a number that is not finite becomes null."""
    write_replacing(path, (json.dumps(finite(value), indent=2) + "\n").encode())


def finite(value: Any) -> Any:
    """The same plain value with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
