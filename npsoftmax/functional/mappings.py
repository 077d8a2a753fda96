"""The table of all mappings from logits to something softmax-like; tests, attention and docs run over it.

Design: a mapping's functions are looked up in their module at each use, so that a student's function put in the place
of `softmax.softmax_forward` is the one that runs; its options are that function's keyword-only arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from npsoftmax.functional import entmax, gumbel, softmax, sparse_mappings, spherical, taylor
from npsoftmax.options import check_options, option_defaults


@dataclass(frozen=True)
class Mapping:
    """One forward/backward pair over the last axis, and what holds for it.

    kind: "probability" (>= 0 and summing to 1 for all finite logits; takes a boolean mask), "log-probability"
        (its exponential is one) or "statistic" (all else)
    sums_to_one: false for a probability of which something is kept back, so that its rows sum to less
    needs_noise: the second argument is an array of noise
    biased: the backward is deliberately not the derivative of the forward
    shift_invariant: z + c gives what z gives
    keeps_order: z_i > z_j implies y_i >= y_j, noise aside; None where the output has no class axis
    """

    name: str
    module: ModuleType
    kind: str
    formula: str
    reference: str
    sums_to_one: bool = True
    needs_noise: bool = False
    biased: bool = False
    shift_invariant: bool = True
    keeps_order: bool | None = True

    @property
    def forward(self) -> Callable[..., tuple[Any, Any]]:
        return getattr(self.module, f"{self.name}_forward")

    @property
    def backward(self) -> Callable[[Any, Any], Any]:
        return getattr(self.module, f"{self.name}_backward")

    @property
    def options(self) -> dict[str, Any]:
        """name -> default of every option of the forward."""
        return option_defaults(self.forward)

    def check(self, options: dict[str, Any], what: str = "mapping") -> dict[str, Any]:
        """`options` with values of the right type; InputError for an unknown name, and for a value such as tau = 0."""
        checked = check_options(f"{what} {self.name!r}", self.forward, options)
        for name, value in checked.items():
            CHECKS[name](value)
        return checked


# What the value of an option has to be, in whichever mapping the option occurs.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "tau": partial(softmax.positive, "tau"),
    "eps": partial(softmax.positive, "eps"),
    "order": taylor.check_order,
    "alpha": entmax.check_alpha,
    "sink": partial(softmax.finite, "sink"),
}


_GUMBEL = "Jang et al., 2017 (arXiv 1611.01144); Maddison et al., 2017 (arXiv 1611.00712)"
_TAYLOR = "de Brébisson and Vincent, 2016 (arXiv 1511.05042); Banerjee et al., 2020 (arXiv 2011.11538)"
_SPHERICAL = "de Brébisson and Vincent, 2016 (arXiv 1511.05042)"
_PROBABILITY, _LOG, _STATISTIC = KINDS = ("probability", "log-probability", "statistic")

_ALL = (
    Mapping("softmax", softmax, _PROBABILITY, "exp(z_i) / Σ exp(z_j)", "Bridle, 1990"),
    Mapping("log_softmax", softmax, _LOG, "z_i - log Σ exp(z_j)", "Bridle, 1990"),
    Mapping(
        "softmax1",
        softmax,
        _PROBABILITY,
        "exp(z_i) / (exp(sink) + Σ exp(z_j))",
        "Miller, 2023; Xiao et al., 2023 (arXiv 2309.17453)",
        sums_to_one=False,
        shift_invariant=False,
    ),
    Mapping("gumbel_softmax", gumbel, _PROBABILITY, "softmax((z + g) / tau)", _GUMBEL, needs_noise=True),
    Mapping("log_gumbel_softmax", gumbel, _LOG, "log_softmax((z + g) / tau)", _GUMBEL, needs_noise=True),
    Mapping(
        "gumbel_softmax_hard",
        gumbel,
        _PROBABILITY,
        "onehot(argmax(z + g)), backward of gumbel_softmax",
        f"Bengio et al., 2013 (arXiv 1308.3432); {_GUMBEL}",
        needs_noise=True,
        biased=True,
    ),
    Mapping(
        "taylor_softmax",
        taylor,
        _PROBABILITY,
        "f(z_i) / Σ f(z_j), f(z) = Σ_{k<=order} z^k / k!",
        _TAYLOR,
        shift_invariant=False,
        keeps_order=False,
    ),
    Mapping(
        "log_taylor_softmax",
        taylor,
        _LOG,
        "log f(z_i) - log Σ f(z_j), f(z) = Σ_{k<=order} z^k / k!",
        _TAYLOR,
        shift_invariant=False,
        keeps_order=False,
    ),
    Mapping(
        "spherical_softmax",
        spherical,
        _PROBABILITY,
        "(z_i² + eps) / Σ (z_j² + eps)",
        _SPHERICAL,
        shift_invariant=False,
        keeps_order=False,
    ),
    Mapping(
        "log_spherical_softmax",
        spherical,
        _LOG,
        "log(z_i² + eps) - log Σ (z_j² + eps)",
        _SPHERICAL,
        shift_invariant=False,
        keeps_order=False,
    ),
    Mapping(
        "sparsemax",
        sparse_mappings,
        _PROBABILITY,
        "max(z_i - θ, 0), θ with Σ = 1",
        "Martins and Astudillo, 2016 (arXiv 1602.02068)",
    ),
    Mapping(
        "entmax15",
        sparse_mappings,
        _PROBABILITY,
        "max(z_i / 2 - θ, 0)², θ with Σ = 1",
        "Peters, Niculae and Martins, 2019 (arXiv 1905.05702)",
    ),
    Mapping(
        "entmax",
        entmax,
        _PROBABILITY,
        "max((alpha - 1) z_i - θ, 0)^(1 / (alpha - 1)), θ with Σ = 1",
        "Peters, Niculae and Martins, 2019 (arXiv 1905.05702)",
    ),
    Mapping(
        "log_sum_exp",
        softmax,
        _STATISTIC,
        "log Σ exp(z_i)",
        "Blanchard, Higham and Higham, 2021",
        shift_invariant=False,
        keeps_order=None,
    ),
    Mapping("soft_argmax", softmax, _STATISTIC, "Σ i · softmax(z)_i", "softmax's mean index", keeps_order=None),
    Mapping(
        "sum_normalisation_v1",
        softmax,
        _STATISTIC,
        "z_i / Σ z_j",
        "the first idea",
        shift_invariant=False,
        keeps_order=False,
    ),
    Mapping("sum_normalisation_v2", softmax, _STATISTIC, "(z_i - min z) / Σ (z_j - min z)", "the second idea"),
    Mapping("log_softmax_approximation", softmax, _STATISTIC, "z_i - max z", "hard maximum for soft"),
)

MAPPINGS: dict[str, Mapping] = {mapping.name: mapping for mapping in _ALL}
