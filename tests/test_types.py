"""The package says that it is typed: a user's program, checked as strictly as mypy can, gets types and not Any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import npsoftmax

pytestmark = pytest.mark.slow

PROGRAM = '''
import numpy as np

import npsoftmax
from npsoftmax.data import Dataset
from npsoftmax.heads import Head
from npsoftmax.layers import Dense, Layer, Sequential
from npsoftmax.models import Model
from npsoftmax.training.optimizers import SGD


def trained(data: Dataset, steps: int) -> Model:
    """An MLP after some steps."""
    model = npsoftmax.build_model("mlp", "softmax", len(data.class_names), data.input_shape)
    optimizer = SGD(model.params, momentum=0.9)
    x, t = data.x_train[:32] / np.float32(255), data.y_train[:32]
    for _ in range(steps):
        loss, cache = model.loss(x, t, train=True)
        optimizer.step(model.params, model.backward(cache), lr=0.1)
        print(float(loss))
    return model


def main() -> int:
    """The exit code."""
    try:
        model = trained(npsoftmax.load_dataset("digits"), steps=3)
    except npsoftmax.InputError as error:
        print(error)
        return 2
    layer: Layer = Sequential(fc=Dense(3, 4, rng=npsoftmax.Rng(0)))
    head: Head = model.head
    print(layer, head.classes.n + 1, model.parameter_count() + 1)
    return 0
'''
# Each would pass if what it is about were Any.
MISTAKES = {
    "a name that is not there": ("npsoftmax.build_modell('mlp')", "attr-defined"),
    "a word for a number": ("npsoftmax.Rng('zero')", "arg-type"),
    "an option that is not there": ("npsoftmax.load_dataset('digits', seeed=0)", "call-arg"),
    "no attribute of a model": ("npsoftmax.build_model('mlp').heads", "attr-defined"),
    "a result taken for another": ("len(npsoftmax.build_model('mlp'))", "arg-type"),
}


def checked(folder, program):
    """What mypy says of a program, strictly, with the package as it is here."""
    pytest.importorskip("mypy")
    file, config = folder / "program.py", folder / "mypy.ini"
    file.write_text(program, encoding="utf-8")
    # The errors of the package itself are for `mypy` in its own folder.
    config.write_text("[mypy]\nstrict = true\nfollow_imports = silent\n", encoding="utf-8")
    cache = folder.parent / "mypy"  # one for all tests here
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(cache), str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"MYPYPATH": str(Path(npsoftmax.__file__).parents[1])}
    )
    return done.stdout + done.stderr


def test_a_strict_program_has_no_errors(tmp_path):
    said = checked(tmp_path, PROGRAM)
    assert "Success" in said, said


def test_what_is_wrong_with_a_program_is_seen(tmp_path):
    said = checked(tmp_path, "import npsoftmax\n\n" + "".join(f"{line}\n" for line, _ in MISTAKES.values()))
    found = {
        int(line.split(":")[1]): line.rpartition("[")[2].rstrip("]") for line in said.splitlines() if ": error:" in line
    }
    assert found == {number: kind for number, (_, kind) in enumerate(MISTAKES.values(), start=3)}, said
