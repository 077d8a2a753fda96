"""One check for each kind of thing: pairs, layers, heads and models.

Design: this package stands beside `functional`, so it knows the protocol (design: explicit cache) by attribute names
alone and imports neither layers nor heads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from npsoftmax.backend import Array
from npsoftmax.errors import InputError
from npsoftmax.gradcheck.engine import Effort, Gradients, Subject, Tree, check
from npsoftmax.gradcheck.numeric import require_float64
from npsoftmax.gradcheck.report import Report


def check_gradients(thing: Any, *args: Any, **options: Any) -> Report:
    """Check the gradients of a model, a head, a layer or a pair of functions against numeric ones.

    check_gradients(model, x, targets), (head, h, targets), (layer, x) or (forward, backward, args); the options are
    those of check_model, check_head, check_layer and check_pair. Everything in float64. Raises InputError if `thing`
    is none of these.
    """
    if hasattr(thing, "loss"):
        return (check_model if hasattr(thing, "trunk") else check_head)(thing, *args, **options)
    if hasattr(thing, "forward") and hasattr(thing, "backward"):
        return check_layer(thing, *args, **options)
    if callable(thing):
        return check_pair(thing, *args, **options)
    raise InputError(
        f"a {type(thing).__name__} has no gradients to check: pass a model, a head, a layer, or two functions as in "
        "check_gradients(dense_forward, dense_backward, (x, w, b))."
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
    elements: int = 200,
    directions: int = 2,
) -> Report:
    """Check `backward(dy, cache)` against differences of `y, cache = forward(*args, **kwargs)`.

    backward returns one gradient, or a tuple with one for each leading array of `args`, in order (None for None);
    `wrt` says which arguments get one, by position or name, if it is not these. y is an array or a number; of several
    outputs the one at position `output` alone gets a gradient. In each tensor `elements` elements are compared at
    most, after `directions` random directions. Raises InputError if an array is not float64.
    """
    kwargs, args = kwargs or {}, tuple(args)
    arguments = _named_arguments(forward, args, kwargs)
    names = _leading_arrays(arguments) if wrt is None else _chosen(wrt, arguments)
    variables = {name: arguments[name] for name in names if arguments[name] is not None}
    for name, x in variables.items():
        require_float64(name, x, f"pass {name}.astype('float64')")
    if not variables:
        raise InputError("none of args is an array of floats, so there is no gradient to check: pass for example (x,).")
    subject = Subject(
        getattr(forward, "__name__", type(forward).__name__),
        variables,
        lambda: _one_output(forward(*args, **kwargs), output),
        lambda dy, cache: _in_order(backward(dy, cache), names, variables),
    )
    return check(subject, Effort(seed, elements, directions))


def _named_arguments(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(forward).parameters.values() if p.kind in kinds]
    names += [f"arg{i}" for i in range(len(names), len(args))]
    return dict(zip(names, args, strict=False)) | kwargs


def _leading_arrays(arguments: dict[str, Any]) -> list[str]:
    names = []
    for name, value in arguments.items():
        if value is not None and not _is_float_array(value):
            break
        names.append(name)
    return names


def _chosen(wrt: Sequence[int | str], arguments: dict[str, Any]) -> list[str]:
    known = list(arguments)
    names = []
    for which in (wrt,) if isinstance(wrt, int | str) else wrt:
        if which not in known and not (isinstance(which, int) and 0 <= which < len(known)):
            raise InputError(f"wrt has {which!r}, but the arguments are {', '.join(known)}: pass names or positions.")
        names.append(known[which] if isinstance(which, int) else which)
    return names


def _one_output(result: Any, output: int | None) -> tuple[Any, Any]:
    """forward's `y, cache`, `y, more, cache` or `(y, more), cache` -> y, cache."""
    if not isinstance(result, tuple) or len(result) < 2:
        raise InputError(f"forward returned {_kind(result)}, but y, cache was expected.")
    *outputs, cache = result
    if len(outputs) == 1 and isinstance(outputs[0], tuple):
        outputs = list(outputs[0])
    if len(outputs) > 1 and output is None:
        raise InputError(f"forward has {len(outputs)} outputs: pass output=0 if the first alone gets a gradient.")
    return outputs[output or 0], cache


def _in_order(result: Any, names: list[str], variables: dict[str, Array]) -> Gradients:
    gradients = list(result) if isinstance(result, tuple) else [result]
    wanted = list(names)
    while len(wanted) > len(gradients) and wanted[-1] not in variables:  # an optional argument that was left out
        wanted.pop()
    if len(gradients) != len(wanted):
        return {}, [
            f"backward returned {len(gradients)} gradients, but {len(wanted)} were expected "
            f"({', '.join('d' + n for n in wanted)}); pass wrt=(...) if other arguments get one"
        ]
    named = dict(zip(wanted, gradients, strict=True))
    extra = [f"d{n} should be None, since {n} is" for n, g in named.items() if n not in variables and g is not None]
    return {n: g for n, g in named.items() if n in variables}, extra


# ---------------------------------------------------------------- layers, heads, models
def check_layer(
    layer: Any,
    x: Array,
    *,
    train: bool = False,
    rng: Any = None,
    seed: int = 0,
    elements: int = 200,
    directions: int = 2,
) -> Report:
    """Check dx and the gradient of every parameter of `layer` at input x (float64; integers get no dx).

    `y, cache = layer.forward(x, train=train, rng=rng)`, then `dx, grads = layer.backward(dy, cache)` with a random dy.
    Parameters are moved in place and put back, and so are the buffers that forward writes.
    Raises InputError if x or a parameter is not float64.
    """
    own = {"x": x} if _is_float_array(x) or not hasattr(x, "dtype") else {}
    return _check_module(
        layer,
        own,
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
    rng: Any = None,
    seed: int = 0,
    elements: int = 200,
    directions: int = 2,
) -> Report:
    """Check dh and the gradient of every parameter of `head` at features h (N, D), float64, and `targets` (N,).

    `loss, cache = head.loss(h, targets, train=train, rng=rng)`, then `dh, grads = head.backward(cache, dloss)` with a
    random dloss. Raises InputError if h or a parameter is not float64.
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
    rng: Any = None,
    seed: int = 0,
    elements: int = 20,
    directions: int = 2,
) -> Report:
    """Check the gradient of every parameter of `model` at inputs x (float64, or integers) and `targets`.

    `loss, cache = model.loss(x, targets, train=train, rng=rng)`, then `grads = model.backward(cache)`.
    Raises InputError if x or a parameter is not float64.
    """
    if not hasattr(x, "dtype") or x.dtype.kind == "f":
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
    own: dict[str, Array],
    run: Callable[[], tuple[Any, Any]],
    back: Callable[[Any, Any], Any],
    effort: Effort,
    upstream: float | None = None,
) -> Report:
    """`own` is the input that gets a gradient, by name; parameters follow under their dotted names."""
    kind = type(module).__name__
    parameters = dict(_leaves(module.params))
    for name, x in own.items():
        require_float64(name, x, f"pass {name}.astype('float64')")
    for name, x in parameters.items():
        require_float64(f"parameter {name}", x, "use npsoftmax.layers.base.replace_leaves(thing.params, to_float64)")

    def named(dy: Any, cache: Any) -> Gradients:
        result = back(dy, cache)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            raise InputError(f"backward of {kind} returned {_kind(result)}, but dx, grads (a dict) was expected.")
        grads = dict(_leaves(result[1]))
        extra = [f"grads has {n!r}, which is no parameter" for n in grads if n not in parameters]
        return grads | dict.fromkeys(own, result[0]), extra

    def run_checked() -> tuple[Any, Any]:
        result = run()
        if not isinstance(result, tuple) or len(result) != 2:
            raise InputError(f"forward of {kind} returned {_kind(result)}, but an output and a cache were expected.")
        return result

    buffers = getattr(module, "buffers", {})
    return check(Subject(kind, {**own, **parameters}, run_checked, named, buffers, upstream), effort)


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    # The same few lines stand in layers/base.py, which this package may not import.
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_float_array(value: Any) -> bool:
    return getattr(value, "ndim", None) is not None and hasattr(value, "flags") and value.dtype.kind == "f"


def _kind(result: Any) -> str:
    return f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
