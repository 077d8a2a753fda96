"""The same kernels compiled for several levels of a processor's instructions: which is loaded, and that all agree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npsoftmax
from npsoftmax.kernels import compiled_status, extension
from npsoftmax.kernels.extension import LEVELS, TITLES, cpu_level, load_extension, loaded_level

HERE = Path(__file__).parent
PACKAGE = Path(npsoftmax.__file__).parent
BEST = cpu_level()[0]
needs_extension = pytest.mark.skipif(not compiled_status()[0], reason=compiled_status()[1])


def built(level: str) -> bool:
    folder = PACKAGE if level == "baseline" else PACKAGE / "kernels" / f"_{level}"
    return bool(list(folder.glob("_im2col*.so")))


# What this processor can run, of what was built for it.
RUNNABLE = [level for level in LEVELS if list(LEVELS).index(level) >= list(LEVELS).index(BEST) and built(level)]

RESULTS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_kernels_agree import Case, all_results
from npsoftmax.kernels.extension import extension_names, load_extension, loaded_level
from npsoftmax.models import build_model
from npsoftmax.backend import get_backend
from npsoftmax.host import set_threads
from npsoftmax.params import leaves
from npsoftmax.random import Rng
set_threads(2)
found = {}
def keep(name, value):
    for i, array in enumerate(value if isinstance(value, tuple) else (value,)):
        found[f"{name}.{i}"] = array
for dtype in (np.float32, np.float64):
    for number, case in enumerate((
        Case((3, 9, 11, 5), (3, 3), (1, 1), (1, 1), filters=17, dtype=dtype),
        Case((2, 13, 8, 33), (3, 2), (2, 1), (1, 0), filters=6, dtype=dtype),
    )):
        for name, value in all_results(case).items():
            keep(f"{np.dtype(dtype)}.{number}.{name}", value)
    for name, head, options in (
        ("convnet", "softmax", {"widths": (20, 33), "fc": 16}), ("resnet9", "hierarchical", {"widths": (8, 16, 17, 24)})
    ):
        model = build_model(name, head, 10, (32, 32, 3), model_opts=options).to(get_backend(), dtype)
        x = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(dtype)
        loss, cache = model.loss(x, np.arange(4), train=True, rng=Rng(0))
        keep(f"{np.dtype(dtype)}.{name}.loss", np.asarray(loss))
        if dtype == np.float64:  # in float32 a rounding turns a ReLU over, and with it a whole gradient
            for leaf, gradient in leaves(model.backward(cache)):
                keep(f"{name}.{leaf}", gradient)
np.savez(sys.argv[2], **found)
modules = [load_extension(name)[0] for name in extension_names()]
print(*sorted({"none" if module is None else loaded_level(module) for module in modules}))
"""


def results(folder: Path, name: str, **environment: str) -> tuple[str, dict[str, np.ndarray]]:
    """What the kernels of one level give, in a process of its own, and the level that was loaded."""
    file = folder / f"{name}.npz"
    command = [sys.executable, "-c", RESULTS, str(HERE), str(file)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(file) as arrays:
        return done.stdout.strip(), dict(arrays)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    used, found = results(tmp_path_factory.mktemp("reference"), "reference", NPSOFTMAX_COMPILED="0")
    assert used == "none"
    return found


@needs_extension
@pytest.mark.parametrize("level", RUNNABLE)
def test_every_level_agrees_with_the_reference(tmp_path, reference, level):
    used, found = results(tmp_path, level, NPSOFTMAX_CPU=level)
    assert used == level
    assert found.keys() == reference.keys()
    for name, array in found.items():
        expected = reference[name]
        assert array.dtype == expected.dtype and array.shape == expected.shape, name
        if array.dtype.kind == "f":
            scale = np.abs(expected).max(initial=1e-3)
            limit = 2e-5 if array.dtype == np.float32 else 1e-11
            np.testing.assert_allclose(array / scale, expected / scale, rtol=0, atol=limit, err_msg=name)
        else:
            np.testing.assert_array_equal(array, expected, err_msg=name)


# ---------------------------------------------------------------- the choice
@pytest.fixture
def processor(monkeypatch):
    """Pretends that NumPy found these features, on x86-64 unless another machine is named."""

    def pretend(features, asked=None, machine="x86_64"):
        monkeypatch.setattr(extension, "_cpu_features", lambda: dict.fromkeys(features, True))
        monkeypatch.setattr(extension.platform, "machine", lambda: machine)
        monkeypatch.delenv("NPSOFTMAX_CPU", raising=False)
        if asked:
            monkeypatch.setenv("NPSOFTMAX_CPU", asked)
        return cpu_level.__wrapped__()

    return pretend


AVX2, AVX512 = ("AVX2", "FMA3"), ("AVX2", "FMA3", "AVX512_SKX")


@pytest.mark.parametrize(
    ("features", "asked", "level", "reason"),
    [
        (AVX512, None, "v4", ""),
        (AVX2, None, "v3", "NumPy finds no AVX512_SKX here"),
        (("AVX2",), None, "baseline", "NumPy finds no FMA3 here"),
        ((), None, "baseline", "NumPy finds no AVX2 or FMA3 here"),
        (AVX512, "v3", "v3", "NPSOFTMAX_CPU=v3"),
        (AVX512, "baseline", "baseline", "NPSOFTMAX_CPU=baseline"),
        (AVX2, "v4", "v3", "NumPy finds no AVX512_SKX here"),  # asking does not make it so
    ],
)
def test_the_level_is_the_best_that_the_processor_has_and_the_user_allows(processor, features, asked, level, reason):
    assert processor(features, asked) == (level, reason)


def test_other_processors_have_one_level(processor):
    assert processor((), machine="aarch64") == ("baseline", "")


def test_a_level_that_there_is_not(processor):
    with pytest.raises(npsoftmax.InputError, match=r"unknown level in NPSOFTMAX_CPU 'avx2'.*Known: baseline, v3, v4"):
        processor((), "avx2")


def test_numpy_still_says_what_the_processor_has():
    """It is no public name of NumPy: should it go, AVX2 would be left unused without a word."""
    if extension.platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("asked on x86-64 only")
    assert set(LEVELS["v4"]) <= extension._cpu_features().keys()


@needs_extension
def test_a_level_that_was_not_built_falls_back_to_the_next(monkeypatch, tmp_path):
    """Here only the tree was built for v3, and nothing for v4."""
    names = "npsoftmax.kernels.tree._tree", "npsoftmax._im2col"
    tree, columns = (Path(load_extension(name)[0].__file__) for name in names)
    beside, v3 = tmp_path / "kernels" / "tree", tmp_path / "kernels" / "_v3"
    for source, folder in ((tree, beside), (tree, v3), (columns, tmp_path)):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)
    monkeypatch.setattr(extension, "PACKAGE", tmp_path)
    monkeypatch.setattr(extension, "LEVEL_FOLDERS", tmp_path / "kernels")
    monkeypatch.setattr(extension, "cpu_level", lambda: ("v4", ""))
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # restored afterwards
    levels = [loaded_level(extension._loaded.__wrapped__(name)[0]) for name in names]
    assert levels == ["v3", "baseline"]
    module, reason = load_extension("npsoftmax._absent")
    assert module is None and "not built" in reason and "reinstall with a C compiler" in reason


@needs_extension
def test_info_says_which_level_is_in_use():
    done = subprocess.run(
        [sys.executable, "-m", "npsoftmax.cli.main", "info"],
        env=os.environ | {"NPSOFTMAX_CPU": "baseline"},
        capture_output=True,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("kernels"))
    assert TITLES["baseline"] in line and "NPSOFTMAX_CPU=baseline" in line
