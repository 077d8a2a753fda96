"""The transformer block: attention mixes tokens, a small network mixes features, and each is added to its own input."""

from __future__ import annotations

from typing import Any

from npsoftmax.autocast import activation, activations, like, widened
from npsoftmax.backend import Array
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.kernels.elementwise import add
from npsoftmax.layers.attention import MultiHeadAttention
from npsoftmax.layers.base import Layer, Shape, check_unused, require_sizes
from npsoftmax.layers.containers import Sequential
from npsoftmax.layers.dense import Dense
from npsoftmax.layers.elementwise import GELU, Dropout, ReLU, StochasticDepth
from npsoftmax.layers.norm import LayerNorm
from npsoftmax.params import Tree
from npsoftmax.random import Rng, check_rng

ACTIVATIONS: dict[str, type[GELU] | type[ReLU]] = {"gelu": GELU, "relu": ReLU}
NORMS = ("pre", "post")


class FeedForward(Layer):
    """The same two dense layers for every token: y = act(x @ fc1) @ fc2. x (N, T, D) -> y (N, T, D).

    activation: "gelu" or "relu"; dropout: after it, in training.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        rng: Rng,
        activation: str = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        init: str = "default",
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        check_rng(rng)
        self.fc1 = Dense(dim, hidden, rng=rng.child("fc1"), bias=bias, init=init)
        self.act, self.dropout = ACTIVATIONS[activation](), Dropout(dropout)
        self.fc2 = Dense(hidden, dim, rng=rng.child("fc2"), bias=bias, init=init)
        self.params = {"fc1": self.fc1.params, "fc2": self.fc2.params}

    def forward(self, x: Array, *, train: bool = False, rng: Rng | None = None) -> tuple[Array, Any]:
        check_rng(rng, optional=True)
        x = self.taken(x)
        n, tokens, dim = x.shape
        h, first = self.fc1.forward(x.reshape(n * tokens, dim))
        h, act = self.act.forward(h)
        # In its shape of samples: noise belongs to a sample, not to a row.
        h, dropped = self.dropout.forward(
            h.reshape(n, tokens, h.shape[-1]), train=train, rng=rng and rng.child("dropout")
        )
        y, second = self.fc2.forward(h.reshape(n * tokens, h.shape[-1]))
        return y.reshape(x.shape), [first, act, dropped, second]

    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        (dy,) = activations("dy (N, T, D)", dy)
        caches, (n, tokens, dim) = cache, dy.shape
        check_unused(caches, 4)
        dh, fc2 = self.fc2.backward(dy.reshape(n * tokens, dim), caches.pop())
        assert dh is not None  # it was asked for
        dh, _ = self.dropout.backward(dh.reshape(n, tokens, dh.shape[-1]), caches.pop())
        dh, _ = self.act.backward(dh.reshape(n * tokens, dh.shape[-1]), caches.pop())
        dx, fc1 = self.fc1.backward(dh, caches.pop(), need_dx=need_dx)
        return None if dx is None else dx.reshape(dy.shape), {"fc1": fc1, "fc2": fc2}

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2 or shape[1] != self.fc1.inputs:
            raise InputError(f"{self!r} takes samples of shape (T, {self.fc1.inputs}), not {shape}.")
        return shape

    def macs(self, shape: Shape) -> int:
        return 2 * shape[0] * self.fc1.inputs * self.fc1.outputs

    def children(self) -> dict[str, Layer]:
        return {"fc1": self.fc1, "act": self.act, "dropout": self.dropout, "fc2": self.fc2}

    def __repr__(self) -> str:
        return f"FeedForward({self.fc1.inputs}, {self.fc1.outputs}, {type(self.act).__name__})"


class TransformerBlock(Layer):
    """Attention, then a feed-forward network, each in a residual branch. x (N, T, D) -> y (N, T, D).

    norm: "pre", x + branch(norm(x)) (Xiong et al. 2020, arXiv 2002.04745), or "post", norm(x + branch(x)) (Vaswani et
    al. 2017, arXiv 1706.03762). dropout: at the end of each branch and after the activation; attention_dropout: of the
    weights, as `dropout` where it is None; drop_path: stochastic depth of both branches. bias=False leaves it out
    everywhere, norms included. mapping, mapping_opts, causal, algorithm: see MultiHeadAttention.
    queries: only the first so many tokens go on, the others are still looked at: y (N, queries, D). For a last block of
    which only the class token is read, the same numbers with far fewer products.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        rng: Rng,
        norm: str = "pre",
        activation: str = "gelu",
        bias: bool = True,
        mapping: str = "softmax",
        mapping_opts: dict[str, Any] | None = None,
        causal: bool = False,
        algorithm: str = "auto",
        dropout: float = 0.0,
        attention_dropout: float | None = None,
        drop_path: float = 0.0,
        queries: int | None = None,
        eps: float = 1e-5,
        init: str = "default",
    ):
        super().__init__()
        if norm not in NORMS:
            raise unknown_name("place of the norm", norm, NORMS)
        if queries is not None:
            require_sizes("TransformerBlock", queries=queries)
        check_rng(rng)
        self.pre, self.queries = norm == "pre", queries
        self.norm1, self.norm2 = LayerNorm(dim, eps=eps, bias=bias), LayerNorm(dim, eps=eps, bias=bias)
        self.attention = MultiHeadAttention(
            dim,
            heads,
            rng=rng.child("attention"),
            bias=bias,
            mapping=mapping,
            mapping_opts=mapping_opts,
            causal=causal,
            algorithm=algorithm,
            dropout=dropout if attention_dropout is None else attention_dropout,
            init=init,
        )
        self.mlp = FeedForward(
            dim, hidden, rng=rng.child("mlp"), activation=activation, bias=bias, dropout=dropout, init=init
        )
        self.drop1, self.drop2 = (
            Sequential(dropout=Dropout(dropout), depth=StochasticDepth(drop_path)) for _ in range(2)
        )
        self.params = {name: part.params for name, part in self.children().items() if part.params}

    # ------------------------------------------------------------ forward
    def forward(
        self, x: Array, *, train: bool = False, rng: Rng | None = None, mask: Array | None = None
    ) -> tuple[Array, Any]:
        check_rng(rng, optional=True)
        x = self.taken(x)
        caches: list[Any] = []

        def run(name: str, x: Array) -> Array:
            y, cache = getattr(self, name).forward(x, train=train, rng=rng and rng.child(name))
            caches.append(cache)
            return y

        def attend(h: Array) -> Array:
            a, cache = self._attend(h, train=train, rng=rng and rng.child("attention"), mask=mask)
            caches.append(cache)
            return a

        kept = x[:, : self.queries]
        if self.pre:
            x = add(kept, run("drop1", attend(run("norm1", x))))
            x = add(x, run("drop2", run("mlp", run("norm2", x))))
        else:
            x = run("norm1", add(kept, run("drop1", attend(x))))
            x = run("norm2", add(x, run("drop2", run("mlp", x))))
        return x, caches

    def _attend(self, h: Array, **options: Any) -> tuple[Array, Any]:
        """Attention of the tokens that go on to all."""
        if self.queries is None:
            return self.attention.forward(h, **options)
        return self.attention.cross_forward(h[:, : self.queries], h, **options)

    # ------------------------------------------------------------ backward
    def backward(self, dy: Array, cache: Any, *, need_dx: bool = True) -> tuple[Array | None, Tree]:
        check_unused(cache, 6)
        caches, grads, dy = cache, {}, activation(dy, "dy")

        def back(name: str, dy: Array) -> Array:
            dx, grads[name] = getattr(self, name).backward(dy, caches.pop())
            return dx

        def attend_back(da: Array) -> Array:
            dh, grads["attention"] = self._attend_backward(da, caches.pop())
            return dh

        if self.pre:
            dy = add(dy, back("norm2", back("mlp", back("drop2", dy))))
            dx = _add_to_first(back("norm1", attend_back(back("drop1", dy))), dy)
        else:
            dy = back("norm2", dy)
            dy = back("norm1", add(dy, back("mlp", back("drop2", dy))))
            dx = _add_to_first(attend_back(back("drop1", dy)), dy)
        return dx, {name: grads[name] for name in self.params}

    def _attend_backward(self, da: Array, cache: Any) -> tuple[Array, Tree]:
        if self.queries is None:
            dx, grads = self.attention.backward(da, cache)
            assert dx is not None  # it was asked for
            return dx, grads
        dq, dh, grads = self.attention.cross_backward(da, cache)
        return _add_to_first(dh, dq), grads

    def output_shape(self, shape: Shape) -> Shape:
        tokens, dim = self.attention.output_shape(shape)
        if self.queries is not None and self.queries > tokens:
            raise InputError(f"{self!r} passes {self.queries} tokens on, but there are only {tokens}.")
        return (tokens if self.queries is None else self.queries), dim

    def macs(self, shape: Shape) -> int:
        out = self.output_shape(shape)
        return self.attention.macs_of(out[0], shape[0]) + self.mlp.macs(out)

    def children(self) -> dict[str, Layer]:
        names = ("norm1", "attention", "drop1", "norm2", "mlp", "drop2")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        extra = "" if self.queries is None else f", {self.queries} of the tokens"
        norm = "pre" if self.pre else "post"
        return f"TransformerBlock({self.attention.dim}, {self.attention.heads} heads, {norm}-norm{extra})"


def _add_to_first(whole: Array, part: Array) -> Array:
    """`whole` (N, T, D) with `part` (N, n, D) added to its first n tokens."""
    if whole.shape == part.shape:
        return add(whole, part)
    y = widened(whole)
    y = y.copy() if y is whole else y
    y[:, : part.shape[1]] += widened(part)
    return like(y, whole)
