"""What every head is: the last linear map, the normaliser and the loss, as one thing.

A head is given features and targets and is never asked for logits, so nobody can give its probabilities to a loss
that normalises them again, forget its parameters, or predict from something else than what was trained.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from npsoftmax import html
from npsoftmax.arguments import array, labels, number, real, whole
from npsoftmax.backend import Array, array_module
from npsoftmax.cuda import Constant
from npsoftmax.errors import InputError, as_number
from npsoftmax.functional.targets import soft
from npsoftmax.heads.checks import check_finite, check_k
from npsoftmax.heads.classes import ClassInfo
from npsoftmax.heads.weighting import class_weights, ignored_label, sample_weights
from npsoftmax.options import full_signature
from npsoftmax.params import HoldsTrees, Tree, leaves
from npsoftmax.random import Rng, check_rng


@dataclass(frozen=True)
class Card:
    """One line of `npsoftmax heads`; z are the scores, D the features, C the classes.

    formula: what is computed; reference: where it comes from; step, prediction: the cost of a sample in C;
    parameters: how many; mistake: of a legacy wiring alone, what it gets wrong; instead: the head to use.
    """

    formula: str
    reference: str
    step: str = "O(C)"
    prediction: str = "O(C)"
    parameters: str = "(D + 1) C"
    mistake: str = ""
    instead: str = ""


UNASKED = object()  # in the place of labels where a prediction needs none; None is what somebody forgot


class LegacyWiringWarning(UserWarning):
    """A head was made that is known to be wired wrongly."""


class Head(HoldsTrees, ABC):
    """p(class | features). Built as Head(features, classes, rng=…, **options); rng draws the parameters.

    A head names its own options and hands the others up as `**options`; `inspect.signature` and help() show them all.

    class_weight: what the loss of a sample is multiplied by in training, by its class: None, C numbers, or "balanced",
    N / (C · n_c) for a class with n_c of N training samples. With soft targets each q_c is multiplied.
    ignore_label: a label whose samples weigh 0, in evaluation too; any whole number. Every head has these two options.

    params: arrays that train; buffers: fixed at construction and saved with them (a tree, a permutation, a prior).
    likelihood: whether, with train=False, loss = -mean log_prob[target]; class weights, smoothing, margins, noise,
    priors and sampling act in training only. soft_targets: whether it takes targets (N, C). distribution: whether
    exp(log_prob) sums to 1 over the classes; not where several may be right, or none. multi_label: whether targets may
    be sets of labels, (N, C) of 0 and 1, which are no soft targets.
    ordered: whether classes are ranks, so that it matters how far off a prediction is.
    legacy: whether this is a published miswiring, kept to be studied; making one warns.
    reads_labels: whether a step is planned by the labels: `loss` then takes them in host memory, whatever h is in;
    labels on a device have to be copied from it first. mixes_samples: whether the result of a sample depends on the
    others in its batch, which then cannot be trained on in parts. uncaptured: why a step on a device cannot be captured
    and replayed as a graph (training/graph.py), in words; "" where it can: it waits for nothing, copies nothing to the
    device, and no number of the host changes from step to step.
    """

    params: Tree
    buffers: Tree
    likelihood: bool = True
    soft_targets: bool = False
    distribution: bool = True
    multi_label: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    legacy: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    mixes_samples: bool = False
    uncaptured: str = ""
    _constant: Constant | None = None
    card: ClassVar[Card]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__signature__ = full_signature(cls)

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        class_weight: tuple[float, ...] | str | None = None,
        ignore_label: int | None = None,
    ):
        if as_number(features) < 1:
            raise InputError(f"a head needs at least 1 feature, not {features}.")
        whole("features", features)
        if not isinstance(classes, ClassInfo):
            raise InputError(f"classes is {classes!r:.60}, but what is known of them was expected; type ClassInfo(10).")
        check_rng(rng)
        self.features, self.classes = features, classes
        self.class_weight, self.ignore_label = (
            class_weights(class_weight, classes),
            ignored_label(ignore_label, classes),
        )
        self.params, self.buffers = {}, {}
        if self.legacy:
            self._warn()

    def _warn(self) -> None:
        """Say what is wrong with this head and which to use instead, in the line that makes it."""
        message = f"{type(self).__name__}: {self.card.mistake}. To train a model, use {self.card.instead}."
        # Past this method and every constructor on the way here.
        constructors = sum("__init__" in vars(cls) for cls in type(self).__mro__ if issubclass(cls, Head))
        warnings.warn(message, LegacyWiringWarning, stacklevel=constructors + 2)

    # ------------------------------------------------------------ what a head writes
    @abstractmethod
    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        """Loss of each sample. h (N, D), targets (N,) labels or, if `soft_targets`, (N, C) -> losses (N,), cache."""

    @abstractmethod
    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        """dlosses (N,) -> dh (N, D), grads (mirrors params)."""

    @abstractmethod
    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        """log p of every class. h (N, D) -> (N, C), each row summing to 1 in probability."""

    # ------------------------------------------------------------ what it has
    def loss(
        self, h: Array, targets: Array, *, weights: Array | None = None, train: bool = False, rng: Rng | None = None
    ) -> tuple[Array, Any]:
        """(1/N) Σ_n w_n · ℓ_n, also where weights or labels to be ignored are among them: so parts of a batch add up.

        h (N, D); targets: labels (N,), or soft ones q (N, C) of at least 0, whose rows need not sum to 1:
        ℓ = Σ_c q_c · (ℓ of class c); weights (N,) of at least 0, 1 where none are given -> scalar, cache.
        """
        h, targets, weights = self._weighed(h, targets, weights, train, rng)
        losses, cache = self.losses_forward(h, targets, train, rng)
        total = (losses if weights is None else weights * losses).sum()
        return total / len(losses), (losses, weights, cache)

    def backward(self, cache: Any, dloss: float = 1.0) -> tuple[Array, Tree]:
        """cache -> dh (N, D), grads (mirrors params)."""
        losses, weights, cache = cache
        dlosses = array_module(losses).full(losses.shape, number(dloss) / len(losses), losses.dtype)
        return self.losses_backward(dlosses if weights is None else weights * dlosses, cache)

    def losses(self, h: Array, targets: Array, *, train: bool = False, rng: Rng | None = None) -> Array:
        """Loss of each sample, without weights, 0 for a label to be ignored. h (N, D), targets as in `loss` -> (N,)."""
        h, targets, weights = self._weighed(h, targets, None, False, rng)
        losses, _ = self.losses_forward(h, targets, train, rng)
        return losses if weights is None else weights * losses

    def _weighed(
        self, h: Array, targets: Any, weights: Any, train: bool, rng: Rng | None
    ) -> tuple[Array, Array, Array | None]:
        """h, targets and weights, checked, with what class_weight and ignore_label say in them. None: all weigh 1."""
        ignored = None
        if self.ignore_label is not None:
            targets = array(targets, "labels")
            if targets.ndim == 1:
                xp = array_module(targets)
                ignored = targets == self.ignore_label
                targets = xp.where(ignored, xp.zeros_like(targets), targets)  # some class, so that there is a loss
        h, targets = self.check(h, targets, rng)
        xp = array_module(h)
        if weights is not None:
            weights = sample_weights(weights, h, xp)
        if ignored is not None:
            kept = xp.asarray(~ignored, dtype=h.dtype)
            weights = kept if weights is None else weights * kept
        if self.class_weight is not None and train:
            if targets.ndim == 2 and self.multi_label:  # the head weighs each label of a set
                return h, targets, weights
            if targets.ndim == 2:
                return h, targets * self._class_weights(h), weights
            if isinstance(targets, np.ndarray):
                of_labels = xp.asarray(self.class_weight[targets], dtype=h.dtype)
            else:
                of_labels = self._class_weights(h)[targets]
            weights = of_labels if weights is None else weights * of_labels
        return h, targets, weights

    def _class_weights(self, like: Array) -> Array:
        """class_weight in the type of `like`, and where that is."""
        if self._constant is None or self._constant.values is not self.class_weight:
            self._constant = Constant(self.class_weight)
        return self._constant.like(like)

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """The k most probable labels, best first; ties go to the lowest label. h (N, D) -> (N, k)."""
        check_k(k, self.classes.n)
        return top_k(self.log_prob(h, rng=rng), k)

    def predict_sets(self, h: Array, *, rng: Rng | None = None) -> Array:
        """Whether each label is in the predicted set. h (N, D) -> booleans (N, C). InputError if not `multi_label`."""
        raise InputError(f"{type(self).__name__} gives one label a sample; for sets of labels take the head sigmoid.")

    def closer_look(self, h: Array, targets: Array, rng: Rng | None) -> dict[str, Any]:
        """What else summary.json says of the test set, by name; here nothing. h (N, D), targets (N,).

        For figures of one kind of head, so that training need not know the kinds. A value is either an array, log p
        (N, C) of another way to predict, which is measured as `log_prob` is (accuracy, …, calibration error); or a dict
        of figures, each a sum over these N samples, whose mean over all is reported. rng: the noise of `loss`.
        """
        return {}

    def parents(self) -> np.ndarray | None:
        """The place above each place of a tree of classes, root first and leaves last (M,); None: there is no tree."""
        return None

    def macs(self) -> int:
        """Multiply-adds of one sample's loss."""
        return 0

    def check(self, h: Array, targets: Any = UNASKED, rng: Rng | None = None) -> tuple[Array, Any]:
        """h as real numbers (N, features), all finite, and targets as `loss` takes them, N >= 1; InputError else.

        Soft targets come back of the type of h, and where it is. Nor is an rng taken that is no Rng. Targets on a
        device are not checked here, which would wait for it: they are checked before they are copied there.
        """
        check_rng(rng, optional=True)
        h = real(h, "h")
        if h.ndim != 2 or h.shape[1] != self.features:
            raise InputError(
                f"{type(self).__name__} takes features of shape (N, {self.features}), not {tuple(h.shape)}."
            )
        check_finite(h)
        if targets is UNASKED:
            return h, None
        if type(targets) is not np.ndarray:
            targets = array(targets, "labels")
        if targets.ndim != 2 or targets.shape != (len(h), self.classes.n):
            if targets.ndim == 2 and targets.shape[1] > 1 and (self.soft_targets or self.multi_label):
                expected = len(h), self.classes.n
                what = "sets of labels" if self.multi_label else "soft targets"
                raise InputError(f"{what} have shape {targets.shape}, but {expected} was expected.")
            return h, labels(targets, len(h), self.classes.n)
        if not (self.soft_targets or self.multi_label):
            raise InputError(_no_soft_targets(type(self), targets.shape))
        return h, array_module(h).asarray(soft(targets, h.dtype))

    def _repr_html_(self) -> str:
        card = self.card
        rows = [("formula", card.formula), ("source", card.reference), ("cost of a step", card.step)]
        rows += [("of a prediction", card.prediction), ("likelihood", "yes" if self.likelihood else "no")]
        rows += [("what is wrong with it", card.mistake), ("use instead", card.instead)] if card.mistake else []
        rows += [(name, "x".join(map(str, p.shape))) for name, p in leaves(self.params)]
        return html.titled(repr(self), html.table(("", ""), rows))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.features} features, {self.classes.n} classes)"


def _no_soft_targets(cls: type[Head], shape: tuple[int, ...]) -> str:
    return (
        f"labels have shape {shape}, but {cls.__name__} takes no soft targets: one label for each of the {shape[0]} "
        f"rows is needed; for one-hot rows type t.argmax(axis=1). Soft targets are taken by {', '.join(_takers(Head))}."
    )


def _takers(cls: Any) -> list[str]:
    """Names of the heads below `cls` that take soft targets."""
    below = cls.__subclasses__()
    own = [c.__name__ for c in below if c.soft_targets and not inspect.isabstract(c)]
    return [*own, *(name for c in below for name in _takers(c))]


def top_k(scores: Array, k: int) -> Array:
    """Columns of the k largest scores of each row, largest first, ties to the lowest column. (N, C) -> (N, k)."""
    xp = array_module(scores)
    if k == 1:
        return scores.argmax(axis=1)[:, None]
    if k > scores.shape[1] // 8:
        return xp.argsort(-scores, axis=1, kind="stable")[:, :k]
    # Of many columns only those are sorted that reach the k-th largest score (or are NaN, and come last).
    least = -xp.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    rows, columns = xp.nonzero(~(scores < least))  # row by row, columns rising
    order = xp.argsort(-scores[rows, columns], kind="stable")
    order = order[xp.argsort(rows[order], kind="stable")]
    first = xp.searchsorted(rows, xp.arange(len(scores)))
    return columns[order][first[:, None] + xp.arange(k)]
