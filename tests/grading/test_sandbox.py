"""Student code in its own process: whatever it does costs its own exercise, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import folders
import pytest

from npsoftmax.cli.main import main
from npsoftmax.grading.exercises import EXERCISES, exercises_of
from npsoftmax.grading.gradebook import grade_folder, grade_submissions, score, to_csv
from npsoftmax.grading.mistakes import all_mistakes

LIMIT = 2.0
BAD = {
    "softmax_forward": ("while True: pass", "no answer within", "while True: pass"),
    "softmax_jacobian": ("import ctypes\nctypes.string_at(0)", "killed by SIG", "ctypes.string_at(0)"),
    "log_sum_exp_forward": ("import sys\nsys.exit(0)", "sys.exit", "sys.exit(0)"),
    "log_sum_exp_backward": ("import os\nos._exit(0)", "ended with exit code 0", None),
    "soft_argmax_forward": ("return input()", "EOFError", "return input()"),
    "soft_argmax_backward": ("def f(n):\n    return f(n + 1)\nf(0)", "calls itself without end", None),
    "log_softmax_forward": ("raise KeyboardInterrupt", "KeyboardInterrupt", "raise KeyboardInterrupt"),
}
CHATTY = "sum_normalisation_v1_forward"
IMPORTED = "from npsoftmax.functional.softmax import log_softmax_backward"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """One folder with every kind of trouble, graded once."""
    folder = tmp_path_factory.mktemp("trouble")
    codes = {name: folders.function(name, body) for name, (body, _, _) in BAD.items()}
    body = "print('x' * 5_000_000)\ny = z / z.sum(axis=-1, keepdims=True)\nreturn y, (y, z.sum(axis=-1, keepdims=True))"
    codes |= {CHATTY: folders.function(CHATTY, body), "log_softmax_backward": IMPORTED}
    folders.write(folder, codes, ("a1", "a2", "a4"))
    layers = folder / "a2_layers" / "layers.py"
    layers.write_text(layers.read_text() + "\ndef broken(:\n", encoding="utf-8")
    attention = folder / "a4_attention" / "attention.py"
    attention.write_text(attention.read_text() + "\nwhile True: pass\n", encoding="utf-8")
    exercises = [e for a in ("a1", "a2", "a4") for e in exercises_of(a)]
    return {row["exercise"]: row for row in grade_folder(folder, exercises, limit=LIMIT)}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.skipif(sys.platform == "win32", reason="signals have other names")
def test_each_kind_of_trouble_is_told(name, rows):
    _, said, line = BAD[name]
    assert rows[name]["state"] == "wrong" and rows[name]["points"] == 0
    assert said in rows[name]["report"]
    if line:
        assert line in rows[name]["report"].partition("where")[2]


def test_the_others_lose_nothing(rows):
    rest = [r for r in rows.values() if r["assignment"] == "a1" and r["exercise"] not in (*BAD, "log_softmax_backward")]
    assert len(rest) > 10 and all(row["state"] == "passed" and row["points"] == row["of"] for row in rest)


def test_megabytes_of_prints_are_told_and_forgiven(rows):
    assert rows[CHATTY]["state"] == "passed" and "printed" in rows[CHATTY]["note"]


def test_a_syntax_error_is_told_once_an_exercise_with_its_line(rows):
    broken = [rows[e.name] for e in exercises_of("a2")]
    assert {row["state"] for row in broken} == {"wrong"}
    assert all("SyntaxError" in row["report"] and "def broken(:" in row["report"] for row in broken)
    assert all(f"a2 {row['exercise']}" in row["report"] for row in broken)


def test_a_file_that_hangs_while_it_is_imported_costs_one_time_limit(rows):
    hung = [rows[e.name] for e in exercises_of("a4")]
    assert all("while it was imported" in row["report"] and "while True:" in row["report"] for row in hung)
    assert all(f"a4 {row['exercise']}" in row["report"] for row in hung)


def test_the_librarys_own_function_is_no_answer(rows):
    row = rows["log_softmax_backward"]
    assert row["state"] == "wrong" and "imported: write it yourself" in row["report"]


def test_exercises_are_judged_alone(tmp_path):
    """A broken softmax costs Gumbel-softmax nothing, although the student's Gumbel-softmax calls it."""
    body = "if tau <= 0: raise InputError('tau')\np, _ = softmax_forward((z + noise) / tau)\nreturn p, (p, tau)"
    codes = {"softmax_forward": None, "gumbel_softmax_forward": folders.function("gumbel_softmax_forward", body)}
    folder = folders.write(tmp_path, codes, ("a1",))
    first, second = grade_folder(folder, [EXERCISES["softmax_forward"], EXERCISES["gumbel_softmax_forward"]])
    assert (first["state"], second["state"]) == ("not started", "passed")


# ---------------------------------------------------------------- many submissions
KINDS = {
    "loop": ("softmax_forward", folders.function("softmax_forward", "while True: pass"), "no answer within"),
    "exit": ("softmax_forward", folders.function("softmax_forward", "import sys\nsys.exit()"), "sys.exit"),
    "crash": ("softmax_forward", folders.function("softmax_forward", "import os\nos.abort()"), "killed by"),
    "syntax": (None, "def (:", "SyntaxError"),
}


def submissions(folder: Path, count: int) -> dict[str, int]:
    """Submissions of a1 with known scores: each has some mistakes, or one of the four kinds of trouble."""
    names = [e.name for e in exercises_of("a1")]
    full = sum(e.points for e in exercises_of("a1"))
    expected = {}
    for number in range(count):
        if number < len(KINDS):
            kind, (name, code, _) = list(KINDS.items())[number]
            student = f"{number:02d} {kind}"
            lost = 0
            if name is None:
                folders.write(folder / student, {}, ("a1",))
                file = folder / student / "a1_softmax" / "softmax.py"
                file.write_text(file.read_text() + code, encoding="utf-8")
                lost = full
            else:
                folders.write(folder / student, {name: code}, ("a1",))
                lost = EXERCISES[name].points
        else:
            student = f"{number:02d} student"
            wrong = names[number % 7 :: 7]
            codes = {n: folders.mistaken(all_mistakes()[n][number % len(all_mistakes()[n])]) for n in wrong}
            codes |= {n: None for n in names[number % 5 :: 11] if n not in wrong}
            folders.write(folder / student, codes, ("a1",))
            lost = sum(EXERCISES[n].points for n in codes)
        expected[student] = full - lost
    return expected


def check_csv(text: str, expected: dict[str, int]) -> None:
    table = {row["submission"]: row for row in csv.DictReader(io.StringIO(text))}
    assert {name: int(row["points"]) for name, row in table.items()} == expected
    for number, (_, _, said) in enumerate(KINDS.values()):
        assert said in list(table.values())[number]["remarks"]
    for row in table.values():
        assert int(row["passed"]) + int(row["wrong"]) + int(row["not started"]) == len(exercises_of("a1"))
        assert sum(int(row[e.name] or 0) for e in exercises_of("a1")) == int(row["points"])


def test_a_table_of_submissions(tmp_path, capsys):
    expected = submissions(tmp_path, 5)
    assert main(["grade", "a1", "--csv", str(tmp_path), "--time-limit", str(LIMIT)]) == 0
    check_csv(capsys.readouterr().out, expected)


@pytest.mark.slow
def test_a_table_of_thirty_submissions(tmp_path):
    expected = submissions(tmp_path, 30)
    check_csv(to_csv(grade_submissions(tmp_path, exercises_of("a1"), limit=LIMIT)), expected)


# ---------------------------------------------------------------- pytest says the same
def test_plain_pytest_gives_the_same_verdicts(tmp_path):
    wrong = {n: folders.mistaken(all_mistakes()[n][0]) for n in ("relu_backward", "layer_norm_backward")}
    codes = {**wrong, "dense_backward": None, "dropout_forward": None}
    assert main(["assignments", "start", "a2", "--to", str(tmp_path)]) == 0
    folders.write(tmp_path, codes, ("a2",))
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    states = {row["exercise"]: row["state"] for row in grade_folder(tmp_path, exercises_of("a2"))}
    lines = done.stdout.splitlines()
    words = {"passed": "PASSED", "wrong": "FAILED"}
    for name, state in states.items():
        if state != "not started":
            assert any(line.startswith(words[state]) and f"[{name}]" in line for line in lines), name
    assert any(line.startswith("SKIPPED [2]") for line in lines)
    assert "likely cause" in done.stdout and "Traceback" not in done.stdout
    assert list(states.values()).count("wrong") == list(states.values()).count("not started") == 2


def test_grading_as_json_and_for_gradescope(tmp_path, capsys):
    folders.write(tmp_path, {"relu_backward": None}, ("a2",))
    results = tmp_path / "out" / "results.json"
    assert main(["grade", "a2", str(tmp_path), "--json", "--gradescope", str(results)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["state"] for row in rows} == {"passed", "not started"}
    assert all({"assignment", "exercise", "state", "points", "of"} <= set(row) for row in rows)
    told = json.loads(results.read_text())
    assert told["score"] == sum(t["score"] for t in told["tests"]) == score(rows)[0]
    assert [t["max_score"] for t in told["tests"]] == [row["of"] for row in rows]


# ---------------------------------------------------------------- what a right file may do
LIBERTIES = """\
import sys
import textwrap
from dataclasses import dataclass

from my_helpers import shares

sys.stdout.reconfigure(encoding="utf-8")
np.seterr(all="raise")


@dataclass
class Row:
    values: list[float]


def todo():
    raise NotImplementedError("helper")
"""


def test_a_file_may_set_up_its_console_errors_and_helpers(tmp_path):
    """Helper files, dataclasses and np.seterr cost nobody a point; nor do stubs that others would call."""
    body = "return shares(np.exp(z - z.max(-1, keepdims=True))), Row([]) and np.exp(log_softmax_forward(z)[0])"
    codes = {name: None for name in (e.name for e in exercises_of("a1"))}
    codes |= {"softmax_forward": LIBERTIES + folders.function("softmax_forward", body)}
    codes |= {"softmax_cross_entropy_backward": folders.function("softmax_cross_entropy_backward", CROSS_ENTROPY)}
    codes |= {"taylor_polynomial": folders.function("taylor_polynomial", "return todo()")}
    folder = folders.write(tmp_path, codes, ("a1",))
    (folder / "a1_softmax" / "my_helpers.py").write_text("def shares(x):\n    return x / x.sum(-1, keepdims=True)\n")
    rows = {row["exercise"]: row for row in grade_folder(folder, exercises_of("a1"))}
    started = {name: rows.pop(name) for name in ("softmax_forward", "softmax_cross_entropy_backward")}
    assert all(row["state"] == "passed" for row in started.values()), [row["report"] for row in started.values()]
    helper = rows.pop("taylor_polynomial")
    assert helper["state"] == "wrong" and 'raise NotImplementedError("helper")' in helper["report"]
    assert {row["state"] for row in rows.values()} == {"not started"}


CROSS_ENTROPY = """\
q = label_smoothing / p.shape[1] + np.zeros_like(p)
q[np.arange(len(t)), t] += 1 - label_smoothing
return (p - q) * dloss.astype(p.dtype) * float(dloss.item() / dloss) / (len(t) * temperature)"""


# Numbers in unusual holders, and other names for what is passed in.
HOLDERS = {
    "sum_normalisation_v1_forward": (
        "def sum_normalisation_v1_forward(scores):",
        "from fractions import Fraction\n"
        "rows = scores.reshape(-1, scores.shape[-1]).tolist()\n"
        "y = np.array([[Fraction(v) / sum(map(Fraction, r)) for v in r] for r in rows], dtype=object)\n"
        "if not all(sum(r) for r in rows): raise ValueError('a sum of 0')\n"
        "return y.reshape(scores.shape), (y.reshape(scores.shape).astype(float), scores.sum(-1))",
    ),
    "softmax_cross_entropy_backward": (
        "def softmax_cross_entropy_backward(upstream, saved):",
        "p, t, label_smoothing, temperature = saved\n" + CROSS_ENTROPY.replace("dloss", "upstream"),
    ),
    "log_softmax_forward": (
        "def log_softmax_forward(logits):",
        "y = np.ma.masked_invalid(logits - np.logaddexp.reduce(logits, -1, keepdims=True))\nreturn [y, y]",
    ),
    "gumbel_softmax_forward": (
        "def gumbel_softmax_forward(logits, gumbel, mask=None, *, tau):",
        "if tau <= 0:\n    raise InputError('tau')\n"
        "p = softmax_forward((logits + gumbel) / tau)[0]\nreturn p, [p, tau]",
    ),
    "taylor_polynomial": (
        "def taylor_polynomial(x, n):",
        "f = np.polynomial.polynomial.polyval(x, [1 / math.factorial(i) for i in range(n + 1)])\n"
        "return (f + 0j).real if n % 2 else f + 0j",
    ),
}


def test_other_names_and_other_holders_cross_to_the_process_and_back(tmp_path):
    codes = {name: None for name in (e.name for e in exercises_of("a1"))}
    for name, (head, body) in HOLDERS.items():
        codes[name] = f"import math\n\n\n{head}\n" + textwrap.indent(body, "    ")
    folder = folders.write(tmp_path, codes, ("a1",))
    for row in grade_folder(folder, [EXERCISES[name] for name in HOLDERS]):
        assert row["state"] == "passed", row["report"]
