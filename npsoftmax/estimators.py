"""The networks as scikit-learn classifiers: `SoftmaxClassifier` for tables, `ImageClassifier` for images.

Design: an estimator is its settings, which are those of a run (`TrainConfig`) under the same names, and after `fit` a
`Model` with its optimiser. A training run keeps a directory, so that nothing is lost; an estimator keeps nothing but
itself. It takes the same steps (training/step.py) with the same schedules and random numbers, so it ends where the run
of its settings ends, to the last bit (a test compares them). Importing this module imports scikit-learn; `import
npsoftmax` does not.

* No `decision_function`: most heads have no score a class whose order is that of their predictions.
* No `sample_weight`: a head gives the mean loss of a batch, and weights that it never sees would be a pretence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from npsoftmax.backend import Array, get_backend, to_numpy
from npsoftmax.data import Batches, fit_normalization
from npsoftmax.data.given import given_images, given_words
from npsoftmax.errors import InputError, in_python, in_words
from npsoftmax.heads import ClassInfo
from npsoftmax.host import single_threaded_blas
from npsoftmax.models import OF_TOKENS, build_model
from npsoftmax.options import plain
from npsoftmax.random import Rng
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.session import EVALUATION_BATCH, make_optimizer, schedule_of
from npsoftmax.training.step import TrainingStep

# What None stands for, as a setting that can be off. (Gradients are not clipped where clip_norm is None.)
OFF: dict[str, Any] = {"normalize": "none", "augment": "none", "schedule": "constant"}
OFF |= {"momentum": 0.0, "weight_decay": 0.0, "model_opts": {}, "head_opts": {}, "schedule_opts": {}}

Rates = Callable[[int], tuple[float, float | None]]  # step -> learning rate, momentum (None: the optimiser's own)


class _NetworkClassifier(ClassifierMixin, BaseEstimator):
    """What both have in common; a subclass says which model, and what it takes as samples."""

    dtype_: np.dtype

    def fit(self, X: Any, y: Any) -> Self:
        """Train from new parameters, for `epochs` passes. Returns self."""
        X, y = self._checked(X, reset=True), self._labels(X, y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        config = self._start(X, ClassInfo.from_labels(targets, self._at_least_two()))
        rates = schedule_of(config, math.ceil(len(X) / config.batch_size))
        for _ in range(config.epochs):
            self._epoch(X, targets, config, rates)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One more pass, over these samples alone, at the constant learning rate `lr`. Returns self.

        classes: all labels there will ever be; needed in the first call, unless `fit` came before. Their counts are
        not known here, so heads that want them do without (adaptive, Huffman trees) or refuse (balanced).
        """
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise InputError("classes must be passed on the first call to partial_fit: all labels there will ever be.")
        X, y = self._checked(X, reset=first), self._labels(X, y)
        if first:
            with in_words():
                self.classes_ = unique_labels(classes)
            self._start(X, ClassInfo(self._at_least_two()))
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise InputError(f"classes={classes!r} is not the same as on last call to partial_fit, was {self.classes_}")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InputError(f"y has the labels {unknown.tolist()}, but the classes are {self.classes_.tolist()}.")
        config = self._config()
        self._epoch(X, np.searchsorted(self.classes_, y), config, lambda step: (config.lr, None))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label that the head predicts. X -> (N,)."""
        best = self._in_parts(X, lambda x, rng: self.model_.predict(x, rng=rng)[:, 0])
        return self.classes_[best]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p of every class, in the order of `classes_`. X -> (N, C)."""
        return self._in_parts(X, lambda x, rng: self.model_.log_prob(x, rng=rng))

    def predict_proba(self, X: Any) -> np.ndarray:
        """p of every class, in the order of `classes_`. X -> (N, C).

        Of heads without a likelihood it is what they have: the sparse probabilities of sparsemax and entmax15, which
        may be exactly 0 (predict_log_proba is then -inf); softmax of the scores for hinge, whose confidence nothing
        has trained; what legacy_heap128 leaves of 1.
        """
        return np.exp(self.predict_log_proba(X))

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

    def _epoch(self, X: np.ndarray, targets: np.ndarray, config: TrainConfig, rates: Rates) -> None:
        optimizer, total = self.optimizer_, 0.0
        step = TrainingStep(self.model_, optimizer, get_backend(), Rng(self.seed_), clip_norm=config.clip_norm)
        with single_threaded_blas():
            for x, t, samples in self._batches(X, targets, config, len(self.loss_curve_)):
                found = step.forward(x, t, samples, optimizer.steps, len(t))
                if not math.isfinite(found.loss):
                    raise InputError(
                        f"the loss became {found.loss} at step {optimizer.steps + 1}: scale the features "
                        "(StandardScaler), lower lr, or clip gradients with clip_norm=1."
                    )
                lr, momentum = rates(optimizer.steps)
                step.update(found, lr, momentum)
                total += float(found.loss) * len(t)
        self.loss_curve_.append(total / len(X))

    def _batches(
        self, X: np.ndarray, targets: np.ndarray, config: TrainConfig, epoch: int
    ) -> Iterator[tuple[Array, np.ndarray, Array]]:
        """Samples, labels and numbers of the samples, in the order in which this epoch visits them."""
        order = Rng(self.seed_, "shuffle").at(epoch).permutation(len(X))
        for start in range(0, len(X), config.batch_size):
            samples = order[start : start + config.batch_size]
            yield X[samples], targets[samples], samples

    # ------------------------------------------------------------ samples and labels
    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        """Samples (N, D) of the dtype of the model: float32 where `fit` got that, else float64."""
        with in_words():
            X = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])
        self.dtype_ = X.dtype if reset else self.dtype_
        return X.astype(self.dtype_, copy=False)

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        """Checked samples as the model takes them."""
        return x

    def _labels(self, X: Any, y: Any) -> np.ndarray:
        if y is None:
            raise InputError("requires y to be passed, but the target y is None: give the label of each sample.")
        with in_words():
            given = np.asarray(y)
            if given.dtype == object and (plain_y := np.array(given.tolist())).dtype.kind in "biu":
                y = plain_y  # whole numbers in an array of objects
            shape = given.shape
            if len(shape) == 2 and shape[1] > 1:
                raise InputError(f"y should be a 1d array, not {shape}: of one-hot rows pass y.argmax(axis=1).")
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
            check_consistent_length(X, y)
        return y

    def _in_parts(self, X: Any, function: Callable[[np.ndarray, Rng], Array]) -> np.ndarray:
        """`function` of a few samples at a time. The rng is for heads that are told to draw noise in evaluation."""
        check_is_fitted(self)
        X, rng = self._checked(X, reset=False), Rng(self.seed_, "evaluation")
        numbers = np.split(np.arange(len(X)), range(EVALUATION_BATCH, len(X), EVALUATION_BATCH))
        with single_threaded_blas():
            return np.concatenate([to_numpy(function(self._prepared(X[part]), rng.at(0, part))) for part in numbers])


class SoftmaxClassifier(_NetworkClassifier):
    """A multilayer perceptron with any softmax head. X (N, D), best with mean 0 and deviation 1 (StandardScaler).

    float32 samples are computed with in float32, all others in float64, as is scikit-learn's habit.
    hidden: widths of the hidden layers, () for none. head, head_opts: one of HEADS and its options. epochs, batch_size,
    optimizer, lr, momentum (of sgd), weight_decay, schedule, schedule_opts, clip_norm: as in `npsoftmax train`.
    random_state: seed of parameters, order and noise. None is "off" for hidden, momentum, weight_decay, schedule
    (constant), clip_norm and the options.

    After fit: classes_ (C,), model_, optimizer_, loss_curve_ (mean training loss of each pass), n_features_in_, dtype_.
    InputError, a ValueError, for settings that do not fit. There is neither `sample_weight` nor `decision_function`.

        SoftmaxClassifier(head="hierarchical", hidden=(64,)).fit(X, y).predict_proba(X)
    """

    def __init__(
        self,
        head: str = "softmax",
        hidden: tuple[int, ...] = (64,),
        *,
        head_opts: dict[str, Any] | None = None,
        epochs: int = 30,
        batch_size: int = 64,
        optimizer: str = "adam",
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: str = "one_cycle",
        schedule_opts: dict[str, Any] | None = None,
        clip_norm: float | None = None,
        random_state: Any = None,
    ):
        self.head = head
        self.hidden = hidden
        self.head_opts = head_opts
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.schedule_opts = schedule_opts
        self.clip_norm = clip_norm
        self.random_state = random_state

    def _settings(self) -> dict[str, Any]:
        hidden = () if self.hidden is None else self.hidden
        return super()._settings() | {"model": "mlp", "model_opts": {"hidden": hidden}}


class ImageClassifier(_NetworkClassifier):
    """Any model of MODELS with any softmax head. X (N, H, W, C), channels last, or a list of images.

    Bytes, which are whole numbers of any type from 0 to 255, or true and false for 255 and 0, are augmented in training
    (`augment`: none, flip, standard, cutout) and normalised by what `normalize` finds in the training images (standard,
    half, none); floats are taken as they are, in float32; other whole numbers are refused. model, model_opts: one of
    MODELS and its options (of token_mlp words=V: X are windows of words below V, (N, T), and nothing is normalised);
    everything else as in SoftmaxClassifier; None is "off" for augment and normalize too.

    After fit also image_shape_ (H, W, C) and normalization_ (None for floats). Of scikit-learn's common checks it gets
    only those without data, since theirs are tables; what they would look at is the same code as SoftmaxClassifier's.
    """

    def __init__(
        self,
        model: str = "convnet",
        head: str = "softmax",
        *,
        model_opts: dict[str, Any] | None = None,
        head_opts: dict[str, Any] | None = None,
        normalize: str = "standard",
        augment: str = "none",
        epochs: int = 6,
        batch_size: int = 128,
        optimizer: str = "adam",
        lr: float = 3e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: str = "one_cycle",
        schedule_opts: dict[str, Any] | None = None,
        clip_norm: float | None = None,
        random_state: Any = None,
    ):
        self.model = model
        self.head = head
        self.model_opts = model_opts
        self.head_opts = head_opts
        self.normalize = normalize
        self.augment = augment
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.schedule_opts = schedule_opts
        self.clip_norm = clip_norm
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        """Images, uint8 or float32 (N, H, W, C), or words, int64 (N, T)."""
        X = given_words(X) if self.model in OF_TOKENS else given_images(X)
        if reset:
            normalize, augment = (OFF[n] if (v := getattr(self, n)) is None else v for n in ("normalize", "augment"))
            self.image_shape_, self.dtype_ = X.shape[1:], X.dtype
            self.normalization_ = fit_normalization(normalize, X) if X.dtype == np.uint8 else None
            if self.normalization_ is None and augment != "none":
                raise InputError(f"augment={augment!r} is for images of bytes (uint8), but X has {X.dtype}.")
        elif (X.shape[1:], X.dtype) != (self.image_shape_, self.dtype_):
            raise InputError(
                f"X has images of {X.dtype} {X.shape[1:]}, but this {type(self).__name__} was trained on "
                f"{self.dtype_} {self.image_shape_}."
            )
        return X

    def _prepared(self, x: np.ndarray) -> np.ndarray:
        return x if self.normalization_ is None else self.normalization_.apply(x)

    def _batches(
        self, X: np.ndarray, targets: np.ndarray, config: TrainConfig, epoch: int
    ) -> Iterator[tuple[Array, np.ndarray, Array]]:
        if self.normalization_ is None:
            return super()._batches(X, targets, config, epoch)
        bytes_ = Batches(
            X,
            targets,
            config.batch_size,
            rng=Rng(self.seed_),
            normalize=self.normalization_,
            augment=config.augment,
        )
        return bytes_.epoch(epoch)
