"""`npsoftmax grade` and `npsoftmax assignments` as a student meets them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from npsoftmax.cli import grade
from npsoftmax.cli.main import main
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES

sys.path.insert(0, str(Path(__file__).parents[1] / "grading"))
import folders


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A student's folder, with the shell in it."""
    monkeypatch.chdir(tmp_path)
    assert main(["assignments", "start", "a2"]) == 0
    return tmp_path


def flat(text):
    """On one line: what is printed is wrapped."""
    return " ".join(text.split())


def solve(work, **codes):
    folders.write(work, codes, ("a2",))


def test_stubs_are_not_started_and_the_next_step_is_named(work, capsys):
    assert main(["grade", "a2"]) == 0
    out = capsys.readouterr().out
    assert "0 of 10" in out and "· dense_forward" in out and "next: dense_forward (a2_layers/README.md, step 1)" in out


def test_a_solved_folder_passes(work, capsys):
    solve(work)
    assert main(["grade", "a2"]) == 0
    out = capsys.readouterr().out
    assert "10 of 10" in out and "17 of 17 points" in out and "everything passes" in out


@pytest.mark.parametrize("word", ["A2", "A2_Layers", "ReLU_forward"])
def test_names_are_known_in_any_case(work, word, capsys):
    assert main(["grade", word]) == 0
    assert "relu_forward" in capsys.readouterr().out


def test_one_function_with_its_report_and_exit_code(work, capsys):
    solve(work, relu_backward=folders.function("relu_backward", "return dy * y"))
    assert main(["grade", "relu_backward"]) == 1
    out = capsys.readouterr().out
    assert "✗ a2 relu_backward" in out and "the slope is 1 where y > 0" in flat(out)
    assert main(["grade", "relu_forward"]) == 0


@pytest.mark.parametrize("words", [["a2", "{}"], ["{}"], ["{}/a2_layers"], ["a2", "{}/a2_layers"]])
def test_the_folder_can_be_named_in_every_way(work, words, capsys, monkeypatch, tmp_path_factory):
    solve(work)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    main(["grade", *(word.format(work) for word in words)])
    assert "10 of 10" in capsys.readouterr().out


def test_hints_come_one_level_at_a_time(work, capsys):
    hints = EXERCISES["dense_backward"].hints
    for level, words in enumerate((["--hint"], ["--hint", "2"], ["--hint", "3"], ["--hint", "9"])):
        assert main(["grade", "dense_backward", *words]) == 0
        out = capsys.readouterr().out
        shown = [hint for hint in hints if hint in flat(out)]
        assert shown == [hints[min(level, len(hints) - 1)]]
    assert main(["grade", "a2", "--hint"]) == 0
    assert EXERCISES["dense_forward"].hints[0] in flat(capsys.readouterr().out)  # of the next step


def test_the_solution_is_shown_for_what_passes_and_only_then(work, capsys):
    assert main(["grade", "relu_forward", "--solution"]) == 2
    assert "is not started" in capsys.readouterr().err
    solve(work)
    assert main(["grade", "relu_forward", "--solution"]) == 0
    assert "np.maximum(x, 0)" in capsys.readouterr().out


def test_watching_grades_again_after_every_save(work, capsys, monkeypatch):
    solves = iter([lambda: None, lambda: solve(work), lambda: None])

    def sleep(seconds):
        try:
            next(solves)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(grade, "time", SimpleNamespace(sleep=sleep))  # and nobody else's
    assert main(["grade", "relu_forward", "--watch"]) == 0
    out = capsys.readouterr().out
    assert out.count("watching") == 2 and "not started" in out and "✓ a2 relu_forward  passed" in out


def test_start_refuses_to_overwrite(work, capsys):
    solve(work)
    before = (work / "a2_layers" / "layers.py").read_bytes()
    assert main(["assignments", "start", "a2"]) == 2
    assert "may hold your work" in capsys.readouterr().err
    assert (work / "a2_layers" / "layers.py").read_bytes() == before


def test_reset_puts_one_function_back_and_keeps_the_file(work, capsys):
    solve(work)
    file = work / "a2_layers" / "layers.py"
    before = file.read_text()
    assert main(["assignments", "reset", "relu_forward"]) == 0
    assert file.with_name("layers.py.bak").read_text() == before
    assert main(["grade", "a2"]) == 0
    out = capsys.readouterr().out
    assert "· relu_forward" in out and "9 of 10" in out


BAD = {
    "no such exercise": (["grade", "relu_bakward"], "Did you mean 'relu_backward'"),
    "no such folder": (["grade", "a2", "nowhere"], "there is no folder nowhere"),
    "an exercise for a folder": (["grade", "a2", "relu_forward"], "npsoftmax grade relu_forward"),
    "a folder without files": (["grade", "a3", "."], "npsoftmax assignments start a3"),
    "a solution of many": (["grade", "a2", "--solution"], "needs one FUNCTION"),
    "no submissions": (["grade", "a2", "--csv", "a2_layers"], "holds no folders"),
    "no folder of submissions": (["grade", "a2", "--csv", "nowhere"], "there is no such folder"),
    "a negative seed": (["grade", "a2", "--seed", "-1"], "--seed is -1, but a whole number of at least 0"),
    "no time at all": (["grade", "a2", "--time-limit", "0"], "--time-limit is 0, but a number of seconds above 0"),
    "no such assignment": (["assignments", "start", "a9"], "unknown assignment 'a9'"),
    "reset what is unknown": (["assignments", "reset", "rleu_forward"], "Did you mean 'relu_forward'"),
    "reset where nothing is": (["assignments", "reset", "im2col"], "there is no file for im2col"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(name, work, capsys):
    words, said = BAD[name]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_all_assignments_can_be_started_at_once(tmp_path, capsys):
    assert main(["assignments", "start", "--to", str(tmp_path / "course")]) == 0
    assert {p.name for p in (tmp_path / "course").iterdir()} == {a.folder for a in ASSIGNMENTS.values()}
