"""The figures as tables, in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from npsoftmax.bench.machine import OURS, RIVALS
from npsoftmax.bench.shapes import BYTES, FLOPS

RATIO_COLUMNS = ("ratio", "per round")
UNSTEADY = 1.25  # largest ratio of a round to the smallest, above which the machine was not quiet
NOTHING = "-"
CEILINGS = {"own": "products, our threads", "numpy": "products, NumPy", "memory": "memory"}
FASTER = "ratio to the faster PyTorch layout, above 1 is faster"
LEANER = "ratio to the leaner PyTorch layout, below 1 is less"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    """Columns of fixed width: the first `text_columns` to the left, the others (figures) to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def drawn(line: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([drawn(header), "  ".join("-" * width for width in widths), *map(drawn, lines[1:])])


def step_table(results: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """A row a model, mode and side. results: (model, mode) -> its figures."""
    rows = []
    for (model, mode), figures in results.items():
        for side, speed in figures["sides"].items():
            beside = [_percent(figures["share_of_roof"]), *ratio_cells(figures)] if side == OURS else [NOTHING] * 3
            rows.append([model, mode, side, with_spread(speed), *beside])
    return table(["model", "mode", "side", "images/s (min-max)", "of roof", *RATIO_COLUMNS], rows, text_columns=3)


def memory_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a model and side. results: model -> its figures."""
    rows = []
    for model, figures in results.items():
        for side, added in figures["sides"].items():
            rows.append([model, side, with_spread(added), *(ratio_cells(figures) if side == OURS else [NOTHING] * 2)])
    return table(["model", "side", "MiB (min-max)", *RATIO_COLUMNS], rows, text_columns=2)


def layer_tables(records: Sequence[Mapping[str, Any]], roofs: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Heading and table of each kind of layer: a row a layer and pass, a column a side."""
    for kind in dict.fromkeys(record["kind"] for record in records):
        of_kind = [record for record in records if record["kind"] == kind]
        unit = of_kind[0]["unit"]
        roof = f"{roofs['sgemm']:.0f} (matrix products)" if unit == FLOPS else f"{roofs['DRAM']:.0f} (main memory)"
        yield f"{kind}: {unit}, roof {roof}", _layer_table(of_kind)


def _layer_table(records: Sequence[Mapping[str, Any]]) -> str:
    found = dict.fromkeys(side for record in records for side in record["sides"])
    sides = sorted(found, key=lambda side: (side in RIVALS, side != OURS))  # ours, by name, PyTorch's
    chosen = any(record["sides"][OURS]["algorithm"] for record in records)
    rows = []
    for record in records:
        of_side = [record["sides"].get(side) for side in sides]
        speeds = [with_spread(side["speed"]) if side else NOTHING for side in of_side]
        ours = record["sides"][OURS]
        milliseconds = f"{1e3 * ours['seconds']['median']:.2f}"
        algorithm = [ours["algorithm"]] if chosen else []
        share = _percent(record["share_of_roof"])
        rows.append([record["layer"], record["pass"], *algorithm, milliseconds, *speeds, share, *ratio_cells(record)])
    header = ["layer", "pass", *(["auto is"] if chosen else []), "ms", *sides, "of roof", *RATIO_COLUMNS]
    return table(header, rows, text_columns=3 if chosen else 2)


def ceiling_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """A row a figure of the machine, a column a number of threads. figures: as of `ceiling.figures_of`."""
    threads = sorted({figure["threads"] for figure in figures})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for figure in figures:
        rows.setdefault((figure["what"], figure["name"]), {})[figure["threads"]] = with_spread(figure)
    cells = [
        [CEILINGS[what], name, *(of[n] for n in threads), BYTES if what == "memory" else FLOPS]
        for (what, name), of in rows.items()
    ]
    return table(["ceiling", "", *(f"{n} thread{'s' * (n > 1)}" for n in threads), "unit"], cells, text_columns=2)


def brief(answer: Mapping[str, Any]) -> str:
    """A worker's answer in a few words, for the progress of the rounds."""
    if "images_per_second" in answer:
        return f"{answer['images_per_second']:.1f} images/s"
    if "added_mib" in answer:
        return f"{answer['added_mib']:.1f} MiB"
    if "seconds" in answer:
        return ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in answer["seconds"].items())
    return ", ".join(f"{name} {value:.0f}" for name, value in answer.items())


def roof_line(roof: float | None) -> str:
    """What "of roof" in the table of steps means."""
    return "" if roof is None else f"roof: matrix products, {roof:.0f} GFLOP/s"


def with_spread(figure: Mapping[str, Any]) -> str:
    """'146 (144-151)': the median, then the smallest and the largest."""
    digits = 0 if figure["median"] >= 100 else 1
    median, low, high = (f"{figure[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


def ratio_cells(figures: Mapping[str, Any]) -> tuple[str, str]:
    """The two cells of `RATIO_COLUMNS`: of the medians, and of every round in turn."""
    if figures["ratio"] is None:
        return NOTHING, NOTHING
    return f"x{figures['ratio']:.2f}", " ".join(f"{value:.2f}" for value in figures["ratio_per_round"])


def unsteady(figures: Iterable[Mapping[str, Any]]) -> str | None:
    """A warning if ratios differ between the rounds by more than a quiet machine's would."""
    rounds = [found["ratio_per_round"] for found in figures if found["ratio_per_round"]]
    count = sum(max(ratios) > UNSTEADY * min(ratios) for ratios in rounds)
    if not count:
        return None
    return (
        f"warning: {count} of {len(rounds)} ratios differ by more than {UNSTEADY - 1:.0%} between rounds. The machine "
        "was not quiet: wait until it is, or use more --rounds."
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"
