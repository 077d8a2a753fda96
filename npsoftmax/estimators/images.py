"""The classifier of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.data import Batches, fit_normalization
from npsoftmax.data.given import given_images, given_words
from npsoftmax.errors import InputError
from npsoftmax.estimators.network import OFF, NetworkClassifier
from npsoftmax.models import OF_TOKENS
from npsoftmax.random import Rng
from npsoftmax.training.config import TrainConfig


class ImageClassifier(NetworkClassifier):
    """Any model of MODELS with any softmax head. X (N, H, W, C), channels last, or a list of images.

    Bytes, which are whole numbers of any type from 0 to 255, or true and false for 255 and 0, are augmented in training
    (`augment`: none, flip, standard, alternating, cutout) and normalised by what `normalize` finds in the training
    images (standard, half, none); floats are taken as they are, in float32; other whole numbers are refused. model,
    model_opts: one of MODELS and its options (of token_mlp words=V: X are windows of words below V, (N, T), and nothing
    is normalised); everything else as in SoftmaxClassifier; None is "off" for augment and normalize too.

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
        class_weight: dict[Any, float] | str | None = None,
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
        self.class_weight = class_weight
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
