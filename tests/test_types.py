"""The package says that it is typed: a user's program, checked as strictly as mypy can, gets types and not Any.

It is checked against the package as `pip install .` puts it, from outside of its folder: mypy then takes types from it
only because of py.typed, and what is no part of the package is not found.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

PROGRAM = '''
from pathlib import Path

import numpy as np

import npsoftmax
from npsoftmax.backend import Array, array_module, to_numpy
from npsoftmax.data import Dataset
from npsoftmax.estimators import SoftmaxClassifier
from npsoftmax.functional.dense import dense_backward, dense_forward
from npsoftmax.functional.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from npsoftmax.heads import ClassInfo, Head
from npsoftmax.heads.flat import SoftmaxHead
from npsoftmax.layers import Dense, Layer, ReLU, Sequential
from npsoftmax.models import Model
from npsoftmax.params import Tree, leaves
from npsoftmax.training.optimizers import SGD


def pair(x: Array, w: Array, t: Array) -> tuple[Array, Array]:
    """Two pairs of functions, one behind the other; the gradient begins with a number or with an array ()."""
    z, cache = dense_forward(x, w, None)
    loss, loss_cache = softmax_cross_entropy_forward(z, t, label_smoothing=0.1)
    dz = softmax_cross_entropy_backward(1.0, loss_cache) + softmax_cross_entropy_backward(loss, loss_cache)
    dx, dw, _ = dense_backward(dz, cache)
    xp = array_module(x)
    return xp.zeros_like(x) if dx is None else dx, dw


def layer_and_head(x: Array, t: Array) -> tuple[Array, Tree]:
    """A layer and a head by hand."""
    rng = npsoftmax.Rng(0)
    layer: Layer = Sequential(fc=Dense(x.shape[1], 8, rng=rng.child("fc")), relu=ReLU())
    head: Head = SoftmaxHead(8, ClassInfo(10), rng=rng.child("head"), temperature=2.0)
    h, cache = layer.forward(x, train=True, rng=rng)
    loss, head_cache = head.loss(h, t, train=True, rng=rng)
    dh, head_grads = head.backward(head_cache)
    dx, grads = layer.backward(dh, cache, need_dx=False)
    print(float(loss), dx is None, [name for name, _ in leaves(grads)], head.predict(h, 3).shape)
    return dh * 2 + dh.sum(axis=0), {"layer": grads, "head": head_grads}


def trained(data: Dataset, steps: int) -> Model:
    """An MLP after some steps."""
    model = npsoftmax.build_model("mlp", "softmax", len(data.class_names), data.input_shape)
    optimizer = SGD(model.params, momentum=0.9)
    x, t = data.x_train[:32] / np.float32(255), data.y_train[:32]
    for _ in range(steps):
        loss, cache = model.loss(x, t, train=True)
        optimizer.step(model.params, model.backward(cache), lr=0.1)
        print(float(loss))
    right: Array = model.predict(x)[:, 0] == t
    print(to_numpy(right).mean(), bool(right.any()))
    return model


def estimated(data: Dataset) -> np.ndarray:
    """What a classifier of scikit-learn's kind says."""
    x = data.x_test.reshape(len(data.x_test), -1)
    classifier: SoftmaxClassifier = SoftmaxClassifier("taylor", hidden=(8,), epochs=1).fit(x, data.y_test)
    return classifier.predict_proba(x)


def checked(run: Path) -> bool:
    """A model of an earlier run, and its gradients."""
    session = npsoftmax.load_run(run, "last", data_dir="data")
    print(session.config.head, session.model.parameter_count() + 1)
    report = npsoftmax.check_gradients(Dense(3, 4, rng=npsoftmax.Rng(0)), np.ones((2, 3)))
    return report.ok


def main() -> int:
    """The exit code."""
    try:
        data = npsoftmax.load_dataset("digits")
        model = trained(data, steps=3)
        pair(data.x_train[:2].reshape(2, -1), np.zeros((64, 10)), data.y_train[:2])
    except npsoftmax.InputError as error:
        print(error)
        return 2
    print(estimated(data).shape, model.head.classes.n + 1)
    return 0 if checked(Path("run")) else 1
'''
# Each would pass if what it is about were Any.
MISTAKES = {
    "a name that is not there": ("npsoftmax.build_modell('mlp')", "attr-defined"),
    "a word for a number": ("npsoftmax.Rng('zero')", "arg-type"),
    "an option that is not there": ("npsoftmax.load_dataset('digits', seeed=0)", "call-arg"),
    "no attribute of a model": ("npsoftmax.build_model('mlp').heads", "attr-defined"),
    "a result taken for another": ("len(npsoftmax.build_model('mlp'))", "arg-type"),
    "a list for an array": ("dense_forward([[1.0]], w, None)", "arg-type"),
    "None for an array": ("head.loss(None, t)", "arg-type"),
    "no attribute of an array": ("head.log_prob(h).cuda", "attr-defined"),
    "a gradient that may be left out": ("layer.backward(h, None)[0].sum()", "union-attr"),
    "a number for widths": ("npsoftmax.SoftmaxClassifier(hidden=8)", "arg-type"),
    "no attribute of an estimator's result": ("npsoftmax.SoftmaxClassifier().predict(h).cuda", "attr-defined"),
    "no attribute of a run": ("npsoftmax.load_run('run').modell", "attr-defined"),
    "no attribute of a report": ("npsoftmax.check_gradients(layer, h).passed", "attr-defined"),
}
FOR_MISTAKES = """
import npsoftmax
from npsoftmax.backend import Array
from npsoftmax.functional.dense import dense_forward
from npsoftmax.heads import Head
from npsoftmax.layers import Layer


def mistakes(head: Head, layer: Layer, h: Array, w: Array, t: Array) -> None:
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages with npsoftmax alone; types need no compiler."""
    for needed in ("mypy", "pip", "setuptools", "Cython"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}: pip install {needed}")
    folder = tmp_path_factory.mktemp("types")
    source, installed = folder / "source", folder / "site"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.c")
    shutil.copytree(ROOT / "npsoftmax", source / "npsoftmax", ignore=built)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(installed), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=source, env=os.environ | {"CC": "false"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installed / "npsoftmax" / "py.typed").is_file()
    return installed


def checked(site, program):
    """What mypy says of a program, strictly, with the package of `site`: on PYTHONPATH it is one of those installed."""
    folder = site.parent
    (folder / "program.py").write_text(program, encoding="utf-8")
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "program.py"]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"} | {"PYTHONPATH": str(site)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    return done.stdout + done.stderr


def test_a_strict_program_has_no_errors(site):
    said = checked(site, PROGRAM)
    assert "Success" in said, said


def test_what_is_wrong_with_a_program_is_seen(site):
    said = checked(site, FOR_MISTAKES + "".join(f"    {line}\n" for line, _ in MISTAKES.values()))
    found = {
        int(line.split(":")[1]): line.rpartition("[")[2].rstrip("]") for line in said.splitlines() if ": error:" in line
    }
    first = FOR_MISTAKES.count("\n") + 1
    assert found == {number: kind for number, (_, kind) in enumerate(MISTAKES.values(), start=first)}, said


def test_it_is_the_mark_that_makes_the_types_count(site):
    mark = site / "npsoftmax" / "py.typed"
    mark.rename(mark.with_suffix(".off"))
    try:
        assert "[import-untyped]" in checked(site, "import npsoftmax\n")
    finally:
        mark.with_suffix(".off").rename(mark)
