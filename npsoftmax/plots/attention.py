"""Where the class token of a transformer looks: its weights on the patches, laid over the images."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from npsoftmax.plots.run_files import Run
from npsoftmax.plots.style import SMALL, TEXT, colour_bar, new_figure, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 1.35  # inches of a picture
COLOURS, VEIL = "inferno", 0.75  # of the weights, and how much of the image they hide


def attention_figure(
    run: Run, images: np.ndarray, maps: np.ndarray, truth: Sequence[str], predicted: Sequence[str]
) -> Figure:
    """A row for each image: the image, the mean over the heads, each head. Bright patches are looked at most.

    images uint8 (N, H, W, C), maps (N, heads, rows, columns), names (N,). Each map is scaled to its own largest weight;
    the number below it is that weight divided by the mean weight of a token.
    """
    from matplotlib.cm import ScalarMappable

    n, heads, rows, columns = maps.shape
    size = ((heads + 2) * SIDE + 0.5, n * (SIDE + 0.3) + 1.4)
    heading = "Where the class token looks in the last block"
    figure, axes = new_figure(run, heading, size, nrows=n, ncols=heads + 2, squeeze=False)
    mean = 1 / (rows * columns + 1)  # the class token is one more
    for row, image, weights, name, guess in zip(axes, images, maps, truth, predicted, strict=True):
        _show(row[0], image)
        verdict = "predicted so" if name == guess else f"predicted: {text_of(guess)}"
        row[0].set_xlabel("\n".join(textwrap.wrap(text_of(name), 24) + textwrap.wrap(verdict, 24)), fontsize=SMALL)
        for ax, weight in zip(row[1:], [weights.mean(axis=0), *weights], strict=True):
            _show(ax, _grey(image))
            height, width = image.shape[:2]
            ax.imshow(weight, cmap=COLOURS, vmin=0, alpha=VEIL, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
            ax.set_xlabel(f"peak {weight.max() / mean:.1f} × mean", fontsize=SMALL)
    for ax, title in zip(axes[0], ["image", "mean of heads", *(f"head {i + 1}" for i in range(heads))], strict=True):
        ax.set_title(title, fontsize=TEXT)
    scale = ScalarMappable(cmap=COLOURS)
    bar = colour_bar(figure, axes, scale, "weight, as a share of the map's largest", "bottom", aspect=40, pad=0.02)
    bar.solids.set_alpha(VEIL)
    return figure


def _show(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
    ax.set_xticks([])
    ax.set_yticks([])


def _grey(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2, keepdims=True).astype(np.uint8)
