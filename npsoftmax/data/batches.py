"""The batches of an epoch: shuffled, augmented and normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from npsoftmax.backend import Array, Backend
from npsoftmax.data.augment import get_augmentation
from npsoftmax.data.device import DeviceImages, DeviceTokens
from npsoftmax.data.normalize import Normalization
from npsoftmax.data.sizes import Growth, shrunk
from npsoftmax.errors import InputError
from npsoftmax.random import Rng, check_rng


class Batches:
    """Samples x and labels y, (N,) or sets of them (N, C), in batches of `batch_size`.

    Samples are images, uint8 (N, H, W, C), or, where `normalize` is None, windows of words, whole numbers (N, T), which
    are neither normalised nor augmented. shift: see `augment`; it is that of images in full size. With `growth` the
    images of a step have the size that it says; step 0 is the first of epoch 0.

    Order and noise are functions of (rng, epoch, sample): an epoch drawn again, or alone, is the same.
    The last batch is smaller where batch_size does not divide N, or is left out with `drop_last`.
    For evaluation: shuffle=False and no augmentation. With a `backend` that is a device, images are uploaded at once,
    and batches are made there: the same ones; labels stay on the host. Raises InputError for sizes that do not fit.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        *,
        rng: Rng,
        normalize: Normalization | None,
        augment: str = "none",
        shuffle: bool = True,
        drop_last: bool = False,
        backend: Backend | None = None,
        shift: int | None = None,
        growth: Growth | None = None,
    ):
        check_rng(rng)
        if normalize is None:
            _check_tokens(x, augment)
        elif x.dtype != np.uint8 or x.ndim != 4:
            raise InputError(f"images must be uint8 (N, H, W, C), but are {x.dtype} {x.shape}.")
        if len(x) != len(y):
            raise InputError(f"there are {len(x)} images but {len(y)} labels.")
        if batch_size < 1:
            raise InputError(f"--batch-size is {batch_size}, but at least 1 is needed.")
        if drop_last and batch_size > len(x):
            raise InputError(f"--batch-size is {batch_size}, but there are only {len(x)} images: no batch is full.")
        self.x, self.y, self.batch_size, self.rng = x, y, batch_size, rng
        self.normalize, self.augment, self.shift = normalize, augment, shift
        self._change = get_augmentation(augment)
        self.labels = y.astype(np.int64 if y.ndim == 1 else np.float32, copy=False)  # as a head takes them
        self.noise = rng.child("augment")  # of an epoch and its samples
        self.shuffle, self.drop_last, self.growth = shuffle, drop_last, growth
        if normalize is not None and shift is not None and not 0 <= shift < min(x.shape[1:3]):
            most = min(x.shape[1:3]) - 1
            raise InputError(f"--shift is {shift}, but images of {x.shape[1]}x{x.shape[2]} move by 0 to {most} pixels.")
        self.backend = None if backend is None or backend.on_host else backend  # the device, where there is one
        self._made = self._samples_of(None)

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def length(self, number: int) -> int:
        """Samples in batch `number` of an epoch."""
        return min(self.batch_size, len(self.x) - number * self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The samples in the order in which this epoch visits them."""
        n = len(self.x)
        return self.rng.child("shuffle").at(epoch).permutation(n) if self.shuffle else np.arange(n)

    def epoch(
        self, epoch: int, first: int = 0, part: Callable[[int], slice] = slice
    ) -> Iterator[tuple[Array, np.ndarray, Array]]:
        """Yields x, float32 (n, H, W, C) or words (n, T), y int64 (n,) and the samples' indices in the whole x, (n,).

        Label sets are float32 (n, C), as a head takes them.

        x and the indices are on the device where there is one, y is on the host. Begins with batch number `first`,
        without making those before it. Of a batch of N samples, those in part(N) are made: the ones that stand there in
        the whole batch.
        """
        order = self.order(epoch)
        order_there = order if self.backend is None else self.backend.asarray(order)
        for step in range(first, len(self)):
            here = slice(step * self.batch_size, (step + 1) * self.batch_size)
            own = part(len(order[here]))
            samples = order[here][own]
            labels = self.labels[samples]
            made = self._of_step(epoch * len(self) + step)
            if made.there is not None:
                samples = order_there[here][own]
                yield made.there.batch(samples, self.noise.at(epoch, samples)), labels, samples
                continue
            x = made.x[samples]
            if self.normalize is not None:
                x = self.normalize.apply(self._change(x, self.noise.at(epoch, samples), made.shift))
            yield x, labels, samples

    def source_at(self, step: int) -> DeviceImages | DeviceTokens | None:
        """What makes the batch of this step on the device, where there is one."""
        return self._of_step(step).there

    def _of_step(self, step: int) -> _Made:
        """The samples as this step sees them; those of one size are kept."""
        height = None if self.growth is None else self.growth.height_at(step)
        if height != self._made.height:
            self._made = self._samples_of(height)
        return self._made

    def _samples_of(self, height: int | None) -> _Made:
        x, shift = self.x, self.shift
        if height is not None:
            x, shift = shrunk(x, height), None if shift is None else round(shift * height / x.shape[1])
        if self.backend is None:
            return _Made(height, shift, x)
        if self.normalize is None:
            return _Made(height, shift, x, DeviceTokens(x, self.backend))
        return _Made(height, shift, x, DeviceImages(x, self.normalize, self.augment, self.backend, shift))


class _Made(NamedTuple):
    """The samples with images `height` pixels high (None: as they are), and on the device, where there is one."""

    height: int | None
    shift: int | None
    x: np.ndarray
    there: DeviceImages | DeviceTokens | None = None


def _check_tokens(x: np.ndarray, augment: str) -> None:
    if x.dtype.kind not in "iu" or x.ndim != 2:
        raise InputError(f"windows of words must be whole numbers (N, T), but are {x.dtype} {x.shape}.")
    if augment != "none":
        raise InputError(f"--augment {augment} is for images, and these are windows of words. Leave it out.")
