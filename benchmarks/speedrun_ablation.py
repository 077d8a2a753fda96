"""What each ingredient of the speedrun is worth: the recipe, shortened, with one of them left out.

    python benchmarks/speedrun_ablation.py OUT epochs=3 [KEY=VALUE …] [--seeds 2] [--data-dir CIFAR] [--threads 2]

In the place of each stands what is usual; KEY=VALUE is a setting of all rows. Every run is one of speedrun_search.py:
on training images alone, and typed again it goes on where it was stopped. All rows of a seed come before the next seed.
OUT/ablation.md is written anew after each run: accuracy on the images held out, and the difference to the whole recipe
with the same seed, which holds out the same images.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from common import whole_number
from speedrun_search import options, planned, result_of

from npsoftmax.errors import InputError

SGD = "optimizer=sgd nesterov=true momentum=0.9 weight_decay=5e-4"
WHOLE = ("nothing", "")
# what is left out, what stands there instead -> the settings of that
ROWS = {
    WHOLE: "",
    ("whitened patches", "a convolution that learns"): "model.whiten=false",
    ("SiLU", "ReLU"): "model.activation=relu",
    ("beginning as copies", "He's initialisation"): "model.init=he",
    ("Muon", "SGD, rate 0.2"): f"{SGD} lr=0.2",
    ("Muon", "SGD, rate 0.7"): f"{SGD} lr=0.7",
    ("Muon", "SGD, rate 2"): f"{SGD} lr=2",
    ("alternating flips", "random flips"): "augment=standard",
    ("shifts", "none"): "shift=0",
    ("small images first", "32 pixels throughout"): "image_sizes=none",
    ("largest value plus mean", "mean"): "model.pool=mean",
    ("smoothed labels", "none"): "head.label_smoothing=0",
    ("small logits", "as they are"): "head.temperature=1",
    # logits that are 7.2 times as large move 7.2² times as far
    ("small logits", "as they are, rate / 52"): "head.temperature=1 lr=0.0135",
}
HEAD = """\
| left out | instead | held out % | difference of each seed | mean | prepare + train s |
|:--|:--|--:|--:|--:|--:|
"""
Found = dict[tuple[str, str], list[dict[str, Any]]]  # row -> what came out, seed by seed


def table(found: Found) -> str:
    """A row an ingredient; where a seed is missing, the differences are those of the others."""
    lines = []
    for row, results in found.items():
        accuracy = [100 * result["accuracy"] for result in results]
        seconds = statistics.mean(result["prepare_seconds"] + result["train_seconds"] for result in results)
        apart = [a - 100 * whole["accuracy"] for a, whole in zip(accuracy, found[WHOLE], strict=False)]
        differences = ["", ""] if row == WHOLE else [" ".join(map(signed, apart)), signed(statistics.mean(apart))]
        lines.append([*row, f"{statistics.mean(accuracy):.2f}", *differences, f"{seconds:,.0f}"])
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def without_keys_of(own: list[str], shared: list[str]) -> list[str]:
    """The KEY=VALUE of all rows that a row does not set itself."""
    keys = {pair.partition("=")[0] for pair in own}
    return [pair for pair in shared if pair.partition("=")[0] not in keys]


def signed(points: float) -> str:
    """+0.25, or −1.50 with the sign of print."""
    return f"{points:+.2f}".replace("-", "−")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=whole_number(1), default=2)
    args = vars(parser.parse_args())
    seeds, shared = args.pop("seeds"), args.pop("changes")
    rows = {row: [*without_keys_of(own.split(), shared), *own.split()] for row, own in ROWS.items()}
    found: Found = {}
    try:
        # every run is planned, and so checked, before the hours of the first
        runs = [
            (row, planned(**args, seed=seed, changes=changes)) for seed in range(seeds) for row, changes in rows.items()
        ]
        for row, run in runs:
            found.setdefault(row, []).append(result_of(*run))
            text = table(found)
            (args["out"] / "ablation.md").write_text(text, encoding="utf-8")
    except InputError as error:
        sys.exit(f"error: {error}")
    print(text)


if __name__ == "__main__":
    main()
