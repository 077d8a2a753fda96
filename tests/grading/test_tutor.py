"""What an assistant that teaches is told: cause, step, hint; no statement of a solution, whatever the student wrote."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap

import folders
import pytest
from everyday import mostly_slow

from npsoftmax.cli.main import main
from npsoftmax.grading import stubs
from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES
from npsoftmax.grading.gradebook import row_of
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.tutor import advice, in_words, without_statements

LEVELS = (1, 2, 3, 4)


def squeezed(text):
    return re.sub(r"\s+", "", text)


def statements(exercise):
    """Statements of the solution and of the library's own function, squeezed; those that the stub shows aside."""
    texts = [stubs.solution(exercise)]
    if not exercise.compiled:
        texts.append(textwrap.dedent(inspect.getsource(exercise.reference)))
    shown = squeezed(stubs.stub(exercise))
    for text in texts:
        docstring, *body = ast.parse(text).body[0].body
        assert isinstance(docstring, ast.Expr)
        for node in (inner for statement in body for inner in ast.walk(statement) if isinstance(inner, ast.stmt)):
            lines = ast.unparse(node).split("\n")
            statement = squeezed(lines[0] if hasattr(node, "body") else "".join(lines))
            if len(statement) > 3 and statement not in shown:
                yield statement


def told(exercise, verdict):
    """All that can be had about a verdict."""
    row = row_of(exercise, None, {"printed": 0, "seconds": 0.0, "flags": (), **vars(verdict)}, 0)
    found = [advice(exercise, row, level) for level in LEVELS]
    return squeezed(" ".join(text for one in found for text in (json.dumps(one, ensure_ascii=False), in_words(one))))


def raising(text):
    """Functions that try to say a text through what the grader says of them."""

    def message(*args, **kwargs):
        raise ValueError(text)

    def kind(*args, **kwargs):
        raise type(text.replace("\n", " "), (Exception,), {})("x")

    def disguised(*args, **kwargs):
        raise NameError(f"name '{text}' is not defined")

    def returned(*args, **kwargs):
        return type(text, (), {})()

    return message, kind, disguised, returned


@pytest.mark.parametrize("name", mostly_slow(EXERCISES, [*EXERCISES][::4]))
def test_no_statement_of_a_solution_can_be_had(name):
    exercise = EXERCISES[name]
    secret = list(statements(exercise))
    assert secret or name in {"balanced"}
    wrong = [m.function for m in all_mistakes().get(name, ())[:3]]
    if not exercise.compiled:
        wrong += raising(stubs.solution(exercise)) + raising(secret[0] if secret else "x = 1")
    for function in (*wrong, lambda *args, **kwargs: None):
        verdict = check(exercise, function, file=__file__)
        text = told(exercise, verdict)
        assert [s for s in secret if s in text] == [], (function, verdict.report)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_a_statement_is_found_however_it_is_spaced(assignment):
    exercise = next(e for e in EXERCISES.values() if e.assignment == assignment and len(set(statements(e))) > 1)
    secret = max(statements(exercise), key=len)
    shown = without_statements(f"write   {'  '.join(secret)} there", assignment)
    assert shown == "write   [a line of the solution, withheld] there"


def test_the_command_says_cause_step_and_hint_one_level_at_a_time(tmp_path, capsys):
    wrong = folders.function("dense_backward", "return dy @ w.T, x.T @ dy / len(dy), dy.sum(axis=0)")
    raises = folders.function("relu_backward", "return dy @ y")
    folders.write(tmp_path, {"dense_backward": wrong, "relu_backward": raises, "dropout_forward": None}, ("a2",))
    words = ["grade", "dense_backward", str(tmp_path), "--tutor", "--json"]
    assert main(words) == 1
    first = json.loads(capsys.readouterr().out)
    assert "belongs to the loss" in first["cause"] and first["state"] == "wrong"
    assert first["read"] == "a2_layers/README.md, step 1" and (first["level"], first["levels"]) == (1, 3)
    assert main([*words[:-1], "--json", "--hint", "2"]) == 1
    second = json.loads(capsys.readouterr().out)
    assert (first["hint"], second["hint"]) == EXERCISES["dense_backward"].hints[:2]
    assert first["next"].endswith("--hint 2") and second["next"].endswith("--hint 3")
    assert main(["grade", "relu_backward", str(tmp_path), "--tutor", "--json"]) == 1
    (fact,) = json.loads(capsys.readouterr().out)["facts"]
    assert re.fullmatch(r"raised: ValueError: matmul: Input operand .*, in line \d+ of the student's file", fact)
    assert main(["grade", "dropout_forward", str(tmp_path), "--tutor"]) == 0
    assert "a2 dropout_forward: not started" in capsys.readouterr().out
    assert main(["grade", "a2", str(tmp_path), "--tutor"]) == 2
    assert "--tutor needs one FUNCTION" in capsys.readouterr().err


def test_of_a_wrong_cache_it_says_what_has_to_be_in_it():
    verdict = check(EXERCISES["dense_forward"], lambda x, w, b: (x @ w + b, None), file=__file__)
    row = row_of(EXERCISES["dense_forward"], None, {"printed": 0, "flags": (), "seconds": 0.0, **vars(verdict)}, 0)
    (fact,) = advice(EXERCISES["dense_forward"], row)["facts"]
    assert fact.startswith("cache: wrong; the cache has to hold (x, w,")


@pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_every_folder_tells_an_assistant_to_teach(assignment):
    text = stubs.files(assignment)["AGENTS.md"].decode()
    assert "do not write the functions" in text and assignment.folder in text
    for line in re.findall(r"^npsoftmax .*?(?=  #|$)", text, re.MULTILINE):
        assert line.split()[1] in ("grade", "defend"), line
