"""The models as a PyTorch user writes them, with the names of docs/pytorch.md and random weights of their own."""

from __future__ import annotations

from torch import nn
from torch_transformer import Pool

from npsoftmax.bench.torch_vit import ClassToken, Patches, Positions

C = nn.Conv2d


class Net(nn.Module):
    """trunk.…, then head.… ."""

    def __init__(self, trunk, head):
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, x):
        return self.head(self.trunk(x))


def sequential(**modules):
    net = nn.Sequential()
    for name, module in modules.items():
        net.add_module(name, module)
    return net


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def mlp(shape, hidden):
    parts, features = {"flatten": nn.Flatten()}, shape[0] * shape[1] * shape[2]
    for number, width in enumerate(hidden, start=1):
        parts |= {f"fc{number}": nn.Linear(features, width), f"relu{number}": nn.ReLU()}
        features = width
    return sequential(**parts), features


def token_mlp(shape, words, embedding, hidden):
    parts, features = {"embedding": nn.Embedding(words, embedding), "flatten": nn.Flatten()}, shape[0] * embedding
    for number, width in enumerate(hidden, start=1):
        parts |= {f"fc{number}": nn.Linear(features, width), f"relu{number}": nn.ReLU()}
        features = width
    return sequential(**parts), features


def convnet(shape, widths, fc, logits=None):
    height, width, channels = shape
    parts = {}
    for number, outputs in enumerate(widths, start=1):
        parts |= {f"conv{number}": C(channels, outputs, 3, padding=1), f"relu{number}": nn.ReLU()}
        parts[f"pool{number}"] = nn.MaxPool2d(2)
        height, width, channels = height // 2, width // 2, outputs
    parts |= {"flatten": nn.Flatten(), "fc": nn.Linear(channels * height * width, fc), "relu_fc": nn.ReLU()}
    if logits:
        parts["logits"] = nn.Linear(fc, logits)
    return sequential(**parts), logits or fc


def tinyvgg(shape, width):
    parts, channels = {}, shape[2]
    for block in (1, 2):
        for number in (1, 2):
            parts[f"conv{block}_{number}"] = C(channels, width, 3, padding=1)
            parts[f"relu{block}_{number}"] = nn.ReLU()
            channels = width
        parts[f"pool{block}"] = nn.MaxPool2d(2)
    return sequential(**parts, flatten=nn.Flatten()), width * (shape[0] // 4) * (shape[1] // 4)


def block(inputs, outputs):
    return sequential(conv=C(inputs, outputs, 3, padding=1), norm=nn.BatchNorm2d(outputs), relu=nn.ReLU())


def residual(width):
    branch = Residual()
    for name in ("block1", "block2"):
        branch.add_module(name, block(width, width))
    return branch


def resnet9(shape, widths):
    a, b, c, d = widths
    trunk = sequential(
        block1=block(shape[2], a),
        block2=block(a, b),
        pool2=nn.MaxPool2d(2),
        residual2=residual(b),
        block3=block(b, c),
        pool3=nn.MaxPool2d(2),
        block4=block(c, d),
        pool4=nn.MaxPool2d(2),
        residual4=residual(d),
        pool=nn.MaxPool2d((shape[0] // 8, shape[1] // 8)),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.25),
    )
    return trunk, d


def speednet(shape, widths):
    parts, channels = {}, shape[2]
    for number, width in enumerate(widths, start=1):
        parts[f"block{number}"] = sequential(
            conv=C(channels, width, 3, padding=1, bias=False),
            pool=nn.MaxPool2d(2),
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
        )
        parts[f"residual{number}"] = residual(width)
        channels = width
    height, across = (side // 2 ** len(widths) for side in shape[:2])
    return sequential(**parts, pool=nn.MaxPool2d((height, across)), flatten=nn.Flatten()), channels


class MaxPlusMean(nn.Module):
    def forward(self, x):
        return x.amax(dim=(2, 3)) + x.mean(dim=(2, 3))


def silu_block(inputs, outputs, k, **pool):
    conv = C(inputs, outputs, k, padding=k // 2 if k % 2 else 0, bias=False)
    return sequential(conv=conv, **pool, norm=nn.BatchNorm2d(outputs), act=nn.SiLU())


def whitened_resnet(shape, widths, inner, kernels):
    """For heights and widths at which no 2x2 convolution needs padding."""
    channels = 8 * shape[2]
    parts = {"stem": sequential(whiten=C(shape[2], channels, 2, bias=False), act=nn.SiLU())}
    for number, (width, middle) in enumerate(zip(widths, inner, strict=True), start=1):
        first, second, third = kernels[3 * number - 3 : 3 * number]
        parts[f"group{number}"] = silu_block(channels, width, first, pool=nn.MaxPool2d(2))
        branch = Residual()
        branch.add_module("block1", silu_block(width, middle, second))
        branch.add_module("block2", silu_block(middle, width, third))
        parts[f"residual{number}"] = branch
        channels = width
    return sequential(**parts, pool=MaxPlusMean()), channels


# ---------------------------------------------------------------- the vision transformer
def vit(shape, patch, dim, depth, heads, mlp, activation="gelu", norm="pre", pool="class"):
    tokens = (shape[0] // patch) * (shape[1] // patch) + 1
    blocks = {
        f"block{number}": nn.TransformerEncoderLayer(
            dim, heads, mlp, dropout=0.1, activation=activation, batch_first=True, norm_first=norm == "pre"
        )
        for number in range(1, depth + 1)
    }
    trunk = sequential(
        patches=Patches(shape[2], dim, patch, patch),
        class_token=ClassToken(dim),
        positions=Positions(tokens, dim),
        **blocks,
        pool=Pool(pool),
        norm=nn.LayerNorm(dim),
    )
    return trunk, dim


# name -> the model, its builder here, options of both, those of ours alone, shape of a sample
CASES = {
    "mlp": ("mlp", mlp, {"hidden": (9, 8)}, {}, (4, 5, 3)),
    "mlp, no hidden layer": ("mlp", mlp, {"hidden": ()}, {}, (4, 5, 3)),
    "convnet": ("convnet", convnet, {"widths": (4, 6), "fc": 12}, {}, (12, 8, 3)),
    "convnet with logits": ("convnet", convnet, {"widths": (4,), "fc": 9, "logits": 8}, {"dropout": 0.3}, (6, 8, 2)),
    "tinyvgg": ("tinyvgg", tinyvgg, {"width": 5}, {}, (12, 8, 3)),
    "resnet9": ("resnet9", resnet9, {"widths": (4, 6, 8, 10)}, {}, (16, 24, 3)),
    "speednet": ("speednet", speednet, {"widths": (4, 6, 8)}, {}, (16, 24, 3)),
    "whitened_resnet": (
        "whitened_resnet",
        whitened_resnet,
        {"widths": (4, 6), "inner": (3, 5), "kernels": (3, 1, 1, 2, 3, 3)},
        {},
        (16, 24, 3),
    ),
    "vit": (
        "vit",
        vit,
        {"patch": 2, "dim": 12, "depth": 2, "heads": 3, "mlp": 10, "norm": "post", "pool": "mean"},
        {},
        (6, 8, 3),
    ),
    "vit_small": ("vit_small", vit, {"patch": 4, "dim": 12, "depth": 3, "heads": 3, "mlp": 20}, {}, (8, 12, 3)),
    "vit_e4": (
        "vit_e4",
        vit,
        {"patch": 3, "dim": 16, "depth": 1, "heads": 4, "mlp": 24, "activation": "relu", "pool": "sum"},
        {},
        (6, 9, 3),
    ),
    "token_mlp": ("token_mlp", token_mlp, {"words": 20, "embedding": 4, "hidden": (9, 8)}, {}, (5,)),
}
