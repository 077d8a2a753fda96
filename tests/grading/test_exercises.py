"""The one check in its four uses: the library passes, a stub is not started, every mistake fails and is named."""

from __future__ import annotations

import ast
import textwrap

import numpy as np
import pytest
from everyday import mostly_slow, slow

from npsoftmax.errors import InputError
from npsoftmax.grading import check as checking
from npsoftmax.grading import stubs
from npsoftmax.grading.check import check
from npsoftmax.grading.exercises import ASSIGNMENTS, EXERCISES, exercises_of, find
from npsoftmax.grading.mistakes import all_mistakes
from npsoftmax.grading.trial import trials_of

MISTAKES = {mistake.id: mistake for mistakes in all_mistakes().values() for mistake in mistakes}
BACKWARDS = [name for name, exercise in EXERCISES.items() if exercise.is_backward]
NAMED_AT_LEAST = 0.95

each_exercise = pytest.mark.parametrize("name", EXERCISES)


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch, request):
    """Stand in for the compiler, but where it is what is tested."""
    if "compiler" not in request.fixturenames:
        monkeypatch.setattr(checking, "compiled_function", lambda path, name: EXERCISES[name].reference)


@pytest.fixture
def compiler():
    """Asked for by a test that compiles."""


def needs_cython(name):
    if EXERCISES[name].compiled:
        pytest.importorskip("cython")


# ---------------------------------------------------------------- the library
@each_exercise
@pytest.mark.parametrize("seed", [0, *slow(range(1, 5))])
def test_the_library_passes(name, seed):
    needs_cython(name)
    verdict = check(EXERCISES[name], EXERCISES[name].reference, seed)
    assert verdict.state == "passed", verdict.report


@pytest.mark.gpu
@each_exercise
def test_the_library_passes_on_the_gpu(name, cupy):
    if EXERCISES[name].compiled or name in ("balanced", "huffman"):
        pytest.skip("on the host by its nature")
    assert check(EXERCISES[name], EXERCISES[name].reference, backend=cupy).state == "passed"


@pytest.mark.slow
def test_the_exercise_in_cython_compiles(compiler, tmp_path):
    pytest.importorskip("cython")
    exercise = EXERCISES["im2col_cython"]
    file = tmp_path / "im2col_cython.py"
    file.write_text("import cython\n\n\n" + stubs.solution(exercise) + "\n", encoding="utf-8")
    verdict = check(exercise, exercise.reference, file=str(file))
    assert verdict.state == "passed", verdict.report
    assert int(verdict.note.removeprefix("compiled; ").partition(" ")[0]) > 5
    text = file.read_text(encoding="utf-8").replace("    n: cython.Py_ssize_t\n", "    n: cython.Py_ssize_t = 'one'\n")
    file.write_text(text, encoding="utf-8")
    verdict = check(exercise, exercise.reference, file=str(file))
    assert verdict.state == "wrong" and "not compiled" in verdict.report


# ---------------------------------------------------------------- the table
def test_there_are_at_least_fifty_exercises_in_six_assignments():
    assert list(ASSIGNMENTS) == ["a1", "a2", "a3", "a4", "a5", "a6"]
    assert len(EXERCISES) >= 50 and sum(e.compiled for e in EXERCISES.values()) == 1
    assert sum(len(exercises_of(a)) for a in ASSIGNMENTS) == len(EXERCISES)


@each_exercise
def test_every_exercise_has_mistakes_hints_and_a_section(name):
    exercise = EXERCISES[name]
    assert len(all_mistakes()[name]) >= 2
    assert exercise.hints and all(hint.strip().endswith((".", ":", "?")) for hint in exercise.hints)
    page = stubs.files(ASSIGNMENTS[exercise.assignment])["README.md"].decode()
    section = page.partition(f"## Step {exercise.step}: ")[2].partition("\n## ")[0]
    stem = name.removesuffix("_forward").removesuffix("_backward")
    assert f"`{stem}`" in section or f"`{name}`" in section


@each_exercise
def test_hidden_seeds_bring_other_numbers_and_the_same_seed_the_same(name):
    def bytes_of(seed):
        return [repr(t.case.args) for t in trials_of.__wrapped__(EXERCISES[name], seed)]

    assert bytes_of(3) == bytes_of(3)
    if name != "causal_mask":
        assert bytes_of(3) != bytes_of(4)


def test_a_word_finds_its_exercises():
    assert [e.name for e in find("softmax_backward")] == ["softmax_backward"]
    assert find("a2_layers") == find("a2") == exercises_of("a2")
    assert len(find(None)) == len(EXERCISES)
    with pytest.raises(InputError, match="Did you mean 'softmax_backward'"):
        find("softmax_bakward")


# ---------------------------------------------------------------- mistakes
@each_exercise
def test_every_mistake_fails_on_the_expected_output(name):
    needs_cython(name)
    for mistake in all_mistakes()[name]:
        verdict = check(EXERCISES[name], mistake.function)
        assert verdict.state == "wrong", mistake.id
        if not mistake.source:
            assert set(verdict.wrong) - {"cache"} == set(mistake.wrong), f"{mistake.id}:\n{verdict.report}"
        assert verdict.mistake in ("", mistake.id), f"{mistake.id} named by another's sentence:\n{verdict.report}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 11, 12])
def test_nearly_every_mistake_is_named_and_none_by_anothers_sentence(seed):
    pytest.importorskip("cython")
    said = {m.id: check(EXERCISES[m.exercise], m.function, seed).mistake for m in MISTAKES.values()}
    other = {mistake: name for mistake, name in said.items() if name not in ("", mistake)}
    assert not other
    assert sum(bool(name) for name in said.values()) >= NAMED_AT_LEAST * len(said)


def test_the_sentence_stands_in_the_report():
    for mistake in MISTAKES.values():
        assert len(mistake.sentence) > 20 and mistake.sentence.endswith(".")
    report = check(EXERCISES["dense_backward"], MISTAKES["dense_backward.mean_over_the_batch"].function).report
    flat = " ".join(report.split())
    assert "you averaged over the batch: dw and db are SUMS over its N = " in flat
    assert "yours / numeric = 0." in flat and "everywhere" in flat


def test_what_a_student_reads_has_one_minus_sign_and_plain_words():
    texts = [mistake.sentence for mistake in MISTAKES.values()]
    for exercise in EXERCISES.values():
        texts += [*exercise.hints, exercise.remark, exercise.cache]
    for text in texts:
        assert "−" not in text and "turned round" not in text and "out of account" not in text, text


def right_but(exercise, change):
    """The library's function with its first array output changed."""

    def function(*args, **kwargs):
        result = exercise.reference(*args, **kwargs)
        several = isinstance(result, tuple)
        first = change(np.asarray(result[0] if several else result))
        return (first, *result[1:]) if several else first

    return function


JUDGED = [n for n, e in EXERCISES.items() if not e.compiled and n != "huffman"]


@pytest.mark.parametrize("name", mostly_slow(JUDGED, JUDGED[::4]))
def test_a_wrong_answer_outside_the_catalogue_gets_facts_and_no_guess(name):
    def shaken(y):
        if y.dtype.kind == "f":
            return y + 0.37 * np.sin(1.0 + np.arange(y.size)).reshape(y.shape)
        return ~y if y.dtype == bool else np.roll(y, 1, axis=0)

    if name == "causal_mask":
        pytest.skip("a boolean matrix leaves little outside the catalogue")
    verdict = check(EXERCISES[name], right_but(EXERCISES[name], shaken))
    assert verdict.state == "wrong" and not verdict.cause and "likely cause" not in verdict.report
    assert "yours" in verdict.report


OF_NUMBERS = [
    n for n, e in EXERCISES.items() if not e.compiled and n not in ("causal_mask", "balanced", "huffman", "climb")
]


@pytest.mark.parametrize("factor", [1.3, pytest.param(-1.3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", mostly_slow(OF_NUMBERS, OF_NUMBERS[::4]))
def test_an_answer_off_by_an_unknown_factor_gets_the_factor_and_no_cause(name, factor):
    """1.3 is no size of any case, no 1/N, no temperature and no sign: it is a fact, and nobody knows why."""
    verdict = check(EXERCISES[name], right_but(EXERCISES[name], lambda y: y * factor))
    assert verdict.state == "wrong" and not verdict.cause and "likely cause" not in verdict.report
    told = " ".join(verdict.report.split())
    factor = abs(factor) if name == "whitening_filters" else factor  # with either sign of a filter it is right
    single = "the value" in told  # the loss: of one number the two values say it
    assert single or f"= {factor} everywhere" in told or f"= {factor} in all of these" in told


@pytest.mark.parametrize("factor", [2.0, pytest.param(-1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", mostly_slow(OF_NUMBERS, OF_NUMBERS[::4]))
def test_ratios_that_are_only_nearly_constant_are_no_ratio(name, factor):
    """Twice the right answer, and the answer with a flipped sign, are known mistakes; nearly so is another thing."""

    def nearly(y):
        return y * factor * (1 + 0.01 * np.sin(1.0 + np.arange(y.size)).reshape(y.shape))

    verdict = check(EXERCISES[name], right_but(EXERCISES[name], nearly))
    assert verdict.state == "wrong" and not verdict.cause and "likely cause" not in verdict.report
    assert "yours / " not in verdict.report


# ---------------------------------------------------------------- the checker itself
@pytest.mark.parametrize("name", BACKWARDS)
def test_a_gradient_that_is_off_by_one_in_ten_thousand_is_rejected(name):
    exercise = EXERCISES[name]
    assert check(exercise, right_but(exercise, lambda g: g * (1 + 1e-4))).state == "wrong"


@pytest.mark.parametrize("name", BACKWARDS)
def test_a_gradient_of_zeros_is_rejected(name):
    exercise = EXERCISES[name]
    assert check(exercise, right_but(exercise, np.zeros_like)).state == "wrong"


def test_the_numeric_gradient_recovers_known_derivatives():
    for trial in trials_of(EXERCISES["relu_backward"], 0):
        numeric, floor = trial.expected["dx"]
        np.testing.assert_allclose(numeric, trial.dy * (trial.case.args["x"] > 0), rtol=1e-9, atol=1e-10)
        assert np.max(floor) < 1e-8


@each_exercise
def test_what_a_solution_calls_is_the_librarys_while_it_is_graded(name):
    """So that a wrong function costs no other one its points."""
    exercise = EXERCISES[name]
    names = {n.id for n in ast.walk(ast.parse(stubs.solution(exercise))) if isinstance(n, ast.Name)}
    called = {n for n in names & set(EXERCISES) if EXERCISES[n].assignment == exercise.assignment} - {name}
    assert called <= set(exercise.uses)
    assert all(list(EXERCISES).index(used) < list(EXERCISES).index(name) for used in exercise.uses)


# ---------------------------------------------------------------- stubs
def test_every_stub_is_not_started():
    for exercise in EXERCISES.values():
        namespace = {"np": np}
        if exercise.compiled:
            namespace["cython"] = pytest.importorskip("cython")
        first = "" if exercise.compiled else "from __future__ import annotations\n"
        exec(compile(first + stubs.stub(exercise), "stub", "exec"), namespace)
        assert check(exercise, namespace[exercise.name]).state == "not started"


@each_exercise
def test_no_statement_of_a_solution_occurs_in_a_stub(name):
    exercise = EXERCISES[name]
    files = stubs.files(ASSIGNMENTS[exercise.assignment])
    everything = "".join(text.decode() for file, text in files.items() if file.endswith(".py"))
    code = "\n".join(ast.unparse(n) for n in ast.parse(everything).body if not isinstance(n, ast.Expr))
    lines = {line.strip() for line in code.splitlines()}
    tree = ast.parse(textwrap.dedent(stubs.solution(exercise))).body[0]
    for statement in tree.body[1:]:
        if not stubs.is_cache_line(statement):
            for line in ast.unparse(statement).splitlines():
                assert line.strip() not in lines
