"""Functions of PyTorch as pairs of functions of NumPy arrays, so that they are checked as all others are.

Design: a NumPy array and a tensor can share their memory. What the check moves are such arrays, and the function sees
its tensors move. PyTorch is never imported here unless the caller did.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.errors import InputError


class NumpyPair(NamedTuple):
    """What `check_pair` takes."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    args: tuple[Any, ...]
    wrt: Sequence[int | str] | None
    kwargs: dict[str, Any]


def is_of_torch(thing: Any, args: Sequence[Any]) -> bool:
    """Whether `thing` is a module or an autograd.Function, or a function to be checked at tensors."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    given = [x for a in args for x in (a if isinstance(a, tuple | list) else (a,))]
    return _is_module(thing) or _is_function(thing) or any(isinstance(x, torch.Tensor) for x in given)


def pair_by_hand(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: tuple[Any, ...],
    wrt: Sequence[int | str] | None,
    kwargs: dict[str, Any],
) -> NumpyPair:
    """`y, cache = forward(*args)` and `backward(dy, cache)` of tensors: what is checked is that backward."""
    import torch

    names = _names(forward, len(args))
    views = [_view(name, a) if isinstance(a, torch.Tensor) else a for name, a in zip(names, args, strict=True)]
    tensors = [a.detach() if isinstance(a, torch.Tensor) else a for a in args]

    def run(*_: Any) -> Any:
        result = forward(*tensors, **kwargs)
        if not isinstance(result, tuple) or len(result) < 2:
            return result
        *outputs, cache = result
        return (*(_numbers(y) for y in outputs), cache)

    def back(dy: Any, cache: Any) -> Any:
        gradients = backward(torch.as_tensor(dy, dtype=torch.float64), cache)
        return tuple(map(_numbers, gradients)) if isinstance(gradients, tuple) else _numbers(gradients)

    return NumpyPair(_named(run, _name(forward), names), back, tuple(views), wrt, {})


def pair_by_autograd(
    function: Any, args: tuple[Any, ...], wrt: Sequence[int | str] | None, kwargs: dict[str, Any], output: int | None
) -> NumpyPair:
    """`y = function(*args)` and what PyTorch derives from it, or from the backward of an autograd.Function in it.

    wrt: None for the tensors that require a gradient, or for all of real numbers where none does; of a module, the
    parameters as well that are not frozen.
    """
    import torch

    names = _names(function, len(args))
    given = dict(zip(names, args, strict=True)) | kwargs
    real = {name: a for name, a in given.items() if isinstance(a, torch.Tensor) and a.is_floating_point()}
    chosen = [n for n, a in real.items() if a.requires_grad] or list(real) if wrt is None else _chosen(wrt, names, real)
    parameters = dict(function.named_parameters()) if _is_module(function) else {}
    parameters = {name: p for name, p in parameters.items() if p.requires_grad}
    leaves = {name: real[name].detach().requires_grad_() for name in chosen}
    moved = leaves | parameters
    views = {name: _view(name, tensor) for name, tensor in moved.items()}
    tensors = given | leaves

    def run(*_: Any, **__: Any) -> tuple[Any, Any]:
        with _undisturbed(function):
            call = function.apply if _is_function(function) else function
            result = call(*(tensors[name] for name in names), **{name: tensors[name] for name in kwargs})
        y = _one_output(result, output)
        return _numbers(y), y

    def back(dy: Any, y: Any) -> tuple[Any, ...]:
        if not y.requires_grad:  # it was detached: to PyTorch all gradients are 0
            return tuple(map(np.zeros_like, views.values()))
        upstream = torch.as_tensor(dy, dtype=y.dtype)
        gradients = torch.autograd.grad(y, list(moved.values()), upstream, allow_unused=True, materialize_grads=True)
        return tuple(_numbers(g.to_dense()) for g in gradients)

    arrays = tuple(views.get(name, given[name]) for name in names)
    others = {name: view for name, view in views.items() if name not in names}
    return NumpyPair(_named(run, _name(function), names), back, arrays, list(views), others)


# ---------------------------------------------------------------- what a function is, and gives
def _is_function(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, sys.modules["torch"].autograd.Function)


def _is_module(thing: Any) -> bool:
    return isinstance(thing, sys.modules["torch"].nn.Module)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _names(function: Any, count: int) -> list[str]:
    """The names of the first `count` arguments."""
    own = function.forward if _is_function(function) or _is_module(function) else function
    try:
        parameters = list(inspect.signature(own).parameters.values())[_is_function(function) :]  # without ctx
    except (TypeError, ValueError):  # a function that is compiled says nothing of itself
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds][:count]
    return names + [f"arg{i}" for i in range(len(names), count)]


def _named(run: Any, name: str, names: list[str]) -> Callable[..., Any]:
    """`run` with the name and the arguments that a report shall speak of."""
    run.__name__ = name
    run.__signature__ = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names])
    return run


def _chosen(wrt: Sequence[int | str], names: list[str], real: dict[str, Any]) -> list[str]:
    chosen: list[Any] = [names[which] if isinstance(which, int) and which < len(names) else which for which in wrt]
    for which in chosen:
        if which not in real:
            known = ", ".join(real) or "none"
            raise InputError(f"wrt has {which!r}, but the tensors of real numbers are {known}.")
    return chosen


def _one_output(result: Any, output: int | None) -> Any:
    import torch

    if isinstance(result, tuple | list):
        if output is None:
            raise InputError(f"the function has {len(result)} outputs: pass output=0 if the first one gets a gradient.")
        result = result[output]
    if not isinstance(result, torch.Tensor):
        raise InputError(f"the function returned {type(result).__name__}, but a tensor was expected.")
    return result


class _undisturbed:
    """Within it noise repeats; afterwards the buffers of a module (running means) are what they were."""

    def __init__(self, function: Any):
        import torch

        self.noise = torch.default_generator
        # By NumPy, since PyTorch counts what is written to a tensor between forward and backward.
        self.buffers = [_numbers(b) for b in function.buffers()] if _is_module(function) else []

    def __enter__(self) -> None:
        self.state, self.saved = self.noise.get_state(), [b.copy() for b in self.buffers]
        self.noise.manual_seed(0)

    def __exit__(self, *_: Any) -> None:
        self.noise.set_state(self.state)
        for buffer, saved in zip(self.buffers, self.saved, strict=True):
            buffer[...] = saved


# ---------------------------------------------------------------- memory in common
def _view(name: str, x: Any) -> Any:
    """The memory of tensor x as an array of NumPy; InputError where the check could not move it."""
    import torch

    if x.device.type != "cpu":
        raise InputError(f"{name} lies on {x.device}, but gradients are checked on the CPU: pass {name}.cpu().")
    if x.is_floating_point() and x.dtype != torch.float64:
        raise InputError(
            f"{name} is {x.dtype}, but gradients are checked in float64, where rounding hides no mistake: pass "
            f"{name}.double(), or module.double() for parameters."
        )
    if any(step == 0 and size > 1 for step, size in zip(x.stride(), x.shape, strict=True)):
        raise InputError(f"{name} holds one number in several places, so one moves the others: pass {name}.clone().")
    return x.detach().numpy()


def _numbers(x: Any) -> Any:
    return x.detach().numpy() if hasattr(x, "detach") else x
