"""What a loss is told to be right: labels (N,), or soft targets q (N, C) of at least 0.

The loss of soft targets is Σ_c q_c times that of class c, so that one-hot rows are labels. q need not sum to 1: weights
of classes may be in it.
"""

from __future__ import annotations

from typing import Any

from npsoftmax.arguments import fit, labels, real, refuse, samples
from npsoftmax.backend import Array, array_module
from npsoftmax.kernels import on_device


def check_targets(z: Array, t: Array) -> tuple[Array, Array]:
    """z as real numbers (N, C), N >= 1, and t (N,) as whole numbers; on the host, also in 0 … C - 1."""
    z = real(z, "z")
    fit("z (N, C)", z.shape)
    return z, labels(t, len(z), z.shape[1])


def labels_or_soft(z: Array, t: Array) -> tuple[Array, Array]:
    """`check_targets`, where t may also be soft: then real numbers (N, C) of the type of z, on the host at least 0."""
    z = real(z, "z")
    fit("z (N, C)", z.shape)
    return z, soft(t, z.dtype) if getattr(t, "shape", None) == z.shape else labels(t, len(z), z.shape[1])


def soft(q: Array, dtype: Any) -> Array:
    """Soft targets q (N, C) as real numbers of `dtype`, N >= 1, on the host all finite and at least 0."""
    samples(len(q))
    return not_negative(real(q, "q"), dtype, "soft targets").astype(dtype, copy=False)


def not_negative(x: Array, dtype: Any, name: str) -> Array:
    """x, on the host at least 0 and finite in `dtype`; InputError else. A device isn't asked: that would wait."""
    finfo = array_module(x).finfo
    most = min(float(finfo(x.dtype).max), float(finfo(dtype).max))
    if not on_device(x) and x.size and not (x.min() >= 0 and x.max() <= most):
        wrong = x[~((x >= 0) & (x <= most))]
        raise refuse(f"{name} hold {wrong[0]}, but finite numbers of at least 0 were expected.")
    return x


# ---------------------------------------------------------------- what both kinds share
def at_targets(x: Array, t: Array) -> Array:
    """Σ_c q_c · x_c of each row: with labels, the column of the label. x (N, C), t (N,) or (N, C) -> (N,)."""
    return x[array_module(x).arange(len(t)), t] if t.ndim == 1 else (t * x).sum(axis=1)


def mass_of(t: Array) -> Any:
    """Σ_c q_c of each sample (N,); 1 for labels."""
    return 1 if t.ndim == 1 else t.sum(axis=1)


def less_targets(dz: Array, t: Array, height: Array) -> None:
    """dz -= q · height in place, without building one-hot rows. dz (N, C), t (N,) or (N, C), height (N,)."""
    if t.ndim == 1:
        dz[array_module(dz).arange(len(t)), t] -= height
    else:
        dz -= t * height[:, None]
