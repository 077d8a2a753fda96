"""Which algorithm a convolution runs on without --conv: a small rule, measured by `npsoftmax bench layers`."""

from __future__ import annotations

from typing import NamedTuple

from npsoftmax.kernels.windows.reference import Pair

FEW_CHANNELS = 16  # below, transforming tiles costs more than their multiplications save
REGISTERS = 64  # the larger number of channels, up to which few on the other side are fastest in registers
FEW_TILES = 16  # in a batch, for which transforming the weights costs more than it saves
TILES = {3: (2, 3, 4), 2: (3, 4)}  # the sides of tiles of outputs that Winograd has for kernels of this side
WORTH = 0.7  # share of the multiplications of the definition that Winograd may need at most


class Choice(NamedTuple):
    """An algorithm and why."""

    algorithm: str
    reason: str


def choose_convolution(
    compiled: bool, k: Pair, stride: Pair, inputs: int, outputs: int, size: Pair, images: int
) -> Choice:
    """Algorithm for kernels k at `stride`, `inputs` to `outputs` channels, that gives `images` of `size` (OH, OW)."""
    if not compiled:
        return Choice("im2col", "the compiled kernels are not in use for this array")
    few = min(inputs, outputs) < FEW_CHANNELS
    if few and stride == (1, 1) and max(inputs, outputs) <= REGISTERS:
        return Choice("direct", f"fewer than {FEW_CHANNELS} channels: columns and transforms cost more than they save")
    if not has_winograd(k, stride) or few:
        return Choice("tiled", f"Winograd is for 3x3 and 2x2 at stride 1 and {FEW_CHANNELS} channels or more")
    tile = winograd_tile(*size, k[0])
    needed = winograd_multiplications(tile, size, k[0])
    share = needed / (k[0] * k[1] * size[0] * size[1])
    saving = f"Winograd F({tile}x{tile}) needs {share:.0%} of the multiplications"
    if images * needed < FEW_TILES * (tile + k[0] - 1) ** 2:
        return Choice(
            "tiled", f"{saving}, but {images} x {size[0]}x{size[1]} outputs do not pay for the weights' transform"
        )
    if share > WORTH:
        return Choice("tiled", f"{saving} on {size[0]}x{size[1]} outputs: too little saved")
    return Choice("winograd", saving)


def has_winograd(k: Pair, stride: Pair) -> bool:
    """Whether Winograd's algorithm is there for kernels k at `stride`."""
    return k[0] == k[1] and k[0] in TILES and stride == (1, 1)


def winograd_multiplications(tile: int, size: Pair, k: int = 3) -> int:
    """Multiplications of F(tile x tile, k x k) for one channel into one of an image of `size` (OH, OW)."""
    return (tile + k - 1) ** 2 * -(-size[0] // tile) * -(-size[1] // tile)


def winograd_tile(oh: int, ow: int, k: int = 3) -> int:
    """The side of a tile of outputs that needs the fewest multiplications for an image of (OH, OW)."""
    return min(TILES[k], key=lambda tile: winograd_multiplications(tile, (oh, ow), k))
