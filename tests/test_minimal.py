"""examples/minimal.py, the first page that anyone reads: what it prints, what it needs, and that its proof proves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import example_scripts
import numpy as np
import pytest

from npsoftmax.gradcheck import check_gradients

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples" / "minimal.py"


@pytest.fixture
def page():
    return example_scripts.load("minimal")


def proof(page):
    rng = np.random.default_rng(1)
    params = [rng.normal(size=shape) for shape in ((6, 5), (5,), (5, 4), (4,))]
    x, t = rng.normal(size=(3, 6)), np.array([0, 3, 1])
    z, _ = page.network_forward(x, *params)
    loss = check_gradients(page.softmax_cross_entropy_forward, page.softmax_cross_entropy_backward, (z, t))
    return loss, check_gradients(page.network_forward, page.network_backward, (x, *params))


def test_it_proves_its_gradients_and_learns_the_digits(page):
    done = subprocess.run([sys.executable, str(PAGE)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count(": ok,") == 2 and "WRONG" not in done.stdout
    assert re.findall(r"^  d(\w+) +ok ", done.stdout, re.MULTILINE) == ["z", "x", "w1", "b1", "w2", "b2"]
    accuracy = re.search(r"test accuracy ([\d.]+)%$", done.stdout.strip())
    assert float(accuracy[1]) >= 97


def test_it_is_one_page_with_one_import_of_ours():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    nodes = list(ast.walk(ast.parse(text)))
    imported = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    assert imported + [n.module for n in nodes if isinstance(n, ast.ImportFrom)] == [
        "numpy", "sklearn.datasets", "npsoftmax.gradcheck",
    ]  # fmt: skip


def test_its_functions_pass(page):
    loss, network = proof(page)
    loss.assert_ok()
    network.assert_ok()


WRONG = {
    "dense_backward": [
        lambda dy, cache: (dy @ cache[1].T, cache[0].T @ dy, dy.mean(axis=0)),
        lambda dy, cache: (dy @ cache[1].T, cache[0].T @ dy / len(dy), dy.sum(axis=0)),
    ],
    "relu_backward": [lambda dy, cache: dy, lambda dy, cache: dy * (dy > 0)],
    "softmax_cross_entropy_backward": [
        lambda dloss, cache: np.exp(cache[0]) * dloss / len(cache[1]),
        lambda dloss, cache: (np.exp(cache[0]) - np.eye(4)[cache[1]]) * dloss,
        lambda dloss, cache: (np.exp(cache[0]) - np.eye(4)[cache[1]]) / len(cache[1]),
    ],
}


@pytest.mark.parametrize("name, which", [(name, i) for name, all_of in WRONG.items() for i in range(len(all_of))])
def test_its_proof_sees_every_usual_mistake(page, monkeypatch, name, which):
    monkeypatch.setattr(page, name, WRONG[name][which])
    assert not all(report.ok for report in proof(page))


def test_the_readme_shows_its_heart():
    lines = {line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines()}
    begin = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Two commands")[0]
    shown = "\n".join(re.findall(r"```python\n(.*?)```", begin, re.DOTALL)).splitlines()
    assert len(shown) > 15 and [line for line in shown if line.strip() not in lines] == []
