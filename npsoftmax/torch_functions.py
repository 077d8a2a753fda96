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
from npsoftmax.gradcheck.engine import outputs_and_cache


def as_autograd_function(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` for tensors on the CPU, with `backward` as what PyTorch calls for its gradients.

    backward returns one gradient, or a tuple with one for each leading argument of forward, in order, as those of this
    library do; labels, masks and options get none. Of several outputs the first alone has a gradient. Raises InputError
    for tensors elsewhere or of types that NumPy does not have, and, when PyTorch asks for it, for a gradient that
    backward does not give, or a second derivative: there is none.

        dense = as_autograd_function(dense_forward, dense_backward)
        dense(x, w, b).sum().backward()
    """
    import torch

    signature = _signature(forward, backward)
    names = list(signature.parameters)

    class Once(torch.autograd.Function):
        """A gradient as it is; to PyTorch it depends on dy and on all that was given, so none of that is lost."""

        @staticmethod
        def forward(ctx: Any, gradient: Any, *_: Any) -> Any:
            return gradient.clone()

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            raise InputError(
                f"{call.__name__} has no second derivative, but one was asked for: take a function of PyTorch here."
            )

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, options: dict[str, Any], *args: Any) -> Any:
            result = forward(*map(_numbers, args), **{name: _numbers(value) for name, value in options.items()})
            outputs, ctx.pair_cache = outputs_and_cache(result)
            ctx.of_args = [(a.shape, a.dtype) if isinstance(a, torch.Tensor) else None for a in args]
            # The cache may hold their memory: by this PyTorch refuses a backward after one of them was written to.
            ctx.save_for_backward(*(a for a in (*args, *options.values()) if isinstance(a, torch.Tensor)))
            tensors = tuple(torch.tensor(np.asarray(y)) for y in outputs)  # copies, since the cache may hold y
            ctx.mark_non_differentiable(*tensors[1:])
            return tensors if len(tensors) > 1 else tensors[0]

        @staticmethod
        def backward(ctx: Any, dy: Any, *_: Any) -> Any:
            given = ctx.saved_tensors  # asks whether one was written to
            result = backward(_numbers(dy), ctx.pair_cache)
            gradients = result if isinstance(result, tuple) else (result,)
            wanted = ctx.needs_input_grad[1:]
            gradients += (None,) * (len(wanted) - len(gradients))
            checked = [
                _checked(names[i], gradients[i], *ctx.of_args[i]) if wanted[i] else None for i in range(len(wanted))
            ]
            if torch.is_grad_enabled():  # create_graph=True
                checked = [g if g is None else Once.apply(g, dy, *given) for g in checked]
            return None, *checked

    @functools.wraps(forward)
    def call(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        for name, value in bound.kwargs.items():
            if getattr(value, "requires_grad", False):
                raise InputError(f"{name} requires a gradient, but the pair gives it none: pass {name}.detach().")
        return Pair.apply(bound.kwargs, *bound.args)

    return call


def _signature(forward: Any, backward: Any) -> inspect.Signature:
    """That of forward; InputError for what is no pair of functions."""
    try:
        if callable(backward):
            return inspect.signature(forward)
    except (TypeError, ValueError):  # no function, or one that is compiled and says nothing of itself
        pass
    raise InputError(
        f"{_name(forward)} and {_name(backward)} were given, but the two functions of a pair were expected, as in "
        "as_autograd_function(dense_forward, dense_backward)."
    )


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", type(thing).__name__)


def _numbers(x: Any) -> Any:
    """The memory of a tensor as an array of NumPy; anything else as it is."""
    if not hasattr(x, "requires_grad"):
        return x
    try:
        return x.detach().resolve_conj().resolve_neg().numpy()
    except TypeError as error:
        raise InputError(
            f"a tensor of {x.dtype} on {x.device} was given, but the pair runs in NumPy: {error}"
        ) from error


def _checked(name: str, gradient: Any, shape: Any, dtype: Any) -> Any:
    """The gradient of argument `name` as a tensor of its own, since a backward may hand out dy itself."""
    import torch

    if getattr(gradient, "shape", None) != shape:
        message = f"{name} of shape {tuple(shape)} requires a gradient, but backward gave "
        if gradient is None:
            raise InputError(f"{message}it none: pass {name}.detach().")
        given = f"one of shape {gradient.shape}" if hasattr(gradient, "shape") else f"{type(gradient).__name__}"
        raise InputError(
            f"{message}{given}: pass {name}.detach(), or take a pair whose gradients come in the order of its "
            "arguments (those of drawn classes are of rows)."
        )
    return torch.tensor(gradient, dtype=dtype)
