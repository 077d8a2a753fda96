"""Multi-head attention as a layer: where each token looks is softmax of the scores, or any mapping."""

from __future__ import annotations

from typing import Any

from npsoftmax.backend import Array, array_module
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.functional import multi_head, softmax_attention
from npsoftmax.functional.attention import attention_mapping, attention_weights_forward, check_mapping_options
from npsoftmax.kernels import attention as kernels
from npsoftmax.layers.base import Layer, Shape, require_sizes
from npsoftmax.layers.dense import Dense
from npsoftmax.layers.elementwise import Dropout
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng

ALGORITHMS = ("auto", *multi_head.ALGORITHMS)


class MultiHeadAttention(Layer):
    """Self-attention (`forward`) or attention to other tokens (`cross_forward`). x (N, T, D) -> y (N, T, D).

    params qkv (w (D, 3D), b (3D,): queries, keys and values side by side) and out (w (D, D), b (D,)).
    mapping, mapping_opts: what turns scores into weights, one of MAPPINGS that gives probabilities, and its options.
    Its noise, if any, is drawn in training; evaluation has none. dropout: of the weights, in training. causal: a token
    sees none after it. algorithm: "plain" (readable throughout), "tiled" (softmax; memory that does not grow with T·T),
    "fused" (softmax, compiled) or "auto": fused where that is possible, else plain.
    A `mask` of booleans (True: may look) broadcasts to (N, heads, T, S).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        rng: Rng,
        bias: bool = True,
        mapping: str = "softmax",
        mapping_opts: dict[str, Any] | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        algorithm: str = "auto",
        init: str = "default",
    ):
        super().__init__()
        require_sizes("MultiHeadAttention", dim=dim, heads=heads)
        check_rng(rng)
        if dim % heads:
            raise InputError(f"{dim} features do not divide into {heads} heads; choose a divisor of {dim}.")
        if algorithm not in ALGORITHMS:
            raise unknown_name("attention algorithm", algorithm, ALGORITHMS)
        if mapping != "softmax" and algorithm in ("tiled", "fused"):
            raise InputError(f"attention algorithm {algorithm!r} is for softmax; take algorithm='plain' for {mapping}.")
        self.dim, self.heads, self.causal, self.algorithm = dim, heads, causal, algorithm
        self.mapping, self.mapping_opts = mapping, check_mapping_options(mapping, mapping_opts or {})
        self.dropout = Dropout(dropout).p
        self.qkv = Dense(dim, 3 * dim, rng=rng.child("qkv"), bias=bias, init=init)
        self.out = Dense(dim, dim, rng=rng.child("out"), bias=bias, init=init)
        self.params = {"qkv": self.qkv.params, "out": self.out.params}

    # ------------------------------------------------------------ the passes
    def forward(
        self, x: Array, *, train: bool = False, rng: Rng | None = None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        return self._run(x, None, train, rng, mask)

    def cross_forward(
        self, x: Array, context: Array, *, train: bool = False, rng: Rng | None = None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        """Queries from x (N, T, D), keys and values from context (N, S, D) -> y (N, T, D), cache."""
        context = self.taken(context)
        return self._run(x, context, train, rng, mask)

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        dx, _, grads = self._back(dy, cache, need_dx)
        return dx, grads

    def cross_backward(self, dy: Array, cache: Any) -> tuple[Array, Array, Tree]:
        """dy, the cache of `cross_forward` -> dx, dcontext, grads."""
        dx, dcontext, grads = self._back(dy, cache, True)
        assert dx is not None and dcontext is not None  # they were asked for
        return dx, dcontext, grads

    def _run(
        self, x: Array, context: Array | None, train: bool, rng: Rng | None, mask: Array | None
    ) -> tuple[Array, Any]:
        x = self.taken(x)
        keys = x.shape[1] if context is None else context.shape[1]
        noise, drop = self._draw(x, keys, train, rng)
        algorithm = self._choose(x, mask, drop)
        qkv, out = self.params["qkv"], self.params["out"]
        y, cache = multi_head.multi_head_attention_forward(
            x,
            qkv["w"],
            qkv.get("b"),
            out["w"],
            out.get("b"),
            context,
            mask,
            noise,
            drop,
            1 - self.dropout,
            heads=self.heads,
            mapping=self.mapping,
            algorithm=algorithm,
            causal=self.causal,
            threaded=self.algorithm != "plain",
            **self.mapping_opts,
        )
        return y, cache

    def _back(self, dy: Array, cache: Any, need_dx: bool) -> tuple[Array | None, Array | None, Tree]:
        dx, *grads, dcontext = multi_head.multi_head_attention_backward(dy, cache, need_dx)
        dw_qkv, db_qkv, dw_out, db_out = grads
        if db_qkv is None:
            return dx, dcontext, {"qkv": {"w": dw_qkv}, "out": {"w": dw_out}}
        return dx, dcontext, {"qkv": {"w": dw_qkv, "b": db_qkv}, "out": {"w": dw_out, "b": db_out}}

    def _draw(self, x: Array, keys: int, train: bool, rng: Rng | None) -> tuple[Array | None, Array | None]:
        """The noise of the mapping and the mask of dropout, (N, heads, T, S) each; None where there is none."""
        noisy, dropped = attention_mapping(self.mapping).needs_noise, self.dropout > 0
        if not train or not (noisy or dropped):
            return None, None
        if rng is None:
            raise InputError("attention with noise or dropout draws it in training: pass rng=Rng(seed) to forward.")
        check_rng(rng)
        xp = array_module(x)
        shape = (x.shape[0], self.heads, x.shape[1], keys)
        noise = rng.child("noise").gumbel(shape, x.dtype, xp) if noisy else None
        return noise, rng.child("dropout").keep_mask(shape, 1 - self.dropout, xp) if dropped else None

    def _choose(self, x: Array, mask: Array | None, drop: Array | None) -> str:
        if self.algorithm != "auto":
            return self.algorithm
        fused = multi_head.can_be_fused(self.mapping, mask, drop, self.causal) and kernels.has_compiled(x)
        return "fused" if fused else "plain"

    # ------------------------------------------------------------ what there is to see
    def weights(self, x: Array, mask: Array | None = None) -> Array:
        """Where each token looks, in evaluation. x (N, T, D) -> p (N, heads, T, T), rows summing to 1."""
        x = self.taken(x)
        n, t, d = x.shape
        qkv = self.qkv.forward(x.reshape(n * t, d))[0].reshape(n, t, 3 * d)
        q, k = (softmax_attention.split_heads(qkv[..., i : i + d], self.heads) for i in (0, d))
        p, _ = attention_weights_forward(q, k, mask, mapping=self.mapping, causal=self.causal, **self.mapping_opts)
        return p

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2 or shape[1] != self.dim:
            raise InputError(f"{self!r} takes samples of shape (T, {self.dim}), not {shape}.")
        return shape

    def macs(self, shape: Shape) -> int:
        return self.macs_of(shape[0], shape[0])

    def macs_of(self, queries: int, keys: int) -> int:
        """Multiply-adds of one sample: the four projections, the scores and the means of the values."""
        return (2 * queries + 2 * keys) * self.dim**2 + 2 * queries * keys * self.dim

    def children(self) -> dict[str, Layer]:
        return {"qkv": self.qkv, "out": self.out}

    def __repr__(self) -> str:
        extra = "" if self.mapping == "softmax" else f", {self.mapping}"
        return f"MultiHeadAttention({self.dim}, {self.heads} heads{extra})"
