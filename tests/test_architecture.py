"""The house rules that a machine can keep: import direction, lazy imports, array-agnostic passes, docstrings, size."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npsoftmax
from npsoftmax.cli import main
from npsoftmax.functional import dense

PACKAGE = Path(npsoftmax.__file__).parent
NAMES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
HEAVY = {"mpi4py", "scipy", "sklearn", "matplotlib", "rich", "pooch", "safetensors", "torch", "cupy", "threadpoolctl"}
MOST_LINES = 350


@functools.cache
def text_of(name):
    return (PACKAGE / name).read_text(encoding="utf-8")


@functools.cache
def tree_of(name):
    return ast.parse(text_of(name))


def of(*folders):
    return [name for name in NAMES if name.startswith(tuple(f"{folder}/" for folder in folders))]


def breaches(names, find):
    """name -> what `find` has against a module, of those where it has something."""
    return {name: found for name in names if (found := find(name))}


# ---------------------------------------------------------------- imports
def test_data_flows_one_way(capsys):
    """The contract of pyproject.toml: a module imports only from those below it."""
    cli = pytest.importorskip("importlinter.cli")
    config = PACKAGE.parent / "pyproject.toml"
    if not config.exists():
        pytest.skip("the contract is in pyproject.toml of a source checkout")
    assert cli.lint_imports(str(config), no_cache=True, no_logo=True) == 0, capsys.readouterr().out


def test_trees_of_parameters_come_from_params():
    """Layers have these names for users; inside the package each has one home."""
    moved = {"Tree", "leaves", "replace_leaves", "tree_map"}

    def elsewhere(name):
        return moved & {
            alias.name
            for node in ast.walk(tree_of(name))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("npsoftmax.layers")
            for alias in node.names
        }

    assert breaches(NAMES, elsewhere) == {}


def imported(name, tree):
    """The modules of the package that a module imports, wherever in it; what is for type checkers alone aside."""
    checks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    aside = {id(inner) for check in checks for inner in ast.walk(check)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in aside and (node.module or "").startswith("npsoftmax"):
            for alias in node.names:
                path = f"{node.module}.{alias.name}".replace(".", "/").removeprefix("npsoftmax/")
                module = node.module.replace(".", "/").removeprefix("npsoftmax/")
                known = (f"{path}.py", f"{path}/__init__.py", f"{module}.py", f"{module}/__init__.py")
                yield from [found for found in known if found in NAMES and found != name][:1]


def circles(arrows):
    """What is left when modules that need none of the others are taken away, again and again: circles, and what leads
    to them. arrows: module -> those that it imports."""
    left = {name: set(others) for name, others in arrows.items()}
    while ends := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in ends}
    return left


def test_no_module_imports_itself_by_way_of_others():
    """Not in a function either: what two modules need of each other belongs into a third."""
    assert circles({name: set(imported(name, tree_of(name))) for name in NAMES}) == {}
    assert set(circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()})) == {"a", "b", "c"}


def test_a_module_of_the_command_line_is_a_command_or_begins_with_an_underscore():
    modules = {Path(name).stem.removesuffix("_") for name in of("cli") if not Path(name).name.startswith("_")}
    assert modules == {*main.COMMANDS, "main"}


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import npsoftmax",
        "import npsoftmax.models, npsoftmax.gradcheck, npsoftmax.metrics; npsoftmax.build_model('mlp')",
        "import npsoftmax.training, npsoftmax.plots, npsoftmax.data, npsoftmax.cli.main",
    ],
)
def test_heavy_libraries_are_loaded_where_they_are_used(statement):
    assert not loaded_by(statement) & HEAVY


def test_a_run_does_not_wait_for_scikit_learn(tmp_path):
    """Which takes longer to import than such a run takes in all."""
    words = ["train", "--data=digits", "--limit-train=100", "--epochs=1", "--model=mlp", "--no-plots", "--quiet"]
    loaded = loaded_by(f"from npsoftmax.cli.main import main; main({[*words, '--out', str(tmp_path / 'run')]})")
    assert not loaded & {"sklearn", "matplotlib", "pooch", "torch"}
    assert (tmp_path / "run" / "summary.json").is_file()


HELP = (
    "import contextlib, io; from npsoftmax.cli.main import main\n"
    "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main([{word!r}])"
)


@pytest.mark.parametrize("statement", ["import npsoftmax", HELP.format(word="--help"), HELP.format(word="--version")])
def test_neither_importing_the_package_nor_asking_for_help_loads_even_numpy(statement):
    """What takes 0.1 s or more to import; beside the libraries, the parts of the standard library that do not help."""
    slow = {"numpy", "asyncio", "multiprocessing", "email", "http", "ssl", "unittest", "ctypes", "sqlite3", "tomli_w"}
    assert not loaded_by(statement) & (HEAVY | slow)
    code = f"{statement}\nimport sys; print(*[name for name in sys.modules if name.startswith('npsoftmax')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    command_line = {f"npsoftmax.cli.{name}" for name in ("main", "_parser", "_surroundings")}
    ours = {"npsoftmax", "npsoftmax._version", "npsoftmax.cli", "npsoftmax.errors"} | command_line
    assert done.returncode == 0 and set(done.stdout.split()) <= ours


def test_type_checkers_are_told_of_every_public_name_of_the_package():
    block = next(n for n in tree_of("__init__.py").body if isinstance(n, ast.If))
    assert {alias.asname: n.module for n in block.body for alias in n.names} == npsoftmax._HOME


def test_every_public_name_of_the_package_can_be_had():
    for name in npsoftmax.__all__:
        assert getattr(npsoftmax, name) is not None
    assert dir(npsoftmax) == sorted(npsoftmax.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = npsoftmax.nothing


# ---------------------------------------------------------------- the kernels, subject by subject
# What every folder of kernels/ has, _<subject>.pyx and <subject>.cu by its own name; and what one has instead, with the
# reason, or None where nothing serves in its place.
PARTS = ("__init__.py", "reference.py", "compiled.py", "_{}.pyx", "device.py", "{}.cu")
NOTHING_ON_A_DEVICE = {"device.py": (None, "matrix products of CuPy's serve"), "{}.cu": (None, "as for device.py")}
SUBJECTS = {
    "attention": NOTHING_ON_A_DEVICE,
    "conv": {"_{}.pyx": ("_direct.pyx", "the algorithms beside the tiles, which are in npsoftmax/_im2col.pyx")},
    "elementwise": {},
    "linear_softmax": NOTHING_ON_A_DEVICE,
    "matmul": {},
    "norm": {},
    "softmax": {},
    "tree": {},
    "update": {},
    "windows": {"_{}.pyx": ("_pool.pyx", "the columns are in npsoftmax/_im2col.pyx, whose place is fixed")},
}
BESIDE = {  # more than the parts
    "conv": {"choice.py", "_winograd.pyx", "_planar.pyx", "_direct.h", "_planar.h", "conv_tensor.cu"},
    "norm": {"_layer_norm.pyx"},
}
KERNELS = PACKAGE / "kernels"


def sources(folder):
    return {path.name for path in folder.iterdir() if path.suffix in {".py", ".pyx", ".cu", ".pxd", ".h", ".cuh"}}


def test_every_folder_of_kernels_is_a_subject_in_the_table():
    folders = {path.name for path in KERNELS.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(SUBJECTS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_files_of_a_subject_have_the_same_names_in_all(subject):
    instead = SUBJECTS[subject]
    expected = {instead.get(part, (part.format(subject),))[0] for part in PARTS} - {None}
    assert sources(KERNELS / subject) == expected | BESIDE.get(subject, set())


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_file_of_a_subject_asks_its_own_face(subject):
    """The face imports the versions; the other way round it would be a circle."""
    modules = {path.stem for path in (KERNELS / subject).glob("*.py")}
    for name in of(f"kernels/{subject}"):
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.ImportFrom) and node.module == f"npsoftmax.kernels.{subject}":
                assert {alias.name for alias in node.names} <= modules, name


def test_no_compiled_source_is_in_the_root_but_the_one_whose_place_is_fixed():
    assert {path.name for path in PACKAGE.iterdir() if path.suffix in {".pyx", ".pxd", ".h"}} == {"_im2col.pyx"}


# Functions that only some versions have: what the others do instead.
ELSEWHERE = {
    ("update", "reference", "sgd"): "the rule is training.optimizers.SGD",
    ("update", "reference", "adam"): "the rule is training.optimizers.Adam",
    **{("conv", "device", f"conv2d_winograd{end}"): "the reference runs" for end in ("", "_backward", "_dx", "_dw")},
    **{
        ("conv", version, f"conv2d_direct{end}"): "the tiles run"
        for end in ("", "_backward", "_dw")
        for version in ("reference", "device")
    },
    **{("conv", version, "conv2d_direct_dx"): "a convolution" for version in ("reference", "compiled", "device")},
}
QUESTIONS = {"has_compiled", "in_one_pass", "on_device", "takes"}  # that a face answers itself


@pytest.mark.parametrize("version", ["reference", "compiled", "device"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_version_has_the_functions_of_the_face_with_the_same_arguments(subject, version):
    if f"{version}.py" in SUBJECTS[subject]:
        return
    face = importlib.import_module(f"npsoftmax.kernels.{subject}")
    module = importlib.import_module(f"npsoftmax.kernels.{subject}.{version}")
    assert face.__all__ == sorted(face.__all__)
    for name in set(face.__all__) - QUESTIONS:
        assert hasattr(module, name) != ((subject, version, name) in ELSEWHERE), name
        if hasattr(module, name):
            expected, found = (list(inspect.signature(getattr(m, name)).parameters) for m in (face, module))
            assert found[: len(expected)] == expected or (subject, name) == ("tree", "climb")


# ---------------------------------------------------------------- any array type
def numpy_names(tree):
    """The names under which a module knows NumPy."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name for a in node.names if a.name.partition(".")[0] == "numpy"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numpy":
            found |= {a.asname or a.name for a in node.names}
    return found


def test_the_mathematics_knows_no_array_library():
    assert breaches(of("functional"), lambda name: numpy_names(tree_of(name))) == {}


def test_every_pair_says_its_shapes():
    def silent(name):
        for node in tree_of(name).body:
            if isinstance(node, ast.FunctionDef) and node.name.endswith(("_forward", "_backward")):
                text = ast.get_docstring(node) or ""
                if not any(words in text for words in ("->", "Any shape", "shapes: see the module")):
                    yield node.name

    assert breaches(of("functional"), lambda name: list(silent(name))) == {}


TYPESET = {"compare/figures.py", "compare/tables.py"}  # their minus is that of printed reports
SOURCES = [
    path.relative_to(PACKAGE).as_posix()
    for suffix in ("py", "pyx", "pxd", "h", "cu", "cuh")
    for path in sorted(PACKAGE.rglob(f"*.{suffix}"))
]


def test_formulas_have_one_minus_sign():
    """The one of the keyboard: what is searched for is found, whoever wrote it."""
    assert [name for name in SOURCES if name not in TYPESET and "\N{MINUS SIGN}" in text_of(name)] == []


# Where a layer or head computes. NumPy may make parameters, look at labels on the host (and plan a step by them), and
# draw a few numbers there.
PASSES = {"forward", "backward", "loss", "log_prob", "predict", "scores", "scores_backward"}
ON_THE_HOST = ("check", "draw", "_plan")


def functions(tree):
    """name -> definitions of every function and method of a module."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    return found


def called(function):
    """Names of the functions called in it: f(…) and self.f(…)."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "self":
                yield node.func.attr


def on_the_way_of_a_pass(tree):
    """The passes of a module and, transitively, the functions of the same module that they call."""
    defined, todo, seen = functions(tree), list(PASSES), set()
    while todo:
        name = todo.pop()
        if name in defined and name not in seen:
            seen.add(name)
            todo += [callee for function in defined[name] for callee in called(function)]
    return [function for name in seen for function in defined[name]]


def uses(function, names):
    """Lines in the body of a function where one of `names` is used; the type in isinstance(x, np.ndarray) is fine."""
    for statement in function.body:
        types = {id(n.value) for n in ast.walk(statement) if isinstance(n, ast.Attribute) and n.attr == "ndarray"}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in names and id(node) not in types:
                yield node.lineno


def test_passes_of_layers_and_heads_leave_the_array_library_to_the_array():
    def lines_with_numpy(name):
        names = numpy_names(tree_of(name))
        passes = [f for f in on_the_way_of_a_pass(tree_of(name)) if not f.name.startswith(ON_THE_HOST)]
        return {f.name: lines for f in passes if (lines := list(uses(f, names)))}

    found = breaches(of("layers", "heads"), lines_with_numpy)
    assert not found, f"xp = array_module(x) was expected instead of NumPy, by module, function and line: {found}"


def test_the_rule_above_would_see_a_breach():
    source = (
        "import numpy as np\nclass L:\n def forward(self, x):\n  return self._go(x)\n def _go(self, x):\n  return {}"
    )
    for body, expected in (("np.exp(x)", [6]), ("isinstance(x, np.ndarray)", [])):
        tree = ast.parse(source.format(body))
        assert [line for f in on_the_way_of_a_pass(tree) for line in uses(f, numpy_names(tree))] == expected


# ---------------------------------------------------------------- what a reader may expect
def public(body):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def test_every_module_public_function_and_class_has_a_docstring():
    def without(name):
        tree = tree_of(name)
        missing = [node.name for node in public(tree.body) if not ast.get_docstring(node)]
        if tree.body and not ast.get_docstring(tree) and name != "_version.py":
            missing.insert(0, "the module itself")
        return missing

    assert breaches(NAMES, without) == {}


def test_a_module_is_short_enough_to_be_read():
    lines = {name: len(text_of(name).splitlines()) for name in NAMES}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


def test_the_library_does_not_print():
    def calls(name):
        nodes = ast.walk(tree_of(name))
        return [n.lineno for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]

    assert breaches([name for name in NAMES if not name.startswith("cli/")], calls) == {}


# ---------------------------------------------------------------- the guard of the tests themselves
def test_a_runtime_warning_inside_the_package_is_an_error():
    huge = np.full((1, 1), 1e300)
    with pytest.raises(RuntimeWarning, match="overflow"):
        dense.dense_forward(huge, huge)
