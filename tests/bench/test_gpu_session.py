"""benchmarks/gpu_session.py: tried from end to end on the stand-in, and what it leaves when a part is ended."""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_session")


@pytest.mark.slow
@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler to run kernels with")
def test_all_parts_on_the_stand_in(script, tmp_path, capfd):
    parts = ["--parts", ",".join(script.PARTS)]
    assert script.main([str(tmp_path / "out"), "--stand-in", "--seconds", "0", *parts]) == 0
    said, found = capfd.readouterr().out, json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == list(script.PARTS)
    compiled = [found["compile"][f"npsoftmax tf32 compile {kind} 0"] for kind in script.kinds()]
    assert all(isinstance(case["seconds"], float) for case in compiled) and len(compiled) > 20
    for side in ("tf32", "bf16"):
        check = found["compile"][f"npsoftmax {side} check graph 0"]
        assert check == {"graph": None, "hand": "--no-graph", "same bits": True}
    assert found["compile"]["ended"] == "well"
    assert "skipped" in found["tests"]["last line"]
    assert list(found["tests"]["outcomes"]) == ["skipped"] and found["tests"]["failed"] == []
    ours = {
        "convolutions": ("npsoftmax tf32 convolution 16>16@4 4", "npsoftmax bf16 convolution 16>16@4 4"),
        "steps": tuple(f"npsoftmax {side} train convnet 4" for side in ("tf32 graph", "tf32", "bf16 graph", "bf16")),
        "heads": tuple(f"npsoftmax tf32 head {head} 100" for head in script.HEADS),
    }
    for part, names in ours.items():
        assert all(found[part][name]["seconds"] > 0 for name in names), found[part]
        assert found[part]["ended"] == "well" or "there is no PyTorch here" in found[part]["ended"]
    (run,) = (value for name, value in found["train"].items() if name.startswith("resnet9"))
    assert run["epochs"] == 1 and run["steps_by_hand"] is None and 0 <= run["accuracy"] <= 1
    assert "images/s" in said and "TFLOP/s" in said and (tmp_path / "out" / "log.txt").read_text() in said


def test_a_command_that_takes_too_long_is_ended_and_what_it_said_stays(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "GRACE", 0.2)
    results = script.Results(tmp_path)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun'); time.sleep(60)"
    started = time.monotonic()
    assert script.run(results, [sys.executable, "-u", "-c", program], 1.0) == "ended after 1 seconds"
    assert time.monotonic() - started < 20
    assert "begun" in (tmp_path / "log.txt").read_text()
    assert script.run(results, [sys.executable, "-c", "raise SystemExit(3)"], 20.0) == "ended with code 3"


def test_results_are_gone_on_with(script, tmp_path):
    script.Results(tmp_path).keep("steps", "a", {"seconds": 1.0})
    again = script.Results(tmp_path)
    again.keep("heads", "b", {"seconds": 2.0})
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "steps": {"a": {"seconds": 1.0}},
        "heads": {"b": {"seconds": 2.0}},
    }


# ---------------------------------------------------------------- errors that a device does not get over
WORKER = """
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    with open({told!r}, "a") as told: told.write(case["model"] + "\\n")
    if case["model"] == "crash": sys.exit(3)
    sick = case["model"].startswith("sick")
    print(json.dumps(dict(error="no", lost="no") if sick else dict(seconds=1.0)), flush=True)
    if sick: break
"""


@pytest.fixture
def session(script, tmp_path, monkeypatch):
    """Measures cases of these names by a worker that is sick after some; -> what was said, found, and asked of it."""
    told = tmp_path / "told.txt"
    (tmp_path / "worker.py").write_text(WORKER.format(told=str(told)))
    monkeypatch.setattr(script, "WORKER", tmp_path / "worker.py")

    def measure(*names):
        told.write_text("")
        results, args = script.Results(tmp_path / "out"), script.parsed([str(tmp_path / "out")])
        said = script.measured(args, results, 60.0, "steps", [("us", "train", name, 1) for name in names])
        return said, results.found["steps"], told.read_text().split()

    return measure


def test_after_an_error_that_lasts_a_new_process_goes_on(session):
    said, found, _ = session("a", "sick", "b", "crash", "c")
    assert said == "2 went wrong: us train sick 1, us train crash 1"
    assert "code 3" in found["us train crash 1"]["error"]
    assert all("seconds" in found[f"us train {name} 1"] for name in "abc")


def test_processes_are_started_three_times_and_no_more(session):
    said, found, asked = session("sick1", "sick2", "sick3", "d")
    assert said == "us: no; 3 went wrong: us train sick1 1, us train sick2 1, us train sick3 1"
    assert len(found) == len(asked) == 3


def test_the_same_folder_again_is_asked_only_for_what_is_missing(session):
    session("a", "sick")
    _, found, asked = session("a", "sick", "b")
    assert asked == ["sick", "b"] and "seconds" in found["us train b 1"]


class CUDARuntimeError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "device", "answers"),
    [(ValueError("x"), None, 2), (CUDARuntimeError("x"), None, 1), (ValueError("x"), RuntimeError("gone"), 1)],
)
def test_a_worker_ends_where_its_device_does(script, monkeypatch, error, device, answers):
    import gpu_worker

    def planted(problem):
        if problem is not None:
            raise problem

    monkeypatch.setattr(gpu_worker, "answer", lambda _: planted(error))
    monkeypatch.setattr(gpu_worker, "wait_for", lambda _: planted(device))
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}\n{}\n"))
    monkeypatch.setattr(sys, "stdout", said := io.StringIO())
    gpu_worker.work({"side": script.OURS, "stand_in": False})
    found = [json.loads(line) for line in said.getvalue().splitlines()]
    assert len(found) == answers and all(f"{type(error).__name__}: x" == line["error"] for line in found)
    assert ("lost" in found[0]) == (answers == 1)


@pytest.mark.parametrize(("by_hand", "last", "told"), [(None, 2.0, "other bits"), ("no memory", 1.0, "no memory")])
def test_a_check_that_finds_something_is_an_error(script, monkeypatch, by_hand, last, told):
    import gpu_worker

    from npsoftmax.cli import main as cli
    from npsoftmax.training import checkpoint

    def main(words):
        path, hand = Path(words[-1]), "--no-graph" in words
        path.mkdir()
        (path / "summary.json").write_text(json.dumps({"steps_by_hand": "--no-graph" if hand else by_hand}))
        return 0

    ends = iter([1.0, last])
    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(checkpoint, "load_arrays", lambda _: {"w": np.full(2, next(ends))})
    assert told in gpu_worker.check({"side": script.OURS, "stand_in": True, "device": 0})["error"]


def test_a_part_that_raises_ends_itself_only(script, tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(script, "PARTS", {"compile": broken, "steps": lambda *_: ""})
    assert script.main([str(tmp_path), "--parts", "compile,steps"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["compile"]["ended"], found["steps"]["ended"]) == ("RuntimeError: planted", "well")
    assert "in broken" in capsys.readouterr().out


SICK = """
class CUDARuntimeError(Exception): pass
sick = []
def test_first(): pass
def test_bad():
    sick.append(1)
    raise CUDARuntimeError("planted")
def test_last():
    assert not sick
"""


@pytest.mark.slow
def test_one_bad_test_does_not_spoil_those_behind_it(script, tmp_path):
    (tmp_path / "test_sick.py").write_text(SICK)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    lines = tmp_path / "tests.txt"
    words = [sys.executable, "-m", "pytest", "-p", "gpu_tests", "--lines", str(lines), "-n", "1", str(tmp_path)]
    script.run(script.Results(tmp_path), words, 120.0, ask=script.interrupt)
    outcomes = [line.split()[::2] for line in lines.read_text().splitlines() if not line.startswith(" ")]
    assert [[outcome, test.split("::")[1]] for outcome, test in outcomes] == [
        ["passed", "test_first"],
        ["failed", "test_bad"],
        ["failed", "test_bad"],  # that its process ended
        ["passed", "test_last"],
    ]
    assert "planted" in lines.read_text()


def test_files_with_tests_for_a_gpu(script):
    assert {"tests/device", "tests/test_backend.py"} <= set(script.gpu_tests())
    assert not any(path.startswith("tests/device/") for path in script.gpu_tests())


def test_figures_in_words(script):
    assert script.in_words({"seconds": 0.01}, "train", "resnet9", 512) == "      51,200 images/s"
    assert script.in_words({"seconds": 0.002}, "head", "softmax", 100) == "       2.000 ms"
    flop = 6 * 512 * 16 * 9 * 512 * 512
    assert script.in_words({"seconds": flop / 200e12}, "convolution", "512>512@4", 512) == "       200.0 TFLOP/s"
    assert script.in_words({"error": "no"}, "train", "resnet9", 1) == "no"
