"""The pages: points, minutes and caches as they are, a derivation that can be asked for, questions with answers."""

from __future__ import annotations

import re

import pytest

from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.grading import stubs, workspace
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of

MOST_HOURS, LEAST_HOURS = 38, 34  # of all six: about 36
ROW = re.compile(r"^\| (\d) \| `(\w+)` \| (\d+) \| (\d+) \|$", re.MULTILINE)
QUESTION = re.compile(r"^\*\*Question (\d)\.(\d)\.\*\* (.+)$", re.MULTILINE)
# What a gradient's formula looks like: in a docstring, `dz_i = …` and ∂p_i/∂z_j = …; on a page, the same in TeX.
IN_A_STUB = re.compile(r"\bd[a-z]\w*\s*(\+=|=)(?!=)|/∂\w+ =|Formula:")
ON_A_PAGE = re.compile(
    r"\bd(?!y\b)(\\?[a-z]+|\\text\{\w+\})(_\{?\w+\}?)?\s*(=|\\mathrel)|\\frac\{\\partial[^}]*\}+\{\\partial[^}]*\}\s*=|"
    r"\\partial [^$=]{1,40}=|\\Rightarrow"
)

each_assignment = pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)


@each_assignment
def test_a_page_says_steps_points_and_minutes_of_every_function(assignment):
    rows = ROW.findall(stubs.page(assignment))
    exercises = exercises_of(assignment.id)
    assert [(int(step), name, int(points)) for step, name, points, _ in rows] == [
        (e.step, e.name, e.points) for e in exercises
    ]
    points, minutes = sum(e.points for e in exercises), sum(int(row[3]) for row in rows)
    assert f"| | together | {points} | {minutes} |" in stubs.page(assignment)


def test_all_six_take_about_thirty_six_hours():
    minutes = sum(int(row[3]) for a in ASSIGNMENTS.values() for row in ROW.findall(stubs.page(a)))
    assert LEAST_HOURS * 60 <= minutes <= MOST_HOURS * 60


@each_assignment
def test_a_page_says_what_every_cache_holds(assignment):
    section = stubs.page(assignment).partition("## What the caches hold")[2]
    for exercise in exercises_of(assignment.id):
        if exercise.cache:
            stem = exercise.name.removesuffix("_forward").removesuffix("_backward")
            assert f"| `{stem}` | {exercise.cache} |" in section.replace("\\|", "|")


@each_assignment
def test_a_page_says_what_a_beginner_needs(assignment):
    page = stubs.page(assignment)
    for words in (
        "You need",
        "python -m venv",
        'pip install "npsoftmax[grade]"',
        "**float32.**",
        "dtype",
        "costs nothing",
    ):
        assert words in page
    assert "<!--" not in page


def test_the_helpers_that_are_given_are_on_the_page():
    assert "output_size(size, k, stride, pad) -> int" in stubs.page(ASSIGNMENTS["a3"])
    assert "`log_softmax_forward(z)` returns" in stubs.page(ASSIGNMENTS["a5"])
    assert "InputError" in stubs.page(ASSIGNMENTS["a1"])


# ---------------------------------------------------------------- questions
@each_assignment
def test_every_step_has_questions_and_every_question_its_answer(assignment):
    questions = QUESTION.findall(stubs.page(assignment))
    steps = {e.step for e in exercises_of(assignment.id)}
    assert {int(step) for step, _, _ in questions} == steps
    assert all(sum(int(q[0]) == step for q in questions) <= 3 for step in steps)
    answers = stubs.answers(assignment)
    assert QUESTION.findall(answers) == questions
    for part in re.split(r"^\*\*Question .*$", answers, flags=re.MULTILINE)[1:]:
        assert len(part.strip()) > 80
    assert not any(b"## Question" in data or part.strip().encode() in data for data in stubs.files(assignment).values())


def test_there_are_forty_questions_or_more():
    assert 40 <= sum(len(QUESTION.findall(stubs.page(a))) for a in ASSIGNMENTS.values()) <= 77


def test_the_answers_are_printed(capsys):
    assert main(["assignments", "answers", "a4"]) == 0
    assert capsys.readouterr().out == stubs.answers(ASSIGNMENTS["a4"])
    assert main(["assignments", "answers", "a9"]) == 2


# ---------------------------------------------------------------- without formulas
@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_without_formulas_keeps_all_but_them(name):
    exercise = EXERCISES[name]
    short, long = stubs.stub(exercise, formulas=False), stubs.stub(exercise)
    assert not IN_A_STUB.search(short.replace("need_dx=False", "")), short
    assert ("Formula:" in long) == (short != long)
    if exercise.pair and exercise.is_backward:
        assert "Formula:" in long
    kept = [line for line in long.splitlines() if line.strip().startswith(("#", "raise", "def", '"""'))]
    assert all(line.strip(' "') in short for line in kept)
    for shape in set(re.findall(r"\w+ \([^()]*, [^()]*\)", long.partition("Formula:")[0])):
        assert shape in short
    assert max(map(len, short.splitlines())) <= 120
    compile(short, name, "exec")


@each_assignment
def test_a_page_without_formulas_asks_for_the_derivations(assignment):
    page = stubs.page(assignment, formulas=False)
    steps = page.partition("## Step 1")[2]
    assert "<!--" not in page and QUESTION.findall(page) == QUESTION.findall(stubs.page(assignment))
    assert ON_A_PAGE.search(stubs.page(assignment).partition("## Step 1")[2]), "the pattern would see a formula"
    found = ON_A_PAGE.search(steps)
    assert not found, found
    assert steps.count("?") > stubs.page(assignment).partition("## Step 1")[2].count("?")


def test_starting_without_formulas_and_a_reset_that_brings_none_back(tmp_path, capsys):
    assert main(["assignments", "start", "a2", "--no-formulas", "--to", str(tmp_path)]) == 0
    file = tmp_path / "a2_layers" / "layers.py"
    stub = file.read_text(encoding="utf-8")
    assert (
        "Formula:" not in stub
        and stubs.ASKED_FOR in stub
        and "Formula:" in stubs.stub_file(ASSIGNMENTS["a2"], file.name)
    )
    file.write_text(stub.replace('raise NotImplementedError("a2 dense_backward")  # return dx, dw, db', "return 1"))
    assert main(["assignments", "reset", "dense_backward", str(tmp_path)]) == 0
    assert file.read_text(encoding="utf-8") == stub
    assert main(["grade", "a2", str(tmp_path)]) == 0 and "0 of 10" in capsys.readouterr().out


def test_nothing_is_overwritten_without_formulas_either(tmp_path):
    workspace.start([ASSIGNMENTS["a2"]], tmp_path)
    with pytest.raises(InputError, match="may hold your work"):
        workspace.start([ASSIGNMENTS["a2"]], tmp_path, formulas=False)
