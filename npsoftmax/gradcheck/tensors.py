"""Functions of PyTorch as pairs of functions of NumPy arrays, so that they are checked as all others are.

Design: a NumPy array and a tensor can share their memory. What the check moves are such arrays, and the function sees
its tensors move. PyTorch is never imported here unless the caller did.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsoftmax.errors import InputError
from npsoftmax.gradcheck.engine import chosen_output, outputs_and_cache


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
    return _is_module(thing) or _is_function(thing) or _has_tensors(args)


@contextlib.contextmanager
def derivatives_on() -> Iterator[None]:
    """Within it PyTorch derives, whatever torch.no_grad or torch.inference_mode stands around the call."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        yield


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
        outputs, cache = outputs_and_cache(result)
        return (*map(_numbers, outputs), cache)

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
    parameters = {f"self.{n}" if n in given else n: p for n, p in parameters.items() if p.requires_grad}
    views = {name: _view(name, tensor) for name, tensor in ({n: real[n] for n in chosen} | parameters).items()}
    if not views:
        raise InputError(
            f"{_name(function)} got no tensor of real numbers as an argument of its own: there is no gradient to check."
        )
    leaves = {name: real[name].detach().requires_grad_() for name in chosen}
    moved = leaves | parameters
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
        wanted = list(moved.values())
        try:
            gradients = torch.autograd.grad(y, wanted, upstream, allow_unused=True, materialize_grads=True)
        except RuntimeError as error:
            if "invalid gradient" not in str(error):
                raise
            raise InputError(f"PyTorch refuses what a backward in {_name(function)} gave: {error}") from error
        return tuple(_numbers(g.to_dense()) for g in gradients)

    arrays = tuple(views.get(name, given[name]) for name in names)
    others = {name: view for name, view in views.items() if name not in names}
    return NumpyPair(_named(run, _name(function), names), back, arrays, list(views), others)


# ---------------------------------------------------------------- what a function is, and gives
def _is_function(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, sys.modules["torch"].autograd.Function)


def _takes_ctx(thing: Any) -> bool:
    """Whether its forward does; that of a Function with a setup_context of its own takes the arguments alone."""
    return _is_function(thing) and thing.setup_context is sys.modules["torch"].autograd.Function.setup_context


def _is_module(thing: Any) -> bool:
    return isinstance(thing, sys.modules["torch"].nn.Module)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _names(function: Any, count: int) -> list[str]:
    """The names of the first `count` arguments."""
    own = function.forward if _is_function(function) or _is_module(function) else function
    try:
        parameters = list(inspect.signature(own).parameters.values())[_takes_ctx(function) :]
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
        result = chosen_output(result, output)
    if not isinstance(result, torch.Tensor):
        raise InputError(f"the function returned {type(result).__name__}, but a tensor was expected.")
    return result


class _undisturbed:
    """Within it noise repeats; afterwards the buffers of a module are what they were, written to or replaced."""

    def __init__(self, function: Any):
        import torch

        self.noise = torch.default_generator
        self.modules = list(function.modules()) if _is_module(function) else []

    def __enter__(self) -> None:
        self.state = self.noise.get_state()
        self.buffers = [(m, name, b) for m in self.modules for name, b in m._buffers.items()]
        # By NumPy, since PyTorch counts what is written to a tensor between forward and backward.
        self.saved = [(b, b.copy()) for b in (_numbers(b) for _, _, b in self.buffers if b is not None)]
        self.noise.manual_seed(0)

    def __exit__(self, *_: Any) -> None:
        self.noise.set_state(self.state)
        for module, name, buffer in self.buffers:
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)
        for buffer, saved in self.saved:
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
    if x.layout != torch.strided:
        raise InputError(f"{name} is sparse, but every element is moved: pass {name}.to_dense().")
    if x.is_inference():
        raise InputError(f"{name} was made in inference_mode, where PyTorch derives nothing: make it outside.")
    if x.is_neg():
        raise InputError(f"{name} is a view that turns the sign of other numbers: pass {name}.resolve_neg().")
    if _overlaps(x):
        raise InputError(f"{name} holds one number in several places, so one moves the others: pass {name}.clone().")
    return x.detach().numpy()


def _overlaps(x: Any) -> bool:
    """Whether two elements of tensor x lie in one place."""
    if x.is_contiguous():
        return False
    end = 1 + sum((size - 1) * step for size, step in zip(x.shape, x.stride(), strict=True))
    places = sys.modules["torch"].arange(end).as_strided(x.shape, x.stride())
    return places.unique().numel() < x.numel()


def _numbers(x: Any) -> Any:
    return x.detach().resolve_conj().resolve_neg().numpy() if hasattr(x, "detach") else x


def _has_tensors(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_has_tensors, value))
    return isinstance(value, sys.modules["torch"].Tensor)
