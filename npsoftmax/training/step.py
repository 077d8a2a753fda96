"""One training step: from a batch to changed parameters. Runs and estimators all take this one.

In this order:
    1. mix       with mixup or cutmix, each image becomes part itself, part another image of the batch (mixing.py);
    2. share     where several processes train together, each goes on with its part of the batch (group.py);
    3. forward   features, the mean loss of the part, and what backward will need (models/base.py);
    4. backward  the gradient of every parameter, times the part's share of the batch: the 1/N is in the loss, once;
    5. sum       over the processes: from here on the gradients are those of the whole batch;
    6. clip      each element, then the norm of all (clipping.py);
    7. update    the optimiser changes the parameters in place (optimizers/).

Design: what is random in a step (mixing, dropout, a head's noise) is a function of its number and its samples, so the
same step taken again ends the same. It has two halves, so that whoever trains can look at features and loss while the
parameters are still those that made them. The step itself looks at no number: on a device, that is to wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from npsoftmax.backend import Array, Backend
from npsoftmax.models import Model
from npsoftmax.random import Rng
from npsoftmax.training.clipping import clip
from npsoftmax.training.group import ALONE, Group
from npsoftmax.training.mixing import mix, mixed_backward, mixed_forward
from npsoftmax.training.optimizers import Optimizer


class Forward(NamedTuple):
    """The first half of a step, for the n samples of this process.

    h (n, D): features; labels (n,): what is right, of a mixed image what its larger part is; loss (): the mean; share:
    its weight in the mean over the batch; rng: the noise of these samples; cache: for backward.
    """

    h: Array
    labels: Array
    loss: Array
    share: float
    rng: Rng
    cache: Any


@dataclass
class TrainingStep:
    """The step of a model and its optimiser: `forward`, then `update`. Raises InputError for a limit not above 0."""

    model: Model
    optimizer: Optimizer
    backend: Backend
    rng: Rng
    group: Group = ALONE
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        self.mixes = bool(self.mixup or self.cutmix)
        clip({}, self.clip_value, self.clip_norm)  # an invalid limit is refused now, not after a forward

    def forward(
        self, x: Array, targets: Array, samples: Array, number: Any, whole: int, weights: Array | None = None
    ) -> Forward:
        """Step `number`, from 0. x (n, …), targets (n,) on the host, samples (n,): their numbers; weights (n,) or None:
        theirs, where nothing is mixed. The n are `part_of(whole)`, of a batch of `whole` samples. In a captured step
        (graph.py) the targets are on the device too, and so is the number, an array (1,)."""
        part, share = self.group.begin_step(whole)
        assert weights is None or not self.mixes
        if self.mixes:  # 1 and 2; images that are not mixed come as this process's part
            mixed = mix(x, self.rng.child("mixing").at(number), mixup=self.mixup, cutmix=self.cutmix)
            others = self._labels(targets[mixed.partners][part])
            x, targets, samples = mixed.images[part], targets[part], samples[part]
        x, labels = self.backend.asarray(x), self._labels(targets)
        rng = self.rng.child("noise").at(number, samples)
        if not self.mixes:  # 3
            h, loss, cache = self.model.forward(x, labels, weights=weights, train=True, rng=rng)
        else:
            h, loss, cache = mixed_forward(self.model, x, labels, others, mixed.weight, rng=rng)
            labels = labels if mixed.weight >= 0.5 else others
        return Forward(h, labels, loss, share, rng, cache)

    def update(self, found: Forward, lr: float = 0.0, momentum: float | None = None, rates: Any = None) -> None:
        """Backward, sum, clip, update. lr, momentum (None: the optimiser's own): this step's; or rates, on a device."""
        backward = mixed_backward if self.mixes else Model.backward
        grads = self.group.sum_gradients(backward(self.model, found.cache, found.share))  # 4 and 5
        grads = clip(grads, self.clip_value, self.clip_norm)  # 6
        rates = self.optimizer.rates(lr, momentum, self.optimizer.steps + 1) if rates is None else rates
        self.optimizer.apply(self.model.params, grads, rates)  # 7

    def part_of(self, n: int) -> slice:
        """What `forward` takes of a batch of n samples: this process's part, or all, any two of which may be mixed."""
        return slice(n) if self.mixes else self.group.share(n).part

    def _labels(self, targets: Array) -> Array:
        """Labels where the head wants them: on the host, if it plans its step by them."""
        return targets if self.model.head.reads_labels else self.backend.asarray(targets)
