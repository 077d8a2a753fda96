"""Every head on the real CIFAR-100 with one network and one recipe: a table of what each is worth after a few epochs.

    python benchmarks/heads_cifar100.py --data-dir DIR --jobs 2 --write docs/results/heads-cifar100
    python benchmarks/heads_cifar100.py --read docs/results/heads-cifar100.json --plot docs/images/heads.png

Each head is one run of `npsoftmax train` in a folder of its own under --runs; finished runs are kept, so that the
command can be stopped and started again. It compares what heads learn; what a step of each costs is measured by
head_scaling.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Rows beside the heads on their defaults: a name, the head and options of npsoftmax train, chosen on the validation
# images only.
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "hierarchical-superclass": ("hierarchical", ["--head-opt", "tree=superclass"]),
    "hierarchical-slower": ("hierarchical", ["--lr", "2e-3"]),
    "log_taylor_softmax-6": ("log_taylor_softmax", ["--head-opt", "order=6"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of the CIFAR-100 files (default: where npsoftmax finds them)")
    parser.add_argument("--heads", help="comma-separated names (default: all that are not legacy)")
    parser.add_argument("--legacy", action="store_true", help="the legacy wirings too")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("--threads", type=int, default=None, help="threads of each run (default: all cores)")
    parser.add_argument("--runs", type=Path, default=Path("runs/heads-cifar100"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="write the table to FILE.md and FILE.json")
    parser.add_argument("--read", type=Path, metavar="FILE.json", help="train nothing: what an earlier --write kept")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy and calibration of all heads here")
    parser.add_argument("train", nargs="*", help="further options of npsoftmax train, after --")
    args = parser.parse_args()

    names = args.heads.split(",") if args.heads else head_names(args.legacy)
    if args.read:
        rows = json.loads(args.read.read_text(encoding="utf-8"))
        names = [row["name"] for row in rows]
    else:
        rows = train_all(names, args)
    table = as_table(rows, args)
    print(table)
    if args.plot:
        plot(rows, args.plot)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.with_suffix(".md").write_text(table, encoding="utf-8")
        args.write.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if len(rows) == len(names) else 1


def head_names(legacy: bool) -> list[str]:
    from npsoftmax.heads import HEADS

    return [*(name for name, head in HEADS.items() if legacy or not head.legacy), *VARIANTS]


def train_all(names: list[str], args: argparse.Namespace) -> list[dict]:
    """The summaries of all heads that were trained to the end."""
    args.runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(lambda name: train(name, args), names))
    return [row for row in done if row is not None]


def train(name: str, args: argparse.Namespace) -> dict | None:
    """The summary of this head's run, made now if it is not there; None where it failed (its log says why)."""
    folder = args.runs / name
    summary = folder / "summary.json"
    if not finished(summary, args.epochs):
        started = time.perf_counter()
        log = args.runs / f"{name}.log"
        with open(log, "w", encoding="utf-8") as file:
            code = subprocess.run(command(name, folder, args), stdout=file, stderr=subprocess.STDOUT).returncode
        took = time.perf_counter() - started
        print(f"{name}: {'done' if code == 0 else f'FAILED, see {log}'} in {took:.0f} s", file=sys.stderr, flush=True)
    if not finished(summary, args.epochs):
        return None
    return {"name": name, **json.loads(summary.read_text())}


def finished(summary: Path, epochs: int) -> bool:
    if not summary.is_file():
        return False
    content = json.loads(summary.read_text())
    return content["epochs"] == epochs and not content["interrupted"]


def command(name: str, folder: Path, args: argparse.Namespace) -> list[str]:
    start = [sys.executable, "-m", "npsoftmax.cli.main", "train"]
    threads = [] if args.threads is None else ["--threads", str(args.threads)]
    if (folder / "checkpoints" / "last.safetensors").is_file():
        return [*start, "--resume", str(folder), *threads]
    data = ["--data", "cifar100", *(["--data-dir", args.data_dir] if args.data_dir else [])]
    recipe = ["--model", args.model, "--epochs", str(args.epochs), "--seed", str(args.seed)]
    head, options = VARIANTS.get(name, (name, []))
    return [*start, *data, *recipe, "--head", head, *options, *threads, *args.train, "--out", str(folder)]


def as_table(rows: list[dict], args: argparse.Namespace) -> str:
    """Markdown, best accuracy first."""
    lines = [
        f"# All heads on CIFAR-100: {args.model}, {args.epochs} epochs, seed {args.seed}",
        "",
        f"Made by `python {' '.join([Path(sys.argv[0]).as_posix(), *without_paths(sys.argv[1:])])}`.",
        "Test set, 10,000 images; parameters of the best epoch by validation. NLL: – where the loss is no likelihood.",
        "",
        "| head | options | accuracy % | top-5 % | macro F1 | NLL | ECE | parameters |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: -row["test"]["accuracy"]):
        test = row["test"]
        head, options = head_and_options(row)
        nll = "–" if test["nll"] is None else f"{test['nll']:.3f}"
        ece = "–" if test["ece"] is None else f"{test['ece']:.3f}"
        lines.append(
            f"| {head} | {options or 'defaults'} | {100 * test['accuracy']:.2f} | {100 * test['top5']:.2f} | "
            f"{test['f1_macro']:.4f} | {nll} | {ece} | {row['parameters']:,} |"
        )
    return "\n".join(lines) + "\n"


def head_and_options(row: dict) -> tuple[str, str]:
    """The head of a row, and its options as they are typed."""
    head, options = VARIANTS.get(row["name"], (row["name"], []))
    return head, " ".join(options).replace("--head-opt ", "")


def plot(rows: list[dict], path: Path) -> None:
    """Test accuracy and calibration error of each head, a line a head, the best accuracy on top."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import BLUE, DPI, INK, ORANGE, SMALL, TEXT, dress

    rows = sorted(rows, key=lambda row: row["test"]["accuracy"])
    figure = Figure(figsize=(7, 4.4), dpi=DPI, layout="constrained", facecolor="white")
    accuracy, calibration = figure.subplots(1, 2, sharey=True)
    names = [" ".join(head_and_options(row)).strip() for row in rows]
    accuracy.plot([100 * row["test"]["accuracy"] for row in rows], names, "o", color=BLUE)
    calibration.plot([row["test"]["ece"] for row in rows], names, "o", color=ORANGE)
    dress(accuracy, "test accuracy, % (right is better)", "")
    dress(calibration, "expected calibration error (left is better)", "")
    calibration.set_xlim(left=0)
    accuracy.tick_params(axis="y", labelsize=SMALL)
    first = rows[0]
    figure.suptitle(
        f"{first['model']}, CIFAR-100, {first['epochs']} epochs, seed {first['seed']}: only the head differs",
        fontsize=TEXT + 1, color=INK,
    )  # fmt: skip
    figure.savefig(path)


def without_paths(words: list[str]) -> list[str]:
    """The command without the folders of one machine."""
    return ["DIR" if i and words[i - 1] in ("--data-dir", "--runs") else word for i, word in enumerate(words)]


if __name__ == "__main__":
    sys.exit(main())
