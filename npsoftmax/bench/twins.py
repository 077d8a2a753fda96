"""PyTorch twins of the models: the same layers with the same parameters, as a PyTorch user would write them.

The modules have the names that the layers have in npsoftmax: its `trunk.block1.conv.w` is
`trunk.block1.conv.weight` here. Only PyTorch's workers import this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from npsoftmax.bench.task import CLASSES, LEARNING_RATE, MOMENTUM, batch
from npsoftmax.bench.torch_vit import Patches, vit_modules
from npsoftmax.bench.workers import Job

WEIGHT, NORM = {"weight": "w", "bias": "b"}, {"weight": "gamma", "bias": "beta"}
# What PyTorch calls a parameter -> what we call it; parameters of other modules have the same name in both.
OUR_NAMES = {nn.Conv2d: WEIGHT, Patches: WEIGHT, nn.Linear: WEIGHT, nn.BatchNorm2d: NORM, nn.LayerNorm: NORM}


class Named(nn.Sequential):
    """nn.Sequential with names as keywords."""

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Residual(Named):
    """y = x + branch(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Twin(Named):
    """Trunk and linear head. `flat` (C, H, W) is what the trunk flattens before the first linear map, if it does."""

    def __init__(self, trunk: Named, flat: tuple[int, int, int] | None, features: int):
        super().__init__(trunk=trunk, head=nn.Linear(features, CLASSES))
        self.flat = flat


# ---------------------------------------------------------------- the models
def mlp() -> Twin:
    """Two hidden dense layers of 256 and 128."""
    trunk = Named(
        flatten=nn.Flatten(),
        fc1=nn.Linear(3 * 32 * 32, 256),
        relu1=nn.ReLU(),
        fc2=nn.Linear(256, 128),
        relu2=nn.ReLU(),
    )
    return Twin(trunk, (3, 32, 32), 128)


def convnet(widths: tuple[int, int, int] = (32, 64, 128), fc: int = 256) -> Twin:
    """Three convolutions with ReLU and pooling, one hidden dense layer."""
    layers: dict[str, nn.Module] = {}
    channels = 3
    for number, width in enumerate(widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    trunk = Named(**layers, flatten=nn.Flatten(), fc=nn.Linear(channels * 4 * 4, fc), relu_fc=nn.ReLU())
    return Twin(trunk, (channels, 4, 4), fc)


def tinyvgg() -> Twin:
    """Two blocks of two convolutions of width 10."""
    layers: dict[str, nn.Module] = {}
    channels = 3
    for block in (1, 2):
        for number in (1, 2):
            layers[f"conv{block}_{number}"] = nn.Conv2d(channels, 10, 3, padding=1)
            layers[f"relu{block}_{number}"] = nn.ReLU()
            channels = 10
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return Twin(Named(**layers, flatten=nn.Flatten()), (10, 8, 8), 640)


def resnet9() -> Twin:
    """Eight convolutions with batch norm, two residuals."""
    trunk = Named(
        block1=_conv_norm_relu(3, 64),
        block2=_conv_norm_relu(64, 128),
        pool2=nn.MaxPool2d(2),
        residual2=Residual(block1=_conv_norm_relu(128, 128), block2=_conv_norm_relu(128, 128)),
        block3=_conv_norm_relu(128, 256),
        pool3=nn.MaxPool2d(2),
        block4=_conv_norm_relu(256, 512),
        pool4=nn.MaxPool2d(2),
        residual4=Residual(block1=_conv_norm_relu(512, 512), block2=_conv_norm_relu(512, 512)),
        pool=nn.MaxPool2d(4),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.25),
    )
    return Twin(trunk, (512, 1, 1), 512)


def speednet() -> Twin:
    """Three blocks that pool before they normalise, each with a residual."""
    trunk, channels = {}, 3
    for number, width in enumerate((64, 128, 256), start=1):
        trunk[f"block{number}"] = Named(
            conv=nn.Conv2d(channels, width, 3, padding=1, bias=False),
            pool=nn.MaxPool2d(2),
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
        )
        trunk[f"residual{number}"] = Residual(
            block1=_conv_norm_relu(width, width), block2=_conv_norm_relu(width, width)
        )
        channels = width
    return Twin(Named(**trunk, pool=nn.MaxPool2d(4), flatten=nn.Flatten()), (channels, 1, 1), channels)


class Whiten(nn.Module):
    """2x2 patches and minus the patches, by a convolution that does not learn: what ours is before it sees images."""

    def __init__(self) -> None:
        super().__init__()
        copies = torch.cat([torch.eye(12), -torch.eye(12)])
        self.register_buffer("weight", copies.reshape(24, 2, 2, 3).permute(0, 3, 1, 2).contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.get_buffer("weight"))


class MaxPlusMean(nn.Module):
    """The largest value of each channel plus the mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(dim=(2, 3)) + x.mean(dim=(2, 3))


class PadToOdd(nn.Module):
    """Zeros below and on the right of maps of even size, of which 2x2 filters and a pool then drop nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        return F.pad(x, (0, 1 - width % 2, 0, 1 - height % 2))


# Of each group: its width, that inside its residual, the sizes of its three kernels.
GROUPS = ((64, 64, (3, 1, 1)), (256, 192, (3, 3, 1)), (768, 512, (2, 3, 3)))


def whitened_resnet() -> Twin:
    """Whitened patches that do not learn, three groups with a residual each; for images of any size."""
    trunk: dict[str, nn.Module] = {"stem": Named(whiten=Whiten(), act=nn.SiLU())}
    channels = 24
    for number, (width, inner, sizes) in enumerate(GROUPS, start=1):
        first, second, third = sizes
        trunk[f"group{number}"] = _conv_norm_silu(channels, width, first, pool=nn.MaxPool2d(2))
        trunk[f"residual{number}"] = Residual(
            block1=_conv_norm_silu(width, inner, second), block2=_conv_norm_silu(inner, width, third)
        )
        channels = width
    return Twin(Named(**trunk, pool=MaxPlusMean()), None, channels)


def _conv_norm_silu(inputs: int, outputs: int, k: int, **pool: nn.Module) -> Named:
    padded: dict[str, nn.Module] = {} if k % 2 else {"pad": PadToOdd()}
    conv = nn.Conv2d(inputs, outputs, k, padding=k // 2 if k % 2 else 0, bias=False)
    return Named(**padded, conv=conv, **pool, norm=nn.BatchNorm2d(outputs), act=nn.SiLU())


def _conv_norm_relu(inputs: int, outputs: int) -> Named:
    return Named(conv=nn.Conv2d(inputs, outputs, 3, padding=1), norm=nn.BatchNorm2d(outputs), relu=nn.ReLU())


def vit_small(queries: int | None = 1) -> Twin:
    """Six transformer blocks on patches of 4x4, the last one for so many tokens."""
    return Twin(Named(**vit_modules(4, 192, 6, 3, 384, queries)), None, 192)


TWINS: dict[str, Callable[[], Twin]] = {
    "mlp": mlp,
    "convnet": convnet,
    "convnet_e4": partial(convnet, (6, 8, 10), 200),
    "tinyvgg": tinyvgg,
    "resnet9": resnet9,
    "speednet": speednet,
    "whitened_resnet": whitened_resnet,
    "vit_small": vit_small,
    "vit_small_usual": partial(vit_small, None),
}


# ---------------------------------------------------------------- parameters
def our_parameters(twin: Twin) -> dict[str, nn.Parameter]:
    """The twin's parameters by the names that they have in npsoftmax."""
    return {
        f"{path}.{OUR_NAMES.get(type(module), {}).get(name, name)}": parameter
        for path, module in twin.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
    }


def load_parameters(twin: Twin, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy npsoftmax parameters (dotted name -> array) into the twin, in PyTorch's layouts."""
    after_flatten = next(f"{path}.w" for path, part in twin.named_modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        for name, parameter in our_parameters(twin).items():
            flat = twin.flat if name == after_flatten else None
            parameter.copy_(torch.from_numpy(torch_layout(arrays[name], tuple(parameter.shape), flat)))


def leave_out_dropout(twin: Twin) -> None:
    """Set every dropout's probability to 0."""
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def torch_layout(array: np.ndarray, shape: tuple[int, ...], flat: tuple[int, int, int] | None = None) -> np.ndarray:
    """A parameter in PyTorch's layout, of `shape`; `flat` (C, H, W) for a linear map of a flattened image."""
    if len(shape) == 4:  # (KH, KW, C, F), or (KH·KW·C, F) of patches -> (F, C, KH, KW)
        f, c, kh, kw = shape
        array = array.reshape(kh, kw, c, f).transpose(3, 2, 0, 1)
    elif len(shape) == 2 and flat:
        c, h, w = flat
        array = array.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(shape)  # (M, C·H·W)
    elif len(shape) == 2:
        array = array.T
    return np.ascontiguousarray(array.reshape(shape))


# ---------------------------------------------------------------- one side of a comparison
class Torch:
    """A twin with its batch, ready to step; what `networks.Ours` is for npsoftmax."""

    def __init__(self, job: Job):
        torch.set_num_threads(job["threads"])
        torch.manual_seed(0)
        layout = torch.channels_last if job["side"] == "torch-channels-last" else torch.contiguous_format
        self.twin = TWINS[job["model"]]()
        x, t = batch(job["batch_size"])
        if job.get("start"):
            with np.load(job["start"]) as start:
                load_parameters(self.twin, start)
                x, t = start["x"], start["t"]
        if not job["dropout"]:
            leave_out_dropout(self.twin)
        self.twin.to(memory_format=layout)
        self.x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        self.t = torch.from_numpy(t)

    @cached_property
    def optimizer(self) -> torch.optim.SGD:
        """SGD with momentum, made at the first step."""
        return torch.optim.SGD(self.twin.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def train_step(self) -> float:
        """Forward, backward, update; the mean loss."""
        self.twin.train()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.twin(self.x), self.t)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def evaluate(self) -> float:
        """Log-probabilities of all classes in evaluation; the mean negative one of the labels."""
        self.twin.eval()
        with torch.inference_mode():
            log_prob = F.log_softmax(self.twin(self.x), dim=1)
            return F.nll_loss(log_prob, self.t).item()

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters by our names, in PyTorch's layouts."""
        return {name: p.detach().numpy().copy() for name, p in our_parameters(self.twin).items()}
