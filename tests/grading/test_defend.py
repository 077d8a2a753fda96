"""Three questions about a student's own function, with answers that are computed and mean something."""

from __future__ import annotations

import ast
import json
import re

import folders
import numpy as np
import pytest
from everyday import mostly_slow

from npsoftmax.cli.main import main
from npsoftmax.grading.defend import defend, value_question
from npsoftmax.grading.exercises import EXERCISES
from npsoftmax.grading.small_cases import named_inputs, one_row, small_trial
from npsoftmax.grading.student import find_file
from npsoftmax.grading.variations import variations

EVERY_DAY = (
    "softmax_backward",
    "dense_backward",
    "causal_mask",
    "huffman",
    "multi_head_attention_backward",
    "im2col_cython",
)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("solved"))


def asked(folder, name, student="anna", seed=0):
    return defend(EXERCISES[name], find_file(folder, EXERCISES[name]), student, seed)


@pytest.mark.parametrize("name", mostly_slow(EXERCISES, EVERY_DAY))
def test_every_exercise_has_three_questions_that_are_not_trivial(solved, name):
    defence = asked(solved, name)
    assert len(defence.questions) == 3 == len({q.text for q in defence.questions})
    assert defence.given
    for question in defence.questions:
        assert question.answer not in ("", "0", "0.0", "nan", "the whole process ends")
        if found := re.fullmatch(r"(?:.*; )?(\S+) \(it is (\S+)\)(?:; N = 1: (?:yes|no))?", question.answer):
            assert found[1] != found[2]


def test_the_same_student_gets_the_same_questions_and_another_others(solved):
    first, again, other, later = (asked(solved, "softmax_backward", *who) for who in (("a",), ("a",), ("b",), ("a", 1)))
    assert first == again
    assert len({first.questions, other.questions, later.questions}) == 3


def test_the_answers_are_those_of_the_function(solved):
    """By hand, from the numbers that are shown."""
    defence = asked(solved, "dense_forward")
    array = {name: np.array(ast.literal_eval(text)) for name, text in defence.given.items()}
    y = array["x"] @ array["w"] + array["b"]
    place = ast.literal_eval(re.search(r"y\[(.*?)\]", defence.questions[0].text)[0][1:])
    assert float(defence.questions[0].answer) == pytest.approx(y[tuple(place)], rel=1e-3)
    last = defence.questions[2].text
    name, index, of = re.match(r"Let (\w)\[(.*?)\] be larger by 0.5: does y\[(.*?)\]", last).groups()
    array[name][ast.literal_eval(f"({index},)")] += 0.5
    moved = (array["x"] @ array["w"] + array["b"] - y)[ast.literal_eval(f"({of},)")]
    assert ("grows" in defence.questions[2].answer) == (moved > 0)


def test_it_is_the_students_own_code_that_is_asked_about(tmp_path):
    body = "total = 0\nfor row in x:\n    total = row\nproduct = x @ w\nreturn product + b, (x, w, True)"
    folders.write(tmp_path, {"dense_forward": folders.function("dense_forward", body)}, ("a2",))
    defence = asked(tmp_path, "dense_forward")
    lines = find_file(tmp_path, EXERCISES["dense_forward"]).read_text(encoding="utf-8").split("\n")
    number, text = re.match(r"Line (\d+) of layers.py is `(.*?)`", defence.questions[1].text).groups()
    assert lines[int(number) - 1].strip() == text and "product + b" in text


@pytest.mark.slow
def test_a_variation_that_never_ends_is_passed_over(tmp_path):
    body = "n = 0\nwhile n < 3:\n    n = n + 1\ny = x @ w\ny = y + b * (n == 3)\nreturn y, (x, w, True)"
    folders.write(tmp_path, {"dense_forward": folders.function("dense_forward", body)}, ("a2",))
    assert len(asked(tmp_path, "dense_forward").questions) == 3


def test_of_true_and_false_the_number_is_asked(solved):
    question = value_question(EXERCISES["causal_mask"], {"mask": np.tri(3, dtype=bool)}, np.random.default_rng(0))
    assert question.text.startswith("How many of the 9 elements of mask") and question.answer == "6"


@pytest.mark.parametrize("name", ["softmax_backward", "adaptive_loss_backward", "max_pool"])
def test_inputs_are_small_and_have_two_decimals(name):
    trial = small_trial(EXERCISES[name], np.random.default_rng(3))
    values = [v for _, v in named_inputs(trial) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    assert np.array_equal(values[0], values[0].round(2)) and sum(v.size for v in values) < 300


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy_backward", "batch_norm_forward", "conv2d_naive_backward", "adaptive_loss_backward"]
)
def test_one_row_is_the_first_alone(name):
    exercise = EXERCISES[name]
    alone = one_row(small_trial(exercise, np.random.default_rng(0)))
    outcome = alone.call(exercise.reference)
    assert outcome.raised is None and alone.case.sizes["N"] == 1
    assert one_row(alone) is None


def test_a_mean_over_the_batch_is_not_seen_with_one_sample(tmp_path):
    """The one change that this function has is told from all others by N = 1."""
    body = "x, w, has_bias = cache\nreturn dy @ w.T, x.T @ dy, dy.sum(axis=0)"
    folders.write(tmp_path, {"dense_backward": folders.function("dense_backward", body)}, ("a2",))
    (question,) = (q for q in asked(tmp_path, "dense_backward").questions if q.text.startswith("Line"))
    assert "dy.mean(axis=0)" in question.text and question.answer.endswith("; N = 1: no")


def test_variations_change_one_line_and_parse():
    source = (
        "import numpy as np\n\n\ndef helper(a):\n    return a.max(axis=-1)\n\n\ndef f(x: int = 3) -> int:\n"
        "    y = -x + 2  # x + 2\n    y *= helper(x)\n    return y if x > 1 else y.swapaxes(0, 1)\n"
    )
    found = variations(source, "f")
    assert {(v.before, v.after) for v in found} >= {
        ("y = -x + 2  # x + 2", "y = -x - 2  # x + 2"),
        ("y = -x + 2  # x + 2", "y = x + 2  # x + 2"),
        ("y *= helper(x)", "y /= helper(x)"),
        ("return a.max(axis=-1)", "return a.min(axis=-1)"),
    }
    for v in found:
        changed = [
            i for i, (a, b) in enumerate(zip(source.split("\n"), v.source.split("\n"), strict=True), 1) if a != b
        ]
        assert changed == [v.number] and ast.parse(v.source)


def test_lambdas_methods_and_aliases_are_followed():
    source = "class A:\n    def m(x):\n        return x + x\n\n\nf = lambda x: x * x\ng = A.m\nh = 3\n"
    assert [v.after for v in variations(source, "f")] == ["f = lambda x: x / x"]
    assert [v.after for v in variations(source, "g")] == ["return x - x"]
    assert variations(source, "unknown") == []


def test_the_command_asks_and_answers_the_teacher_alone(solved, capsys):
    words = ["defend", "softmax_backward", str(solved), "--student", "anna"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("\n1. ") == out.count("\n3. ") == 1 and "answer" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert main([*words, "--json"]) == 0
    assert [set(q) for q in json.loads(capsys.readouterr().out)["questions"]] == [{"question"}] * 3
    assert main([*words, "--json", "--answers"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["student"] == "anna" and all(q["answer"] for q in told["questions"])


BAD = {
    "not started": ("relu_forward", "is not started: there are questions about it once it passes"),
    "wrong": ("relu_backward", "is wrong: there are questions about it once it passes"),
    "unknown": ("relu_forwad", "Did you mean 'relu_forward'"),
    "no file": ("im2col", "npsoftmax assignments start a3"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_defended_says_what_to_do(name, tmp_path, capsys):
    codes = {"relu_forward": None, "relu_backward": folders.function("relu_backward", "return dy")}
    folders.write(tmp_path, codes, ("a2",))
    function, said = BAD[name]
    assert main(["defend", function, str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
