"""The advice as files: advice.md, advice.json and advice.png."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from npsoftmax.files import replacing, write_replacing
from npsoftmax.training.checkpoint import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "advice"
NAMED = 8  # heads whose costs are drawn by name


def write(found: dict[str, Any], folder: Path) -> list[Path]:
    """Write the three files; returns their paths."""
    from npsoftmax.plots.style import save_figure

    paths = [folder / f"{NAME}.{form}" for form in ("md", "json", "png")]
    folder.mkdir(parents=True, exist_ok=True)
    write_replacing(paths[0], markdown(found).encode())
    write_json(paths[1], found)
    figure = advice_figure(found)
    with replacing(paths[2]) as beside:
        save_figure(figure, beside, "png")
    return paths


def markdown(found: dict[str, Any]) -> str:
    """The report."""
    samples, budget, verdict = found["samples"], found["budget"], found["verdict"]
    fewer = "" if samples["train"] == samples["all_to_train"] else f" of {samples['all_to_train']:,}"
    rates = ", ".join(f"{rate:g}" for rate in budget["rates"])
    lines = [
        "# Which head",
        "",
        f"**Take `{verdict['take']}`.** " + " ".join(verdict["why"]),
        "",
        f"{found['source']}; {found['features']} features, standardised; {found['classes']:,} classes.",
        "",
        f"Each head: {samples['train']:,}{fewer} samples to train on, {budget['passes']} passes in batches of "
        f"{budget['batch']}, Adam under one cycle; its rate is the best of {rates} (and further, where the best is at "
        f"an end) on {samples['tune']:,} samples that are neither trained on nor scored; {budget['seeds']} seeds; "
        f"scores are means over them, on {samples['score']:,} samples. All of it took "
        f"{found['seconds']:.0f} s with {budget['threads']} threads.",
        "",
        "*Behind*: points behind the most accurate, ± two deviations of that difference (other samples, other seeds). "
        "T: after the temperature that fits the samples which chose the rate. Step: forward, backward and Adam for "
        f"{budget['batch']} samples; prediction: of as many; memory: what a step holds beyond parameters, Adam's own "
        "included.",
        "",
        "| head | accuracy | behind | NLL | NLL, T | ECE | ECE, T | rate | step, ms | prediction, ms | "
        "parameters, MB | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, head in found["heads"].items():
        gap = verdict["behind"][name]
        cells = [
            f"{100 * head['accuracy']:.2f}",
            f"{gap['points']:.2f} ± {2 * gap['doubt']:.2f}",
            *(_number(head[key]) for key in ("nll", "nll_scaled", "ece", "ece_scaled")),
            f"{head['rate']:g}",
            *(f"{head[key]:.2f}" for key in ("step_ms", "predict_ms", "parameters_mb", "step_mb")),
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    sizes = sorted({n for head in found["heads"].values() for n in head["curve"]})
    lines += [
        "",
        "Milliseconds of a step by the number of classes, on this machine:",
        "",
        f"| head | {' | '.join(f'{n:,}' for n in sizes)} |",
        "|---|" + "---|" * len(sizes),
    ]
    for name, head in found["heads"].items():
        cells = ["–" if n not in head["curve"] else f"{head['curve'][n]:.2f}" for n in sizes]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", "Not tried:", ""]
    lines += [f"* `{name}`: {why}" for name, why in found["left_out"].items()]
    return "\n".join([*lines, "", f"![Accuracy and cost]({NAME}.png)", ""])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def advice_figure(found: dict[str, Any]) -> Figure:
    """Accuracy with its doubt, best first; and the cost of a step by the number of classes."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import BLUE, DPI, FAINT, INK, ORANGE, SMALL, TEXT, TITLE, dress

    heads, verdict = found["heads"], found["verdict"]
    figure = Figure(figsize=(10, 1.5 + 0.24 * len(heads)), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(f"Heads on {found['features']} features, {found['classes']:,} classes", fontsize=TITLE, color=INK)
    left, right = figure.subplots(ncols=2)
    dress(left, "points behind the most accurate, ± two deviations", "")
    for row, name in enumerate(heads):
        gap, taken = verdict["behind"][name], name == verdict["take"]
        colour = ORANGE if taken else BLUE if name in verdict["not_told_from_it"] else FAINT
        left.errorbar(-gap["points"], row, xerr=2 * gap["doubt"], fmt="o", markersize=4, color=colour, linewidth=1.2)
    left.set_yticks(range(len(heads)), heads, fontsize=SMALL)
    left.set_ylim(len(heads) - 0.4, -0.6)
    dress(right, "classes", f"milliseconds of a step ({found['budget']['batch']} samples)")
    ends = sorted(heads, key=lambda name: list(heads[name]["curve"].values())[-1])
    named = dict.fromkeys([verdict["take"], "softmax", *ends[: NAMED // 2], *ends[-NAMED // 2 :]])
    for name, head in heads.items():
        sizes, times = list(map(int, head["curve"])), list(head["curve"].values())
        if name in named:
            right.plot(sizes, times, marker="o", markersize=3, linewidth=1.4, label=name)
        else:
            right.plot(sizes, times, color=FAINT, alpha=0.4, linewidth=0.8)
    right.set(xscale="log", yscale="log")
    right.legend(fontsize=SMALL, edgecolor="none")
    right.set_title("the others in grey", fontsize=TEXT - 1, color=INK)
    return figure
