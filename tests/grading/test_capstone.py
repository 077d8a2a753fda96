"""The network that trains on a student's functions: the library's own curve, or a refusal that names the wrong one."""

from __future__ import annotations

import example_scripts
import folders
import numpy as np
import pytest

from npsoftmax.grading import capstone
from npsoftmax.grading.exercises import EXERCISES

NEEDED = ("a1", "a2", "a3")


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("solved"), {}, NEEDED)


def example():
    return example_scripts.load("train_with_my_gradients")


def test_right_functions_give_the_librarys_curve_and_a_figure(solved, tmp_path, capsys):
    figure = tmp_path / "curves.png"
    assert example().main([str(solved), "--steps", "20", "--out", str(figure)]) == 0
    assert "one curve" in capsys.readouterr().out and figure.stat().st_size > 10_000


def test_functions_written_another_way_give_the_same_curve(solved, monkeypatch):
    functions = capstone.student_functions(solved)
    called = dict.fromkeys(functions, 0)

    def counted(name):
        def function(*args, **kwargs):
            called[name] += 1
            result = functions[name](*args, **kwargs)
            if name == "dense_backward":  # the same gradient, summed in another order
                (x, _, _), dy = args[1], args[0]
                result = (result[0], np.einsum("nd,nm->dm", x, dy), result[2])
            return result

        return function

    monkeypatch.setattr(capstone, "student_functions", lambda folder: {name: counted(name) for name in functions})
    curves = capstone.compare(solved, 20)
    assert curves.same and 0 < curves.gap <= 1e-6
    assert min(called.values()) >= 20, f"not every function ran in every step: {called}"
    assert curves.reference[-1] < curves.reference[0]


def test_a_wrong_function_in_training_gives_another_curve(solved, monkeypatch):
    functions = capstone.student_functions(solved)
    wrong = functions | {"relu_backward": lambda dy, cache: dy}
    monkeypatch.setattr(capstone, "student_functions", lambda folder: wrong)
    assert not capstone.compare(solved, 5).same


def test_the_librarys_functions_are_back_afterwards(solved):
    from npsoftmax import kernels
    from npsoftmax.functional import conv

    own = conv.conv2d_im2col_forward, kernels.max_pool
    with pytest.raises(RuntimeError), capstone.in_place(capstone.student_functions(solved)):
        assert conv.conv2d_im2col_forward is not own[0]
        raise RuntimeError
    assert (conv.conv2d_im2col_forward, kernels.max_pool) == own


def test_it_refuses_and_says_which_function_is_wrong(tmp_path, capsys):
    body = "return dy * 1.0, np.zeros_like(w), np.zeros(w.shape[3])"
    codes = {"conv2d_im2col_backward": folders.function("conv2d_im2col_backward", body), "relu_forward": None}
    folders.write(tmp_path, codes, NEEDED)
    assert example().main([str(tmp_path), "--steps", "5", "--out", str(tmp_path / "no.png")]) == 1
    out = capsys.readouterr().out
    assert "not trained" in out and "Not passed: conv2d_im2col_backward, relu_forward" in out
    assert "✗ a3 conv2d_im2col_backward" in out and not (tmp_path / "no.png").exists()


def test_every_function_it_replaces_is_an_exercise():
    assert set(capstone.REPLACED) <= set(capstone.NEEDED) <= set(EXERCISES)
    assert {"im2col", "col2im", "pad_images"} <= set(capstone.NEEDED)
