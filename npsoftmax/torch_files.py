"""Reads the safetensors files that PyTorch's users have: bfloat16 as well, which NumPy does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.files import read_up_to
from npsoftmax.training.checkpoint import ODD_CONTENT

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
# What a safetensors file calls types, in NumPy.
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
TYPES |= {"BOOL": "?", "U16": "<u2", "U32": "<u4", "U64": "<u8"}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """PyTorch's name -> array, of a safetensors file whatever it is called; bfloat16 becomes float32.

    InputError where there is no such file, it is a pickle or damaged, or holds another type that NumPy does not have.
    """
    if path.suffix in PICKLES and not _begins_as_safetensors(path):
        raise InputError(
            f"{path} is a pickle, which can run any code when it is read. In PyTorch, type "
            'safetensors.torch.save_file(model.state_dict(), "weights.safetensors") and import that file; the weights '
            'of a Lightning checkpoint are its "state_dict".'
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder, but a file of weights was expected, such as weights.safetensors.")
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}.")
    if not _begins_as_safetensors(path) and read_up_to(path, 2) != b"PK":
        raise InputError(f"{path} is no safetensors file, or a damaged one; docs/pytorch.md says how to write one.")
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(path.read_bytes())
        return {name: _array(path, name, tensor["dtype"], tensor["data"], tensor["shape"]) for name, tensor in tensors}
    except InputError:
        raise
    except (SafetensorError, OSError, *ODD_CONTENT) as error:
        pickled = ", or a pickle under another name" if read_up_to(path, 2) == b"PK" else ""
        raise InputError(f"{path} is damaged and cannot be read{pickled}: {error}.") from error


def _array(path: Path, name: str, dtype: str, data: bytes, shape: list[int]) -> np.ndarray:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype not in TYPES:
        raise InputError(
            f"{path}: {name} is of type {dtype}, which NumPy does not have. In PyTorch, save the state_dict of "
            "model.float()."
        )
    return np.frombuffer(data, TYPES[dtype]).reshape(shape)


def _begins_as_safetensors(path: Path) -> bool:
    """The length of a header comes first, then the header, which is JSON."""
    return path.is_file() and read_up_to(path, 9)[8:] == b"{"
