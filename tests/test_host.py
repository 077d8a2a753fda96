"""What a process takes of its machine: CPUs, threads of kernels and of BLAS, memory that the allocator keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import pytest

from npsoftmax import host
from npsoftmax.errors import InputError
from npsoftmax.host import available_cpus, get_threads, set_threads
from npsoftmax.kernels import compiled_status


# ---------------------------------------------------------------- threads
@pytest.fixture
def default_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    set_threads(None)


def test_threads_are_the_cpus_unless_set(default_threads, monkeypatch):
    assert get_threads() == available_cpus() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert get_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert get_threads() == 3
    set_threads(7)
    assert get_threads() == 7
    set_threads(None)
    assert get_threads() == 3


@pytest.mark.parametrize("text", ["", "0", "-2", "many", ",2", "²"])
def test_an_environment_that_makes_no_sense_is_ignored(default_threads, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert get_threads() == available_cpus()


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_thread_is_refused_and_changes_nothing(default_threads, n):
    set_threads(2)
    with pytest.raises(InputError, match=f"--threads is {n}, but at least 1 is needed"):
        set_threads(n)
    assert get_threads() == 2


@pytest.fixture
def control_groups(monkeypatch, tmp_path):
    """Pretends 64 CPUs and control groups: what /proc says of the process, and files under the mount."""

    def pretend(process, files):
        for name, text in files.items():
            (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "mount" / name).write_text(text + "\n")
        (tmp_path / "cgroup").write_text(process)
        monkeypatch.setattr(host, "CGROUP_OF_PROCESS", tmp_path / "cgroup")
        monkeypatch.setattr(host, "CGROUPS", tmp_path / "mount")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        host._cgroup_quota.cache_clear()

    yield pretend
    host._cgroup_quota.cache_clear()


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 64),
        ("9900000 100000", 64),
        ("max 100000", 64),
        ("", 64),
    ],
)
def test_cpus_are_those_of_the_affinity_mask_and_the_containers_quota(control_groups, text, cpus):
    control_groups("0::/", {"cpu.max": text})
    assert available_cpus() == cpus


def test_the_tightest_limit_on_the_way_to_the_root_counts(control_groups):
    files = {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000", "c/cpu.max": "1 1"}
    control_groups("0::/a/b\n", files)
    assert available_cpus() == 3


@pytest.mark.parametrize("seen", ["/docker/4f2a", "/"])  # from outside the container's own namespace, and inside
def test_control_groups_of_version_one(control_groups, seen):
    files = {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}
    control_groups(f"9:name=systemd:/x\n4:cpuset:/\n2:cpu,cpuacct:{seen}\n0::/\n", files)
    assert available_cpus() == 4


def test_no_quota_in_control_groups_of_version_one(control_groups):
    control_groups("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"})
    assert available_cpus() == 64


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("vendor_id\t: A\nmodel name\t: A: 7 of 2026\nmodel name\t: A: 7 of 2026\n", "A: 7 of 2026"),
        ("BogoMIPS\t: 50.00\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_a_processor_without_a_name_is_told_by_its_architecture(said, told, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "CPUS", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", str)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    if said is not None:
        host.CPUS.write_text(said)
    assert host.processor() == told


def in_a_process(code, **environment):
    """What `code` prints in a Python of its own, without this test run's thread settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "OPENBLAS_", "MKL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BLAS = "from npsoftmax.host import blas_in_use; print(blas_in_use())"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the name is that of an x86 processor")
def test_whose_code_blas_runs_is_told_and_whether_a_variable_has_chosen_it():
    usual = in_a_process(BLAS)
    if "openblas" not in usual:
        pytest.skip(f"NumPy and SciPy have {usual}")
    told = in_a_process(BLAS, OPENBLAS_CORETYPE="Nehalem")
    assert "is set" not in usual and "(OPENBLAS_CORETYPE=Nehalem is set)" in told
    assert told.count(" for Nehalem") == told.count("openblas") == usual.count("openblas")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], "not known"),
        ([{"internal_api": "mkl", "version": "2024.2"}], "mkl 2024.2"),
        ([{"internal_api": "openblas", "version": None, "architecture": "armv8"}], "openblas for armv8"),
    ],
)
def test_what_a_blas_does_not_say_is_left_out(said, told, monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    libraries = [types.SimpleNamespace(info=lambda one=one: one) for one in said]
    monkeypatch.setattr(host, "_blas_libraries", lambda: libraries)
    assert host.blas_in_use() == told


needs_compiled = pytest.mark.skipif(not compiled_status()[0], reason=compiled_status()[1])
CONVOLUTION = """
import os
import numpy as np
from npsoftmax import kernels
from npsoftmax.host import available_cpus, get_threads, set_threads
def convolve():
    x, w = np.ones((8, 8, 8, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
    return float(kernels.conv2d_tiled(x, w, None, (1, 1), (1, 1)).sum())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_the_affinity_mask_of_taskset_is_kept():
    code = (
        CONVOLUTION
        + """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
convolve()
print(available_cpus(), get_threads())
"""
    )
    assert in_a_process(code) == "1 1"


@needs_compiled
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("n", [1, 3])
def test_a_kernel_starts_as_many_threads_as_it_was_told(n):
    code = (
        CONVOLUTION
        + f"""
set_threads(1)
convolve()  # what a first call starts besides: the pools of BLAS
before = len(os.listdir("/proc/self/task"))
set_threads({n})
convolve()
print(len(os.listdir("/proc/self/task")) - before)
"""
    )
    assert in_a_process(code) == str(n - 1)


@needs_compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes_on_one_thread():
    """With more it would wait for ever for threads that the fork left behind."""
    code = (
        CONVOLUTION
        + """
set_threads(2)
parent = convolve()
if os.fork() == 0:
    set_threads(2)
    os._exit(0 if get_threads() == 1 and convolve() == parent else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]), get_threads())
"""
    )
    assert in_a_process(code) == "0 2"


@needs_compiled
@pytest.mark.slow
def test_training_on_one_thread_keeps_one_processor_busy():
    """Neither BLAS nor OpenMP runs beside it."""
    code = """
import time
import numpy as np
from npsoftmax.host import set_threads, single_threaded_blas
from npsoftmax.models import build_model
set_threads(1)
model = build_model("convnet")
x, t = np.random.rand(64, 32, 32, 3).astype(np.float32), np.arange(64)
with single_threaded_blas():
    model.backward(model.loss(x, t)[1])
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        model.backward(model.loss(x, t)[1])
    print((time.process_time() - cpu) / (time.perf_counter() - wall))
"""
    assert float(in_a_process(code)) < 1.1


SPINNING = """
import os
from npsoftmax.kernels.extension import load_extension
load_extension("npsoftmax._im2col")
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(("said", "spins"), [({}, "4000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_threads_that_wait_soon_sleep_unless_told_otherwise(monkeypatch, said, spins):
    """OMP_DISPLAY_ENV makes GNU's OpenMP tell, when it is loaded, what it goes by."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    environment = os.environ | {"OMP_DISPLAY_ENV": "VERBOSE"} | said
    done = subprocess.run([sys.executable, "-c", SPINNING], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("no compiled kernels, or an OpenMP that is not GNU's")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert done.stdout.split()[-1] == said.get("GOMP_SPINCOUNT", "None")  # other libraries find what was there


def blas_threads():
    import threadpoolctl

    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def blas_on_two_threads():
    import threadpoolctl

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if 2 not in blas_threads():
            pytest.skip("this BLAS does not take two threads")
        yield


def test_blas_is_single_threaded_within_and_as_before_after(blas_on_two_threads):
    before = blas_threads()
    with host.single_threaded_blas():
        assert set(blas_threads()) == {1}
        with host.single_threaded_blas():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_is_as_before_after_an_error(blas_on_two_threads):
    before = blas_threads()
    with pytest.raises(RuntimeError, match="boom"), host.single_threaded_blas():
        raise RuntimeError("boom")
    assert blas_threads() == before


def test_importing_it_loads_no_threadpoolctl():
    code = "import sys, npsoftmax.host; sys.exit('threadpoolctl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---------------------------------------------------------------- memory
STEPS = """
import resource
import numpy as np
from npsoftmax.host import keep_freed_memory, set_threads, single_threaded_blas
from npsoftmax.models import build_model
set_threads(1)
kept = {keep}
model = build_model("convnet")
x, t = np.ones((32, 32, 32, 3), np.float32), np.arange(32)
faults = []
with single_threaded_blas():
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        loss, cache = model.loss(x, t, train=True)
        model.backward(cache)
        del cache
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
page = resource.getpagesize()
images, (first, *_) = len(x), (32, 64, 128)
print(kept, max(faults[-2:]), images * 32 * 32 * first * 4 // page)
"""


def faults(keep):
    """(was the allocator told, page faults of a later step, pages of the first activation alone), in a new process."""
    # Small pages: one fault may otherwise stand for two megabytes. And the size from which an array is a block of its
    # own stays what it is at the start: where it grows, whether the heap's top is given back is a matter of luck.
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "MALLOC_MMAP_THRESHOLD_": "131072"}
    told, found, pages = in_a_process(STEPS.format(keep=keep), **environment).split()
    return told == "True", int(found), int(pages)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="counts page faults with getrusage")
def test_a_step_takes_the_memory_that_the_last_one_freed():
    told, found, pages = faults("keep_freed_memory()")
    if not told:
        pytest.skip("this C library is not GNU's")
    assert found < 0.05 * pages
    _, without, _ = faults("False")
    assert without > pages  # or the test shows nothing


def test_an_allocator_that_is_not_gnus_is_left_alone(monkeypatch):
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace())
    assert host.keep_freed_memory.__wrapped__() is False


def test_threads_may_be_set_within_limited_blas():
    with host.single_threaded_blas():
        usual = host.get_threads()
        host.set_threads(usual + 3)
        assert host.get_threads() == usual + 3
        host.set_threads(None)
        assert host.get_threads() == usual
    assert host.get_threads() == usual
