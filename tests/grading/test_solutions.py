"""The solutions that students are shown: readable, in terms of their own file, and right for every seed."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re

import pytest
from everyday import slow

from npsoftmax.grading import check as checking
from npsoftmax.grading import stubs
from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of

# What the library's readers know and a student's file does not.
OF_THE_LIBRARY = {"xp", "array_module", "hide", "normalise", "windows", "MOST_TAPS", "column_sum", "breadth_first"}
NUMPY_ONLY = [name for name, exercise in EXERCISES.items() if not exercise.compiled]


@pytest.fixture(scope="module")
def solved():
    """The student's file of each assignment with every stub replaced by its solution: name -> what is in it."""
    files = {}
    for assignment in ASSIGNMENTS.values():
        text = stubs.stub_file(assignment, assignment.file)
        for exercise in exercises_of(assignment.id):
            if not exercise.compiled:
                assert text.count(stubs.stub(exercise)) == 1
                text = text.replace(stubs.stub(exercise), stubs.solution(exercise))
        namespace = {"__name__": assignment.id}
        exec(compile(text, assignment.file, "exec"), namespace)
        files[assignment.id] = namespace
    return files


@pytest.mark.parametrize("seed", [0, 1, *slow((2, 3, 4))])
@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_a_solution_in_the_place_of_its_stub_passes(name, seed, solved):
    exercise = EXERCISES[name]
    verdict = check(exercise, solved[exercise.assignment][name], seed)
    assert (verdict.state, verdict.note) == ("passed", ""), verdict.report


def test_the_solution_in_cython_passes(monkeypatch):
    pytest.importorskip("cython")
    exercise = EXERCISES["im2col_cython"]
    monkeypatch.setattr(checking, "compiled_function", lambda path, name: exercise.reference)
    assert stubs.source_of(exercise) == exercise.module
    assert check(exercise, exercise.reference).state == "passed"


@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_a_solution_knows_only_what_the_students_file_knows(name, solved):
    exercise = EXERCISES[name]
    tree = ast.parse(stubs.solution(exercise))
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    assert named <= own | set(solved[exercise.assignment]) | set(vars(builtins))
    assert not named & OF_THE_LIBRARY
    in_place = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and isinstance(n.op, ast.Mult)]
    assert not in_place


@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_a_solution_has_the_signature_of_the_librarys_function(name):
    exercise = EXERCISES[name]
    own = getattr(importlib.import_module(stubs.source_of(exercise)), name)
    assert inspect.signature(own) == inspect.signature(exercise.reference)
    if exercise.is_backward:
        assert stubs.cache_names(exercise), "a line `… = cache` is needed"


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_a_module_of_solutions_is_the_students_file_solved(assignment):
    module = importlib.import_module(f"npsoftmax.grading.solutions.{assignment.id}")
    text = inspect.getsource(module)
    head = f'"""{assignment.about}"""\n\nfrom __future__ import annotations\n\n{assignment.header}\n'
    assert text.startswith(head)
    written = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert written == [e.name for e in exercises_of(assignment.id) if not e.compiled]


# ---------------------------------------------------------------- what a page promises
@pytest.mark.parametrize("name", [name for name in NUMPY_ONLY if not EXERCISES[name].is_backward])
@pytest.mark.parametrize("star", [True, False])
def test_parameters_may_be_renamed(name, star, solved):
    exercise = EXERCISES[name]
    tree = ast.parse(stubs.solution(exercise))
    arguments = tree.body[0].args
    renamed = {a.arg: f"my_{a.arg}" for a in [*arguments.args, *arguments.kwonlyargs]}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.arg = renamed[node.arg]
        elif isinstance(node, ast.Name):
            node.id = renamed.get(node.id, node.id)
    if not star and not arguments.kwonlyargs:
        pytest.skip("it has none")
    if not star:  # tau without the * before it
        arguments.args += arguments.kwonlyargs
        arguments.defaults += arguments.kw_defaults
        arguments.kwonlyargs, arguments.kw_defaults = [], []
    namespace = dict(solved[exercise.assignment])
    exec(compile(tree, name, "exec"), namespace)
    verdict = check(exercise, namespace[name])
    assert (verdict.state, verdict.note) == ("passed", ""), verdict.report


# ---------------------------------------------------------------- stubs
def test_stubs_speak_of_what_is_in_the_students_file():
    for assignment in ASSIGNMENTS.values():
        for file, data in stubs.files(assignment).items():
            text = data.decode()
            if not file.endswith(".py") or file.startswith("test_"):
                continue
            assert "see the module" not in text and "the library of" not in text
            for name in ("Pair", "Grads", "Levels", "output_size", "log_softmax_forward", "heapq"):
                imported = re.search(rf"^(from|import) .*\b{name}\b", text, re.MULTILINE)
                assert not imported or text.partition('"""\n\n')[0].count(name), f"{file} does not explain {name}"
            if "InputError" in text:
                assert "import InputError" in text
    for exercise in EXERCISES.values():
        text = stubs.stub(exercise)
        assert ("need_dx" in text) == ("need_dx: bool" in text) and "infinity.\n    With `relu`" not in text
        if "-> None:" in text:
            assert "# return" not in text


@pytest.mark.parametrize("name", [name for name, e in EXERCISES.items() if e.pair or e.is_backward])
def test_a_stub_says_what_the_cache_holds(name):
    exercise = EXERCISES[name]
    text = " ".join(stubs.stub(exercise).replace("    # ", " ").split())
    assert f"The cache is {exercise.cache}." in text
    backward = EXERCISES[name.replace("_forward", "_backward")]
    for part in stubs.cache_names(backward):
        assert re.search(rf"\b{part}\b", exercise.cache) or part in ("has_bias", "has_beta"), part
