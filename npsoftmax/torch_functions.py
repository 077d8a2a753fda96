"""A pair as a function that PyTorch differentiates: forward and backward of an autograd.Function. See docs/pytorch.md.

Design: the pair computes on the memory of the tensors, in NumPy, so that its compiled kernels run. (The other way in,
`any_array`, computes by PyTorch.) Nothing is silent: a tensor that wants a gradient and gets none is an error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from npsoftmax.errors import InputError


def as_autograd_function(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` for tensors on the CPU, with `backward` as what PyTorch calls for its gradients.

    backward returns one gradient, or a tuple with one for each leading argument of forward, in order, as those of this
    library do; labels, masks and options get none. Of several outputs the first alone has a gradient. There is no
    second derivative. Raises InputError for tensors elsewhere or of types that NumPy does not have, and, when PyTorch
    asks for it, for a gradient that backward does not give.

        dense = as_autograd_function(dense_forward, dense_backward)
        dense(x, w, b).sum().backward()
    """
    import torch
    from torch.autograd.function import once_differentiable

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, options: dict[str, Any], *args: Any) -> Any:
            *outputs, ctx.pair_cache = forward(*map(_numbers, args), **options)
            ctx.of_args = [(a.shape, a.dtype) if isinstance(a, torch.Tensor) else None for a in args]
            # The cache may hold their memory: by this PyTorch refuses a backward after one of them was written to.
            ctx.save_for_backward(*(a for a in args if isinstance(a, torch.Tensor)))
            tensors = tuple(torch.tensor(np.asarray(y)) for y in outputs)  # copies, since the cache may hold y
            ctx.mark_non_differentiable(*tensors[1:])
            return tensors if len(tensors) > 1 else tensors[0]

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dy: Any, *_: Any) -> Any:
            ctx.saved_tensors  # noqa: B018  asks whether one was written to
            result = backward(_numbers(dy), ctx.pair_cache)
            gradients = result if isinstance(result, tuple) else (result,)
            wanted = ctx.needs_input_grad[1:]
            gradients += (None,) * (len(wanted) - len(gradients))
            return None, *(
                _checked(names[i], gradients[i], *ctx.of_args[i]) if wanted[i] else None for i in range(len(wanted))
            )

    signature = inspect.signature(forward)
    names = list(signature.parameters)

    @functools.wraps(forward)
    def call(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        for name, value in bound.kwargs.items():
            if getattr(value, "requires_grad", False):
                raise InputError(f"{name} requires a gradient, but the pair gives it none: pass {name}.detach().")
        return Pair.apply({name: _numbers(value) for name, value in bound.kwargs.items()}, *bound.args)

    return call


def _numbers(x: Any) -> Any:
    """The memory of a tensor as an array of NumPy; anything else as it is."""
    if not hasattr(x, "requires_grad"):
        return x
    try:
        return x.detach().numpy()
    except TypeError as error:
        raise InputError(
            f"a tensor of {x.dtype} on {x.device} was given, but the pair runs in NumPy: {error}"
        ) from error


def _checked(name: str, gradient: Any, shape: Any, dtype: Any) -> Any:
    """The gradient of argument `name` as a tensor of its own, since a backward may hand out dy itself."""
    import torch

    if getattr(gradient, "shape", None) != shape:
        given = f"one of shape {gradient.shape}" if hasattr(gradient, "shape") else f"{type(gradient).__name__}"
        raise InputError(
            f"{name} of shape {tuple(shape)} requires a gradient, but backward gave {given}: pass {name}.detach(), or "
            "take a pair whose gradients come in the order of its arguments (those of drawn classes are of rows)."
        )
    return torch.tensor(gradient, dtype=dtype)
