"""The layers that are measured on their own: their shapes, what they compute and the least memory they must move.

Counted is what the definition asks for, whatever a side does: a convolution by Winograd's algorithm is given the
multiplications of the direct one ("effective" GFLOP/s), and every array moves once, even where a pass reads it twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from npsoftmax.errors import InputError

FORWARD, INPUT, WEIGHT, BACKWARD = "forward", "input gradient", "weight gradient", "backward"
FLOPS, BYTES = "GFLOP/s", "GB/s"  # what bounds a layer: computing or memory
FLOAT = 4  # bytes
IMAGE_CHANNELS = 3  # a layer that takes so few stands on the images, whose gradient nobody needs


@dataclass(frozen=True)
class Work:
    """What one pass has to do at least."""

    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Flops a byte."""
        return self.flops / self.bytes


@dataclass(frozen=True)
class Conv:
    """3x3 convolution, stride 1, pad 1: (N, size, size, inputs) -> (N, size, size, outputs)."""

    inputs: int
    outputs: int
    size: int

    kind, unit = "convolution", FLOPS

    @property
    def name(self) -> str:
        return f"{self.inputs}->{self.outputs}@{self.size}"

    @property
    def need_dx(self) -> bool:
        """Whether a training step asks for its input gradient: not if it stands on the images."""
        return self.inputs > IMAGE_CHANNELS

    def passes(self) -> tuple[str, ...]:
        """The passes of a training step, and the gradients on their own."""
        return (FORWARD, INPUT, WEIGHT, BACKWARD) if self.need_dx else (FORWARD, WEIGHT, BACKWARD)

    def work(self, which: str, n: int) -> Work:
        """One pass over a batch of n: 2·9·C·F·H·W·N flops for each gradient and for the forward."""
        pixels = n * self.size**2
        flops = 2 * 9 * self.inputs * self.outputs * pixels
        x, y, w = self.inputs * pixels, self.outputs * pixels, 9 * self.inputs * self.outputs
        if which == BACKWARD and self.need_dx:
            return Work(2 * flops, FLOAT * (2 * x + y + 2 * w))
        return Work(flops, FLOAT * (x + y + w))


@dataclass(frozen=True)
class NormReLU:
    """Batch norm in training, then ReLU, over (N, size, size, channels)."""

    channels: int
    size: int

    kind, unit, need_dx = "batch norm and ReLU", BYTES, True

    @property
    def name(self) -> str:
        return f"{self.channels}@{self.size}"

    def passes(self) -> tuple[str, ...]:
        return FORWARD, BACKWARD

    def work(self, which: str, n: int) -> Work:
        """A value takes part in mean 1, variance 3, scale and shift 2, ReLU 1; backward: 10. x, y; dy, x, dx."""
        values = n * self.size**2 * self.channels
        return Work(7 * values, 2 * FLOAT * values) if which == FORWARD else Work(10 * values, 3 * FLOAT * values)


@dataclass(frozen=True)
class Pool:
    """Max-pooling in windows of (window, window) that do not overlap, over (N, size, size, channels)."""

    channels: int
    size: int
    window: int

    kind, unit, need_dx = "max-pool", BYTES, True

    @property
    def name(self) -> str:
        return f"{self.channels}@{self.size}/{self.window}"

    def passes(self) -> tuple[str, ...]:
        return FORWARD, BACKWARD

    def work(self, which: str, n: int) -> Work:
        """A comparison a value; backward: a choice a value. x, y; dy, dx."""
        values = n * self.size**2 * self.channels
        return Work(values, FLOAT * values * (1 + 1 / self.window**2))


Shape = Conv | NormReLU | Pool

RESNET9: tuple[Shape, ...] = (
    Conv(3, 64, 32),
    Conv(64, 128, 32),
    Conv(128, 128, 16),
    Conv(128, 256, 16),
    Conv(256, 512, 8),
    Conv(512, 512, 4),
    NormReLU(64, 32),
    NormReLU(128, 32),
    NormReLU(128, 16),
    NormReLU(256, 16),
    NormReLU(512, 8),
    NormReLU(512, 4),
    Pool(128, 32, 2),
    Pool(256, 16, 2),
    Pool(512, 8, 2),
    Pool(512, 4, 4),
)

PATTERNS = (
    (re.compile(r"(\d+)(?:->|-)(\d+)@(\d+)"), Conv),
    (re.compile(r"(\d+)@(\d+)"), NormReLU),
    (re.compile(r"(\d+)@(\d+)/(\d+)"), Pool),
)


def parse_shape(text: str) -> Shape:
    """'64->128@32' (or '64-128@32') a convolution, '128@16' batch norm and ReLU, '128@32/2' a max-pool."""
    for pattern, shape in PATTERNS:
        match = pattern.fullmatch(text.strip())
        numbers = [int(number) for number in match.groups()] if match else []
        if numbers and min(numbers) > 0 and not (shape is Pool and numbers[1] % numbers[2]):
            return shape(*numbers)
    raise InputError(
        f"{text!r} is no shape of a layer. Type 64-128@32 for a 3x3 convolution of 64 to 128 channels on 32x32 images, "
        "128@16 for batch norm and ReLU of 128 channels on 16x16, 128@32/2 for a max-pool by 2 (which divides 32)."
    )
