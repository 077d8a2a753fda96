"""benchmarks/mutation.py on a package of three functions, of which one is tested badly."""

from __future__ import annotations

import importlib
import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = """
def larger(a, b):
    return a if a > b else b


def doubled(values):
    return [2 * v for v in values]


def before(n):
    return n - 1


def never_called(n):
    return n + 1
"""

TESTS = """
from toy.sums import before, doubled, larger


def test_larger():
    assert larger(3, 2) == 3 and larger(2, 3) == 3


def test_doubled():
    assert doubled([1, 5]) == [2, 10]


def test_before_is_a_number():
    assert isinstance(before(3), int)
"""

EQUAL = """
[[equivalent]]
module = "toy/sums.py"
function = "larger"
old = "return a if a > b else b"
new = ["return a if a >= b else b"]
why = "of two equal numbers either is the larger"
"""


@pytest.fixture
def script(monkeypatch):
    if importlib.util.find_spec("mutmut") is None:
        pytest.skip("needs mutmut")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("mutation")


@pytest.fixture
def root(tmp_path):
    """A repository: a package, its tests, and one mutant known as equivalent."""
    root = tmp_path / "repository"
    files = {
        "toy/__init__.py": "",
        "toy/sums.py": TOY,
        "tests/test_sums.py": TESTS,
        "benchmarks/equivalent_mutants.toml": EQUAL,
        "pyproject.toml": "[project]\nname = 'toy'\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow  # starts several processes of pytest
def test_survivors_are_told_from_killed_and_equivalent_ones(script, root, tmp_path, capfd):
    before, report = contents(root), tmp_path / "mutation"
    assert script.main(["toy/sums.py", "--report", str(report)], root) == 0
    assert contents(root) == before

    module = json.loads(report.with_suffix(".json").read_text())["modules"]["toy/sums.py"]
    assert module["counts"]["equivalent"] == 1
    assert module["counts"]["killed"] >= 4 and module["counts"]["timed out"] == 0
    assert sum(module["counts"].values()) == module["of"]
    line = TOY.splitlines().index("    return n - 1") + 1
    hole = {"line": line, "function": "before", "outcome": "survived", "old": "return n - 1", "new": "return n + 1"}
    assert hole in module["survivors"]
    untested = [s for s in module["survivors"] if s["outcome"] == "no tests"]
    assert {s["function"] for s in untested} == {"never_called"}
    assert {s["function"] for s in module["survivors"] if s["outcome"] == "survived"} == {"before"}

    printed = capfd.readouterr().out
    assert f"toy/sums.py:{line}  before  (survived)\n- return n - 1\n+ return n + 1\n" in printed
    assert "(equivalent: of two equal numbers either is the larger)" in printed
    assert "+ return n + 1\n" in report.with_suffix(".md").read_text()


@pytest.mark.slow  # starts several processes of pytest
def test_a_sample_is_drawn_again_and_other_modules_stay_in_the_report(script, root, tmp_path):
    report = tmp_path / "mutation"
    report.with_suffix(".json").write_text(
        json.dumps({"modules": {"toy/old.py": {"of": 1, "counts": {"killed": 1}, "survivors": [], "made by": "?"}}})
    )
    modules = []
    for _ in range(2):
        assert script.main(["toy/sums.py", "--sample", "3", "--seed", "1", "--report", str(report)], root) == 0
        modules.append(json.loads(report.with_suffix(".json").read_text())["modules"])
    assert modules[0] == modules[1] and set(modules[0]) == {"toy/sums.py", "toy/old.py"}
    assert sum(modules[0]["toy/sums.py"]["counts"].values()) == 3 < modules[0]["toy/sums.py"]["of"]


@pytest.mark.slow  # starts several processes of pytest
def test_tests_that_fail_without_a_mutant_are_an_error(script, root):
    (root / "tests/test_sums.py").write_text("def test_it():\n    assert False\n")
    with pytest.raises(SystemExit, match="the mutants were not run"):
        script.main(["toy/sums.py"], root)


def test_modules_and_tests_that_are_not_there_are_refused(script, root, capsys):
    with pytest.raises(SystemExit):
        script.main(["toy/other.py"], root)
    assert "toy/other.py is no module" in capsys.readouterr().err
    (root / "tests/test_sums.py").unlink()
    with pytest.raises(SystemExit, match="say which, with --tests"):
        script.main(["toy/sums.py"], root)


def test_the_equivalent_mutants_are_of_code_that_there_is():
    """A note about code that has moved or changed would be ignored without a word."""
    entries = tomllib.loads((ROOT / "benchmarks" / "equivalent_mutants.toml").read_text(encoding="utf-8"))["equivalent"]
    assert entries
    for entry in entries:
        code = "".join((ROOT / entry["module"]).read_text(encoding="utf-8").split())
        assert "".join(entry["old"].split()) in code, f"{entry['module']}, {entry['function']}: {entry['old']}"
