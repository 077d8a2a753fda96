"""Where activations are bfloat16, and where float32 begins again: what `--precision bf16` means for a network.

    images ─narrowed─► first layer … last layer ─widened─► head, softmax, loss        what is between: bfloat16
    none  ◄─────────── first layer … last layer ◄─rounded─ gradient of the head       gradients of it: bfloat16

Everything else is float32: parameters and their gradients, the statistics of norms, heads, losses, the optimiser.

Design: the array decides, here too. A layer that is given bfloat16 gives bfloat16, and a gradient has the type of what
it is the gradient of. A pair that knows of none gets float32 (`arguments.real` sees to that), and the container around
it rounds what it gives. Where nobody rounds at the beginning there is none: float64, fp32, tf32 and hosts.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, gradient_like, operands, real, reals, taken
from npsoftmax.backend import array_module, device_precision
from npsoftmax.bfloat16 import BFloat16
from npsoftmax.cuda import compiled_for, on_device


# ---------------------------------------------------------------- between the two types
def narrowed(x: Any) -> Any:
    """What a network is given: in bfloat16 with `--precision bf16`, where it is float32 on a device; else as it is."""
    if device_precision() != "bf16" or not on_device(x) or x.dtype.char != "f":
        return x
    return rounded(x)


def rounded(x: Any) -> Any:
    """x (float32, on a device, any shape) to the nearest bfloat16, of two as near the even one; bfloat16 stays."""
    if isinstance(x, BFloat16):
        return x
    xp = array_module(x)
    bits = xp.empty(x.shape, dtype=xp.uint16)
    compiled_for(xp, "bfloat16", "f").each("round_bf16", x.size, xp.ascontiguousarray(x, dtype=xp.float32), bits)
    return BFloat16(bits)


def widened(x: Any) -> Any:
    """x in float32 where it is bfloat16; else as it is."""
    if not isinstance(x, BFloat16):
        return x
    xp = array_module(x)
    y = xp.empty(x.shape, dtype=xp.float32)
    compiled_for(xp, "bfloat16", "f").each("widen_bf16", x.size, xp.ascontiguousarray(x.bits), y)
    return y


def like(y: Any, x: Any) -> Any:
    """y (or None) in bfloat16 where x is that; else as it is."""
    return rounded(y) if isinstance(x, BFloat16) and y is not None else y


def room(x: Any, shape: tuple[int, ...] | None = None) -> Any:
    """An array of the type of x, and of its shape or another, to be written."""
    xp, shape = array_module(x), x.shape if shape is None else shape
    return BFloat16(xp.empty(shape, dtype=xp.uint16)) if isinstance(x, BFloat16) else xp.empty(shape, dtype=x.dtype)


# ---------------------------------------------------------------- arguments of a pair that takes bfloat16 as it is
def activation(x: Any, name: str = "x") -> Any:
    """`arguments.real`, but bfloat16 stays."""
    return x if isinstance(x, BFloat16) else real(x, name)


def activation_and(x: Any, w: Any, b: Any) -> tuple[Any, Any, Any]:
    """`arguments.operands`, but x stays where it is bfloat16."""
    return (x, *operands(w, w, b)[1:]) if isinstance(x, BFloat16) else operands(x, w, b)


def activations(spec: str, x: Any, *arrays: Any) -> Any:
    """`arguments.taken`, but where x is bfloat16, what is that stays so."""
    if not isinstance(x, BFloat16):
        return taken(spec, x, *arrays)
    arrays = x, *[a if isinstance(a, BFloat16) else reals(a)[0] for a in arrays]
    fit(spec, *[None if a is None else a.shape for a in arrays])
    return arrays


def gradient_as(dy: Any, shape: tuple[int, ...], x: Any) -> Any:
    """`arguments.gradient_like`, in bfloat16 where x is that and only there."""
    return rounded(kept_gradient(dy, shape)) if isinstance(x, BFloat16) else gradient_like(dy, shape)


def gradient_of(x: Any, dy: Any) -> Any:
    """dy as real numbers of the type of x; its shape is looked at elsewhere."""
    return rounded(activation(dy, "dy")) if isinstance(x, BFloat16) else real(dy, "dy")


def kept_gradient(dy: Any, shape: tuple[int, ...]) -> Any:
    """`arguments.gradient_like`, but bfloat16 stays: for a pair whose cache has no array that would say."""
    return dy if isinstance(dy, BFloat16) and dy.shape == tuple(shape) else gradient_like(dy, shape)
