"""The capstone of a6: the library's curve, and what a network is without each of a student's ingredients."""

from __future__ import annotations

import folders
import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.data import load_dataset
from npsoftmax.grading import capstone, ingredients
from npsoftmax.grading.exercises import EXERCISES, exercises_of
from npsoftmax.grading.ingredients import ALL, INGREDIENTS, SPEEDRUN, train


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(ingredients, "MOST_IMAGES", 48)
    monkeypatch.setattr(ingredients, "MOST_TESTED", 60)
    monkeypatch.setattr(ingredients, "BATCH", 16)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("solved"), {}, ("a6",))


def silent(step, loss):
    pass


def test_every_function_of_the_assignment_but_one_is_in_it_and_runs(solved):
    functions = capstone.student_functions(solved, SPEEDRUN)
    others = {"resize_backward"}  # images get no gradient
    assert set(functions) == set(SPEEDRUN.replaced) == {e.name for e in exercises_of("a6")} - others
    called = set()

    def watched(name):
        def function(*args, **kwargs):
            called.add(name)
            return functions[name](*args, **kwargs)

        return function

    with capstone.in_place({name: watched(name) for name in functions}, SPEEDRUN):
        train(load_dataset("digits"), 2, ALL, silent)
    inside = {"patch_covariance", "resizing_weights", "newton_schulz_step", "orthogonalised"}  # called in their file
    assert called == set(functions) - inside


def test_without_an_ingredient_it_is_another_run():
    images = load_dataset("digits")
    whole = train(images, 4, ALL, silent)
    again = train(images, 4, ALL, silent)
    np.testing.assert_array_equal(again.losses, whole.losses)
    for name in INGREDIENTS:
        other = train(images, 4, ALL - {name}, silent)
        assert np.isfinite(other.losses).all() and not np.allclose(other.losses, whole.losses, rtol=1e-6), name


def test_an_answer_with_other_signs_of_the_filters_is_the_same_curve(tmp_path):
    turned = folders.stubs.solution(EXERCISES["whitening_filters"]).replace(
        "[filters, -filters]", "[-filters, filters]"
    )
    folders.write(tmp_path, {"whitening_filters": turned}, ("a6",))
    with capstone.in_place(capstone.student_functions(tmp_path, SPEEDRUN), SPEEDRUN):
        student = train(load_dataset("digits"), 2, ALL, silent)
    np.testing.assert_allclose(student.losses, train(load_dataset("digits"), 2, ALL, silent).losses, rtol=1e-9)


def test_the_command_says_what_each_bought(solved, tmp_path, capsys):
    words = ["--model", "whitened_resnet", "--steps", "3", "--out", str(tmp_path)]
    assert main(["train", "--my-gradients", str(solved), *words]) == 0
    out = capsys.readouterr().out
    assert "1.0 epochs, one seed" in out and "one curve: every function in it is yours" in out
    for name, instead in INGREDIENTS.items():
        assert f"- {name}" in out and instead in out
    rows = [line for line in out.splitlines() if line.startswith(("- ", "all of them"))]
    assert len(rows) == 7 and max(map(len, rows)) <= 80
    assert [p.name for p in tmp_path.iterdir()] == ["my_gradients_a6_whitening.png"]


@pytest.mark.slow
def test_a_wrong_ingredient_is_named_and_nothing_is_trained(tmp_path, capsys):
    code = folders.function("alternating_flip", "return np.where((u < 0.5)[:, None, None, None], x[:, :, ::-1], x)")
    folders.write(tmp_path, {"alternating_flip": code}, ("a6",))
    assert main(["train", "--my-gradients", str(tmp_path), "--model", "whitened_resnet", "--steps", "2"]) == 1
    out = capsys.readouterr().out
    assert "Not passed: alternating_flip" in out and "it is the others' turn" in " ".join(out.split())
