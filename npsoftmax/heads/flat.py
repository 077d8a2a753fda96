"""Heads with one score a class: the linear map that they share, and softmax by its two routes.

Design: a flat head is a map h -> z and a function of each row of z. `FlatHead` does the first and the protocol;
a subclass adds three small methods on the scores: the losses, their backward and the log-probabilities. None of
them may change z, which is the features themselves under linear=False.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import cosine, logits, softmax
from npsoftmax.functional import loss as losses
from npsoftmax.functional.linear_softmax import linear_softmax_nll_backward, linear_softmax_nll_forward
from npsoftmax.functional.softmax import positive
from npsoftmax.functional.targets import mass_of
from npsoftmax.heads.base import Card, ClassInfo, Head
from npsoftmax.heads.checks import not_negative, smoothing
from npsoftmax.layers.dense import Dense
from npsoftmax.params import Tree
from npsoftmax.random import Rng

LOGITS = ("auto", "whole", "blocks")
BLOCKS_FROM = 2**23  # logits of a batch, 32 MB, from which none are held (docs/results/linear-softmax.md)


class FlatHead(Head):
    """Scores z = h @ w + b, or z = h with linear=False (then D must be C), and a loss of the scores.

    params w (D, C), b (C,): none under linear=False, no b under bias=False.
    """

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        linear: bool = True,
        bias: bool = True,
        init: str = "default",
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        if not linear and features != classes.n:
            raise InputError(
                f"linear=false takes the features as the {classes.n} scores, but there are {features} of "
                f"them; give the model a layer of {classes.n} logits (--model-opt logits={classes.n})."
            )
        self.map = Dense(features, classes.n, rng=rng, bias=bias, init=init) if linear else None
        if self.map is not None:
            self.params = self.map.params

    # ------------------------------------------------------------ what a flat head adds
    @abstractmethod
    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        """z (N, C), targets (N,), or (N, C) if `soft_targets` -> losses (N,), cache."""

    @abstractmethod
    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        """dlosses (N,) -> dz (N, C)."""

    @abstractmethod
    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        """z (N, C) -> log p (N, C), in evaluation."""

    # ------------------------------------------------------------ the protocol
    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        z, map_cache = self.scores(h)
        losses, cache = self.losses_of_scores(z, targets, train, rng)
        return losses, (map_cache, cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        map_cache, loss_cache = cache
        return self.scores_backward(self.losses_of_scores_backward(dlosses, loss_cache), map_cache)

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        z, _ = self.scores(h)
        return self.log_prob_of_scores(z, rng) if len(z) else z

    # ------------------------------------------------------------ the linear map
    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), cache."""
        return (h, None) if self.map is None else self.map.forward(h)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        if self.map is None:
            return dz, {}
        dh, grads = self.map.backward(dz, cache)
        assert dh is not None  # it was asked for
        return dh, grads

    def macs(self) -> int:
        return 0 if self.map is None else self.features * self.classes.n


@dataclass(frozen=True)
class Terms:
    """What a loss has besides the cross entropy of z = h @ w + b; see `linear_softmax_nll_forward`.

    z becomes scale · (gain · z + shift), gain and shift (C,); lead: of every target, or (C,) of each class.
    """

    scale: float = 1.0
    gain: Array | None = None
    shift: Array | None = None
    lead: float | Array = 0.0
    label_smoothing: float = 0.0
    z_loss: float = 0.0


@dataclass(frozen=True)
class InBlocks:
    """The cache of losses whose logits were not held."""

    cache: Any


class CrossEntropyHead(FlatHead):
    """A flat head whose loss is a softmax cross entropy, so that the logits of a large batch need not be held.

    Whether a class can is said by that class alone (`has_blocks`): a subclass may have another loss.
    logits: whole, all (N, C) of them in memory; blocks, a block of classes and samples at a time, made once more in
    backward: the same losses and gradients to rounding; auto, blocks from BLOCKS_FROM logits a batch on. Soft targets,
    as many numbers themselves, have whole logits.
    """

    has_blocks: ClassVar[bool] = False  # of the very class: subclasses say it anew

    def __init__(self, features: int, classes: ClassInfo, *, logits: str = "auto", **options: Any):
        super().__init__(features, classes, **options)
        if logits not in LOGITS:
            raise unknown_name("logits", logits, LOGITS)
        self.logits = logits

    def terms(self, train: bool) -> Terms:
        """The terms of the loss."""
        return Terms()

    def why_whole(self) -> str:
        """What of this head needs all logits of a sample at once; nothing where it can do without."""
        if not vars(type(self)).get("has_blocks", False):
            return type(self).__name__
        return "" if self.map is not None else "linear=false"

    def check_logits(self) -> None:
        """InputError for blocks where there are none; the last line of a constructor."""
        if self.logits == "blocks" and (why := self.why_whole()):
            raise InputError(f"logits=blocks was asked for, but {why} needs all logits of a sample; type logits=whole.")

    def in_blocks(self, n: int) -> bool:
        """Whether the logits of n samples are made in blocks."""
        if self.logits == "auto":
            return n * self.classes.n >= BLOCKS_FROM and not self.why_whole()
        return self.logits == "blocks"

    def told_logits(self) -> str:
        """One line on where its logits are."""
        why = self.why_whole()
        if self.logits != "auto" or why:
            return f"logits: {'whole' if why else self.logits}" + (f" ({why} needs all of a sample)" if why else "")
        return f"logits: in blocks from {-(-BLOCKS_FROM // self.classes.n):,} samples a batch on, whole below (auto)"

    # ------------------------------------------------------------ the protocol
    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if targets.ndim == 2 or not self.in_blocks(len(h)):
            return super().losses_forward(h, targets, train, rng)
        losses, cache = self.blocks_forward(h, targets, self.terms(train))
        return losses, InBlocks(cache)

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        if isinstance(cache, InBlocks):
            return self.blocks_backward(dlosses, cache.cache)
        return super().losses_backward(dlosses, cache)

    def blocks_forward(self, h: Array, targets: Array, terms: Terms) -> tuple[Array, Any]:
        """h (N, D), targets (N,) -> losses (N,), cache."""
        asarray = array_module(h).asarray
        gain, shift = (None if x is None else asarray(x, dtype=h.dtype) for x in (terms.gain, terms.shift))
        b = self.params.get("b")
        if b is not None and gain is not None:
            b = b * gain
        if shift is not None:
            b = shift if b is None else b + shift
        lead = terms.lead if isinstance(terms.lead, float) else asarray(terms.lead, dtype=h.dtype)[targets]
        options = {"scale": terms.scale, "label_smoothing": terms.label_smoothing, "z_loss": terms.z_loss}
        w = self.params["w"].T
        losses, cache = linear_softmax_nll_forward(h, w, b, targets, gain=gain, lead=lead, **options)
        return losses, (cache, gain)

    def blocks_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """dlosses (N,) -> dh (N, D), grads."""
        cache, gain = cache
        dh, dw, db = linear_softmax_nll_backward(dlosses, cache)
        if "b" not in self.params:
            return dh, {"w": dw.T}
        assert db is not None  # b was there
        return dh, {"w": dw.T, "b": db if gain is None else db * gain}


class SoftmaxHead(CrossEntropyHead):
    """log p = log softmax(z / T); loss = -mean log p[target], both in one fused step.

    In training and evaluation alike: temperature T > 0; soft_cap c > 0, z becomes c · tanh(z / c); logit_norm τ > 0, z
    becomes z / (τ · ‖z‖), behind the cap. In training only: label_smoothing ε, the target is 1 - ε, plus ε/C on every
    class; and of the scores s that softmax is given, z_loss λ adds λ · (log Σ e^s)², max_sup α adds
    α · (max s - mean s). Derivation: docs/softmax-family.md.
    """

    card = Card("softmax(z / T)", "Bridle, 1990; label smoothing: Szegedy et al., 2016 (arXiv 1512.00567)")
    soft_targets = has_blocks = True

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        soft_cap: float | None = None,
        logit_norm: float | None = None,
        z_loss: float = 0.0,
        max_sup: float = 0.0,
        **options: Any,
    ):
        super().__init__(features, classes, **options)
        self.label_smoothing = smoothing(label_smoothing)
        self.temperature = positive("temperature", temperature)
        self.soft_cap = None if soft_cap is None else positive("soft_cap", soft_cap)
        self.logit_norm = None if logit_norm is None else positive("logit_norm", logit_norm)
        self.z_loss, self.max_sup = not_negative("z_loss", z_loss), not_negative("max_sup", max_sup)
        self.plain = self.soft_cap is None and self.logit_norm is None  # scores are those of the linear map
        self.check_logits()

    # ------------------------------------------------------------ in blocks
    def terms(self, train: bool) -> Terms:
        smoothing, z_loss = (self.label_smoothing, self.z_loss) if train else (0.0, 0.0)
        return Terms(scale=1 / self.temperature, label_smoothing=smoothing, z_loss=z_loss)

    def why_whole(self) -> str:
        options = {"soft_cap": self.soft_cap, "logit_norm": self.logit_norm, "max_sup": self.max_sup}
        return super().why_whole() or next((name for name, value in options.items() if value), "")

    # ------------------------------------------------------------ the scores
    def scores(self, h: Array) -> tuple[Array, Any]:
        """h (N, D) -> z (N, C), capped and normalised, cache."""
        z, map_cache = super().scores(h)
        if self.plain:
            return z, map_cache
        cap_cache = norm_cache = None
        if self.soft_cap is not None:
            z, cap_cache = logits.soft_cap_forward(z, self.soft_cap)
        if self.logit_norm is not None:
            z, norm_cache = cosine.unit_rows_forward(z)
            z = z / self.logit_norm
        return z, (map_cache, cap_cache, norm_cache)

    def scores_backward(self, dz: Array, cache: Any) -> tuple[Array, Tree]:
        """dz (N, C) -> dh (N, D), grads."""
        if self.plain:
            return super().scores_backward(dz, cache)
        map_cache, cap_cache, norm_cache = cache
        if self.logit_norm is not None:
            dz = cosine.unit_rows_backward(dz / self.logit_norm, norm_cache)
        if self.soft_cap is not None:
            dz = logits.soft_cap_backward(dz, cap_cache)
        return super().scores_backward(dz, map_cache)

    # ------------------------------------------------------------ the loss
    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        found, cache = self.cross_entropy(z, targets, self.label_smoothing if train else 0.0)
        if not (train and (self.z_loss or self.max_sup)):
            return found, (cache, None)
        mass, s = mass_of(targets), z / self.temperature
        size, size_cache = logits.z_loss_forward(s, self.z_loss)
        lead, lead_cache = logits.max_suppression_forward(s, self.max_sup)
        return found + mass * (size + lead), (cache, (mass, size_cache, lead_cache))

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        cache, penalties = cache
        dz = self.cross_entropy_backward(dlosses, cache)
        if penalties is None:
            return dz
        mass, size_cache, lead_cache = penalties
        dlosses = dlosses * mass / self.temperature
        return dz + logits.z_loss_backward(dlosses, size_cache) + logits.max_suppression_backward(dlosses, lead_cache)

    def cross_entropy(self, z: Array, targets: Array, label_smoothing: float) -> tuple[Array, Any]:
        """z (N, C), targets (N,) or (N, C) -> losses (N,), cache."""
        return losses.softmax_cross_entropy_fused_forward(z, targets, label_smoothing, self.temperature)

    def cross_entropy_backward(self, dlosses: Array, cache: Any) -> Array:
        """dlosses (N,) -> dz (N, C)."""
        return losses.softmax_cross_entropy_fused_backward(dlosses, cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(z / self.temperature)[0]


class LogSoftmaxHead(SoftmaxHead):
    """The softmax head in two steps: log-softmax, then the negative log-likelihood of the target.

    The same function as `softmax`, loss for loss and gradient for gradient, with the options of `softmax`: it is
    the logarithm *inside* the loss that matters, not the name. It writes the (N, C) log-probabilities out and
    reads them again, which the fused step need not.
    """

    has_blocks = True
    card = Card("log_softmax(z / T), then NLL", "Bridle, 1990")

    def cross_entropy(self, z: Array, targets: Array, label_smoothing: float) -> tuple[Array, Any]:
        y, map_cache = softmax.log_softmax_forward(z / self.temperature)
        found, cache = losses.nll_forward(y, targets, label_smoothing)
        return found, (map_cache, cache)

    def cross_entropy_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        dy = losses.nll_backward(dlosses, loss_cache)
        return softmax.log_softmax_backward(dy, map_cache) / self.temperature
