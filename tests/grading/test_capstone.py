"""Networks that train on a student's functions: the library's own curve, or a refusal that names the wrong one."""

from __future__ import annotations

import example_scripts
import folders
import numpy as np
import pytest

from npsoftmax.cli.main import main
from npsoftmax.data import load_dataset
from npsoftmax.grading import capstone
from npsoftmax.grading.capstone import CAPSTONES
from npsoftmax.grading.exercises import EXERCISES

NEEDED = ("a1", "a2", "a3")
NAMES = ("a3", "a4", "a5 adaptive", "a5 two-level")


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("solved"), {}, ("a1", "a2", "a3", "a4", "a5"))


def example():
    return example_scripts.load("train_with_my_gradients")


def planted(monkeypatch, changed):
    """Let some of the student's functions be others."""
    own = capstone.student_functions
    monkeypatch.setattr(capstone, "student_functions", lambda *args: own(*args) | changed(own(*args)))


# ---------------------------------------------------------------- the convnet
def test_right_functions_give_the_librarys_curve_and_a_figure(solved, tmp_path, capsys):
    figure = tmp_path / "curves.png"
    words = [str(solved), "--steps", "20", "--model", "convnet", "--out", str(figure)]
    assert example().main(words) == 0
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

    planted(monkeypatch, lambda own: {name: counted(name) for name in own})
    curves = capstone.compare(solved, 20)
    assert curves.same and 0 < curves.gap <= 1e-6
    assert min(called.values()) >= 20, f"not every function ran in every step: {called}"
    assert curves.reference[-1] < curves.reference[0]


def test_a_wrong_function_in_training_gives_another_curve(solved, monkeypatch):
    planted(monkeypatch, lambda own: {"relu_backward": lambda dy, cache: dy})
    assert not capstone.compare(solved, 5).same


# ---------------------------------------------------------------- all of them
@pytest.mark.parametrize("one", CAPSTONES, ids=NAMES)
def test_every_function_that_a_network_is_said_to_run_on_is_what_runs(one, solved):
    """A planted difference in each shows in the curves: the first step's loss for a forward, the second's for both."""
    images = load_dataset("digits")
    functions = capstone.student_functions(solved, one)
    assert set(functions) == set(one.replaced)
    model = one.build(images)
    x, t = images.x_train[:8] / 127.5 - 1.0, images.y_train[:8]
    called = set()

    def watched(name):
        def function(*args, **kwargs):
            called.add(name)
            return functions[name](*args, **kwargs)

        return function

    with capstone.in_place({name: watched(name) for name in functions}, one):
        _, cache = model.loss(x, t, train=True)
        model.backward(cache)
    reached = {n for n in one.replaced if not n.startswith(("masked", "scaled", "split", "merge"))}
    assert called == reached  # the others are called by these, in the student's own file


def test_what_the_students_attention_calls_is_the_students_too(tmp_path):
    """masked_softmax, split_heads … are reached through multi_head_attention in their file: a difference shows."""
    (a4,) = (c for c in CAPSTONES if c.assignment == "a4")
    solution = folders.stubs.solution(EXERCISES["masked_softmax_forward"])
    halved = solution.replace("    return ", "    p = p * 0.5\n    return ")
    for name, codes in (("right", {}), ("halved", {"masked_softmax_forward": halved})):
        folders.write(tmp_path / name, codes, ("a4",))
    assert halved != solution
    assert capstone.compare(tmp_path / "right", 2, capstone=a4).same
    assert not capstone.compare(tmp_path / "halved", 2, capstone=a4).same


@pytest.mark.parametrize("one", CAPSTONES[2:], ids=NAMES[2:])
def test_a_head_of_the_students_trains_and_a_planted_difference_shows(one, solved, monkeypatch):
    curves = capstone.compare(solved, 60, capstone=one)
    assert curves.same and curves.student_accuracy == curves.reference_accuracy > 0.3
    (name,) = (n for n in one.replaced if n.endswith("_backward"))
    planted(monkeypatch, lambda own: {name: lambda d, c: tuple(-g for g in own[name](d, c))})
    assert not capstone.compare(solved, 5, capstone=one).same


def test_attention_of_the_students_learns(solved):
    curves = capstone.compare(solved, 6, capstone=CAPSTONES[1])
    assert curves.same and len(curves.student) == 6 and 0 <= curves.student_accuracy <= 1


def test_the_librarys_functions_are_back_afterwards(solved):
    from npsoftmax import kernels
    from npsoftmax.functional import conv

    own = conv.conv2d_im2col_forward, kernels.max_pool
    with pytest.raises(RuntimeError), capstone.in_place(capstone.student_functions(solved)):
        assert conv.conv2d_im2col_forward is not own[0]
        raise RuntimeError
    assert (conv.conv2d_im2col_forward, kernels.max_pool) == own


# ---------------------------------------------------------------- the command
def test_it_refuses_and_says_which_function_is_wrong(tmp_path, capsys):
    body = "return dy * 1.0, np.zeros_like(w), np.zeros(w.shape[3])"
    codes = {"conv2d_im2col_backward": folders.function("conv2d_im2col_backward", body), "relu_forward": None}
    folders.write(tmp_path, codes, NEEDED)
    assert example().main([str(tmp_path), "--steps", "5", "--out", str(tmp_path / "no.png")]) == 1
    out = capsys.readouterr().out
    assert "not trained" in out and "Not passed: conv2d_im2col_backward\n" in out
    assert "✗ a3 conv2d_im2col_backward" in out and not (tmp_path / "no.png").exists()


def test_what_is_unfinished_is_the_librarys_and_is_said(tmp_path, capsys):
    folders.write(tmp_path, {"relu_forward": None, "im2col": None, "dense_backward": None}, ("a2", "a3"))
    assert main(["train", "--my-gradients", str(tmp_path), "--steps", "3", "--out", str(tmp_path / "figures")]) == 0
    out = capsys.readouterr().out
    said = next(line for line in out.splitlines() if line.startswith("not started, so the library's"))
    assert {"relu_forward", "im2col", "dense_backward", "softmax_cross_entropy_forward"} <= set(
        said.replace(",", " ").split()
    )
    assert "6 of 10 functions in it are yours" in out and "what they bought" in out and "% of test images" in out
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["my_gradients_a3_conv2d_im2col.png"]


BAD = {
    "nothing finished": ([], "has nothing finished that could be trained"),
    "no folder": (["--my-gradients", "nowhere"], "there is no folder nowhere"),
    "no steps": (["--steps", "0"], "at least 1 is needed"),
    "an option of runs": (["--epochs", "3"], "--epochs has no meaning with --my-gradients"),
    "another model": (["--model", "vit_smal"], "Did you mean 'vit_small'"),
    "another head": (["--head", "adaptiv"], "Did you mean 'adaptive'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name, tmp_path, capsys):
    folders.write(tmp_path, dict.fromkeys(EXERCISES), ("a3",))
    words, said = BAD[name]
    assert main(["train", "--my-gradients", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err
    assert main(["train", "--steps", "3"]) == 2 and "--steps is for --my-gradients" in capsys.readouterr().err


def test_every_function_it_replaces_is_an_exercise():
    for one in CAPSTONES:
        assert set(one.replaced) <= set(one.needed) <= set(EXERCISES)
    assert {"im2col", "col2im", "pad_images"} <= set(CAPSTONES[0].needed)
