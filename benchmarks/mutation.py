"""Mutation testing: change a module in one small place at a time, and see whether a test fails.

    python benchmarks/mutation.py npsoftmax/heads/search.py --tests tests/heads --sample 40 --seed 0
    python benchmarks/mutation.py npsoftmax/functional/*.py --sample 40 --report docs/results/mutation

Needs `pip install mutmut`, which makes the mutants and runs them; what it lacks for numerical code is in
mutation_worker.py. All happens in a copy of the tree. A mutant meets only the tests that call the function it changes,
the fastest first, and no more of them once one has failed. Survivors are printed as diffs. Those that
equivalent_mutants.toml names compute the same by another way, and are counted apart.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
SKIP = shutil.ignore_patterns(".git", ".venv*", "*_cache", "__pycache__", ".hypothesis", "build", "dist", "runs")
# They look at the code itself, which is rewritten here: at its lines, or at who called whom.
LOOK_AT_CODE = (
    "tests/functional/test_softmax_mappings.py::test_backward_stands_directly_below_its_forward",
    "tests/heads/test_legacy_flat.py::test_the_warning_says_what_is_wrong_and_what_to_use",
    "tests/heads/test_head_properties.py::test_a_head_warns_if_and_only_if_it_is_legacy",
)
# Their gradients and values are tested with the heads that are made of them.
TESTED_WITH_HEADS = ("cosine", "linear_softmax", "log_loss", "path", "rows", "sampled")
OUTCOMES = ("killed", "timed out", "survived", "equivalent", "no tests")

Module = dict[str, Any]  # as in the JSON file: outcomes and how often, and the survivors
Known = dict[tuple[str, ...], str]  # (module, function, old code, new code) -> why no test can tell them apart


class Options(NamedTuple):
    modules: list[str]
    tests: list[str]
    sample: int | None
    seed: int
    report: Path | None


def tests_of(module: str, root: Path) -> str:
    """The tests that are there for a module: the folder of its package's name, else the file of its own name."""
    package, stem = Path(module).parts[1], Path(module).stem
    if package == "functional" and stem in TESTED_WITH_HEADS:
        package = "heads"
    for path in (Path("tests") / package, Path("tests") / f"test_{stem}.py"):
        if (root / path).exists():
            return path.as_posix()
    raise SystemExit(f"error: no tests/{package} and no tests/test_{stem}.py for {module}: say which, with --tests.")


def options_of(arguments: Sequence[str], root: Path) -> Options:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], allow_abbrev=False)
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="files to mutate, from the root of the repository")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="instead of the folder of the package's name")
    parser.add_argument("--sample", type=int, metavar="N", help="that many mutants of each module, drawn; else all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--report", type=Path, metavar="PATH", help="write PATH.md and PATH.json; other modules stay")
    given = parser.parse_args(arguments)
    for module in given.modules:
        if not (root / module).is_file() or not module.endswith(".py") or len(Path(module).parts) < 2:
            parser.error(f"{module} is no module in a package of {root}.")
    modules = [m for m in given.modules if Path(m).name != "__init__.py"]
    tests = given.tests or sorted({tests_of(m, root) for m in modules})
    return Options(modules, tests, given.sample, given.seed, given.report)


# ---------------------------------------------------------------- running
def mutate(options: Options, root: Path, place: Path) -> list[dict[str, Any]]:
    """Copy the tree to `place`, make and run the mutants there, and return what the worker found, mutant by mutant."""
    copy = place / "tree"
    shutil.copytree(root, copy, ignore=SKIP)
    (copy / "mutants").mkdir()  # Python remembers of a path that it is not there
    package = Path(options.modules[0]).parts[0]
    deselected = [part for test in LOOK_AT_CODE for part in ("--deselect", test)]
    settings = {
        "source_paths": [package],
        "only_mutate": options.modules,
        "also_copy": sorted(p.name for p in copy.iterdir() if p.name not in (package, "mutants")),
        "pytest_add_cli_args_test_selection": options.tests,
        "pytest_add_cli_args": ["-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", *deselected],
        # A mutant may take five times as long as its tests, and 20 seconds.
        "timeout_multiplier": 5.0,
        "timeout_constant": 4.0,
    }
    with open(copy / "pyproject.toml", "a") as file:  # the values are written as JSON, which is TOML here
        file.write("\n[tool.mutmut]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() != root]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy / "mutants"), *others])}
    job = {"sample": options.sample, "seed": options.seed, "found": str(place / "found.json")}
    command = [sys.executable, str(HERE / "mutation_worker.py"), json.dumps(job)]
    if subprocess.run(command, cwd=copy, env=environment, stdout=sys.__stderr__).returncode:
        raise SystemExit("error: the mutants were not run; the reason is above.")
    found: list[dict[str, Any]] = json.loads((place / "found.json").read_text())
    return found


def equivalents(path: Path) -> Known:
    """The table of mutants that compute the same by another way."""
    entries = tomllib.loads(path.read_text()).get("equivalent", []) if path.exists() else []
    return {(e["module"], e["function"], e["old"], new): e["why"] for e in entries for new in e["new"]}


def judge(found: list[dict[str, Any]], modules: Sequence[str], known: Known) -> dict[str, Module]:
    """What became of each module's mutants; survivors that are known as equivalent get their reason."""
    judged = {}
    for module in modules:
        mutants = [m for m in found if m["module"] == module]
        for m in mutants:
            why = known.get((module, m["function"], m["old"], m["new"]))
            if m["outcome"] == "survived" and why:
                m["outcome"], m["why"] = "equivalent", why
        counts = collections.Counter(m["outcome"] for m in mutants)
        judged[module] = {
            "of": mutants[0]["of"] if mutants else 0,
            "counts": {name: counts[name] for name in (*OUTCOMES, *sorted(counts.keys() - set(OUTCOMES)))},
            "survivors": [
                {key: m[key] for key in ("line", "function", "outcome", "old", "new", "why") if key in m}
                for m in sorted(mutants, key=lambda m: m["line"])
                if m["outcome"] not in ("killed", "timed out")
            ],
        }
    return judged


# ---------------------------------------------------------------- telling
def diff(module: str, survivor: dict[str, Any]) -> str:
    """One survivor: where, the line as it is and as it was changed, and what is known of it."""
    old, new = (survivor[key].splitlines() for key in ("old", "new"))
    known = f"equivalent: {survivor['why']}" if "why" in survivor else survivor["outcome"]
    place = f"{module}:{survivor['line']}  {survivor['function']}  ({known})"
    return "\n".join([place, *(f"- {line}" for line in old), *(f"+ {line}" for line in new)])


def table(modules: dict[str, Module]) -> str:
    """A row a module and one for all. `noticed` leaves out the equivalent ones, which no test can notice."""
    titles = ("module", "mutants", "run", *OUTCOMES, "noticed")
    rows = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    every = {
        "of": sum(module["of"] for module in modules.values()),
        "counts": sum((collections.Counter(module["counts"]) for module in modules.values()), collections.Counter()),
    }
    for name, module in [*sorted(modules.items()), ("all", every)]:
        counts = collections.Counter(module["counts"])
        noticed, could_be = counts["killed"] + counts["timed out"], counts.total() - counts["equivalent"]
        share = f"{noticed / could_be:.1%}" if could_be else ""
        cells = (name, module["of"], counts.total(), *(counts[outcome] for outcome in OUTCOMES), share)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def write_report(path: Path, modules: dict[str, Module], typed: str) -> None:
    """PATH.json and PATH.md, with the modules that were in the file already and not run now."""
    file = path.with_suffix(".json")
    before = json.loads(file.read_text())["modules"] if file.exists() else {}
    modules = {**before, **{name: {**module, "made by": typed} for name, module in modules.items()}}
    file.write_text(json.dumps({"modules": modules}, indent=1, ensure_ascii=False) + "\n")
    told: dict[bool, list[str]] = {False: [], True: []}
    for name, module in sorted(modules.items()):
        for survivor in module["survivors"]:
            told["why" in survivor].append(diff(name, survivor))
    titles = {False: "Not noticed", True: "Equivalent: nothing to notice"}
    sections = [f"## {titles[same]}\n\n```diff\n" + "\n\n".join(told[same]) + "\n```" for same in told if told[same]]
    made = "\n".join(sorted({module["made by"] for module in modules.values()}))
    path.with_suffix(".md").write_text(
        "# Mutants that the tests notice\n\n"
        "A mutant is a module with one small change. How they are made and run: "
        "[benchmarks](../../benchmarks/README.md#mutation-testing). "
        "Where fewer were run than there are, they were drawn.\n\n"
        + "\n\n".join([table(modules), *sections, f"## Made by\n\n```sh\n{made}\n```\n"])
    )


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    options, start = options_of(arguments, root), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        found = mutate(options, root, Path(place))
    modules = judge(found, options.modules, equivalents(root / "benchmarks" / "equivalent_mutants.toml"))
    for name, module in modules.items():
        for survivor in module["survivors"]:
            print(diff(name, survivor), end="\n\n")
    print(table(modules))
    print(f"{len(found)} mutants in {time.monotonic() - start:.0f} s")
    if options.report:
        write_report(options.report, modules, f"python benchmarks/mutation.py {' '.join(arguments)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
