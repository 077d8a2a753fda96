"""The processes of gpu_session.py: a case is a line of standard input, and what was found a line of the answer."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import Job
from gpu_sides import OURS_BF16, is_torch, our_backend, timed, wait_for

from npsoftmax import cuda
from npsoftmax.kernels.conv.device import tensor_options

ROOT = Path(__file__).resolve().parents[1]
LASTING = ("CUDARuntimeError", "CUDADriverError", "AcceleratorError")  # after these a process may get no more right
# Wide enough for a convolution by tensor cores, in and out.
CHECK = """train --data digits --epochs 2 --batch-size 16 --augment cutout --model convnet --model-opt widths=32,64
    --head gumbel_softmax --backend cupy --quiet --no-plots"""


def work(job: Job) -> None:
    """Answer each line of standard input, until the device makes errors only."""
    if job["stand_in"]:
        pretend()
        job["cpu"] = is_torch(job)  # PyTorch knows of no stand-in
        job["trial"] = True
    if is_torch(job):
        try:
            import torch  # noqa: F401
        except ImportError as error:
            why = f"there is no PyTorch here ({error})"
            print(json.dumps({"error": why, "lost": why, "useless": True}), flush=True)
            return
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever else is printed is no answer
    for line in sys.stdin:
        case = {**job, **json.loads(line)}
        case["side"], case["graph"] = job["side"].removesuffix(" graph"), job["side"].endswith(" graph")
        try:
            found = answer(case)
        except Exception as error:  # the next case may do
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
            if is_lasting(error, case):
                found["lost"] = found["error"]
        print(json.dumps(found), file=answers, flush=True)
        if "lost" in found:
            return


def is_lasting(error: Exception, case: Job) -> bool:
    """Whether the device is of no more use to this process, as after an illegal address."""
    try:
        wait_for(case)
    except Exception:
        return True
    return type(error).__name__ in LASTING


def answer(case: Job) -> dict[str, Any]:
    match case["task"]:
        case "describe":
            return dict(our_backend(case).describe())
        case "compile":
            return compiled(case)
        case "check":
            return check(case)
    return {"seconds": timed(case)}


def kinds() -> list[str]:
    """Every file of kernels with every kind of number, and what the compiler is told: "FILE KIND OPTION..."."""
    found = [f"{name} {kind}" for name in sorted(cuda.files()) for kind in cuda.kinds(name)]
    for factors, result in ((32, 32), (16, 32), (16, 16)):
        options = (tensor_options(factors, result, columns) for columns in (64, 128))
        found += [f"conv_tensor f {' '.join(words)}" for words in options]
    return found


def compiled(case: Job) -> dict[str, Any]:
    """The seconds that a file takes."""
    backend, started = our_backend(case), time.perf_counter()
    cuda.compiled_for(backend.xp, *case["model"].split())._raw.compile()
    return {"seconds": round(time.perf_counter() - started, 2)}


def check(case: Job) -> dict[str, Any]:
    """Two epochs of a small network as graphs and by hand: an error unless there were graphs, and both end alike."""
    from npsoftmax.cli.main import main
    from npsoftmax.training.checkpoint import load_arrays

    few, precision = "60" if case["stand_in"] else "1000", "bf16" if case["side"] == OURS_BF16 else "auto"
    words = [*shlex.split(CHECK), "--precision", precision, "--limit-train", few, "--device", str(case["device"])]
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
    if found["graph"] is not None:
        found["error"] = f"steps were by hand: {found['graph']}"
    elif not found["same bits"]:
        found["error"] = "steps as graphs and by hand end with other bits"
    return found


def pretend() -> None:
    """CuPy is the stand-in of the tests."""
    sys.path.insert(0, str(ROOT / "tests"))
    import strict_cupy

    from npsoftmax import cublas

    sys.modules.update(strict_cupy.modules())
    cublas.library = strict_cupy.library


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
