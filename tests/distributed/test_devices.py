"""What processes of one machine share: GPUs (the strict stand-in's), what MPI is given of them, and CPUs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
import strict_cupy
from processes import ended, start

from npsoftmax.cli.main import main
from npsoftmax.training.checkpoint import load_arrays

PRETENDED = Path(__file__).with_name("pretended.py")
WORDS = [
    "train", "--data=digits", "--limit-train=60", "--limit-test=30", "--model=resnet9",
    "--model-opt=widths=4,4,6,6", "--optimizer=sgd", "--lr=0.01", "--batch-size=20", "--epochs=1", "--augment=cutout",
    "--mixup=0.3", "--clip-norm=1", "--no-plots",
]  # fmt: skip


def last(run):
    return load_arrays(run / "checkpoints" / "last.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(cuda_on_cpu.COMPILER is None, reason="there is no C++ compiler to run kernels with")
def test_two_devices_are_one_host(tmp_path):
    assert main([*WORDS, "--quiet", "--out", str(tmp_path / "host")]) == 0
    words = ("--distributed", "--sync-batch-norm", "--backend=cupy", "--out", tmp_path / "devices")
    code, _, error = ended(start(2, PRETENDED, *WORDS, *words))
    assert code == 0, error
    found, expected = last(tmp_path / "devices"), last(tmp_path / "host")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-5, err_msg=name)
    environment = json.loads((tmp_path / "devices" / "env.json").read_text())
    assert environment["device"] == "Pretended GPU 0" and environment["mpi_reads_device_memory"] is False


class Communicator:
    """A communicator of the process's own that keeps what it is given."""

    def __init__(self, comm):
        self.comm, self.given = comm, []

    def __getattr__(self, name):
        return getattr(self.comm, name)

    def Allreduce(self, _, values):
        self.given.append((values, list(strict_cupy.ndarray.waits)))


@pytest.fixture
def group(monkeypatch):
    from mpi4py import MPI

    from npsoftmax.distributed import MpiGroup

    for name, module in strict_cupy.modules(kernels=False).items():
        monkeypatch.setitem(sys.modules, name, module)
    return MpiGroup(Communicator(MPI.COMM_SELF))


def gradients():
    cupy = sys.modules["cupy"]
    return {"a": {"w": cupy.ones((2, 3))}, "b": cupy.asarray(np.array([4.0, 5.0]))}


@pytest.mark.parametrize("aware", [False, True])
def test_an_mpi_that_reads_devices_gets_their_arrays_once_they_are_computed(group, aware):
    group.reads_devices = aware
    strict_cupy.ndarray.waits.clear()
    summed = group.sum_gradients(gradients())
    ((values, waits),) = group.comm.given  # all leaves in one
    assert values.shape == (8,)
    assert isinstance(values, strict_cupy.ndarray if aware else np.ndarray)
    assert waits == (["stream"] if aware else ["get"])
    assert summed["a"]["w"].shape == (2, 3) and summed["b"].get().tolist() == [4, 5]


def test_processes_take_turns_at_the_devices_that_they_see(group):
    found = []
    for rank in range(4):
        group._local_rank = rank
        found.append(group.device(1))
    assert found == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([range(8), range(8)], 4),  # nobody is bound
        ([range(8), range(8), range(8)], 2),
        ([range(4), range(4, 8)], 4),  # each to its own
        ([range(4), range(2, 6)], 3),  # two of four are shared
        ([range(1)] * 4, 1),
    ],
)
def test_processes_divide_the_cpus_that_they_share(group, monkeypatch, masks, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("npsoftmax.distributed.available_cpus", lambda: len(masks[0]))
    group.size, group._cpus = len(masks), [set(mask) for mask in masks]
    assert group.threads() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert group.threads() is None  # as it says
