"""The vision transformer in PyTorch, as its users write it: one linear map for queries, keys and values, then
`scaled_dot_product_attention`, which takes the fused kernel. Only PyTorch's workers import this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ClassToken(nn.Module):
    """One learned token before the others."""

    def __init__(self, dim: int):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)


class Positions(nn.Module):
    """Learned positions."""

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, tokens, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.position


class Patches(nn.Conv2d):
    """A strided convolution, its pixels as tokens."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention of the first `queries` tokens (None: all) over all."""

    def __init__(self, dim: int, heads: int, queries: int | None):
        super().__init__()
        self.heads, self.queries = heads, queries
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.projected(x))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def projected(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values."""
        if self.queries is None:
            return self.qkv(x).chunk(3, dim=-1)
        w, b, dim = self.qkv.weight, self.qkv.bias, x.shape[-1]
        q = F.linear(x[:, : self.queries], w[:dim], b[:dim])
        return q, *F.linear(x, w[dim:], b[dim:]).chunk(2, dim=-1)


class FeedForward(nn.Module):
    """Two linear maps with GELU between them."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm block; with `queries` only the first so many tokens go on."""

    def __init__(self, dim: int, heads: int, hidden: int, queries: int | None = None):
        super().__init__()
        self.queries = queries
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads, queries)
        self.norm2, self.mlp = nn.LayerNorm(dim), FeedForward(dim, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, : self.queries] + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class FirstToken(nn.Module):
    """The class token alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]


def vit_modules(patch: int, dim: int, depth: int, heads: int, hidden: int, queries: int | None) -> dict[str, nn.Module]:
    """The trunk for images of 32x32x3, by the names of ours. queries: the tokens that the last block computes.

    Ours computes one, the class token, which is all that anybody reads; None is how a transformer is usually written.
    """
    blocks = [Block(dim, heads, hidden, queries if number == depth else None) for number in range(1, depth + 1)]
    return {
        "patches": Patches(3, dim, patch, stride=patch),
        "class_token": ClassToken(dim),
        "positions": Positions((32 // patch) ** 2 + 1, dim),
        **{f"block{number}": block for number, block in enumerate(blocks, start=1)},
        "pool": FirstToken(),
        "norm": nn.LayerNorm(dim),
    }
