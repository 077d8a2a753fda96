"""The Markdown of the repository: links lead somewhere, code in it is Python, and what is complete runs."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from everyday import mostly_slow

ROOT = Path(__file__).parents[1]
if not (ROOT / "README.md").exists():
    pytest.skip("the pages are in a source checkout", allow_module_level=True)

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "assignments/*/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)


@functools.cache
def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def python_of(page):
    return [textwrap.dedent(code) for _, _, language, code in FENCE.findall(text_of(page)) if language == "python"]


# ---------------------------------------------------------------- links
def links_of(text):
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))


@functools.cache
def anchors_of(page):
    """The names that headings get, here and on the site."""
    headings = re.findall(r"^#+ +(.*)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    plain = (re.sub(r"\]\([^)]*\)", "", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken(page, text):
    """The links of a page that lead nowhere."""
    for link in links_of(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path) if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors_of(os.path.relpath(target, ROOT))):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    assert list(broken(page, text_of(page))) == []


def test_the_rule_above_would_see_a_broken_link():
    text = "[a](concept.md) [b](nothing.md) [c](concept.md#nothing) [d](#nothing) [e](gpu.md#precision)"
    assert list(broken("docs/LOG.md", text)) == ["nothing.md", "concept.md#nothing", "#nothing"]


# ---------------------------------------------------------------- code
# What a block may stand in: a module, a dict, a match in a function.
FRAMES = ("{}", "{{\n{}\n}}", "def f():\n match 0:\n{}")
WITH_CODE = [page for page in PAGES if python_of(page)]


def is_python(code, frame):
    inside = textwrap.indent(code, "    ") if frame.startswith("def") else code
    try:
        compile(frame.format(inside), "page", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("page", WITH_CODE)
def test_code_is_python(page):
    wrong = [code for code in python_of(page) if not any(is_python(code, frame) for frame in FRAMES)]
    assert wrong == []


MINIMAL = """
import sys
sys.path.insert(0, "examples")
from minimal import *
x, t, batch = np.random.rand(9, 6), np.arange(9) % 4, [1, 2, 5]
params = [np.random.rand(*shape) for shape in ((6, 5), (5,), (5, 4), (4,))]
"""
SEVEN_LOOPS = """
import numpy as np
N, H, W, C, F = 2, 4, 3, 2, 3
w, y = np.random.rand(3, 3, C, F), np.zeros((N, H, W, F))
x = np.pad(np.random.rand(N, H, W, C), ((0, 0), (1, 1), (1, 1), (0, 0)))
"""
A_MODEL = """
import numpy as np
from npsoftmax import build_model
model = build_model("mlp", classes=10, input_shape=(8, 8, 1))
x, t = np.ones((4, 8, 8, 1), "float32"), np.arange(4)
"""
IN_A_FOLDER = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
"""
# What stands before the code of a page, so that it runs: all blocks, one after another.
RUNS = {
    "README.md": MINIMAL,
    "docs/calibration.md": "",
    "docs/concept.md": "",
    "docs/doctor.md": "",
    "docs/how-it-is-fast.md": SEVEN_LOOPS,
    "docs/threads-and-memory.md": A_MODEL,
    "docs/tokens.md": "",
    "docs/weights-and-soft-targets.md": "",
    "docs/your-own-data.md": IN_A_FOLDER,
    "docs/listening.md": IN_A_FOLDER,
    "docs/multi-label.md": IN_A_FOLDER,
}
# Blocks that begin like this; tests/test_estimators.py and tests/oracles/test_torch_doctor.py do the same.
LEFT_OUT = {"README.md": "from sklearn", "docs/doctor.md": "# PyTorch"}
NOT_RUN = {
    "CONTRIBUTING.md": "parts of files",
    "assignments/a3_conv/README.md": "a line of a solution",
    "docs/cluster.md": "several processes: tests/distributed",
    "docs/pytorch.md": "PyTorch: tests/oracles/test_torch_carried_over.py",
}


@pytest.mark.parametrize("page", mostly_slow(RUNS, ["README.md"]))
def test_the_code_of_a_page_runs(page):
    blocks = [code for code in python_of(page) if not code.startswith(LEFT_OUT.get(page, "\0"))]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([RUNS[page], *blocks])], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_of_every_page_with_code_it_is_said_whether_it_runs():
    assert sorted([*RUNS, *NOT_RUN]) == WITH_CODE
