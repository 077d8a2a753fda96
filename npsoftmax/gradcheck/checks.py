"""One check for each kind of thing: pairs, layers, heads and models.

Design: this package stands beside `functional`, so it knows the protocol by attribute names alone and imports
neither layers nor heads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.gradcheck import tensors
from npsoftmax.gradcheck.engine import Effort, Gradients, Subject, check, chosen_output, kind_of, outputs_and_cache
from npsoftmax.gradcheck.numeric import require_float64, require_movable
from npsoftmax.gradcheck.report import Report
from npsoftmax.params import leaves
from npsoftmax.random import Rng

TO_FLOAT64 = (
    "type model.to(npsoftmax.get_backend(), 'float64'); for a layer or a head, "
    "npsoftmax.params.replace_leaves(layer.params, lambda name, p: p.astype('float64'))"
)


def check_gradients(thing: Any, *args: Any, **options: Any) -> Report:
    """Check the gradients of a model, a head, a layer or a pair of functions against numeric ones.

    check_gradients(model, x, targets), (head, h, targets), (layer, x) or (forward, backward, args); the
    options are those of check_model, check_head, check_layer and check_pair. Everything is float64. With tensors of
    PyTorch it is check_torch: (forward, backward, args), or (function, args) for what PyTorch itself derives.

    Compared are, of each gradient, 2 random directions, in which every element takes part, and element by element all
    of a small tensor; of a larger one 500 drawn at random, of each parameter of a model 20. `elements=` and
    `directions=` ask for others; the report says how many there were. The relative error may be 1e-6, and what
    rounding adds. Not ok either: more than a few elements at a kink, and what rounding hides, which "cannot be
    measured".
    Raises InputError if `thing` is none of these.
    """
    args += tuple(options.pop(name) for name in ("backward", "args") if name in options)
    if tensors.is_of_torch(thing, args):
        return check_torch(thing, *args, **options)
    if hasattr(thing, "loss"):
        return (check_model if hasattr(thing, "trunk") else check_head)(thing, *args, **options)
    if hasattr(thing, "forward") and hasattr(thing, "backward"):
        return check_layer(thing, *args, **options)
    if callable(thing):
        if len(args) != 2:
            raise InputError(
                "check_gradients takes the two functions of a pair and a tuple of arrays: (dense_forward, "
                "dense_backward, (x, w, b)); or a function of PyTorch and a tuple of tensors: (torch.softmax, (x, 1))."
            )
        return check_pair(thing, *args, **options)
    raise InputError(
        f"{type(thing).__name__} has no gradients to check: pass a model, a head, a layer, or two "
        "functions as in check_gradients(dense_forward, dense_backward, (x, w, b))."
    )


# ---------------------------------------------------------------- pairs
def check_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    args: Sequence[Any],
    *,
    wrt: Sequence[int | str] | None = None,
    kwargs: dict[str, Any] | None = None,
    output: int | None = None,
    seed: int = 0,
    elements: int = 500,
    directions: int = 2,
) -> Report:
    """Check `backward(dy, cache)` against differences of `y, cache = forward(*args, **kwargs)`.

    backward returns one gradient, or a tuple with one for each leading array of `args`, in order (None for
    None); `wrt` names the arguments that get one, by position or name, if it is not these. y is an array or a
    number; of several outputs the one at position `output` alone gets a gradient. In each tensor `directions`
    random directions are compared, and `elements` elements at most. Arrays are moved in place and put back.
    Raises InputError if an array is not float64.
    """
    if not callable(backward) or not isinstance(args, tuple | list):
        raise InputError(
            f"backward is {type(backward).__name__} and args {type(args).__name__}, but a function and a tuple were "
            "expected, as in check_gradients(dense_forward, dense_backward, (x, w, b))."
        )
    args, kwargs = tuple(args), kwargs or {}
    arguments = _named_arguments(forward, args, kwargs)
    names = _leading_arrays(arguments, len(args)) if wrt is None else _chosen(wrt, arguments)
    variables = {name: arguments[name] for name in names if arguments[name] is not None}
    for name, x in variables.items():
        require_movable(name, x, f"pass {name}.astype('float64')")
    subject = Subject(
        getattr(forward, "__name__", type(forward).__name__),
        variables,
        lambda: _one_output(forward(*args, **kwargs), output),
        lambda dy, cache: _in_order(backward(dy, cache), names, variables),
    )
    return check(subject, Effort(seed, elements, directions))


def _named_arguments(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(forward).parameters.values() if p.kind in kinds]
    names += [f"arg{i}" for i in range(len(names), len(args))]
    return dict(zip(names, args, strict=False)) | kwargs


def _leading_arrays(arguments: dict[str, Any], positional: int) -> list[str]:
    names = []
    for name, value in list(arguments.items())[:positional]:
        if value is not None and not _is_float_array(value):
            break
        names.append(name)
    return names


def _chosen(wrt: Sequence[int | str], arguments: dict[str, Any]) -> list[str]:
    known = list(arguments)
    names = []
    for which in wrt:
        if which not in known and which not in range(len(known)):
            raise InputError(f"wrt has {which!r}, but the arguments are {', '.join(known)}; type wrt=[{known[0]!r}].")
        names.append(which if isinstance(which, str) else known[which])
    return names


def _one_output(result: Any, output: int | None) -> tuple[Any, Any]:
    outputs, cache = outputs_and_cache(result)
    return chosen_output(outputs, output), cache


def _in_order(result: Any, names: list[str], variables: dict[str, Array]) -> Gradients:
    gradients = result if isinstance(result, tuple) else (result,)
    wanted = list(names)
    # An optional argument that was left out may be left out of the gradients as well.
    while len(wanted) > len(gradients) and wanted[-1] not in variables:
        wanted.pop()
    misfits = []
    if len(gradients) != len(wanted):
        expected = ", ".join(f"d{name}" for name in wanted)
        misfits.append(
            f"backward returned {len(gradients)} gradients, but {len(wanted)} were expected ({expected}); "
            "if other arguments get one, name them with wrt"
        )
    named = dict(zip(wanted, gradients, strict=False))
    none = [name for name, gradient in named.items() if name not in variables and gradient is not None]
    misfits += [f"d{name} is an array, but None was expected, as {name} is None" for name in none]
    return named, misfits


# ---------------------------------------------------------------- functions of PyTorch
def check_torch(
    function: Any,
    *rest: Any,
    wrt: Sequence[int | str] | None = None,
    kwargs: dict[str, Any] | None = None,
    output: int | None = None,
    **effort: Any,
) -> Report:
    """Check a function of PyTorch at tensors on the CPU: check_torch(function, args) or (forward, backward, args).

    function: one of tensors with a tensor as result, an autograd.Function, or a module, whose parameters are checked
    too. Its gradients are those of torch.autograd; of a Function they come from the backward that was written by hand.
    (forward, backward): a pair, as for check_pair. Which arguments get a gradient: those of `wrt`, or the tensors that
    require one, or, where none does, all of real numbers. Noise of PyTorch's generator is the same in all passes.
    Raises InputError for tensors that are not float64, or not on the CPU.
    """
    by_hand = len(rest) == 2 and callable(rest[0])
    if not callable(function) or not (by_hand or len(rest) == 1):
        raise InputError("check_gradients takes a function of PyTorch and a tuple of tensors: (torch.softmax, (x, 1)).")
    args = tuple(rest[-1]) if isinstance(rest[-1], tuple | list) else (rest[-1],)
    with tensors.derivatives_on():
        if by_hand:
            pair = tensors.pair_by_hand(function, rest[0], args, wrt, kwargs or {})
            return check_pair(pair.forward, pair.backward, pair.args, wrt=pair.wrt, output=output, **effort)
        pair = tensors.pair_by_autograd(function, args, wrt, kwargs or {}, output)
        return check_pair(pair.forward, pair.backward, pair.args, wrt=pair.wrt, kwargs=pair.kwargs, **effort)


# ---------------------------------------------------------------- layers, heads, models
def check_layer(
    layer: Any,
    x: Array,
    *,
    train: bool = False,
    rng: Rng | None = None,
    seed: int = 0,
    elements: int = 500,
    directions: int = 2,
) -> Report:
    """Check dx and the gradient of every parameter of `layer` at input x (float64; integers get no dx).

    `y, cache = layer.forward(x, train=train, rng=rng)`, then `dx, grads = layer.backward(dy, cache)` with a
    random dy. Parameters are moved in place and put back, and so are buffers that forward writes.
    Raises InputError if x or a parameter is not float64.
    """
    return _check_module(
        layer,
        {} if _is_integer_array(x) else {"x": x},
        lambda: layer.forward(x, train=train, rng=rng),
        lambda dy, cache: layer.backward(dy, cache),
        Effort(seed, elements, directions),
    )


def check_head(
    head: Any,
    h: Array,
    targets: Array,
    *,
    train: bool = False,
    rng: Rng | None = None,
    seed: int = 0,
    elements: int = 500,
    directions: int = 2,
) -> Report:
    """Check dh and the gradient of every parameter of `head` at features h (N, D), float64, and targets (N,).

    `loss, cache = head.loss(h, targets, train=train, rng=rng)`, then
    `dh, grads = head.backward(cache, dloss)` with a random dloss. Gradients may be sparse rows
    that have `to_dense()`.
    Raises InputError if h or a parameter is not float64.
    """
    return _check_module(
        head,
        {"h": h},
        lambda: head.loss(h, targets, train=train, rng=rng),
        lambda dloss, cache: head.backward(cache, dloss),
        Effort(seed, elements, directions),
    )


def check_model(
    model: Any,
    x: Array,
    targets: Array,
    *,
    train: bool = False,
    rng: Rng | None = None,
    seed: int = 0,
    elements: int = 20,
    directions: int = 2,
) -> Report:
    """Check the gradient of every parameter of `model` at inputs x (float64 or integers) and targets.

    `loss, cache = model.loss(x, targets, train=train, rng=rng)`, then `grads = model.backward(cache)`.
    Raises InputError if x or a parameter is not float64.
    """
    if not _is_integer_array(x):
        require_float64("x", x, "pass x.astype('float64')")
    return _check_module(
        model,
        {},
        lambda: model.loss(x, targets, train=train, rng=rng),
        lambda _, cache: (None, model.backward(cache)),
        Effort(seed, elements, directions),
        upstream=1.0,
    )


def _check_module(
    module: Any,
    inputs: dict[str, Array],
    run: Callable[[], tuple[Any, Any]],
    back: Callable[[Any, Any], Any],
    effort: Effort,
    upstream: float | None = None,
) -> Report:
    """`inputs` holds the input that gets a gradient, if any; parameters follow under their dotted names."""
    kind = type(module).__name__
    parameters = dict(leaves(module.params))
    for name, x in inputs.items():
        require_movable(name, x, f"pass {name}.astype('float64')")
    for name, x in parameters.items():
        require_movable(f"parameter {name}", x, TO_FLOAT64)

    def forward() -> tuple[Any, Any]:
        result = run()
        if not isinstance(result, tuple) or len(result) != 2:
            raise InputError(f"forward of {kind} returned {kind_of(result)}, but output, cache was expected.")
        return result

    def named(dy: Any, cache: Any) -> Gradients:
        result = back(dy, cache)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            raise InputError(f"backward of {kind} returned {kind_of(result)}, but dx, grads (a dict) was expected.")
        grads = dict(leaves(result[1]))
        misfits = [f"grads has {name!r}, which is no parameter" for name in grads if name not in parameters]
        return grads | dict.fromkeys(inputs, result[0]), misfits

    buffers = getattr(module, "buffers", {})
    return check(Subject(kind, inputs | parameters, forward, named, buffers, upstream), effort)


def _is_float_array(value: Any) -> bool:
    # NumPy's scalars have a dtype too, but cannot be moved in place.
    return hasattr(value, "__setitem__") and hasattr(value, "dtype") and value.dtype.kind == "f"


def _is_integer_array(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind in "biu"
