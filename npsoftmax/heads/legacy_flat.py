"""Published miswirings of flat heads, by explicit name only: to be studied and reproduced, never to be used.

Design: each computes exactly what was published, and its backward is the true gradient of that, so what goes
wrong in training is the wiring and nothing else. Each warns once when it is made. docs/softmax-family.md has the
relation by which each is recognised, and the tests hold them to it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.functional import gumbel, sink, softmax, taylor
from npsoftmax.functional import loss as losses
from npsoftmax.heads.base import Card, ClassInfo
from npsoftmax.heads.flat import FlatHead
from npsoftmax.heads.gumbel import NoisyHead
from npsoftmax.random import Rng


class CrossEntropyOfOutputs(FlatHead):
    """Outputs p that are normalised already, given to a cross entropy that applies log-softmax again.

    Always loss = mean lse(p) - mean p_y. With p in [0, 1] and Σ p = 1 it lies in [L - 1, L], L = ln(e + C - 1), and
    for saturated outputs it is L - accuracy: whatever is learned, the loss is all but constant.
    log_prob is what this loss treats as log-probabilities: log softmax(p).
    """

    legacy = True

    @abstractmethod
    def outputs(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        """z (N, C) -> p (N, C), cache."""

    @abstractmethod
    def outputs_backward(self, dp: Array, cache: Any) -> Array:
        """dp (N, C) -> dz (N, C)."""

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        p, outputs_cache = self.outputs(z, train, rng)
        found, cache = losses.softmax_cross_entropy_fused_forward(p, targets)
        return found, (outputs_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        outputs_cache, loss_cache = cache
        return self.outputs_backward(losses.softmax_cross_entropy_fused_backward(dlosses, loss_cache), outputs_cache)

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return softmax.log_softmax_forward(self.outputs(z, False, rng)[0])[0]

    def closer_look(self, h: Array, targets: Array, rng: Rng | None) -> dict[str, Any]:
        """double_normalisation: the loss, and mean lse(p) and mean p_y whose difference it is, on the host in doubles.

        if_saturated is L - accuracy, what the loss is where the largest p of nearly every sample is 1.
        """
        loss, _ = self.loss(h, targets, rng=rng)
        p = to_numpy(self.outputs(self.scores(h)[0], False, rng)[0]).astype(float)
        t, right = to_numpy(targets), to_numpy(self.predict(h, rng=rng)[:, 0] == targets).sum()
        figures = {
            "loss": float(loss) * len(t),
            "mean_lse": np.log(np.exp(p).sum(axis=1)).sum(),
            "mean_p_target": p[np.arange(len(t)), t].sum(),
            "mean_max_p": p.max(axis=1).sum(),
            "if_saturated": math.log(math.e + self.classes.n - 1) * len(t) - right,
            "accuracy": right,
        }
        return super().closer_look(h, targets, rng) | {"double_normalisation": figures}


class LegacyDoubleSoftmaxHead(CrossEntropyOfOutputs):
    """Softmax, then a cross entropy that applies log-softmax to the probabilities.

    The loss cannot leave [L - 1, L], L = ln(e + C - 1), and the gradient is that of the cross entropy sent through a
    softmax that saturates: a confident mistake is not corrected. docs/softmax-family.md.
    """

    card = Card(
        "softmax(softmax(z))",
        "published comparisons of softmax heads, 2023",
        mistake="softmax is applied twice, so the loss can move by 1 at most, and by nothing once it saturates",
        instead="softmax",
    )

    def outputs(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        return softmax.softmax_forward(z)

    def outputs_backward(self, dp: Array, cache: Any) -> Array:
        return softmax.softmax_backward(dp, cache)


class LegacyDoubleGumbelHead(CrossEntropyOfOutputs, NoisyHead):
    """Gumbel-softmax, then a cross entropy that applies log-softmax to it; noise in evaluation too.

    tau, tau_end, anneal_steps, noise as in `gumbel_softmax`; eval_noise=true as published, so evaluation needs an
    rng, and its accuracy is that of one random draw.
    """

    card = Card(
        "softmax(softmax((z + g) / τ))",
        "published comparisons of softmax heads, 2023",
        mistake="softmax is applied twice, and predictions are made with noise on the scores",
        instead="gumbel_softmax",
    )

    def __init__(self, features: int, classes: ClassInfo, *, eval_noise: bool = True, **options: Any):
        super().__init__(features, classes, eval_noise=eval_noise, **options)

    def outputs(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        noise, tau = self.draw(z, train, rng)
        return gumbel.gumbel_softmax_forward(z, noise, tau=tau)

    def outputs_backward(self, dp: Array, cache: Any) -> Array:
        return gumbel.gumbel_softmax_backward(dp, cache)


class LegacyTaylorUnloggedHead(CrossEntropyOfOutputs):
    """Taylor shares of the whole batch, without the logarithm, given to a cross entropy.

    p_nc = f(z_nc) / Σ f over all N · C scores of the batch, so p is about 1 / (N · C), and the loss cannot fall below
    ln C - (1 - 1/C) / N, whatever is learned. per_row=true normalises each row by itself: the double softmax of
    Taylor's shares. order: 2, 4, 6, …
    """

    card = Card(
        "softmax(f(z) / Σ over the batch of f(z))",
        "published comparisons of softmax heads, 2023",
        mistake="shares of the whole batch, near 1 / (N C), are taken for scores, so all classes look alike",
        instead="taylor_softmax or log_taylor_softmax",
    )

    def __init__(self, features: int, classes: ClassInfo, *, order: int = 2, per_row: bool = False, **options: Any):
        super().__init__(features, classes, **options)
        self.order, self.per_row, self.mixes_samples = taylor.check_order(order), per_row, not per_row

    def outputs(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        p, cache = taylor.taylor_softmax_forward(z if self.per_row else z.reshape(1, -1), order=self.order)
        return p.reshape(z.shape), cache

    def outputs_backward(self, dp: Array, cache: Any) -> Array:
        dz = taylor.taylor_softmax_backward(dp if self.per_row else dp.reshape(1, -1), cache)
        return dz.reshape(dp.shape)


class LegacyBatchAxisSoftmaxHead(CrossEntropyOfOutputs):
    """Softmax over the batch axis, then a cross entropy that applies log-softmax over the classes.

    p_nc = e^{z_nc} / Σ_m e^{z_mc}: each class divides its probability over the samples of the batch. The
    prediction for a sample depends on the other samples; alone, it gets every class equally, at loss ln C.
    """

    mixes_samples = True
    card = Card(
        "softmax over classes of (softmax over the batch of z)",
        "published comparisons of softmax heads, 2023",
        mistake="softmax runs over the samples of the batch, so a sample's loss depends on its neighbours",
        instead="softmax",
    )

    def outputs(self, z: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if not len(z):
            return z, None  # there is nothing to divide over no samples
        columns, cache = softmax.softmax_forward(z.T)  # (C, N)
        return columns.T, cache

    def outputs_backward(self, dp: Array, cache: Any) -> Array:
        return softmax.softmax_backward(dp.T, cache).T


class LegacyNLLOnProbabilitiesHead(NoisyHead):
    """The NLL loss, which expects log-probabilities, given probabilities: loss = -mean p[target], in [-1, 0].

    Its gradient in z_y is -p_y · (1 - p_y): nothing for a sample that is confidently wrong. noise=normal is what a
    published "Gumbel" head was; noise=none by default, tau and the rest as in `gumbel_softmax`. No likelihood;
    log_prob = log softmax((z + g) / τ).
    """

    likelihood, legacy = False, True
    card = Card(
        "-p[target], p = softmax((z + g) / τ)",
        "published comparisons of softmax heads, 2023",
        mistake="the loss is minus the target's probability, not minus its logarithm, so bad mistakes teach nothing",
        instead="softmax, or gumbel_softmax noise=normal",
    )

    def __init__(self, features: int, classes: ClassInfo, *, noise: str = "none", **options: Any):
        super().__init__(features, classes, noise=noise, **options)

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        noise, tau = self.draw(z, train, rng)
        p, map_cache = gumbel.gumbel_softmax_forward(z, noise, tau=tau)
        found, cache = losses.nll_forward(p, targets)
        return found, (map_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        map_cache, loss_cache = cache
        return gumbel.gumbel_softmax_backward(losses.nll_backward(dlosses, loss_cache), map_cache)


class LegacySoftmax1UnshiftedHead(FlatHead):
    """Softmax with a 1 in the denominator, of which the maximum was not subtracted: p_c = e^{s_c} / (1 + Σ_j e^{s_j}).

    s = z - max z, so this is a sink whose score is the largest of the row, whatever that is. "None of these" has from
    1 / (C + 1) to half of the probability and depends on no constant in z; p_y is at most 1/2, the loss at least ln 2.
    """

    legacy, distribution, soft_targets = True, False, True
    card = Card(
        "exp(z - max z) / (1 + Σ exp(z - max z))",
        "github.com/kyegomez/AttentionIsOFFByOne, 2023 (its issue 5), and its copies",
        mistake="the maximum is subtracted from the scores and not from the 1, which so is as large as the best class",
        instead="sink, or in attention the mapping softmax1",
    )

    def losses_of_scores(self, z: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        y, sink_cache = sink.log_sink_softmax_forward(z, z.max(axis=1))
        found, cache = losses.nll_forward(y, targets)
        return found, (z.argmax(axis=1), sink_cache, cache)

    def losses_of_scores_backward(self, dlosses: Array, cache: Any) -> Array:
        top, sink_cache, loss_cache = cache
        dz, dsink = sink.log_sink_softmax_backward(losses.nll_backward(dlosses, loss_cache), sink_cache)
        dz[array_module(dz).arange(len(dz)), top] += dsink  # the sink's score is that of the best class
        return dz

    def log_prob_of_scores(self, z: Array, rng: Rng | None) -> Array:
        return sink.log_sink_softmax_forward(z, z.max(axis=1))[0]
