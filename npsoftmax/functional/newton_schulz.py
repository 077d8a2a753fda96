"""The direction of Muon, readable: the nearest matrix whose singular values are all near 1, by products alone.

What trains takes the same steps with fewer products: training/optimizers/muon.py. Derivation: docs/few-epochs.md,
section 3.
"""

from __future__ import annotations

import math

from npsoftmax.arguments import fit, real, taken, whole
from npsoftmax.backend import Array, array_module

A, B, C = 3.4445, -4.7750, 2.0315  # of Jordan's polynomial A·s + B·s³ + C·s⁵
LEAST_NORM = 1e-7  # a smaller matrix is no direction


def newton_schulz_step(x: Array) -> Array:
    """A·x + (B·g + C·g²) @ x, g = x @ xᵀ: each singular value s of x (R, K) becomes A·s + B·s³ + C·s⁵."""
    x = real(x)
    fit("x (R, K)", x.shape)
    g = x @ x.T
    return A * x + (B * g + C * (g @ g)) @ x


def orthogonalised(m: Array, steps: int) -> Array:
    """U q(S) Vᵀ of m = U S Vᵀ (R, K), q(S) near 1: `steps` of `newton_schulz_step` from m / ‖m‖. Zeros stay zeros.

    Source: Jordan et al., "Muon", 2024.
    """
    m, steps = real(m, "m"), whole("steps", steps)
    fit("m (R, K)", m.shape)
    xp, tall = array_module(m), m.shape[0] > m.shape[1]
    x = m / xp.maximum(xp.sqrt((m * m).sum()), LEAST_NORM)
    x = x.T if tall else x  # the smaller product x @ xᵀ
    for _ in range(steps):
        x = newton_schulz_step(x)
    return x.T if tall else x


def muon_step(w: Array, g: Array, b: Array, lr: float, momentum: float, steps: int) -> tuple[Array, Array]:
    """One step of Muon for filters: new b = μ·b + g, new w = w - lr · √max(1, F/K) · O, K = KH·KW·C.

    O is `orthogonalised` of g + μ · (new b) as a matrix (K, F). w, g, b (KH, KW, C, F) -> new w, new b like w.
    """
    w, g, b = taken("w (KH, KW, C, F), g (KH, KW, C, F), b (KH, KW, C, F)", w, g, b)
    b = momentum * b + g
    m = (g + momentum * b).reshape(-1, w.shape[3])
    scale = lr * math.sqrt(max(1.0, m.shape[1] / m.shape[0]))
    return w - scale * orthogonalised(m, steps).reshape(w.shape), b
