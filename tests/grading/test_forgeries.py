"""Answers that were made to pass without being right: they fail, and the teacher is told where to look."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import folders
import pytest

from npsoftmax.grading import check as checking
from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of
from npsoftmax.grading.flags import flags
from npsoftmax.grading.gradebook import grade_folder

NAME = "softmax_backward"
RIGHT = "p = cache\nreturn p * (dy - (p * dy).sum(axis=-1, keepdims=True))"
WRONG = "return 0.0 * dy"
VERDICT = 'b\'{"state": "passed", "report": "", "cause": "", "mistake": "", "wrong": [], "note": "", "printed": 0}\\n\''

# name -> what the body of a softmax_backward does before it returns zeros, and what the flag is about
SEVEN = {
    "frames": (
        """\
import sys
frame = sys._getframe()
while frame is not None:
    me = frame.f_locals.get("self")
    if hasattr(me, "expected"):
        return me.expected["dz"][0]
    frame = frame.f_back""",
        "sys._getframe",
    ),
    "check": (
        """\
import __main__
from npsoftmax.grading.check import Verdict
for name in ("check", "Worker", "_checked"):
    setattr(__main__, name, lambda *a, **k: Verdict("passed"))""",
        "__main__",
    ),
    "compare": (
        """\
import npsoftmax.grading.findings as findings
findings.compare = lambda trial, name, *rest: findings.Output(name)""",
        "npsoftmax.grading.findings",
    ),
    "abs": ("np.abs = np.absolute = lambda x, *a, **k: np.zeros_like(x)", "numpy.abs"),
    "os.write": (
        f"""\
import os
for number in range(3, 20):
    try:
        os.write(number, {VERDICT})
    except OSError:
        pass""",
        "os.write",
    ),
    "open": (
        f"""\
for number in range(3, 20):
    try:
        with open(number, "wb", closefd=False) as file:
            file.write({VERDICT})
    except OSError:
        pass""",
        "open",
    ),
    "ctypes": (
        f"""\
import ctypes
text = {VERDICT}
for number in range(3, 20):
    ctypes.CDLL(None).write(number, text, len(text))""",
        "ctypes",
    ),
}
# The same with what a message really looks like.
FORGED = f"""\
import gc, json, os
for thing in gc.get_objects():
    if isinstance(thing, dict) and "nonce" in thing and "args" in thing:
        head = {{"result": ["list", 1.0], "changed": [], "seconds": 0.0, "nonce": thing["nonce"], "blobs": []}}
        for number in range(3, 20):
            try:
                os.write(number, json.dumps(head).encode() + b"\\n")
            except OSError:
                pass
{WRONG}"""


def graded(folder: Path, codes: dict[str, str], names: list[str], limit: float = 5.0):
    folders.write(folder, codes, ("a1",))
    rows = grade_folder(folder, [EXERCISES[name] for name in names], limit=limit)
    return {row["exercise"]: {**row, "report": " ".join(row["report"].split())} for row in rows}


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such numbers there")
@pytest.mark.parametrize("attack", SEVEN)
def test_the_seven_known_forgeries_fail_and_are_flagged(attack, tmp_path):
    body, about = SEVEN[attack]
    codes = {NAME: folders.function(NAME, f"{body}\n{WRONG}")}
    rows = graded(tmp_path, codes, [NAME, "softmax_forward", "log_sum_exp_forward"])
    assert rows[NAME]["state"] == "wrong" and rows[NAME]["points"] == 0
    assert any(about in flag for flag in rows[NAME]["flags"]), rows[NAME]["flags"]
    # Nobody else loses by it, and nobody else is flagged, but by what replaces NumPy in that process.
    assert all(not any(about in flag for flag in rows[n]["flags"]) for n in rows if n != NAME)
    assert rows["softmax_forward"]["state"] == "passed" or attack == "abs"


def test_a_message_forged_in_every_part_gives_no_points(tmp_path):
    rows = graded(tmp_path, {NAME: folders.function(NAME, FORGED)}, [NAME, "softmax_forward"])
    assert [row["state"] for row in rows.values()] == ["wrong", "passed"]


def test_what_is_right_is_not_in_the_process_that_runs_student_code(tmp_path):
    """Neither the modules that know it nor the seed."""
    body = "import sys\nraise ValueError(' '.join(n for n in sys.modules if n.startswith('npsoftmax.grading')))"
    row = graded(tmp_path, {NAME: folders.function(NAME, body)}, [NAME])[NAME]
    assert "npsoftmax.grading.wire" in row["report"]
    for module in ("oracles", "exercises", "trial", "findings", "check", "mistakes"):
        assert f"grading.{module}" not in row["report"]


def test_garbage_costs_its_own_exercise(tmp_path):
    body = "import os\nfor n in range(3, 20):\n    try:\n        os.write(n, b'hello\\n')\n    except OSError: pass"
    codes = {NAME: folders.function(NAME, f"{body}\n{RIGHT}")}
    rows = graded(tmp_path, codes, [NAME, "softmax_forward"])
    assert rows[NAME]["state"] == "wrong" and "could not be read" in rows[NAME]["report"]
    assert rows["softmax_forward"]["state"] == "passed"


def test_a_flood_of_garbage_fills_no_memory(tmp_path):
    body = "import os\nwhile True:\n    for n in range(3, 20):\n        try:\n            os.write(n, b'x' * 65536)"
    codes = {NAME: folders.function(NAME, f"{body}\n        except OSError:\n            pass")}
    rows = graded(tmp_path, codes, [NAME, "softmax_forward"], limit=2.0)
    assert [row["state"] for row in rows.values()] == ["wrong", "passed"]


def test_a_result_larger_than_memory_is_told(tmp_path):
    codes = {NAME: folders.function(NAME, "return np.broadcast_to(dy[0, 0], (200_000, 200_000))")}
    row = graded(tmp_path, codes, [NAME])[NAME]
    assert row["state"] == "wrong" and "it returned more than" in row["report"]


@pytest.mark.slow
def test_a_system_without_poll_reads_by_threads(tmp_path, monkeypatch):
    monkeypatch.delattr("select.poll")
    flood = "while True:\n    for n in range(3, 20):\n        try:\n            os.write(n, b'x' * 65536)"
    codes = {
        NAME: "import os\n" + folders.function(NAME, f"{flood}\n        except OSError: pass"),
        "log_sum_exp_forward": folders.function("log_sum_exp_forward", "os._exit(3)"),
        "log_sum_exp_backward": folders.function("log_sum_exp_backward", "while True: pass"),
    }
    rows = graded(tmp_path, codes, ["softmax_forward", *codes, "log_softmax_forward"], limit=2.0)
    assert [row["state"] for row in rows.values()] == ["passed", "wrong", "wrong", "wrong", "passed"]
    assert "exit code 3" in rows["log_sum_exp_forward"]["report"]
    assert "while True: pass" in rows["log_sum_exp_backward"]["report"]


# ---------------------------------------------------------------- nothing outlives a submission
STARTS = """\
import os, subprocess, sys, time
command = [sys.executable, "-c", "import os, time\\nprint(os.getpid(), flush=True)\\nos.setsid()\\ntime.sleep(60)"]
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("ending", "environment"),
    [("", "None"), ("", "{}"), ("os._exit(3)", "None"), ("os._exit(3)", "{}"), ("while True: pass", "{}")],
)
def test_a_process_in_a_session_of_its_own_is_killed(ending, environment, tmp_path):
    place = tmp_path / "pids"
    body = f"{STARTS}subprocess.Popen(command, stdout=open({str(place)!r}, 'a'), env={environment})\n"
    body += f"while not os.path.getsize({str(place)!r}):\n    time.sleep(0.01)\n{ending or RIGHT}"
    graded(tmp_path, {NAME: folders.function(NAME, body)}, [NAME], limit=1.0 if "while" in ending else 60.0)
    pids = [int(line) for line in place.read_text().split()]
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pids and not any(map(alive, pids))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_an_orphan_of_an_orphan_is_killed(tmp_path):
    body = f"""\
import os, time
place = {str(tmp_path)!r} + f"/{{time.perf_counter_ns()}}.pid"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(place, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
while not (os.path.exists(place) and os.path.getsize(place)):
    time.sleep(0.01)
{RIGHT}"""
    graded(tmp_path, {NAME: folders.function(NAME, body)}, [NAME], limit=60.0)
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert pids and not any(alive(pid) for pid in pids)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_where_the_grader_is_killed_the_student_ends_with_it(tmp_path):
    place = tmp_path / "pid"
    body = f"import os\nopen({str(place)!r}, 'w').write(str(os.getpid()))\nwhile True: pass"
    folders.write(tmp_path, {NAME: folders.function(NAME, body)}, ("a1",))
    grader = subprocess.Popen([sys.executable, "-m", "npsoftmax.cli.main", "grade", NAME, str(tmp_path)])
    while not place.exists() or not place.read_text():
        time.sleep(0.01)
    grader.kill()
    grader.wait()
    deadline = time.monotonic() + 30
    while alive(int(place.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(place.read_text()))


# ---------------------------------------------------------------- the grader itself
def test_where_the_grader_fails_nobody_is_blamed(tmp_path, monkeypatch):
    def broken(*_):
        raise KeyError("a fault of the grader")

    monkeypatch.setattr(checking, "judge", broken)
    row = graded(tmp_path, {}, [NAME])[NAME]
    assert "the grader itself failed" in row["report"] and "this is not your fault" in row["report"]
    assert "KeyError: 'a fault of the grader'" in row["report"] and "os._exit" not in row["report"]
    assert row["state"] in checking.STATES and "mark it by hand" in row["flags"][-1]


def test_where_the_search_for_a_cause_fails_the_verdict_stands(tmp_path, monkeypatch):
    def broken(*_):
        raise TypeError("object of type 'int' has no len()")

    monkeypatch.setattr(checking, "likely_causes", broken)
    row = graded(tmp_path, {NAME: folders.function(NAME, WRONG)}, [NAME])[NAME]
    assert row["state"] == "wrong" and "first wrong element" in row["report"] and not row["cause"]
    assert "not your fault" in row["note"] and "has no len()" in row["note"]


def test_where_the_process_for_student_code_cannot_work_nobody_is_blamed(tmp_path):
    """As where its modules were replaced: the exit code alone would be an accusation."""
    body = f"import json\njson.dumps = None\n{RIGHT}"
    row = graded(tmp_path, {NAME: folders.function(NAME, body)}, [NAME])[NAME]
    assert row["state"] == "wrong" and "not your fault" in row["report"] and "os._exit" not in row["report"]


def test_an_exit_is_told_without_a_guess(tmp_path):
    row = graded(tmp_path, {NAME: folders.function(NAME, "import os\nos._exit(3)")}, [NAME])[NAME]
    assert "exit code 3 while it ran: it calls os._exit" in row["report"]


def test_what_is_slow_in_each_of_many_calls_is_no_infinite_loop(tmp_path):
    body = f"import time\ntime.sleep(0.4)\n{RIGHT}"
    row = graded(tmp_path, {NAME: folders.function(NAME, body)}, [NAME], limit=1.0)[NAME]
    assert row["state"] == "wrong" and "times, each of which took long" in row["report"]
    assert "infinite" not in row["report"]


@pytest.mark.slow
def test_what_hangs_while_its_cause_is_looked_for_is_what_it_was(tmp_path):
    """The case after the first that failed is asked for the cause alone."""
    body = f"if dy.ndim == 3 or hasattr(np, 'again'):\n    while True: pass\nnp.again = 1\n{WRONG}"
    codes = {NAME: folders.function(NAME, body)}
    rows = graded(tmp_path, codes, [NAME, "softmax_forward"], limit=2.0)
    assert "first wrong element" in rows[NAME]["report"] and "infinite" not in rows[NAME]["report"]
    assert rows["softmax_forward"]["state"] == "passed"


# ---------------------------------------------------------------- what students do in good faith
def test_a_stub_that_another_function_calls_is_no_verdict_on_that_one(tmp_path):
    helper = "def helper(p):\n    raise NotImplementedError('later')\n\n\n"
    codes = {NAME: helper + folders.function(NAME, "return helper(cache)"), "softmax_forward": None}
    rows = graded(tmp_path, codes, [NAME, "softmax_forward"])
    assert rows[NAME]["state"] == "wrong" and "helper is called, and not written yet" in rows[NAME]["report"]
    assert "softmax.py line" in rows[NAME]["report"] and rows["softmax_forward"]["state"] == "not started"


def test_every_other_exercise_of_the_file_is_the_librarys(tmp_path):
    """The page says "then version 1 of u": who calls that function is not judged by what stands in it."""
    name, called = "sum_normalisation_v2_forward", "sum_normalisation_v1_forward"
    body = f"u = z - z.min(axis=-1, keepdims=True)\ny, cache = {called}(u)\nreturn y, cache"
    for earlier in (None, folders.function(called, "return z, (z, z)")):
        row = graded(tmp_path, {name: folders.function(name, body), called: earlier}, [name])[name]
        assert row["state"] == "passed", row["report"]


def test_settings_of_numpy_that_find_nans_cost_nothing(tmp_path):
    names = [e for e in EXERCISES if EXERCISES[e].assignment == "a1"]
    folders.write(tmp_path, {}, ("a1",))
    file = tmp_path / "a1_softmax" / "softmax.py"
    more = "np.seterr(all='raise')\nimport warnings, sys\nwarnings.simplefilter('error')\nsys.stdout.reconfigure()\n"
    text = file.read_text(encoding="utf-8").replace("import numpy as np\n", f"import numpy as np\n{more}", 1)
    file.write_text(text, encoding="utf-8")
    rows = grade_folder(tmp_path, [EXERCISES[name] for name in names])
    assert all(row["state"] == "passed" for row in rows), [row["report"] for row in rows if row["report"]]


# ---------------------------------------------------------------- flags
def flagged(tmp_path, body, top="", name=NAME):
    file = tmp_path / "softmax.py"
    stub = stubs.stub_file(ASSIGNMENTS["a1"], "softmax.py")
    file.write_text("\n\n".join([stub, top, folders.function(name, body)]), encoding="utf-8")
    return flags(file, EXERCISES[name])


LIBRARYS = [
    ("return npsoftmax.functional.softmax.softmax_backward(dy, cache)", "import npsoftmax.functional.softmax"),
    ("return _sb(dy, cache)", "from npsoftmax.functional.softmax import softmax_backward as _sb"),
    ("from npsoftmax.functional import softmax\nreturn softmax.softmax_backward(dy, cache)", ""),
    ("return helper(dy, cache)", "import npsoftmax as n\nfrom npsoftmax import functional as F\nhelper = F.softmax.f"),
    ("return _private(dy, cache)", "from npsoftmax.functional.softmax import *\n_private = softmax_backward"),
    ("return getattr(F, 'soft' + 'max')(dy, cache)", "import npsoftmax.functional as F"),
]


@pytest.mark.parametrize("body, top", LIBRARYS)
def test_the_library_is_flagged_under_any_name(body, top, tmp_path):
    assert any("npsoftmax" in flag and "the library's own code" in flag for flag in flagged(tmp_path, body, top))


@pytest.mark.parametrize(
    "body, top",
    [
        ("return torch.softmax(dy)", "import torch"),
        ("return jnp.sum(dy)", "import jax.numpy as jnp"),
        ("from tensorflow import nn\nreturn nn.softmax(dy)", ""),
        ("return o.write(3, b'')", "import os as o"),
        ("return o.write(3, b'')", "import os\no = os"),
        ("w(3, b'')", "from os import write as w"),
        ("return __import__('torch')", ""),
        ("return importlib.import_module('torch')", "import importlib"),
        ("return eval('1')", ""),
        ("return dy.__class__.__base__.__subclasses__()", ""),
        ("return np.load('x.npy')", ""),
        ("try:\n    1 / 0\nexcept Exception as e:\n    return e.__traceback__.tb_frame", ""),
        ("return (lambda: 0).__globals__", ""),
        ("setattr(np, 'abs', None)", ""),
        ("return helper(dy)", "import gc\n\n\ndef helper(dy):\n    return gc.get_objects()"),
        ("return Thing().answer", "import inspect\n\n\nclass Thing:\n    answer = inspect.stack()"),
        ("return warnings.sys._getframe()", "import warnings"),
        (RIGHT, "if True:\n    import ctypes"),
        (RIGHT, "np.sum = None"),
        ("return f(dy)", "def loads():\n    global f\n    from torch import softmax as f\n\n\nloads()"),
        ("return loads(dy)", "def loads(x):\n    from torch import softmax as f\n    return f(x)"),
        (RIGHT, "__name__ = '__main__'"),
    ],
)
def test_what_no_solution_needs_is_flagged(body, top, tmp_path):
    assert flagged(tmp_path, body, top)


@pytest.mark.parametrize(
    "body, top",
    [
        (RIGHT, ""),
        (RIGHT, "import os\nimport sys\nimport math\nos.environ['OMP_NUM_THREADS'] = '1'\nsys.stdout.reconfigure()"),
        (RIGHT, "from npsoftmax.errors import InputError\nfrom dataclasses import dataclass\nimport functools"),
        (RIGHT, "if __name__ == '__main__':\n    import torch\n    print(open('notes.txt').read())"),
        (RIGHT, "def unused(x):\n    import torch\n    return torch.tensor(x)"),
        ("f = dy.sum()\nreturn f * f", "def unused(x):\n    from torch import softmax as f\n    return f(x)"),
        ("return np.einsum('ij->i', dy), np.trace(dy)", "np.seterr(all='raise')\nnp.random.seed(0)"),
        ("m = np.inf\nm.shape = 3\nreturn np.add.at(dy, 0, 1)", ""),
    ],
)
def test_what_solutions_need_is_not(body, top, tmp_path):
    assert not flagged(tmp_path, body, top)


def test_two_exercises_that_call_each_other_are_flagged(tmp_path):
    """While one is graded the other is the library's, so that both would pass with nothing written."""
    z = "softmax_forward"
    assert not flagged(tmp_path, f"p, _ = {z}(cache)\nreturn p", "")
    found = flagged(tmp_path, f"return {NAME}(z)", f"def {NAME}(dy, cache):\n    return {z}(dy)", z)
    assert len(found) == 1 and f"{NAME} is a later exercise, and the library's while this one is graded" in found[0]


def test_files_beside_are_read_too(tmp_path):
    (tmp_path / "mine.py").write_text("from npsoftmax.functional.softmax import softmax_backward as back\n")
    found = flagged(tmp_path, "return back(dy, cache)", "from mine import back")
    assert found == ["mine.py line 1: npsoftmax.functional.softmax.softmax_backward is the library's own code"]


def test_stubs_and_solved_stubs_are_not_flagged():
    folder = Path(__file__).parents[2] / "assignments"
    for exercise in EXERCISES.values():
        for file in folder.glob(f"{exercise.assignment}_*/[!t]*.py"):
            assert not flags(file, exercise)


def test_a_file_that_cannot_be_read_has_no_flags(tmp_path):
    (tmp_path / "softmax.py").write_bytes(b"def (:\n\0")
    assert flags(tmp_path / "softmax.py", EXERCISES[NAME]) == []


# ---------------------------------------------------------------- other ways to trouble, one a function
TROUBLES = {
    "softmax_forward": ("os.closerange(0, 30)\nreturn z, z", None),
    "log_sum_exp_forward": ("os.kill(os.getpid(), 19)", "no answer within"),
    "log_sum_exp_backward": ("a = []\na += [a, a]\nreturn a", None),
    "soft_argmax_forward": ("raise Odd()", "Odd"),
    "soft_argmax_backward": ("raise ExceptionGroup('all', [ValueError('one'), ValueError('two')])", "ExceptionGroup"),
    "log_softmax_forward": ("signal.alarm(1)\ntime.sleep(60)", "killed by SIGALRM"),
    "log_softmax_backward": ("os.fork()\nreturn dy", None),
    "gumbel_softmax_forward": ("return 10**6000, None", None),
    "gumbel_softmax_backward": ("raise ValueError('x' * 10**8)", "ValueError: xxx"),
    "softmax_cross_entropy_forward": ("sys.stdout = sys.stderr = None\nraise KeyError('logits')", "KeyError"),
    "softmax_cross_entropy_backward": ("return Thing(1, [Thing(dy, None)])", None),
}
TOP = """
import dataclasses, os, signal, sys, time

class Odd(Exception):
    def __str__(self):
        raise SystemExit("no")

@dataclasses.dataclass
class Thing:
    __a: object
    b: object
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and processes are others there")
def test_other_troubles_cost_their_own_exercise_and_are_told_truly(tmp_path):
    codes = {name: folders.function(name, body) for name, (body, _) in TROUBLES.items()}
    codes["softmax_forward"] = TOP + codes["softmax_forward"]
    names = [e.name for e in exercises_of("a1")]
    rows = graded(tmp_path, codes, names, limit=2.0)
    for name, row in rows.items():
        assert row["state"] == ("wrong" if name in TROUBLES else "passed"), row["report"]
        if said := TROUBLES.get(name, ("", None))[1]:
            assert said in row["report"], row["report"]
        assert said == "no answer within" or "infinite loop" not in row["report"]
    assert "KeyError: 'logits'" in rows["softmax_cross_entropy_forward"]["report"]
