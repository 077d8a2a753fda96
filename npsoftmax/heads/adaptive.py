"""Adaptive softmax: frequent classes in a short list, the others in clusters behind it, with fewer features each."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.functional.linear_softmax import linear_softmax_nll_backward, linear_softmax_nll_forward
from npsoftmax.functional.loss import softmax_cross_entropy_fused_backward, softmax_cross_entropy_fused_forward
from npsoftmax.functional.softmax import log_softmax_forward
from npsoftmax.heads.base import Card, ClassInfo, Head, top_k
from npsoftmax.heads.checks import check_k
from npsoftmax.heads.on_host import OnHost
from npsoftmax.heads.row_map import SPARSE_FROM
from npsoftmax.heads.search import best_in_groups
from npsoftmax.kernels import matmul
from npsoftmax.layers.initialisation import uniform_fan_in
from npsoftmax.params import SparseRows, Tree
from npsoftmax.random import Rng

# Where the number of classes is below the first figure, the cutoffs are the number divided by the others.
DEFAULT_CUTOFFS = ((1_000, (5,)), (10_000, (10, 2.5)), (100_000, (20, 5)), (1_000_000, (50, 10)), (None, (250, 50, 5)))


class AdaptiveHead(Head):
    """log p(c) = log softmax(head)_c for the shortlist, log softmax(head)_g + log softmax(tail_g)_c in cluster g.

    Classes are ranked by how often they occur (by label where all occur equally often, or the counts are unknown).
    Rank r is in the shortlist if r < cutoffs[0], in cluster g (from 1 on) if cutoffs[g - 1] ≤ r < cutoffs[g]. Cluster g
    sees the features through a projection to max(1, ⌊D / div_value^g⌋). A step evaluates the clusters that occur in
    the batch; with soft targets, all.
    Grave et al. 2017, arXiv 1609.04309. Derivation: docs/adaptive.md.

    params head.w (cutoffs[0] + G, D), head.b with head_bias, tail1.proj (D₁, D), tail1.w (classes of cluster 1, D₁), …
    buffers rank (C,) of each class, order (C,): the class of each rank. Raises InputError for cutoffs that are not
    rising whole numbers from 1 to C - 1, and for div_value below 1.
    """

    reads_labels = True
    soft_targets = True
    uncaptured = "its products have the sizes of the clusters that a batch has labels in"
    card = Card(
        "softmax(head)_g · softmax(tail_g)_c",
        "Grave et al., 2017 (arXiv 1609.04309)",
        step="O(s + C_g)",
        parameters="D (s + G) + Σ D_g (D + C_g)",
    )

    def __init__(
        self,
        features: int,
        classes: ClassInfo,
        *,
        rng: Rng,
        cutoffs: tuple[int, ...] | None = None,
        div_value: float = 4.0,
        head_bias: bool = False,
        **options: Any,
    ):
        super().__init__(features, classes, rng=rng, **options)
        self.cutoffs = default_cutoffs(classes.n) if cutoffs is None else _checked(cutoffs, classes.n)
        if not 1 <= div_value < np.inf:
            raise InputError(f"option div_value is {div_value}, but a number of at least 1 was expected.")
        self.ends = (*self.cutoffs, classes.n)
        self.shortlist, self.clusters = self.cutoffs[0], len(self.cutoffs)
        order = self._frequency_order()
        self.buffers = {"rank": np.argsort(order), "order": order}
        self._on_host = OnHost(np.asarray)
        self._make_parameters(div_value, head_bias, rng)

    def _frequency_order(self) -> np.ndarray:
        """Classes by falling count; within the shortlist and each cluster, where order means nothing, by label."""
        counts = self.classes.counts
        if counts is None or (counts == counts[0]).all():
            warnings.warn(
                "adaptive softmax: the class counts are equal or unknown, so no class is frequent and the clusters are "
                "made by label; on such data it only has a lower rank and another cost than softmax.",
                stacklevel=3,
            )
            return np.arange(self.classes.n)
        order = np.argsort(-counts.astype(np.int64), kind="stable")
        return np.concatenate([np.sort(part) for part in np.split(order, self.cutoffs)])

    def _make_parameters(self, div_value: float, head_bias: bool, rng: Rng) -> None:
        d = self.features

        def linear(outputs: int, inputs: int, source: Rng) -> np.ndarray:
            return uniform_fan_in((outputs, inputs), inputs, source)

        outputs, source = self.shortlist + self.clusters, rng.child("head")
        self.params["head"] = {"w": linear(outputs, d, source.child("w"))}
        if head_bias:
            self.params["head"]["b"] = uniform_fan_in((outputs,), d, source.child("b"))
        for g in range(1, self.clusters + 1):
            size, width, source = self.ends[g] - self.ends[g - 1], max(1, int(d // div_value**g)), rng.child(f"tail{g}")
            self.params[f"tail{g}"] = {
                "proj": linear(width, d, source.child("proj")),
                "w": linear(size, width, source.child("w")),
            }

    def losses_forward(self, h: Array, targets: Array, train: bool, rng: Rng | None) -> tuple[Array, Any]:
        if targets.ndim == 2:
            losses, soft_cache = self._soft_forward(h, targets)
            return losses, (True, soft_cache)
        in_head, tails = self._plan(targets, array_module(h))
        head = self.params["head"]
        nll, head_cache = linear_softmax_nll_forward(h, head["w"], head.get("b"), in_head)
        tail_caches = []
        for g, samples, columns in tails:
            tail = self.params[f"tail{g}"]
            h_g = h[samples]
            more, cache = linear_softmax_nll_forward(matmul(h_g, tail["proj"].T), tail["w"], None, columns)
            nll[samples] += more
            tail_caches.append((g, samples, h_g, cache))
        return nll, (False, (head_cache, tail_caches))

    def _plan(self, targets: Array, xp: Any) -> tuple[Array, list[tuple[int, Array, Array]]]:
        """The column of the head (N,) of each sample; and of each cluster that occurs its samples and their columns.

        The number of samples of each cluster decides the shapes on a device, so labels are sorted on the host; the
        result goes to the device as one array.
        """
        rank = self._on_host(self.buffers["rank"])[to_numpy(targets)]
        group = np.searchsorted(self.cutoffs, rank, side="right")  # 0 is the shortlist
        in_head = np.where(group == 0, rank, self.shortlist - 1 + group)
        samples = np.argsort(group, kind="stable")
        columns = rank[samples] - np.array((0, *self.ends))[group[samples]]
        first = np.searchsorted(group[samples], np.arange(1, self.clusters + 2)).tolist()
        found = xp.asarray(np.stack([in_head, samples, columns]))  # (3, N)
        parts = ((g, slice(*part)) for g, part in enumerate(pairwise(first), start=1))
        return found[0], [(g, found[1, part], found[2, part]) for g, part in parts if part.start < part.stop]

    def losses_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        soft, cache = cache
        if soft:
            return self._soft_backward(dlosses, cache)
        head_cache, tail_caches = cache
        dh, dw, db = linear_softmax_nll_backward(dlosses, head_cache)
        grads: Tree = {"head": {"w": dw} if db is None else {"w": dw, "b": db}}
        for g in range(1, self.clusters + 1):  # in the order of the parameters
            grads[f"tail{g}"] = {name: self._no_gradient(p) for name, p in self.params[f"tail{g}"].items()}
        for g, samples, h_g, tail_cache in tail_caches:
            dlow, dw, _ = linear_softmax_nll_backward(dlosses[samples], tail_cache)
            dh[samples] += matmul(dlow, self.params[f"tail{g}"]["proj"])
            grads[f"tail{g}"] = {"proj": matmul(dlow.T, h_g), "w": dw}
        return dh, grads

    def _soft_forward(self, h: Array, q: Array) -> tuple[Array, Any]:
        """A cross entropy of the short list with the masses of the clusters, and one in each cluster: O(C)."""
        by_rank = q[:, self.buffers["order"]]
        parts = [by_rank[:, first:end] for first, end in pairwise((0, *self.ends))]
        mass = [part.sum(axis=1, keepdims=True) for part in parts[1:]]
        wanted = [array_module(h).concatenate([parts[0], *mass], axis=1), *parts[1:]]
        lows = [matmul(h, self.params[f"tail{g}"]["proj"].T) for g in range(1, self.clusters + 1)]
        z = [self._head_scores(h), *(matmul(low, self.params[f"tail{g}"]["w"].T) for g, low in enumerate(lows, 1))]
        losses, caches = zip(*map(softmax_cross_entropy_fused_forward, z, wanted), strict=True)
        return sum(losses[1:], start=losses[0]), (h, lows, caches)

    def _soft_backward(self, dlosses: Array, cache: Any) -> tuple[Array, Tree]:
        h, lows, caches = cache
        dz, *dz_tails = (softmax_cross_entropy_fused_backward(dlosses, part) for part in caches)
        head = self.params["head"]
        dh = matmul(dz, head["w"])
        grads: Tree = {"head": {"w": matmul(dz.T, h)} | ({"b": dz.sum(axis=0)} if "b" in head else {})}
        for g, (low, dz) in enumerate(zip(lows, dz_tails, strict=True), start=1):
            tail = self.params[f"tail{g}"]
            dlow = matmul(dz, tail["w"])
            dh += matmul(dlow, tail["proj"])
            grads[f"tail{g}"] = {"proj": matmul(dlow.T, h), "w": matmul(dz.T, low)}
        return dh, grads

    def _no_gradient(self, p: Array) -> Array | SparseRows:
        """For a cluster without a sample: zeros, or no rows at all where a cluster is large."""
        xp = array_module(p)
        if self.classes.n < SPARSE_FROM:
            return xp.zeros_like(p)
        return SparseRows(xp.zeros(0, dtype=xp.int64), xp.zeros((0, *p.shape[1:]), dtype=p.dtype), len(p))

    def log_prob(self, h: Array, *, rng: Rng | None = None) -> Array:
        h, _ = self.check(h, rng=rng)
        xp = array_module(h)
        head = self._head_log_prob(h)
        by_rank = xp.empty((len(h), self.classes.n), dtype=h.dtype)
        by_rank[:, : self.shortlist] = head[:, : self.shortlist]
        for g in range(1, self.clusters + 1):
            by_rank[:, self.ends[g - 1] : self.ends[g]] = self._tail_log_prob(h, head, g)
        return by_rank[:, self.buffers["rank"]]

    def predict(self, h: Array, k: int = 1, *, rng: Rng | None = None) -> Array:
        """Opens a cluster only where one of its classes may still win; for k = 1 mostly none.

        On a device, below SPARSE_FROM classes, all are opened: to find out which may win would wait for the device.
        """
        h, _ = self.check(h, rng=rng)
        check_k(k, self.classes.n)
        if self.classes.n < SPARSE_FROM and not isinstance(h, np.ndarray):
            return top_k(self.log_prob(h), k)
        head, order = self._head_log_prob(h), self.buffers["order"]

        def candidates(samples: Array, g: int) -> tuple[Array, Array]:
            if g == 0:
                return head[samples, : self.shortlist], order[: self.shortlist]
            return self._tail_log_prob(h[samples], head[samples], g), order[self.ends[g - 1] : self.ends[g]]

        best = head[:, : self.shortlist].max(axis=1, keepdims=True)
        bounds = array_module(h).concatenate([best, head[:, self.shortlist :]], axis=1)
        return best_in_groups(bounds, [end - start for start, end in pairwise((0, *self.ends))], k, candidates)

    def _head_log_prob(self, h: Array) -> Array:
        """log p of the classes of the shortlist, then of the clusters. h (N, D) -> (N, cutoffs[0] + G)."""
        return log_softmax_forward(self._head_scores(h))[0]

    def _head_scores(self, h: Array) -> Array:
        z = matmul(h, self.params["head"]["w"].T)
        if "b" in self.params["head"]:
            z += self.params["head"]["b"]
        return z

    def _tail_log_prob(self, h: Array, head: Array, g: int) -> Array:
        """log p of the classes of cluster g, given the log p of the head. h (N, D) -> (N, classes of cluster g)."""
        tail = self.params[f"tail{g}"]
        z = matmul(matmul(h, tail["proj"].T), tail["w"].T)
        return head[:, self.shortlist - 1 + g][:, None] + log_softmax_forward(z)[0]

    def macs(self) -> int:
        """The head, and each cluster as often as one of its classes occurs."""
        counts = np.ones(self.classes.n) if self.classes.counts is None else self.classes.counts
        ranked = counts[to_numpy(self.buffers["order"])]
        share = [part.sum() / max(counts.sum(), 1) for part in np.split(ranked, self.cutoffs)]
        tails = (self.params[f"tail{g}"] for g in range(1, self.clusters + 1))
        cost = (p * (tail["proj"].size + tail["w"].size) for p, tail in zip(share[1:], tails, strict=True))
        return self.params["head"]["w"].size + round(sum(cost))


def default_cutoffs(n: int) -> tuple[int, ...]:
    """Cutoffs for n classes: the more classes, the more and the larger clusters."""
    divisors = next(d for limit, d in DEFAULT_CUTOFFS if limit is None or n < limit)
    return tuple(max(1, int(n / d)) for d in divisors)


def _checked(cutoffs: tuple[int, ...], n: int) -> tuple[int, ...]:
    rising = all(a < b for a, b in pairwise(cutoffs))
    if not cutoffs or not rising or cutoffs[0] < 1 or cutoffs[-1] > n - 1:
        raise InputError(
            f"option cutoffs is {cutoffs}, but rising whole numbers from 1 to {n - 1} were expected "
            f"(there are {n} classes); type for example cutoffs={','.join(map(str, default_cutoffs(n)))}."
        )
    return tuple(cutoffs)
