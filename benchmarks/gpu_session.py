"""All that a GPU is asked when one is at hand for some minutes: parts that print as they go and leave what they have.

    python benchmarks/gpu_session.py OUT                        # all but train: 6 minutes at most
    python benchmarks/gpu_session.py OUT                        # again: only what is missing or went wrong
    python benchmarks/gpu_session.py OUT --parts heads --classes 1000000 --minutes heads=3
    python benchmarks/gpu_session.py OUT --parts train --minutes train=60      # goes on where it was stopped
    python benchmarks/gpu_session.py OUT --stand-in             # a trial without a GPU, of few and small cases

    compile       every kernel for every kind of number; steps as graphs and by hand, to the same bits       1 minute
    steps         resnet9, convnet and vit_small at 128 and 512: by hand, as a graph, and PyTorch's          2
    convolutions  output and both gradients of five layers, 512 images, tf32 and bf16, beside PyTorch's      1
    heads         a step of heads of 100 to 100,000 classes, beside PyTorch's (a million: 50 s to prepare)   0.5
    tests         pytest -m gpu, on all processors; tests.txt has each as it ends                            1.5
    train         compare e1 e2 on CIFAR-100, as many epochs as there is time; only where --parts names it   9

After each figure OUT/results.json is written again, and OUT/log.txt has all that was printed. A part that takes longer
than its minutes is ended and the next one begins; what it had measured stays, and so does what a part had that failed.
Sides of one case are measured in turn, each by a process that keeps its own, and by a new one after an error that the
device does not get over; that of PyTorch is left out where there is none. How steps are timed: gpu.py.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import Job, name_list, whole_number
from gpu import numbers
from gpu_sides import OURS, OURS_BF16, TORCH, TORCH_BF16
from gpu_worker import kinds

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = ROOT / "tests" / "distributed" / "pretended.py"  # the command line on the stand-in
WORKER = ROOT / "benchmarks" / "gpu_worker.py"
MINUTES = {"compile": 1, "steps": 2, "convolutions": 1, "heads": 0.5, "tests": 1.5, "train": 9}
LAYERS = ("64>128@32", "128>128@16", "128>256@16", "256>512@8", "512>512@4")
MODELS = ("resnet9", "convnet", "vit_small")
CLASSES = (100, 1_000, 10_000, 100_000)
HEADS = ("softmax", "hierarchical", "adaptive", "sampled")
GRAPH, GRAPH_BF16 = f"{OURS} graph", f"{OURS_BF16} graph"
TRIAL = {"layers": ("16>16@4",), "models": ("convnet",), "classes": [100], "sizes": [4]}  # on the stand-in
FULL = {"layers": LAYERS, "models": MODELS, "classes": list(CLASSES), "sizes": [128, 512]}
FIGURES = ("epochs", "planned_epochs", "images_per_second", "seconds_per_epoch", "steps_by_hand")  # of a run
GRACE = 60.0  # seconds that a run may take to save what it has
STARTS = 3  # of the process of a side, in one part

Case = tuple[str, str, str, int]  # side, task, what, number


# ---------------------------------------------------------------- what is left
class Results:
    """What was found, in a file that is written again after each figure; and what was said."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "results.json"
        self.found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def say(self, text: str) -> None:
        print(text, flush=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def keep(self, part: str, name: str, value: Any) -> None:
        self.found.setdefault(part, {})[name] = value
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")
        beside.replace(self.file)

    def has(self, part: str, name: str) -> bool:
        """Whether there is a figure, and no error."""
        return "error" not in self.found.get(part, {}).get(name, "error")


# ---------------------------------------------------------------- processes that are ended in time
@contextmanager
def ended_after(
    process: subprocess.Popen[str], seconds: float, ask: Callable[[int], None]
) -> Iterator[threading.Event]:
    """Within it, the process is asked to end after so many seconds, later killed with its children. -> whether."""
    late = threading.Event()

    def end() -> None:
        late.set()
        for end_it, patience in ((ask, GRACE), (lambda group: os.killpg(group, signal.SIGKILL), 10.0)):
            try:
                end_it(process.pid)
                process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    timer = threading.Timer(max(seconds, 0.0), end)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        if process.poll() is None:
            process.wait()


def terminate(group: int) -> None:
    os.killpg(group, signal.SIGTERM)


def interrupt(process: int) -> None:
    os.kill(process, signal.SIGINT)


def run(
    results: Results,
    words: list[str],
    seconds: float,
    hear: Callable[[str], None] | None = None,
    ask: Callable[[int], None] = terminate,
) -> str:
    """A command line by line, said unless somebody hears it: "" if it ended well, or how it ended, in words."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if hear is None else None,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{WORKER.parent}", "PYTHONUNBUFFERED": "1"},
    )
    with ended_after(process, seconds, ask) as late:
        assert process.stdout is not None
        for line in process.stdout:
            (hear or results.say)(line.rstrip("\n"))
        process.wait()
    if late.is_set():
        return f"ended after {seconds:.0f} seconds"
    return "" if process.returncode == 0 else f"ended with code {process.returncode}"


# ---------------------------------------------------------------- the parts
def compiled(args: argparse.Namespace, results: Results, seconds: float) -> str:
    """A case for each file and kind; float64, of which training makes nothing, comes last."""
    files = [(OURS, "compile", kind, 0) for kind in kinds()]
    checks = [(side, "check", "graph", 0) for side in (OURS, OURS_BF16)]
    seldom = [case for case in files if case[2].endswith(" d")]
    cases = [(OURS, "describe", "device", 0), *(case for case in files if case not in seldom), *checks, *seldom]
    return measured(args, results, seconds, "compile", cases)


def tests(args: argparse.Namespace, results: Results, seconds: float) -> str:
    """Processes of xdist, which starts a new one where gpu_tests.py ends one: a bad kernel spoils its own test only."""
    last, lines = [""], results.folder / "tests.txt"
    lines.unlink(missing_ok=True)

    def hear(line: str) -> None:
        results.say(line)
        last[0] = line or last[0]

    where = ["tests/device/test_cublas.py", "-n", "0"] if args.stand_in else [*gpu_tests(), "-n", str(processors())]
    options = ["-rfE", "--tb=short", "--maxfail=20", "--max-worker-restart=20", "-p", "no:cacheprovider"]
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", *options, "-p", "gpu_tests", "--lines", str(lines)]
    ended = run(results, [*words, *where], seconds, hear, interrupt)
    said = lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []
    outcomes = [line.split(maxsplit=2) for line in said if not line.startswith(" ")]
    results.keep("tests", "last line", last[0])
    results.keep("tests", "outcomes", Counter(outcome for outcome, _, _ in outcomes))
    results.keep("tests", "failed", sorted({test for outcome, _, test in outcomes if outcome == "failed"}))
    return ended


def gpu_tests() -> list[str]:
    """The files with tests for a GPU, and folders where all have one: to collect all tests would take too long."""
    files = (file for file in (ROOT / "tests").rglob("*.py") if file.name == "conftest.py" or file.match("test_*.py"))
    named = {file for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")}
    folders = {file.parent for file in named if file.name == "conftest.py"}
    alone = {file for file in named if not folders & set(file.parents)}
    return sorted(str(path.relative_to(ROOT)) for path in folders | alone)


def processors() -> int:
    return min(10, os.cpu_count() or 1)


def convolutions(args: argparse.Namespace, results: Results, seconds: float) -> str:
    sides = OURS, TORCH, OURS_BF16, TORCH_BF16
    cases = [(side, "convolution", layer, max(args.sizes)) for layer in args.layers for side in sides]
    return measured(args, results, seconds, "convolutions", cases)


def steps(args: argparse.Namespace, results: Results, seconds: float) -> str:
    sides = GRAPH, OURS, TORCH, GRAPH_BF16, OURS_BF16, TORCH_BF16
    cases = [(side, "train", model, size) for model in args.models for size in args.sizes for side in sides]
    return measured(args, results, seconds, "steps", cases)


def heads(args: argparse.Namespace, results: Results, seconds: float) -> str:
    names = [(OURS, head) for head in HEADS] + [(TORCH, "torch softmax"), (TORCH, "torch adaptive")]
    cases = [(side, "head", head, n) for n in args.classes for side, head in names]
    return measured(args, results, seconds, "heads", cases)


def train(args: argparse.Namespace, results: Results, seconds: float) -> str:
    """Finished runs are kept and begun ones go on, so the same command again needs less."""
    runs = results.folder / "resnet9"
    place = ["--out", str(runs / "trial" if args.stand_in else runs), "--backend", "cupy"]
    place += ["--data-dir", str(args.data_dir)] if args.data_dir else []
    if args.stand_in:
        few = ["--data", "digits", "--model", "mlp", "--epochs", "1", "--limit-train", "32", "--limit-test", "8"]
        words = [str(STAND_IN), "train", *few]  # compare's runs are processes that know of no stand-in
    else:
        words = ["-m", "npsoftmax", "compare", "e1", "e2"]
    ended = run(results, [sys.executable, *words, *place], seconds)
    for file in sorted(runs.glob("**/summary.json")):
        summary = json.loads(file.read_text(encoding="utf-8"))
        figures = {name: summary.get(name) for name in FIGURES}
        accuracy = (summary.get("test") or {}).get("accuracy")
        results.keep("train", str(file.parent.relative_to(results.folder)), {**figures, "accuracy": accuracy})
    return ended


PARTS = {
    "compile": compiled,
    "steps": steps,
    "convolutions": convolutions,
    "heads": heads,
    "tests": tests,
    "train": train,
}


# ---------------------------------------------------------------- figures
def measured(args: argparse.Namespace, results: Results, seconds: float, part: str, cases: list[Case]) -> str:
    """The cases that have no figure yet, in their order, each side's by a process that is told one by one.

    A process that ended, or whose device makes errors only, is followed by a new one, STARTS in all.
    """
    job = {"device": args.device, "seconds": args.seconds, "stand_in": args.stand_in, "cpu": False}
    end = time.monotonic() + seconds
    workers: dict[str, Worker] = {}
    starts, given_up, failed = Counter[str](), dict[str, str](), list[str]()
    try:
        for side, task, what, number in cases:
            name = f"{side} {task} {what} {number}"
            if side in given_up or results.has(part, name):
                continue
            if time.monotonic() > end:
                return "; ".join([f"ended after {seconds:.0f} seconds", *told(given_up, failed)])
            if side not in workers:
                workers[side] = Worker({**job, "side": side})
                starts[side] += 1
            worker = workers[side]
            found = worker.ask({"task": task, "model": what, "number": number}, end - time.monotonic())
            results.keep(part, name, found)
            results.say(f"{part:12}  {side:21} {what:16} {number:>9,}  {in_words(found, task, what, number)}")
            failed += [name] if "error" in found else []
            if worker.lost:
                workers.pop(side).end()
                if worker.useless or starts[side] == STARTS:
                    given_up[side] = worker.lost
    finally:
        for worker in workers.values():
            worker.end()
    return "; ".join(told(given_up, failed))


def told(given_up: dict[str, str], failed: list[str]) -> list[str]:
    """What went wrong in a part."""
    lost = [f"{side}: {why}" for side, why in given_up.items()]
    return lost + ([f"{len(failed)} went wrong: {', '.join(failed)}"] if failed else [])


def in_words(found: dict[str, Any], task: str, what: str, number: int) -> str:
    if "error" in found:
        return str(found["error"])
    if task not in ("train", "head", "convolution"):
        return json.dumps(found)
    seconds = found["seconds"]
    if task == "train":
        return f"{number / seconds:12,.0f} images/s"
    if task == "head":
        return f"{1e3 * seconds:12.3f} ms"
    (c, f), side = map(int, what.split("@")[0].split(">")), int(what.split("@")[1])
    return f"{6e-12 * number * side * side * 9 * c * f / seconds:12.1f} TFLOP/s"


class Worker:
    """A process that measures one case after the other. lost: why it cannot go on; useless: nor could another."""

    def __init__(self, job: Job):
        self.lost, self.useless = "", False
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(job)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def ask(self, case: Job, seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(max(seconds, 1.0), self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(case) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            self.lost = f"the process ended with code {self._process.wait()}"
            return {"error": self.lost}
        found = json.loads(answer)
        self.lost, self.useless = found.pop("lost", ""), found.pop("useless", False)
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


# ---------------------------------------------------------------- the whole
def minutes(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if name not in PARTS or not number.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no PART=MINUTES; parts are {', '.join(PARTS)}.")
    return name, float(number)


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder; one that is there is gone on with")
    parser.add_argument("--parts", type=lambda text: name_list("part", text, tuple(PARTS)), default=list(PARTS)[:-1])
    parser.add_argument("--minutes", type=minutes, nargs="*", default=[], metavar="PART=N", help="instead of these")
    parser.add_argument("--layers", type=lambda text: name_list("layer", text, LAYERS))
    parser.add_argument("--models", type=lambda text: name_list("model", text, MODELS))
    parser.add_argument("--classes", type=numbers, metavar="C,C")
    parser.add_argument("--sizes", type=numbers, metavar="N,N", help="images of a batch")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of each figure")
    parser.add_argument("--device", type=whole_number(0), default=0, metavar="N")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where CIFAR-100 lies")
    parser.add_argument("--stand-in", action="store_true", help="no GPU: to try the script, not for figures")
    args = parser.parse_args(argv)
    for name, value in (TRIAL if args.stand_in else FULL).items():
        setattr(args, name, getattr(args, name) or value)
    return args


def main(argv: list[str]) -> int:
    args = parsed(argv)
    results, limits = Results(args.out.resolve()), {**MINUTES, **dict(args.minutes)}
    for part in args.parts:
        results.say(f"== {part}, at most {limits[part]:g} minutes")
        started = time.monotonic()
        try:
            ended = PARTS[part](args, results, 60 * limits[part])
        except Exception as error:  # the next part may do
            results.say(traceback.format_exc())
            ended = f"{type(error).__name__}: {error}"
        results.keep(part, "ended", ended or "well")
        results.keep(part, "minutes", round((time.monotonic() - started) / 60, 2))
        results.say(f"== {part}: {ended or 'done'}, {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else what is started in the background ignores it
    sys.exit(main(sys.argv[1:]))
