"""Heads with noise on the scores: Gumbel-softmax by its two routes. Derivation: docs/gumbel.md.

Design: the noise is added to the scores, inside one log-softmax, and is a constant for the backward pass. It is
drawn from the `rng` that the caller passes, so the same rng gives the same loss, and a temperature that anneals
reads the step from it too: a resumed run continues with the noise and the temperature that it would have had.
"""

from __future__ import annotations

import copy
from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number, unknown_name
from npsoftmax.functional import gumbel
from npsoftmax.functional import loss as losses
from npsoftmax.functional.softmax import positive
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.checks import smoothing
from npsoftmax.heads.flat import FlatHead
from npsoftmax.random import Rng, check_rng

NOISES = ("gumbel", "normal", "none")
_REFERENCE = "Jang et al., 2017 (arXiv 1611.01144); Maddison et al., 2017 (arXiv 1611.00712)"


class NoisyHead(FlatHead):
    """u = (z + g) / τ in training, u = z / τ in evaluation: what all heads with noise share.

    tau: τ > 0. With tau_end and anneal_steps, τ falls (or rises) from tau at step 0 to tau_end at step
    anneal_steps, by the same factor each step, and stays there; evaluation always uses tau_end.
    noise: gumbel, normal (both of standard scale) or none. eval_noise: draw the noise in evaluation too, as some
    published experiments did; evaluation then needs an rng, and loss, log_prob and predict agree with each other
    for the same rng only. Raises InputError where noise is needed and there is no rng.
    """

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        tau: float = 1.0,
        tau_end: float | None = None,
        anneal_steps: int | None = None,
        noise: str = "gumbel",
        eval_noise: bool = False,
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        if noise not in NOISES:
            raise unknown_name("noise", noise, NOISES)
        if (tau_end is None) != (anneal_steps is None):
            raise InputError(
                f"tau_end is {tau_end!r} and anneal_steps is {anneal_steps!r}, but a temperature that anneals "
                "needs both; type for example tau=5.0 tau_end=0.5 anneal_steps=2000."
            )
        if anneal_steps is not None and not as_number(anneal_steps) >= 1:
            raise InputError(f"anneal_steps is {anneal_steps!r}, but at least 1 step is needed.")
        self.tau = positive("tau", tau)
        self.tau_end = self.tau if tau_end is None else positive("tau_end", tau_end)
        self.anneal_steps = anneal_steps or 1
        self.noise, self.eval_noise = noise, eval_noise
        if self.tau_end != self.tau:
            self.uncaptured = "its temperature is another number in each step"

    def tau_at(self, step: int) -> float:
        """The temperature of training step `step`, counted from 0."""
        done = min(step / self.anneal_steps, 1.0)
        return self.tau * (self.tau_end / self.tau) ** done

    def draw(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, float]:
        """The noise for scores z (N, C), zeros where there is none, and the temperature."""
        xp = array_module(z)
        annealed = train and self.tau_end != self.tau
        noisy = (train or self.eval_noise) and self.noise != "none"
        if not (noisy or annealed):
            return xp.zeros_like(z), self.tau_end
        if rng is None:
            when = "training" if train else "evaluation with eval_noise=true"
            raise InputError(
                f"{type(self).__name__} draws its noise and temperature from an rng in {when}, but none was given; "
                "pass rng=npsoftmax.Rng(seed).at(step)."
            )
        check_rng(rng)
        tau = self.tau_at(rng.step) if annealed else self.tau_end
        if not noisy:
            return xp.zeros_like(z), tau
        sample = rng.gumbel if self.noise == "gumbel" else rng.normal
        return sample(z.shape, z.dtype, xp), tau

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        noise, tau = self.draw(z, False, rng)
        return gumbel.log_gumbel_softmax_forward(z, noise, tau=tau)[0]

    def closer_look(self, h: Array, targets: Array, rng: Rng | None) -> dict[str, Any]:
        """test_without_noise, where there is noise in evaluation: log p without it."""
        found = super().closer_look(h, targets, rng)
        if self.eval_noise:
            quiet = copy.copy(self)  # with the same parameters
            quiet.eval_noise = False
            found["test_without_noise"] = quiet.log_prob(h)
        return found


class GumbelSoftmaxHead(NoisyHead):
    """Cross entropy of softmax((z + g) / τ), g fresh Gumbel noise in training, none in evaluation; fused.

    label_smoothing (training only) as in `softmax`; tau, tau_end, anneal_steps, noise and eval_noise: see
    docs/gumbel.md, which also measures what noise in evaluation costs. `log_gumbel_softmax` is the same function in two
    steps: a relaxed sample's log-probability has one right value, however it is called.
    """

    soft_targets = True
    card = Card("softmax((z + g) / τ), g in training only", _REFERENCE)

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        eval_noise: bool = False,
        label_smoothing: float = 0.0,
        **options: Any,
    ):
        # Named again so that label_smoothing is listed behind it.
        super().__init__(features, classes, eval_noise=eval_noise, **options)
        self.label_smoothing = smoothing(label_smoothing)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        noise, tau = self.draw(z, train, rng)
        smoothed = self.label_smoothing if train else 0.0
        return losses.softmax_cross_entropy_fused_forward(z + noise, targets, smoothed, tau)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        return losses.softmax_cross_entropy_fused_backward(dlosses, cache)


class LogGumbelSoftmaxHead(GumbelSoftmaxHead):
    """The gumbel_softmax head in two steps: log-softmax of (z + g) / τ, then the NLL of the target.

    The same function as `gumbel_softmax`, with its options.
    """

    card = Card("log_softmax((z + g) / τ), then NLL; g in training only", _REFERENCE)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        noise, tau = self.draw(z, train, rng)
        y, map_cache = gumbel.log_gumbel_softmax_forward(z, noise, tau=tau)
        found, cache = losses.nll_forward(y, targets, self.label_smoothing if train else 0.0)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        return gumbel.log_gumbel_softmax_backward(losses.nll_backward(dlosses, loss_cache), map_cache)
