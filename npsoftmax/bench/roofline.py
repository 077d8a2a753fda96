"""The roofline picture (Williams, Waterman and Patterson 2009): how near each layer comes to what the machine can do.

Across: arithmetic intensity, flops for each byte that must move. Up: GFLOP/s. A layer that moves bytes at the
machine's bandwidth lies on a slanting roof, one that does nothing but matrix products on the level one. A convolution
by Winograd's algorithm may lie above it: it is given the flops of the definition, and does fewer.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.shapes import BACKWARD, FORWARD, Conv, NormReLU, Pool
from npsoftmax.plots.style import BLUE, DPI, FAINT, INK, ORANGE, SMALL, TEXT, TITLE, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

GREEN = "#009E73"  # of Okabe and Ito, as the colours of plots/style.py
COLOURS = {Conv.kind: BLUE, NormReLU.kind: ORANGE, Pool.kind: GREEN}
MARKERS = {FORWARD: "o", BACKWARD: "s"}
LEVELS = {  # from the left: above each other. Name, width and style of the line
    "L2": ("L2 cache", 1.2, ":"),
    "L3": ("L3 cache", 1.2, "--"),
    "DRAM": ("main memory", 1.8, "-"),
}
LEGEND = {"fontsize": TEXT - 1, "labelcolor": INK, "edgecolor": "none", "framealpha": 0.9}
APART = 1.09  # points of one intensity
ROOM = 1.25  # beyond the outermost points of the larger drawing
ROWS = (0.92, 0.83, 0.74)  # of its height: where names stand
WIDTH = 0.24  # of its width: what a name takes
TICKS = (20, 50, 100, 200, 300, 500, 700, 1000, 2000)
CLOSE = 0.15  # of the largest intensity: convolutions above that are drawn again, larger


def roofline_figure(records: Sequence[Record], roofs: Mapping[str, float], machine: Record) -> Figure:
    """Roofs and layers; at the right the convolutions once more, forward above backward, where there are some.

    records: as of `layers.figures_of`; roofs: as of `ceiling.roofs`; machine: as of `machine.machine`.
    """
    from matplotlib.figure import Figure

    points = _side_by_side([_point(record) for record in records if record["pass"] in MARKERS])
    convolutions = [p for p in points if p["kind"] == Conv.kind]
    most = max((p["intensity"] for p in convolutions), default=0.0)
    zoomed = [p for p in convolutions if p["intensity"] > CLOSE * most]
    figure = Figure(figsize=(12, 6) if zoomed else (8, 6), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle("What each layer reaches of what the machine can do", fontsize=TITLE + 3, color=INK)
    figure.supxlabel(
        _caption(machine, any(p["theirs"] for p in points), figure.get_figwidth()), fontsize=SMALL + 1, color=FAINT
    )
    if zoomed:
        grid = figure.add_gridspec(2, 2, width_ratios=(1.1, 1))
        main = figure.add_subplot(grid[:, 0])
        for row, which in enumerate(MARKERS):
            ax = figure.add_subplot(grid[row, 1])
            _draw_zoom(ax, [p for p in zoomed if p["pass"] == which], which, roofs)
    else:
        main = figure.add_subplot()
    _draw_roofs(main, points, roofs)
    for point in points:
        _draw_point(main, point, size=6)
        if point["kind"] == Conv.kind and point["pass"] == BACKWARD and point not in zoomed:
            main.annotate(
                _title(point),
                (point["x"], point["ours"]),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL + 1,
                color=INK,
            )
    _draw_legend(main, points)
    return figure


def _point(record: Record) -> dict[str, Any]:
    speeds = {side: 1e-9 * record["flops"] / found["seconds"]["median"] for side, found in record["sides"].items()}
    return {**record, "ours": speeds[OURS], "theirs": max((speeds[s] for s in RIVALS if s in speeds), default=None)}


def _title(point: Record) -> str:
    return point["layer"].replace("->", "→")


def _side_by_side(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of one intensity a little apart ("x"), so that each is seen."""
    groups: dict[float, list[dict[str, Any]]] = {}
    for point in points:
        groups.setdefault(point["intensity"], []).append(point)
    for group in groups.values():
        for number, point in enumerate(group):
            point["x"] = point["intensity"] * APART ** (number - (len(group) - 1) / 2)
    return points


def _caption(machine: Record, beside_torch: bool, width: float) -> str:
    """What the figures belong to and mean, in lines for a figure of so many inches."""
    size = machine["settings"]["batch_size"]
    sentences = [f"{machine['name']}; threads: {machine['threads']}; float32, batch {size}."]
    if beside_torch:
        sentences.append(f"PyTorch {machine['torch']}, eager, the faster of NCHW and channels last.")
    sentences += [
        "Effective: the flops of the definition by the time.",
        "Winograd's algorithm does fewer multiplications: it may stand above the roof.",
        "Layers of one intensity are drawn side by side.",
    ]
    return "\n".join(textwrap.wrap(" ".join(sentences), int(width * 13)))


def _draw_point(ax: Axes, point: Record, size: float) -> None:
    """Ours filled, PyTorch's hollow, a line between."""
    x, colour, marker = point["x"], COLOURS[point["kind"]], MARKERS[point["pass"]]
    if point["theirs"]:
        ax.plot([x, x], [point["theirs"], point["ours"]], color=colour, linewidth=1.2, alpha=0.6, zorder=3)
        ax.plot(x, point["theirs"], marker, markersize=size, mec=colour, mew=1.3, mfc="white", zorder=4)
    ax.plot(x, point["ours"], marker, markersize=size, mec=colour, mew=1.3, mfc=colour, zorder=5)


# ---------------------------------------------------------------- roofs
def _draw_roofs(ax: Axes, points: Sequence[Record], roofs: Mapping[str, float]) -> None:
    """The level roof, and a slanting one for each kind of memory up to where it meets that."""
    dress(ax, "arithmetic intensity: flops for each byte that must move", "GFLOP/s, effective")
    speeds = [p[who] for p in points for who in ("ours", "theirs") if p[who]]
    left = min([0.1, *(0.6 * p["intensity"] for p in points)])
    right = max([1000.0, *(1.6 * p["intensity"] for p in points)])
    ax.set(xscale="log", yscale="log", xlim=(left, right))
    ax.set_ylim(0.5 * min([roofs["DRAM"] * left, *speeds]), 6 * max([roofs["sgemm"], *speeds]))
    for level, (name, width, line) in LEVELS.items():
        meets = roofs["sgemm"] / roofs[level]
        label = f"{name}, {roofs[level]:.0f} GB/s"
        heights = [roofs[level] * left, roofs["sgemm"]]
        ax.plot([left, meets], heights, color=INK, linewidth=width, linestyle=line, label=label, zorder=2)
    start = roofs["sgemm"] / max(roofs[level] for level in LEVELS)
    label = f"level: matrix products, {roofs['sgemm']:.0f} GFLOP/s"
    ax.plot([start, right], [roofs["sgemm"]] * 2, color=INK, linewidth=3.0, label=label, zorder=2)
    roof_legend = ax.legend(loc="upper left", title="roofs", title_fontsize=TEXT, **LEGEND)
    roof_legend.get_title().set_color(INK)
    ax.add_artist(roof_legend)


def _draw_legend(ax: Axes, points: Sequence[Record]) -> None:
    """Colours are kinds, markers passes, filled or hollow the sides."""
    from matplotlib.lines import Line2D

    def entry(label: str, colour: str, marker: str, face: str) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, mfc=face, mew=1.3, linestyle="none", label=label)

    kinds = dict.fromkeys(p["kind"] for p in points)
    entries = [entry(kind, COLOURS[kind], "D", COLOURS[kind]) for kind in kinds]
    entries += [entry(which, INK, marker, INK) for which, marker in MARKERS.items()]
    entries.append(entry("npsoftmax: filled", INK, "o", INK))
    if any(p["theirs"] for p in points):
        entries.append(entry("PyTorch: hollow", INK, "o", "white"))
    ax.legend(handles=entries, loc="lower right", **LEGEND)


# ---------------------------------------------------------------- the convolutions, larger
def _draw_zoom(ax: Axes, points: Sequence[Record], which: str, roofs: Mapping[str, float]) -> None:
    """Convolutions of one pass on a linear scale, with their names and how many times PyTorch's speed they have."""
    dress(ax, "arithmetic intensity" if which == BACKWARD else "", "GFLOP/s, effective")
    ax.set_title(f"the convolutions, {which}", fontsize=TITLE, color=INK, loc="left")
    ax.set(xscale="log", ylim=(0, 1.55 * max([roofs["sgemm"], *(p["ours"] for p in points)])))
    ax.set_xticks(TICKS, [str(tick) for tick in TICKS])
    ax.minorticks_off()
    ax.axhline(roofs["sgemm"], color=INK, linewidth=2.2, zorder=2)
    left, right = min(p["x"] for p in points) / ROOM, max(p["x"] for p in points) * ROOM
    ax.set_xlim(left, right)
    free_from = [0.0] * len(ROWS)  # where each row's last name ends, as a share of the width
    for point in sorted(points, key=lambda p: p["x"]):
        _draw_point(ax, point, size=8)
        at = math.log(point["x"] / left) / math.log(right / left)
        row = next((r for r, end in enumerate(free_from) if end <= at - WIDTH / 2), free_from.index(min(free_from)))
        free_from[row] = at + WIDTH / 2
        _name(ax, point, row)


def _name(ax: Axes, point: Record, row: int) -> None:
    """Name and ratio of a convolution above everything, in one of the rows, with a line down to it."""
    ax.plot([point["x"]] * 2, [point["ours"], ROWS[row] * ax.get_ylim()[1]], color=FAINT, linewidth=0.6, zorder=1)
    ax.annotate(
        _title(point) + (f"  ×{point['ratio']:.1f}" if point["ratio"] else ""),
        (point["x"], ROWS[row] * ax.get_ylim()[1]),
        ha="center",
        va="bottom",
        fontsize=SMALL + 1,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        zorder=6,
    )
