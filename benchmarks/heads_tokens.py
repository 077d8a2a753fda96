"""Heads on words: accuracy, perplexity and cost of each on `stdlib_tokens`, with many classes and a long tail.

    python benchmarks/heads_tokens.py --results heads-tokens.json --write docs/results/heads-tokens.md

Three parts, each run in a process of its own and kept in --results, so that the command can be stopped and started
again. `sweep`: short runs at three learning rates, of which validation chooses one for each head, at the first number
of classes. `windows`: every head sees equally many windows. `seconds`: a cheaper head trains as long as softmax did for
these. The network is token_mlp, the optimiser Adam under one-cycle. Seconds are those of the processor on one thread
(NPSOFTMAX_THREADS=1), so that what else runs on the machine counts for little. The test files are looked at in the last
two parts, once a run, and decide nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Job, entry, machine, name_list, run_worker

BATCH, RATES, SWEEP_STEPS, STEPS = 512, (3e-3, 1e-2, 3e-2), 150, 500
CURVE, LOOKED_AT = 8, 2000  # points of a curve, and validation windows that each is of
VALIDATED = 5000  # validation windows that a rate is chosen by
RATES_OF = {"cosine": (3e-2, 1e-1, 3e-1)}  # of heads whose best rate lies beyond the others
RARE = 1000  # words of this rank and beyond
REACHED = (0.48, 0.51, 0.53)  # accuracies on these validation windows whose seconds are told
# Row -> head, options. `learned`: a tree of the class means of a first run, with the head FIRST.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "cosine": ("cosine", {}),
    "adaptive": ("adaptive", {}),
    "sampled": ("sampled", {"samples": 512}),
    "nce": ("nce", {"samples": 512}),
    "tree, balanced": ("hierarchical", {"tree": "balanced"}),
    "tree, Huffman": ("hierarchical", {"tree": "huffman"}),
    "tree, learned": ("hierarchical", {"tree": "learned"}),
}
FIRST = "adaptive"


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> dict[str, Any]:
    """Train as the job says; what came out and what it cost."""
    from npsoftmax.host import keep_freed_memory, single_threaded_blas

    keep_freed_memory()
    with single_threaded_blas():
        if job["head_opts"].get("tree") != "learned":
            return trained(job)[0]
        first, session = trained({**job, "head": ROWS[FIRST][0], "head_opts": ROWS[FIRST][1], "lr": job["first_lr"]})
        tree, seconds = learned(session)
        del session
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "tree.json")
            file.write_text(tree, encoding="utf-8")
            found, _ = trained({**job, "head_opts": {"tree": str(file)}})
        return {**found, "first_seconds": first["seconds"], "tree_seconds": seconds}


def learned(session: Any) -> tuple[str, float]:
    """A tree of the class means of a session's features, as in a file, and the seconds that it took."""
    from npsoftmax.heads import tree
    from npsoftmax.tree_of_run import learned_tree

    begun = time.process_time()
    found = tree.to_json(learned_tree(session, "means").children)
    return found, time.process_time() - begun


def trained(job: Job) -> tuple[dict[str, Any], Any]:
    """Train one head for the job's steps: what came out, and the session."""
    from npsoftmax.bench.memory import give_back, peak_resident, reset_peak, resident
    from npsoftmax.params import leaves
    from npsoftmax.training import TrainConfig, prepare
    from npsoftmax.training.schedules import make_schedule
    from npsoftmax.training.session import make_optimizer, make_step

    settings = {name: job[name] for name in ("data_dir", "vocabulary", "head", "head_opts", "lr", "seed")}
    config = TrainConfig(data="stdlib_tokens", model="token_mlp", batch_size=BATCH, **settings)
    session = prepare(config)
    rate = make_schedule("one_cycle", config.lr, job["steps"], 1)
    parameters = sum(p.nbytes for _, p in leaves(session.model.params)) / 2**20
    batches = (batch for epoch in range(job["steps"]) for batch in session.train.epoch(epoch))
    batch = next(batches)
    give_back()
    before = resident() if reset_peak() else math.nan
    optimizer = make_optimizer(config, session.model)
    step = make_step(session, optimizer)
    seconds, peak, curve, losses = 0.0, math.nan, [], []
    looked_at = some_of(session.validation, LOOKED_AT)
    for number in range(job["steps"]):
        begun = time.process_time()
        x, targets, samples = batch
        found = step.forward(x, targets, samples, number, len(targets))
        step.update(found, *rate(number))
        batch = next(batches)
        seconds += time.process_time() - begun
        losses.append(float(found.loss))
        if number == 5:
            peak = parameters + peak_resident() - before
        if job["curve"] and (number + 1) % max(1, job["steps"] // CURVE) == 0:
            point = measured(session, looked_at)
            curve.append([number + 1, seconds, point["accuracy"], point["nll"]])
    found = {"seconds": seconds, "memory_mib": peak, "curve": curve, "loss": float(np.mean(losses[-20:]))}
    found["validation"] = measured(session, some_of(session.validation, VALIDATED))
    if job["test"]:
        found["test"] = measured(session, session.test)
    return found | {"parameters": session.model.parameter_count(), "note": session.dataset.note}, session


def some_of(batches: Any, count: int) -> Any:
    """Batches of `count` of the windows, evenly spaced."""
    from npsoftmax.data import Batches
    from npsoftmax.data.split import evenly_spaced

    chosen = evenly_spaced(len(batches.y), count)
    return Batches(batches.x[chosen], batches.y[chosen], 250, rng=batches.rng, normalize=None, shuffle=False)


def measured(session: Any, batches: Any) -> dict[str, float]:
    """Accuracy, that of rare words, mean -log p, and the seconds of a prediction, on held-out windows."""
    model, right, losses, seconds = session.model, [], [], 0.0
    for x, t, samples in batches.epoch(0):
        noise = session.rng.child("evaluation").at(0, samples)
        h = model.features(x)
        losses.append(float(model.head.loss(h, t, rng=noise)[0]) * len(t))
        begun = time.process_time()
        labels = model.head.predict(h, rng=noise)[:, 0]
        seconds += time.process_time() - begun
        right.append(labels == t)
    correct, rare = np.concatenate(right), batches.y >= RARE
    return {
        "accuracy": float(correct.mean()),
        "rare": float(correct[rare].mean()) if rare.any() else math.nan,
        "nll": sum(losses) / len(correct),
        "predict_ms": 1000 * seconds / len(correct),
    }


# ---------------------------------------------------------------- what is to be run
def all_jobs(args: argparse.Namespace, results: dict[str, Any]) -> list[tuple[str, Job]]:
    """The jobs that are known by now, by name, in the order in which they are run."""
    from npsoftmax.heads import HEADS

    jobs = []
    rows = [row for row in ROWS if row in args.rows and ROWS[row][0] in HEADS]
    for row in rows:
        jobs += [(f"sweep/{args.vocabulary[0]}/{row}/{lr:g}", lr) for lr in RATES_OF.get(row, RATES)]
    found = [(name, job_of(name, SWEEP_STEPS, lr, results)) for name, lr in jobs]
    for vocabulary in args.vocabulary:
        for row in rows:
            rate = best_rate(results, row)
            for seed in range(args.seeds if rate else 0):
                name = f"windows/{vocabulary}/{row}/{seed}"
                found.append((name, job_of(name, STEPS, rate, results)))
    for vocabulary in args.vocabulary:
        dear = results.get(f"windows/{vocabulary}/softmax/0")
        for row in rows:
            rate, before = best_rate(results, row), results.get(f"windows/{vocabulary}/{row}/0")
            if rate and before and dear and before["seconds"] < dear["seconds"] / 2:
                name, steps = f"seconds/{vocabulary}/{row}/0", round(dear["seconds"] / before["seconds"] * STEPS)
                found.append((name, job_of(name, steps, rate, results)))
    return [(name, job | {"data_dir": args.data_dir}) for name, job in found if job is not None]


def job_of(name: str, steps: int, lr: float | None, results: dict[str, Any]) -> Job | None:
    """The job of this name; None where a rate that it needs is not chosen yet."""
    part, vocabulary, row, last = name.split("/")
    head, options = ROWS[row]
    first = best_rate(results, FIRST) if options.get("tree") == "learned" else 0
    if lr is None or first is None:
        return None
    seed = 0 if part == "sweep" else int(last)
    return {
        **{"vocabulary": int(vocabulary), "head": head, "head_opts": options, "lr": lr, "first_lr": first},
        **{"steps": steps, "seed": seed, "curve": part != "sweep", "test": part != "sweep", "threads": 1},
    }


def best_rate(results: dict[str, Any], row: str) -> float | None:
    """The rate with the least mean -log p on validation; None before all were tried."""
    vocabulary = next((name.split("/")[1] for name in results if name.startswith("sweep/")), "")
    tried = {name: found for name, found in results.items() if name.startswith("sweep/") and name.split("/")[2] == row}
    if any(f"sweep/{vocabulary}/{row}/{lr:g}" not in tried for lr in RATES_OF.get(row, RATES)):
        return None
    scores = {float(name.split("/")[3]): found["validation"]["nll"] for name, found in tried.items()}
    return min(scores, key=lambda lr: scores[lr] if math.isfinite(scores[lr]) else math.inf)


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Run what is not there yet, keeping every result at once."""
    kept = json.loads(args.results.read_text(encoding="utf-8")) if args.results.exists() else {}
    results = kept.setdefault("results", {})
    kept.setdefault("machine", machine(1))
    while True:
        waiting = [(n, job) for n, job in all_jobs(args, results) if n not in results and n.split("/")[0] in args.parts]
        if not waiting:
            return kept
        name, job = waiting[0]
        begun = time.perf_counter()
        results[name] = run_worker(__file__, job) | {"lr": job["lr"], "steps": job["steps"]}
        test = results[name].get("test", results[name]["validation"])
        print(
            f"{name:<40} {time.perf_counter() - begun:6.1f} s  {results[name]['seconds']:6.1f} s training  "
            f"{test['accuracy']:.2%}  perplexity {math.exp(test['nll']):.1f}",
            flush=True,
        )
        args.results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- the page
def page(kept: dict[str, Any], args: argparse.Namespace) -> str:
    """The tables of all that was measured, in Markdown."""
    results = kept["results"]
    note = next(iter(results.values()))["note"].partition("), ")[0] + ")"
    parts = [
        "# Heads on words: accuracy and cost with 10,000 and 20,000 classes",
        f"Made by `python benchmarks/heads_tokens.py --results FILE.json --write FILE.md`. Data: {note}. Network: "
        f"token_mlp, 128 features; Adam, one-cycle, batches of {BATCH}; test: 20,000 windows of files that nothing was "
        "trained or chosen on; one seed where there is no ±. Rates were chosen on validation windows, with the first "
        f"number of classes. Seconds are of the processor, on one thread of {kept['machine']['cpu']}; memory is that "
        "of parameters, moments and a step, without the data. The learned tree is of class means in a first run, by "
        f"{FIRST}; that run and the making of the tree are not in its seconds{of_the_tree(results)}.",
    ]
    titles = {"windows": f"After the same {STEPS * BATCH:,} windows", "seconds": "In the time of softmax"}
    for part, title in titles.items():
        for vocabulary in args.vocabulary:
            rows = [row for row in ROWS if f"{part}/{vocabulary}/{row}/0" in results]
            if rows:
                lines = [line_of(row, part, vocabulary, results) for row in rows]
                drawn = "\n".join(f"| {' | '.join(line)} |" for line in (*HEADER, *lines))
                parts += [f"## {title}: {vocabulary:,} classes", drawn]
    for vocabulary in args.vocabulary:
        lines = [[row, *reached(row, vocabulary, results)] for row in ROWS]
        lines = [line for line in lines if any(cell != "–" for cell in line[1:])]
        if lines:
            header = ["head", *(f"s to {share:.0%}" for share in REACHED)]
            drawn = [header, ["---", *["---:"] * len(REACHED)], *lines]
            parts += [f"## Seconds to an accuracy: {vocabulary:,} classes"]
            parts += ["\n".join(f"| {' | '.join(line)} |" for line in drawn)]
    if args.plot:
        parts.append(f"![Accuracy against seconds of training]({args.plot.name})")
    parts.append("What is seen, and why: [choosing-a-head.md](../choosing-a-head.md), section 4.")
    return "\n\n".join(parts) + "\n"


def of_the_tree(results: dict[str, Any]) -> str:
    """What comes before a learned tree, in seconds."""
    found = {
        name.split("/")[1]: run
        for name, run in results.items()
        if name.startswith("windows/") and "tree_seconds" in run
    }
    told = [
        f"{run['first_seconds']:.0f} s and {run['tree_seconds']:.0f} s with {int(n):,} classes"
        for n, run in found.items()
    ]
    return f" ({', '.join(told)})" if told else ""


def reached(row: str, vocabulary: int, results: dict[str, Any]) -> list[str]:
    """The seconds after which a run of this head first had each accuracy of REACHED, of whichever run was first."""
    curves = [found["curve"] for name, found in results.items() if f"/{vocabulary}/{row}/" in name if "test" in found]
    cells = []
    for share in REACHED:
        times = [seconds for curve in curves for _, seconds, accuracy, _ in curve if accuracy >= share]
        cells.append(f"{min(times):.1f}" if times else "–")
    return cells


def plot(results: dict[str, Any], vocabularies: Sequence[int], path: Path) -> None:
    """Accuracy against seconds, of each head's longer run."""
    from matplotlib.figure import Figure

    from npsoftmax.plots.style import INK, TEXT, TITLE, dress, save_figure

    figure = Figure(figsize=(9.2, 4.4), layout="constrained", facecolor="white")
    figure.suptitle("The next token of Python's library: accuracy against time", fontsize=TITLE, color=INK)
    for ax, vocabulary in zip(
        np.ravel(figure.subplots(1, len(vocabularies), sharex=True, sharey=True)), vocabularies, strict=True
    ):
        dress(ax, "seconds of training, one thread", "accuracy on validation windows, %")
        ax.set_title(f"{vocabulary:,} classes", fontsize=TEXT + 1, color=INK)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,g}")
        ax.xaxis.set_minor_formatter("")
        for (row, _), colour, marker in zip(ROWS.items(), COLOURS, MARKERS, strict=True):
            found = [results.get(f"{part}/{vocabulary}/{row}/0") for part in ("seconds", "windows")]
            run = next((run for run in found if run is not None), None)
            if run is not None:
                _, seconds, accuracy, _ = np.array(run["curve"]).T
                ax.plot(seconds, 100 * accuracy, color=colour, marker=marker, markersize=4, linewidth=1.4, label=row)
    ax.legend(fontsize=TEXT - 1, labelcolor=INK, edgecolor="none", framealpha=0.8)
    save_figure(figure, path, path.suffix.removeprefix("."))


COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#F0E442", "#CC79A7", "#000000", "#888888")
MARKERS = "osD^vPX*"
COLUMNS = [
    *("head", "lr", "windows", "accuracy %", f"of words from rank {RARE:,} on, %", "perplexity", "ms a step"),
    *("s of training", "MiB", "µs a prediction", "parameters"),
]


HEADER = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]


def line_of(row: str, part: str, vocabulary: int, results: dict[str, Any]) -> list[str]:
    """A row of the table; means of the seeds, and their ± half range where there are several."""
    runs = [found for name, found in results.items() if name.startswith(f"{part}/{vocabulary}/{row}/")]
    first, tests = runs[0], [run["test"] for run in runs]

    def spread(values: list[float], digits: int) -> str:
        mean, half = float(np.mean(values)), (max(values) - min(values)) / 2
        return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")

    return [
        row,
        f"{first['lr']:g}",
        f"{first['steps'] * BATCH:,}",
        spread([100 * test["accuracy"] for test in tests], 2),
        spread([100 * test["rare"] for test in tests], 1),
        spread([math.exp(test["nll"]) for test in tests], 1),
        f"{1000 * np.mean([run['seconds'] / run['steps'] for run in runs]):.1f}",
        f"{np.mean([run['seconds'] for run in runs]):.0f}",
        f"{np.mean([run['memory_mib'] for run in runs]):.0f}",
        f"{1000 * np.mean([test['predict_ms'] for test in tests]):.1f}",
        f"{first['parameters']:,}",
    ]


def main(argv: Sequence[str]) -> int:
    """Run, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.json", help="where results are kept")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables here")
    parser.add_argument("--data-dir", metavar="DIR", help="source files in place of the standard library")
    parser.add_argument("--vocabulary", type=lambda text: [int(n) for n in text.split(",")], default=[10_000, 20_000])
    parser.add_argument("--rows", type=lambda text: text.split(";"), default=list(ROWS), help="rows, with ; between")
    parser.add_argument(
        "--parts",
        type=lambda text: name_list("part", text, ("sweep", "windows", "seconds")),
        default=("sweep", "windows", "seconds"),
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each head in the part `windows`")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy against seconds here")
    args = parser.parse_args(argv)
    kept = run_all(args)
    if args.plot:
        plot(kept["results"], args.vocabulary, args.plot)
    text = page(kept, args)
    print(text)
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main, work))
