"""All that a GPU is asked when one is at hand for some minutes: parts that print as they go and leave what they have.

    python benchmarks/gpu_session.py OUT                        # all parts, some 25 minutes
    python benchmarks/gpu_session.py OUT --parts compile        # a minute: does everything compile and capture?
    python benchmarks/gpu_session.py OUT --parts train --minutes train=60      # goes on where it was stopped
    python benchmarks/gpu_session.py OUT --stand-in             # a trial without a GPU, of few and small cases

    compile       every kernel for every kind of number; a step as a graph and by hand, to the same bits     2 minutes
    tests         pytest -m gpu, on all processors                                                           4
    convolutions  output and both gradients of five layers, 512 images, tf32 and bf16, beside PyTorch's      3
    steps         resnet9, convnet and vit_small at 128 and 512: by hand, as a graph, and PyTorch's          4
    heads         a step of heads of 100 to 1,000,000 classes, beside PyTorch's                              3
    train         compare e1 e2 on CIFAR-100, as many epochs as there is time                                9

After each figure OUT/results.json is written again, and OUT/log.txt has all that was printed. A part that takes longer
than its minutes is ended and the next one begins; what it had measured stays. Sides of one case are measured in turn,
each by a process that keeps its own; that of PyTorch is left out where there is none. How steps are timed: gpu.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import Job, name_list, whole_number
from gpu import numbers
from gpu_sides import OURS, OURS_BF16, TORCH, TORCH_BF16, is_torch, timed

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = ROOT / "tests" / "distributed" / "pretended.py"  # the command line on the stand-in
MINUTES = {"compile": 2, "tests": 4, "convolutions": 3, "steps": 4, "heads": 3, "train": 9}
LAYERS = ("64>128@32", "128>128@16", "128>256@16", "256>512@8", "512>512@4")
MODELS = ("resnet9", "convnet", "vit_small")
CLASSES = (100, 1_000, 10_000, 100_000, 1_000_000)
HEADS = ("softmax", "hierarchical", "adaptive", "sampled")
GRAPH, GRAPH_BF16 = f"{OURS} graph", f"{OURS_BF16} graph"
TRIAL = {"layers": ("16>16@4",), "models": ("convnet",), "classes": [100], "sizes": [4]}  # on the stand-in
FULL = {"layers": LAYERS, "models": MODELS, "classes": list(CLASSES), "sizes": [128, 512]}
FIGURES = ("epochs", "planned_epochs", "images_per_second", "seconds_per_epoch", "steps_by_hand")  # of a run
CHECK = """train --data digits --epochs 2 --batch-size 16 --augment cutout --model convnet --model-opt widths=4,8
    --head gumbel_softmax --backend cupy --quiet --no-plots"""
GRACE = 60.0  # seconds that a run may take to save what it has

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


# ---------------------------------------------------------------- processes that are ended in time
@contextmanager
def ended_after(process: subprocess.Popen[str], seconds: float) -> Iterator[threading.Event]:
    """Within it, the process and its children are asked to end after so many seconds, and killed later. -> whether."""
    late = threading.Event()

    def end() -> None:
        late.set()
        for signal_number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 10.0)):
            try:
                os.killpg(process.pid, signal_number)
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


def run(results: Results, words: list[str], seconds: float, hear: Callable[[str], None] | None = None) -> str:
    """A command line by line, said unless somebody hears it: "" if it ended well, or how it ended, in words."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if hear is None else None,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    with ended_after(process, seconds) as late:
        assert process.stdout is not None
        for line in process.stdout:
            (hear or results.say)(line.rstrip("\n"))
        process.wait()
    if late.is_set():
        return f"ended after {seconds:.0f} seconds"
    return "" if process.returncode == 0 else f"ended with code {process.returncode}"


# ---------------------------------------------------------------- the parts
def compiled(args: argparse.Namespace, results: Results, seconds: float) -> str:
    return measured(args, results, seconds, "compile", [(OURS, "compile", "all", 0), (OURS, "check", "graph", 0)])


def tests(args: argparse.Namespace, results: Results, seconds: float) -> str:
    last = [""]

    def hear(line: str) -> None:
        results.say(line)
        last[0] = line or last[0]

    few = ["tests/device/test_cublas.py", "-n", "0"] if args.stand_in else ["-n", str(min(10, os.cpu_count() or 1))]
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *few]
    ended = run(results, words, seconds, hear)
    results.keep("tests", "last line", last[0])
    return ended


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
    "tests": tests,
    "convolutions": convolutions,
    "steps": steps,
    "heads": heads,
    "train": train,
}


# ---------------------------------------------------------------- figures
def measured(args: argparse.Namespace, results: Results, seconds: float, part: str, cases: list[Case]) -> str:
    """The cases in their order, each side's by a process of its own that goes on to the next when it is told to."""
    job = {"device": args.device, "seconds": args.seconds, "stand_in": args.stand_in, "cpu": False}
    ended = time.monotonic() + seconds
    workers: dict[str, Worker] = {}
    try:
        for side, task, what, number in cases:
            if time.monotonic() > ended:
                return f"ended after {seconds:.0f} seconds"
            worker = workers.get(side) or workers.setdefault(side, Worker({**job, "side": side}))
            if worker.lost:
                continue
            found = worker.ask({"task": task, "model": what, "number": number}, ended - time.monotonic())
            results.keep(part, f"{side} {task} {what} {number}", found)
            results.say(f"{part:12}  {side:21} {what:16} {number:>9,}  {in_words(found, task, what, number)}")
    finally:
        for worker in workers.values():
            worker.end()
    return "; ".join(f"{side}: {worker.lost}" for side, worker in workers.items() if worker.lost)


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
    """A process that measures one case after the other; `lost`: why there is none any more."""

    def __init__(self, job: Job):
        self.lost = ""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(job)],
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
        self.lost = found.get("fatal", "")
        return {"error": self.lost} if self.lost else found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


# ---------------------------------------------------------------- what a worker does
def work(job: Job) -> None:
    """Answer each line of standard input, a case, by one line."""
    if job["stand_in"]:
        pretend()
        job["cpu"] = is_torch(job)  # PyTorch knows of no stand-in
        job["trial"] = True
    if is_torch(job):
        try:
            import torch  # noqa: F401
        except ImportError:
            print(json.dumps({"fatal": "there is no PyTorch here"}), flush=True)
            return
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever else is printed is no answer
    for line in sys.stdin:
        try:
            found = answer({**job, **json.loads(line)})
        except Exception as error:  # the next case may do
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(found), file=answers, flush=True)


def answer(case: Job) -> dict[str, Any]:
    match case["task"]:
        case "compile":
            return compile_all(case)
        case "check":
            return check(case)
    side, graph = case["side"].removesuffix(" graph"), case["side"].endswith(" graph")
    return {"seconds": timed({**case, "side": side, "graph": graph})}


def compile_all(job: Job) -> dict[str, Any]:
    """Seconds of every file of kernels for every kind of number."""
    from npsoftmax import cuda
    from npsoftmax.backend import get_backend
    from npsoftmax.kernels.conv.device import tensor_options

    backend = get_backend("cupy", job["device"])
    kinds: list[tuple[str, ...]] = [(name, kind) for name in sorted(cuda.files()) for kind in cuda.kinds(name)]
    for factors, result in ((32, 32), (16, 32), (16, 16)):
        kinds += [("conv_tensor", "f", *tensor_options(factors, result, columns)) for columns in (64, 128)]
    found = dict(backend.describe())
    for kind in kinds:
        started = time.perf_counter()
        try:
            cuda.compiled_for(backend.xp, *kind)._raw.compile()
            found[" ".join(kind)] = round(time.perf_counter() - started, 2)
        except Exception as error:  # each is worth knowing
            found[" ".join(kind)] = f"{type(error).__name__}: {error}"[:2000]
    return found


def check(job: Job) -> dict[str, Any]:
    """Two epochs of a small network as graphs and by hand: whether they end with the same bits, and what was said."""
    from tempfile import TemporaryDirectory

    from npsoftmax.cli.main import main
    from npsoftmax.training.checkpoint import load_arrays

    few = "60" if job["stand_in"] else "1000"
    words = [*shlex.split(CHECK), "--limit-train", few, "--device", str(job["device"])]
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        ends = []
        for name, more in (("graph", []), ("hand", ["--no-graph"])):
            path = Path(folder, name)
            if code := main([*words, *more, "--out", str(path)]):
                return {"error": f"the run {name} ended with code {code}"}
            ends.append(load_arrays(path / "checkpoints" / "last.safetensors"))
            found[name] = json.loads((path / "summary.json").read_text())["steps_by_hand"]
        found["same bits"] = all((ends[1][name] == a).all() for name, a in ends[0].items())
    return found


def pretend() -> None:
    """CuPy is the stand-in of the tests."""
    sys.path.insert(0, str(ROOT / "tests"))
    import strict_cupy

    from npsoftmax import cublas

    sys.modules.update(strict_cupy.modules())
    cublas.library = strict_cupy.library


# ---------------------------------------------------------------- the whole
def minutes(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if name not in PARTS or not number.replace(".", "", 1).isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no PART=MINUTES; parts are {', '.join(PARTS)}.")
    return name, float(number)


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder; one that is there is gone on with")
    parser.add_argument("--parts", type=lambda text: name_list("part", text, tuple(PARTS)), default=tuple(PARTS))
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
        ended = PARTS[part](args, results, 60 * limits[part])
        results.keep(part, "ended", ended or "well")
        results.keep(part, "minutes", round((time.monotonic() - started) / 60, 2))
        results.say(f"== {part}: {ended or 'done'}, {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
