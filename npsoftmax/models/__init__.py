"""Models by name. `MODELS` maps a name to the function that builds its trunk; a head completes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import ClassInfo, Head, head_class
from npsoftmax.layers import Sequential
from npsoftmax.models.base import Model, assemble
from npsoftmax.models.cnn import convnet, tinyvgg
from npsoftmax.models.mlp import mlp
from npsoftmax.models.resnet import resnet9, speednet
from npsoftmax.models.tokens import token_mlp
from npsoftmax.models.vit import vit, vit_e4, vit_small
from npsoftmax.models.whitened import whitened_resnet
from npsoftmax.options import check_options

MODELS: dict[str, Callable[..., Sequential]] = {
    "mlp": mlp,
    "convnet": convnet,
    "tinyvgg": tinyvgg,
    "resnet9": resnet9,
    "speednet": speednet,
    "whitened_resnet": whitened_resnet,
    "vit": vit,
    "vit_small": vit_small,
    "vit_e4": vit_e4,
    "token_mlp": token_mlp,
}
OF_TOKENS = ("token_mlp",)  # they take windows of words, all others images

__all__ = ["MODELS", "OF_TOKENS", "Model", "build_model", "builders", "model_builder"]


def model_builder(name: str) -> Callable[..., Sequential]:
    """The trunk builder called `name`; InputError gives the nearest names."""
    if not isinstance(name, str) or name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name]


def build_model(
    name: str,
    head: str = "softmax",
    classes: ClassInfo | int = 100,
    input_shape: tuple[int, ...] = (32, 32, 3),
    *,
    seed: int = 0,
    model_opts: dict[str, Any] | None = None,
    head_opts: dict[str, Any] | None = None,
) -> Model:
    """A model by the names of its trunk and head, float32 on the CPU; `Model.to` moves it.

    Raises InputError for unknown names and options, and for input shapes that do not fit.
    """
    info = classes if isinstance(classes, ClassInfo) else ClassInfo(classes)
    shape = _sample_shape(input_shape)
    return assemble(name, head, *builders(name, head, model_opts, head_opts), info, shape, seed)


def builders(
    name: str, head: str, model_opts: dict[str, Any] | None, head_opts: dict[str, Any] | None
) -> tuple[Callable[..., Sequential], Callable[..., Head]]:
    """What builds the trunk, and what builds the head, with their options.

    InputError for unknown names and options, and for values of another type.
    """
    trunk, cls = model_builder(name), head_class(head)
    return (
        partial(trunk, **check_options(f"model {name!r}", trunk, model_opts or {})),
        partial(cls, **check_options(f"head {head!r}", cls, head_opts or {})),
    )


def _sample_shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, list | tuple | np.ndarray) else (None,)
    if not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes):
        raise InputError(
            f"input_shape is {shape!r:.80}, but the shape of one sample was expected: whole numbers of at least 1, "
            "such as (32, 32, 3) of an image or (20,) of a row of a table."
        )
    return tuple(int(size) for size in sizes)
