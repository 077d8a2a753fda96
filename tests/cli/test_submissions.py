"""`npsoftmax grade --csv`, `--out`, `--json`, `--hidden` and `--gradescope` as a teacher meets them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from npsoftmax.cli.main import main
from npsoftmax.grading import gradebook
from npsoftmax.grading.hidden import hide, without_numbers
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.report import field

sys.path.insert(0, str(Path(__file__).parents[1] / "grading"))
import folders

SLOW = "import time\ntime.sleep(60)"


def student(folder, name, **codes):
    folders.write(folder / name, {n: c and folders.function(n, c) for n, c in codes.items()}, ("a2",))


@pytest.fixture
def classroom(tmp_path):
    """Three students: one passes relu_forward, one fails, one has a zip."""
    place = tmp_path / "class"
    student(place, "Ädä")
    student(place, "bob", relu_forward="return x, x")
    student(tmp_path / "elsewhere", "zoe")
    with zipfile.ZipFile(place / "zoë.zip", "w") as archive:
        archive.write(tmp_path / "elsewhere" / "zoe" / "a2_layers" / "layers.py", "layers.py")
    return place


def table(text):
    return {row["submission"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("words", [["--csv", "class"], ["--csv", "class", "--json"]])
def test_what_is_redirected_is_utf_8_whatever_the_console_is(words, classroom):
    command = [sys.executable, "-m", "npsoftmax.cli.main", "grade", "relu_forward", *words]
    surroundings = os.environ | {"PYTHONIOENCODING": "cp1252", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(command, cwd=classroom.parent, capture_output=True, env=surroundings, check=True)
    text = done.stdout.decode("utf-8")
    if "--json" in words:
        students = json.loads(text)
        assert [s["submission"] for s in students] == ["bob", "zoë", "Ädä"]
        assert [s["rows"][0]["state"] for s in students] == ["wrong", "passed", "passed"]
        assert "✗" in students[0]["rows"][0]["report"] and students[1]["file"] == "zoë.zip/layers.py"
    else:
        assert {n: row["points"] for n, row in table(text).items()} == {"Ädä": "1", "bob": "0", "zoë": "1"}


def test_a_table_goes_on_where_it_stopped(classroom, monkeypatch, capsys):
    out = classroom.parent / "marks" / "relu.csv"
    command = ["grade", "relu_forward", "--csv", str(classroom), "--out", str(out)]
    graded = []
    real = gradebook.row_of
    monkeypatch.setattr(gradebook, "row_of", lambda e, p, v, s: graded.append(p) or real(e, p, v, s))
    assert main(command) == 0 and len(graded) == 3
    first = out.read_bytes()
    assert first.startswith(b"\xef\xbb\xbf"), "Excel knows UTF-8 by this mark"
    assert table(first.decode("utf-8-sig"))["bob"]["points"] == "0"
    assert main(command) == 0 and len(graded) == 3 and out.read_bytes() == first

    student(classroom, "bob")  # handed in again
    student(classroom, "new")
    assert main(command) == 0 and len(graded) == 5
    assert {row["points"] for row in table(out.read_text("utf-8-sig")).values()} == {"1"}
    assert main([*command, "--seed", "7"]) == 0 and len(graded) == 9, "another seed is another question"
    kept = out.with_name("relu.csv.graded")
    kept.write_bytes(kept.read_bytes()[:-40])  # killed while it wrote
    assert main([*command, "--seed", "7"]) == 0 and len(graded) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_keeps_what_is_graded_and_says_how_to_go_on(tmp_path):
    for name in ("ada", "bob"):
        student(tmp_path / "class", name)
    for name in ("x", "y", "z"):
        student(tmp_path / "class", name, relu_forward=SLOW)
    words = ["grade", "relu_forward", "--csv", "class", "--time-limit", "50", "--out", "marks.csv"]
    process = subprocess.Popen(
        [sys.executable, "-m", "npsoftmax.cli.main", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for what runs behind them
    )
    assert process.stderr is not None
    said = [process.stderr.readline(), process.stderr.readline()]
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130 and time.perf_counter() - start < 20
    assert said == ["ada: 1 of 1\n", "bob: 1 of 1\n"]
    assert f"2 are in marks.csv; to go on, type again: npsoftmax {' '.join(words)}" in rest
    assert list(table((tmp_path / "marks.csv").read_text("utf-8-sig"))) == ["ada", "bob"]


def test_one_student_who_breaks_the_grader_costs_the_others_nothing(classroom, monkeypatch, capsys):
    real = gradebook.chosen

    def breaks(layout, exercises):
        if "zoë.zip/layers.py" in layout.names.values():
            raise RuntimeError("no such thing")
        return real(layout, exercises)

    monkeypatch.setattr(gradebook, "chosen", breaks)
    assert main(["grade", "relu_forward", "--csv", str(classroom)]) == 0
    rows = table(capsys.readouterr().out)
    assert {name: row["points"] for name, row in rows.items()} == {"Ädä": "1", "bob": "0", "zoë": "0"}
    assert "the grader failed (RuntimeError: no such thing): grade this hand-in by hand" in rows["zoë"]["remarks"]


def test_no_cell_of_the_table_is_a_formula(tmp_path, capsys):
    folders.write(tmp_path / "=1+1", {}, ("a2",))
    assert main(["grade", "relu_forward", "--csv", str(tmp_path)]) == 0
    (row,) = table(capsys.readouterr().out).values()
    assert row["submission"] == row["student"] == "'=1+1"


def test_without_cython_nothing_is_judged_and_the_row_says_so(tmp_path, monkeypatch, capsys):
    file = folders.write(tmp_path / "ada", {}, ("a3",)) / "a3_conv" / "im2col_cython.py"
    file.write_text(file.read_text(encoding="utf-8").replace("NotImplementedError", "ValueError"), encoding="utf-8")
    monkeypatch.setattr(gradebook.importlib.util, "find_spec", lambda name: None)
    assert main(["grade", "im2col_cython", "--csv", str(tmp_path)]) == 0
    row = table(capsys.readouterr().out)["ada"]
    assert "not judged: this machine has no Cython" in row["remarks"]


# ---------------------------------------------------------------- one hand-in by itself
def test_a_hand_in_can_be_named_by_its_file(classroom, capsys):
    assert main(["grade", "relu_forward", str(classroom / "zoë.zip")]) == 0
    out = capsys.readouterr()
    assert "passed" in out.out and "graded: zoë.zip/layers.py" in out.err


# ---------------------------------------------------------------- hidden numbers
def numbers(text):
    return re.findall(r"(?<![\w/])-?\d[\d.]*", text)


def test_hidden_numbers_stay_hidden(tmp_path, capsys):
    wrong = {m[0].exercise: m[0] for n, m in all_mistakes().items() if n in ("dense_backward", "batch_norm_forward")}
    codes = {name: folders.mistaken(m) for name, m in wrong.items()}
    codes["relu_forward"] = folders.function("relu_forward", "raise ValueError(str(x))")
    codes["relu_backward"] = folders.function("relu_backward", "return dy * 1.3")
    folders.write(tmp_path, codes, ("a2",))
    results = tmp_path / "results.json"
    assert main(["grade", "a2", str(tmp_path), "--hidden", "--seed", "20931", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert main(["grade", "a2", str(tmp_path), "--hidden", "--seed", "20931"]) == 1
    told = capsys.readouterr().out
    assert main(["grade", "a2", str(tmp_path), "--hidden", "--seed", "20931", "--gradescope", str(results)]) == 0
    scope = json.loads(results.read_text())
    reports = [row["report"] for row in rows if row["state"] == "wrong"]
    assert len(reports) == 4 and {row["seed"] for row in rows} == {None}
    for text in (told, json.dumps(rows), json.dumps(scope)):
        assert "20931" not in text and "again" not in text and "expected" not in text
    for row in rows:
        if row["state"] == "wrong":
            left = row["report"].replace("step ", "step_").replace("line ", "line_").replace("axis ", "axis_")
            assert not [n for n in numbers(left.partition("where")[0]) if n not in ("0", "1")], row["report"]
    by_name = {row["exercise"]: row for row in rows}
    assert "ValueError" in by_name["relu_forward"]["report"] and "[[" not in by_name["relu_forward"]["report"]
    assert by_name["relu_backward"]["cause"] == "it fails on hidden numbers"
    assert by_name["dense_backward"]["cause"] and "likely cause" in by_name["dense_backward"]["report"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("dw and db are SUMS over its N = 7 rows", "dw and db are SUMS over its N rows"),
        ("divided by 1/N = 0.1429 everywhere", "divided by 1/N everywhere"),
        ("(6,5) and (6,) do not fit", "(…) and (…) do not fit"),
        ("sum over the 6 rows (axis 0)", "sum over the … rows (axis 0)"),
        ("float32 stays float32, the 1/N is missing", "float32 stays float32, the 1/N is missing"),
        ("times 1.25e-3", "times …"),
    ],
)
def test_a_cause_without_numbers(text, plain):
    assert without_numbers(text).replace("…,)", "…)").replace("…,…", "…") == plain


def test_every_catalogued_cause_can_be_told_without_a_size():
    for name, mistakes in all_mistakes().items():
        for mistake in mistakes:
            row = {"exercise": name, "state": "wrong", "note": "", "cause": "x", "mistake": mistake.id, "seed": 1}
            row["report"] = "\n".join([f"✗ {name}", *field("likely cause", "x")])
            assert "{" not in hide(row)["cause"].replace("{0", "") and hide(row)["cause"]


# ---------------------------------------------------------------- Gradescope
HAND_INS = {
    "nested": {"x/y/layers.py": "good"},
    "missing": {},
    "renamed": {"Layers (1).py": "good"},
    "empty": {"layers.py": ""},
    "a syntax error": {"layers.py": "def (:"},
    "another file": {"notes.pdf": "%PDF"},
}


@pytest.mark.parametrize("name", HAND_INS)
def test_gradescope_always_gets_its_results(name, tmp_path):
    place = tmp_path / "submission"
    place.mkdir()
    for file, text in HAND_INS[name].items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(
            folders.file_text("a2", "layers.py", {}) if text == "good" else text, encoding="utf-8"
        )
    results = tmp_path / "results" / "results.json"
    assert main(["grade", "relu_forward", str(place), "--gradescope", str(results)]) == 0
    told = json.loads(results.read_text())
    good = "good" in HAND_INS[name].values()
    assert told["score"] == (1 if good else 0) == sum(t["score"] for t in told["tests"])
    assert set(told) <= {"score", "execution_time", "output", "tests"} and len(told["tests"]) == 1
    assert good or "layers.py" in told["output"] + told["tests"][0]["output"]


@pytest.mark.parametrize(
    "words", [["a2", "nowhere"], ["a9"], ["a2", ".", "--seed", "-1"], ["a2", ".", "--time-limit", "0"]]
)
def test_gradescope_hears_of_a_grader_that_fails(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *words, "--gradescope", "results.json"]) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["score"] == 0 and told["output"]


def test_gradescope_that_cannot_be_written_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["grade", "a2", str(tmp_path), "--gradescope", str(tmp_path / "file" / "r.json")]) == 2
    assert "error" in capsys.readouterr().err
