"""A class of 120 generated students, all six assignments: every mark right, killed on the way and gone on with."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import folders
import pytest

from npsoftmax.grading import stubs
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of
from npsoftmax.grading.mistakes import all_mistakes

TROUBLE = {
    "loop": "while True: pass",
    "exit": "import sys\nsys.exit()",
    "end": "import os\nos._exit(3)",
    "garbage": "import os\nfor f in range(3, 20):\n    try: os.write(f, b'hello')\n    except OSError: pass",
}
MINUTES = 5
COUNT = 120


def notebook(text):
    cell = {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def files_of(draw: random.Random, trouble: str) -> tuple[dict[str, str], dict[str, str]]:
    """name -> text of a student's files, and exercise -> the state that it must get."""
    states, files = {}, {}
    hung = draw.choice([e for e in EXERCISES if not EXERCISES[e].compiled]) if trouble in TROUBLE else None
    for assignment in ASSIGNMENTS:
        codes = {}
        for exercise in exercises_of(assignment):
            chance = draw.random()
            known = [m for m in all_mistakes()[exercise.name] if m.named] if exercise.name in all_mistakes() else []
            if exercise.name == hung:
                codes[exercise.name], state = folders.function(exercise, TROUBLE[trouble]), "wrong"
            elif chance < 0.1:
                codes[exercise.name], state = None, "not started"
            elif chance < 0.3 and known and not exercise.compiled:
                codes[exercise.name], state = folders.mistaken(draw.choice(known)), "wrong"
            else:
                state = "passed"
            states[exercise.name] = state
        for file in dict.fromkeys(stubs.file_of(e) for e in exercises_of(assignment)):
            files[f"{ASSIGNMENTS[assignment].folder}/{file}"] = folders.file_text(assignment, file, codes)
    if trouble == "syntax":
        file = draw.choice(sorted(f for f in files if "cython" not in f))
        files[file] += "\ndef broken(:\n"
        assignment = next(a for a in ASSIGNMENTS.values() if file.startswith(a.folder))
        name = file.partition("/")[2]
        states |= {e.name: "wrong" for e in exercises_of(assignment.id) if stubs.file_of(e) == name}
    return files, states


def hand_in(folder: Path, student: str, files: dict[str, str], how: int) -> None:
    """Lay the files out as a folder, a zip, renamed files, notebooks, or one of Moodle's."""
    if how == 1:
        with zipfile.ZipFile(folder / f"{student}.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(f"my work/{name}", text)
        return
    place = folder / (f"{student}_17_assignsubmission_file_" if how == 4 else student)
    for name, text in files.items():
        if how == 2:
            name = name.replace(".py", " (1).py")
        elif how == 3 and "cython" not in name and "broken(" not in text:
            name, text = name.replace(".py", ".ipynb"), notebook(text)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")


def classroom(folder: Path, count: int) -> dict[str, dict[str, str]]:
    """student -> exercise -> state of `count` hand-ins; every eighth has some trouble."""
    expected = {}
    kinds = [*TROUBLE, "syntax"]
    for number in range(count):
        draw = random.Random(number)
        trouble = kinds[number // 8 % len(kinds)] if number % 8 == 7 else ""
        student = f"student {number:03d} {trouble}".rstrip()
        files, expected[student] = files_of(draw, trouble)
        hand_in(folder, student, files, number % 5)
    return expected


@pytest.mark.slow
def test_a_class_of_120(tmp_path, count=COUNT):
    expected = classroom(tmp_path / "class", count)
    out = tmp_path / "marks.csv"
    words = ["grade", "--csv", str(tmp_path / "class"), "--out", str(out), "--time-limit", "5"]
    command = [sys.executable, "-m", "npsoftmax.cli.main", *words]
    store = tmp_path / "marks.csv.graded"
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not store.exists() or store.read_bytes().count(b"\n") < count // 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    killed = store.read_bytes().count(b"\n")  # one a hand-in, and one more for a line that was cut off
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    seconds = time.perf_counter() - start
    many = store.read_bytes().count(b"\n")
    with out.open(encoding="utf-8-sig", newline="") as file:
        table = {row["student"]: row for row in csv.DictReader(file)}
    assert sorted(table) == sorted(expected)
    mismatches = [
        (student, name, table[student][name], state)
        for student, states in expected.items()
        for name, state in states.items()
        if table[student][name] != {"passed": str(EXERCISES[name].points), "wrong": "0", "not started": ""}[state]
    ]
    print(f"{count} students, {count * len(EXERCISES)} marks, killed after {killed}: {seconds:.0f} s")
    assert not mismatches, mismatches[:20]
    assert count <= many <= count + 1, f"{many - count} of {killed} were graded again"
    assert seconds < 60 * MINUTES
