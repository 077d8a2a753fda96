"""The notebooks under examples/: every cell runs, nothing of a run is stored in them, and they are short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))

# A cell shows its last value, as in a notebook: as HTML where it has that.
RUN = """
import ast, json, sys
import matplotlib
matplotlib.use("Agg")
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1]))["cells"]):
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if hasattr(value, "_repr_html_"):
            print("HTML", len(value._repr_html_()))
"""


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == [
        "a_cnn_from_pixels_to_loss",
        "choosing_a_head",
        "softmax_and_its_relatives",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_stored(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 20_000 and book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        assert isinstance(cell["source"], list) and all(len(line) <= 121 for line in cell["source"])
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, tmp_path):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", RUN, str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stderr
    assert "HTML" in done.stdout
