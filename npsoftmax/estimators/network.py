"""What both classifiers have in common: fit, partial_fit and predictions, whatever is a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from npsoftmax.backend import Array, get_backend, to_numpy
from npsoftmax.errors import InputError, in_python, in_words
from npsoftmax.estimators.inputs import by_class, checked_labels, checked_sets, checked_weights
from npsoftmax.heads import HEADS, ClassInfo
from npsoftmax.host import single_threaded_blas
from npsoftmax.models import build_model
from npsoftmax.options import plain
from npsoftmax.random import Rng
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.session import EVALUATION_BATCH, make_optimizer, schedule_of
from npsoftmax.training.step import TrainingStep

# What None stands for, as a setting that can be off. (Gradients are not clipped where clip_norm is None.)
OFF: dict[str, Any] = {"normalize": "none", "augment": "none", "schedule": "constant"}
OFF |= {"momentum": 0.0, "weight_decay": 0.0, "model_opts": {}, "head_opts": {}, "schedule_opts": {}}

Rates = Callable[[int], tuple[float, float | None]]  # step -> learning rate, momentum (None: the optimiser's own)


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """What both have in common; a subclass says which model, and what it takes as samples."""

    head: Any
    class_weight: Any
    dtype_: np.dtype

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train from new parameters, for `epochs` passes. Returns self.

        y: labels (N,); or, if the head takes them (sigmoid), sets of labels: an indicator matrix (N, C) of 0 and 1.
        sample_weight (N,), times class_weight, is divided by its mean, so that its size is no learning rate.
        """
        X = self._checked(X, reset=True)
        sets = checked_sets(X, y, self.class_weight) if self._takes_sets() else None
        self.predicts_sets_ = sets is not None
        if sets is not None:
            self.classes_, targets, weights = np.arange(sets.shape[1]), sets, checked_weights(sample_weight, len(sets))
        else:
            y = checked_labels(X, y)
            weights = checked_weights(sample_weight, len(y))
            self.classes_, targets = np.unique(y, return_inverse=True)
            weights = by_class(weights, self.class_weight, self.classes_, y)
        config = self._start(X, ClassInfo.from_labels(targets, self._at_least_two()))
        rates = schedule_of(config, math.ceil(len(targets) / config.batch_size))
        for _ in range(config.epochs):
            self._epoch(X, targets, weights if weights is None else weights / weights.mean(), config, rates)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more pass, over these samples alone, at the constant learning rate `lr`. Returns self.

        classes: all labels there will ever be; needed in the first call, unless `fit` came before. Their counts are
        not known here, so heads that want them do without (adaptive, Huffman trees) or refuse (balanced), and so does
        class_weight="balanced". Weights are taken as they are: their mean over all calls isn't known either. y: labels
        alone, no sets.
        """
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise InputError("classes must be passed on the first call to partial_fit: all labels there will ever be.")
        if self.class_weight == "balanced":
            raise InputError(
                "class_weight='balanced' needs all labels at once, and partial_fit sees a part; give a dict of weights."
            )
        X, y = self._checked(X, reset=first), checked_labels(X, y)
        weights = checked_weights(sample_weight, len(y))
        if first:
            with in_words():
                self.classes_ = unique_labels(classes)
            self._start(X, ClassInfo(self._at_least_two()))
            self.predicts_sets_ = False
        elif self.predicts_sets_:
            raise InputError(
                "partial_fit takes labels (N,), but fit was given sets of labels; call fit with all of them."
            )
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise InputError(f"classes={classes!r} is not the same as on last call to partial_fit, was {self.classes_}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InputError(f"y has the labels {unknown.tolist()}, but the classes are {self.classes_.tolist()}.")
        config, weights = self._config(), by_class(weights, self.class_weight, self.classes_, y)
        self._epoch(X, np.searchsorted(self.classes_, y), weights, config, lambda step: (config.lr, None))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label that the head predicts, X -> (N,); after sets of labels the set, as 0 and 1, X -> (N, C)."""
        check_is_fitted(self)
        if self.predicts_sets_:
            return self._in_parts(X, self._sets_of).astype(np.int64)
        best = self._in_parts(X, lambda x, rng: self.model_.predict(x, rng=rng)[:, 0])
        return self.classes_[best]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p of every class, in the order of `classes_`. X -> (N, C)."""
        return self._in_parts(X, lambda x, rng: self.model_.log_prob(x, rng=rng))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p of every class, in the order of `classes_`. X -> (N, C).

        Of heads without a likelihood it is what they have: the sparse probabilities of sparsemax and entmax15, which
        may be exactly 0 (predict_log_proba is then -inf); softmax of the scores for hinge, whose confidence nothing
        has trained; what legacy_heap128 leaves of 1; of sigmoid p of each class, which do not sum to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._takes_sets()
        return tags

    def _takes_sets(self) -> bool:
        """Whether the head takes sets of labels."""
        return isinstance(self.head, str) and self.head in HEADS and HEADS[self.head].multi_label

    def _sets_of(self, x: np.ndarray, rng: Rng) -> Array:
        return self.model_.head.predict_sets(self.model_.features(x), rng=rng.child("head"))

    # ------------------------------------------------------------ training
    @in_python()
    def _config(self) -> TrainConfig:
        """The settings as those of a run, which checks them. InputError for a value out of range."""
        known = {f.name for f in fields(TrainConfig)}
        given = {n: plain(value) for n, value in self._settings().items() if n in known}
        given = {n: OFF.get(n) if value is None else value for n, value in given.items()}
        return TrainConfig.of(given | {"seed": self.seed_}, type(self).__name__)

    def _settings(self) -> dict[str, Any]:
        return self.get_params(deep=False)

    def _at_least_two(self) -> int:
        if len(self.classes_) < 2:
            raise InputError(
                f"y has one class alone, {self.classes_.tolist()[0]!r}, but a classifier needs at least 2 classes."
            )
        return len(self.classes_)

    @in_python()
    def _start(self, X: np.ndarray, classes: ClassInfo) -> TrainConfig:
        """A new model with its optimiser; returns the checked settings.

        A whole number as `random_state` is the seed that a run would have.
        """
        fixed = isinstance(self.random_state, Integral)
        if fixed and self.random_state < 0:
            raise InputError(f"random_state is {self.random_state}, but a whole number of at least 0 was expected.")
        with in_words():
            self.seed_ = int(self.random_state if fixed else check_random_state(self.random_state).randint(2**31))
        config = self._config()
        self.model_ = build_model(
            config.model,
            config.head,
            classes,
            X.shape[1:],
            seed=self.seed_,
            model_opts=config.model_opts,
            head_opts=config.head_opts,
        ).to(get_backend(), X.dtype if X.dtype.kind == "f" else np.float32)
        self.optimizer_ = make_optimizer(config, self.model_)
        self.loss_curve_: list[float] = []
        return config

    def _epoch(
        self, X: Any, targets: np.ndarray, weights: np.ndarray | None, config: TrainConfig, rates: Rates
    ) -> None:
        optimizer, total = self.optimizer_, 0.0
        step = TrainingStep(self.model_, optimizer, get_backend(), Rng(self.seed_), clip_norm=config.clip_norm)
        with single_threaded_blas():
            for x, t, samples in self._batches(X, targets, config, len(self.loss_curve_)):
                w = None if weights is None else weights[to_numpy(samples)]
                found = step.forward(x, t, samples, optimizer.steps, len(t), w)
                if not math.isfinite(found.loss):
                    raise InputError(
                        f"the loss became {found.loss} at step {optimizer.steps + 1}: scale the features "
                        "(StandardScaler), lower lr, or clip gradients with clip_norm=1."
                    )
                lr, momentum = rates(optimizer.steps)
                step.update(found, lr, momentum)
                total += float(found.loss) * len(t)
        self.loss_curve_.append(total / len(targets))

    def _batches(
        self, X: Any, targets: np.ndarray, config: TrainConfig, epoch: int
    ) -> Iterator[tuple[Array, np.ndarray, Array]]:
        """Samples, labels and numbers of the samples, in the order in which this epoch visits them."""
        order = Rng(self.seed_, "shuffle").at(epoch).permutation(len(targets))
        for start in range(0, len(targets), config.batch_size):
            samples = order[start : start + config.batch_size]
            yield _dense(X[samples]), targets[samples], samples

    # ------------------------------------------------------------ samples and labels
    def _checked(self, X: Any, reset: bool) -> Any:
        """Samples (N, D), an array or CSR, of the dtype of the model: float32 where `fit` got that, else float64."""
        with in_words():
            X = validate_data(self, X, accept_sparse="csr", reset=reset, dtype=[np.float64, np.float32])
        self.dtype_ = X.dtype if reset else self.dtype_
        return X.astype(self.dtype_, copy=False)

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        """Checked samples as the model takes them."""
        return x

    def _in_parts(self, X: Any, function: Callable[[np.ndarray, Rng], Array]) -> np.ndarray:
        """`function` of a few samples at a time. The rng is for heads that are told to draw noise in evaluation."""
        check_is_fitted(self)
        X, rng = self._checked(X, reset=False), Rng(self.seed_, "evaluation")
        numbers = np.split(np.arange(X.shape[0]), range(EVALUATION_BATCH, X.shape[0], EVALUATION_BATCH))
        with single_threaded_blas():
            parts = ((self._prepared(_dense(X[part])), rng.at(0, part)) for part in numbers)
            return np.concatenate([to_numpy(function(*part)) for part in parts])


def _dense(x: Any) -> np.ndarray:
    """A few samples as an array."""
    return x.toarray() if issparse(x) else x
