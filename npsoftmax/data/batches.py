"""The batches of an epoch: shuffled, augmented and normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npsoftmax.backend import Array, Backend
from npsoftmax.data.augment import get_augmentation
from npsoftmax.data.device import DeviceImages, DeviceTokens
from npsoftmax.data.normalize import Normalization
from npsoftmax.errors import InputError
from npsoftmax.random import Rng, check_rng


class Batches:
    """Samples x and labels y, (N,) or sets of them (N, C), in batches of `batch_size`.

    Samples are images, uint8 (N, H, W, C), or, where `normalize` is None, windows of words, whole numbers (N, T), which
    are neither normalised nor augmented.

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
        self.normalize, self.augment = normalize, get_augmentation(augment)
        self.shuffle, self.drop_last = shuffle, drop_last
        self.there: DeviceImages | DeviceTokens | None = None  # the samples on the device, where there is one
        if backend is not None and not backend.on_host:
            self.there = DeviceTokens(x, backend) if normalize is None else DeviceImages(x, normalize, augment, backend)

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
        noise = self.rng.child("augment")
        order_there = order if self.there is None else self.there.backend.asarray(order)
        for step in range(first, len(self)):
            here = slice(step * self.batch_size, (step + 1) * self.batch_size)
            own = part(len(order[here]))
            samples = order[here][own]
            labels = self.y[samples].astype(np.int64 if self.y.ndim == 1 else np.float32, copy=False)
            if self.there is not None:
                samples = order_there[here][own]
                yield self.there.batch(samples, noise.at(epoch, samples)), labels, samples
                continue
            x = self.x[samples]
            if self.normalize is not None:
                x = self.normalize.apply(self.augment(x, noise.at(epoch, samples)))
            yield x, labels, samples


def _check_tokens(x: np.ndarray, augment: str) -> None:
    if x.dtype.kind not in "iu" or x.ndim != 2:
        raise InputError(f"windows of words must be whole numbers (N, T), but are {x.dtype} {x.shape}.")
    if augment != "none":
        raise InputError(f"--augment {augment} is for images, and these are windows of words. Leave it out.")
