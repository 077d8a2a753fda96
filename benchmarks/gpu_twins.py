"""The models of gpu.py in PyTorch: those of `npsoftmax bench step`, and a small vision transformer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from npsoftmax.bench.networks import CLASSES
from npsoftmax.bench.twins import TWINS, load_parameters

PATCH, DIM, DEPTH, HEADS, HIDDEN = 4, 192, 6, 3, 384
BLOCK = {
    "attention.qkv": "self_attn.in_proj_",
    "attention.out": "self_attn.out_proj.",
    "mlp.fc1": "linear1.",
    "mlp.fc2": "linear2.",
    "norm1": "norm1.",
    "norm2": "norm2.",
}
KINDS = {"w": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}


class VitSmall(nn.Module):
    """`vit_small` with a linear head, of PyTorch's own layers: pre-norm blocks with GELU, a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.token = nn.Parameter(torch.randn(DIM) * 0.3)
        self.position = nn.Parameter(torch.randn((32 // PATCH) ** 2 + 1, DIM) * 0.3)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(DEPTH)
        )
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), 1, -1), tokens], dim=1) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy npsoftmax parameters (dotted name -> array)."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, array in arrays.items():
                own[_name_in_torch(name)].copy_(torch.from_numpy(np.ascontiguousarray(_in_layout(name, array))))


def _name_in_torch(name: str) -> str:
    path, _, leaf = name.removeprefix("trunk.").rpartition(".")
    if path.startswith("block"):
        number, _, part = path.partition(".")
        return f"blocks.{int(number.removeprefix('block')) - 1}.{BLOCK[part]}{KINDS[leaf]}"
    return {"class_token": "token", "positions": "position"}.get(path) or f"{path}.{KINDS[leaf]}"


def _in_layout(name: str, array: np.ndarray) -> np.ndarray:
    if name == "trunk.patches.w":
        return array.reshape(PATCH, PATCH, 3, DIM).transpose(3, 2, 0, 1)
    return array.T if name.endswith(".w") else array


def twin_of(model: str, start: Mapping[str, np.ndarray] | None) -> nn.Module:
    """The model in training, without dropout; from the parameters `start` where they are given."""
    if model == "vit_small":
        twin = VitSmall()
        if start:
            twin.load(start)
    else:
        twin = TWINS[model]()
        if start:
            load_parameters(twin, start)
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return twin.train()
