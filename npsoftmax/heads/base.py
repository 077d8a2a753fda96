"""What every head is: the last linear map, the normaliser and the loss, as one thing.

A head is given features and targets and is never asked for logits, so nobody can give its probabilities to a loss
that normalises them again, forget its parameters, or predict from something else than what was trained.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from npsoftmax.arguments import labels, real, whole
from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, as_number
from npsoftmax.heads.checks import check_finite, check_k
from npsoftmax.options import full_signature
from npsoftmax.params import HoldsTrees, Tree
from npsoftmax.random import Rng, check_rng


@dataclass(frozen=True)
class ClassInfo:
    """What a head may want to know of the classes, so that no user sorts or counts by hand.

    n: their number; counts (n,): training samples of each; coarse (n,): the superclass of each, where there are any.
    """

    n: int
    counts: np.ndarray | None = None
    coarse: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.n, Integral) or isinstance(self.n, bool):
            raise InputError(
                f"the number of classes is {self.n!r:.80}, but a whole number of at least 2 was expected, or "
                "ClassInfo(n, counts)."
            )
        object.__setattr__(self, "n", int(self.n))
        if self.n < 2:
            raise InputError(f"a head needs at least 2 classes, not {self.n}.")
        for name in ("counts", "coarse"):
            values = getattr(self, name)
            if values is None:
                continue
            try:
                array = np.asarray(values)
            except ValueError:
                raise InputError(f"class {name} are {values!r:.80}, but one number a class was expected.") from None
            if array.shape != (self.n,):
                raise InputError(
                    f"class {name} have shape {array.shape}, but one number for each of {self.n} classes was expected."
                )
            if array.dtype.kind not in "iu" or array.min() < 0:
                raise InputError(f"class {name} must be whole numbers of at least 0.")
            object.__setattr__(self, name, array)  # of a list as well

    @classmethod
    def from_labels(cls, y: np.ndarray, n: int, coarse: np.ndarray | None = None) -> ClassInfo:
        """Count the classes in training labels (N,)."""
        n = cls(n).n
        t = labels(y, len(y) if hasattr(y, "__len__") else 0, n, empty=True)
        return cls(n, np.bincount(np.asarray(t), minlength=n), coarse)


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

    params: arrays that train; buffers: fixed at construction and saved with them (a tree, a permutation, a prior).
    likelihood: whether, with train=False, loss = -mean log_prob[target]; smoothing, margins, noise, priors and
    sampling act in training only. legacy: whether this is a published miswiring, kept to be studied; making one warns.
    reads_labels: whether a step is planned by the labels: `loss` then takes them in host memory, whatever h is in;
    labels on a device have to be copied from it first. mixes_samples: whether the result of a sample depends on the
    others in its batch, which then cannot be trained on in parts.
    """

    params: Tree
    buffers: Tree
    likelihood: bool = True
    legacy: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    mixes_samples: bool = False
    card: ClassVar[Card]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__signature__ = full_signature(cls)

    def __init__(self, features: int, classes: ClassInfo, *, rng: Rng):
        if as_number(features) < 1:
            raise InputError(f"a head needs at least 1 feature, not {features}.")
        whole("features", features)
        if not isinstance(classes, ClassInfo):
            raise InputError(f"classes is {classes!r:.60}, but what is known of them was expected; type ClassInfo(10).")
        check_rng(rng)
        self.features, self.classes = features, classes
        self.params, self.buffers = {}, {}
        if self.legacy:
            self._warn()

    def _warn(self) -> None:
        """Say what is wrong with this head and which to use instead, in the line that makes it."""
        message = f"{type(self).__name__}: {self.card.mistake}. To train a model, use {self.card.instead}."
        # Past this method and every constructor on the way here.
        constructors = sum("__init__" in vars(cls) for cls in type(self).__mro__ if issubclass(cls, Head))
        warnings.warn(message, LegacyWiringWarning, stacklevel=constructors + 2)

    @abstractmethod
    def loss(self, h: Array, targets: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        """Mean loss over the batch. h (N, D), targets (N,) integers -> scalar, cache."""

    @abstractmethod
    def backward(self, cache: Any, dloss: float = 1.0) -> tuple[Array, Tree]:
        """cache -> dh (N, D), grads (mirrors params)."""

    @abstractmethod
    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        """log p of every class. h (N, D) -> (N, C), each row summing to 1 in probability."""

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """The k most probable labels, best first; ties go to the lowest label. h (N, D) -> (N, k)."""
        check_k(k, self.classes.n)
        return top_k(self.log_prob(h, rng=rng), k)

    def closer_look(self, h: Array, targets: Array, rng: Rng | None) -> dict[str, Any]:
        """What else summary.json says of the test set, by name; here nothing. h (N, D), targets (N,).

        For figures of one kind of head, so that training need not know the kinds. A value is either an array, log p
        (N, C) of another way to predict, which is measured as `log_prob` is (accuracy, …, calibration error); or a dict
        of figures, each a sum over these N samples, whose mean over all is reported. rng: the noise of `loss`.
        """
        return {}

    def macs(self) -> int:
        """Multiply-adds of one sample's loss."""
        return 0

    def check(self, h: Array, targets: Any = UNASKED, rng: Rng | None = None) -> tuple[Array, Any]:
        """h as real numbers (N, features), all finite, and targets as N labels in range, N >= 1; InputError else.

        Nor is an rng taken that is no Rng. Labels on a device are not checked here, which would wait for it: they are
        checked before they are copied there.
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
        return h, labels(targets, len(h), self.classes.n)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.features} features, {self.classes.n} classes)"


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
