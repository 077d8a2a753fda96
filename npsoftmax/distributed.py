"""Training on several processes through MPI (mpi4py): `mpiexec -n 2 npsoftmax train … --distributed`.

Design: all that processes do together is in `MpiGroup`, a handful of collectives; the trainer calls them and knows of
no MPI. Dense gradients travel in one buffer a type, those of a few rows as rows and values. Arrays of a GPU are given
to MPI as they are where it can read them, and go through the host's memory where it cannot.

A process that fails would leave the others waiting for it for ever. The command line ends them all (cli/_processes.py);
a script of one's own does when it is started by `python -m mpi4py`.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from npsoftmax.backend import Array, array_module, device_count, to_numpy
from npsoftmax.errors import InputError
from npsoftmax.host import available_cpus, get_threads
from npsoftmax.params import SparseRows, Tree, leaves, tree_map
from npsoftmax.training.group import Group, Share

T = TypeVar("T")

# How many processes a launcher has started, as it tells each of them: MPICH, Intel and others; Open MPI; SLURM's srun.
STARTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")

INSTALL = 'pip install "npsoftmax[mpi]"'


def join(command: str) -> MpiGroup:
    """The group of all processes that mpiexec has started; `command` is what to type behind it.

    Raises InputError where there is no mpi4py, no MPI for it, or another MPI than that of mpiexec.
    """
    try:
        from mpi4py import MPI
    except ModuleNotFoundError as error:
        raise InputError(
            f"mpi4py is not installed, but processes that work together need it. Type {INSTALL} and then "
            f"mpiexec -n 2 {command}"
        ) from error
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"mpi4py is installed, but finds no MPI library that it can load ({str(error).strip()}). {INSTALL} brings "
            "one (MPICH); on a cluster, load its MPI module first."
        ) from error
    group = MpiGroup(MPI.COMM_WORLD)
    started = next((int(os.environ[name]) for name in STARTED if os.environ.get(name, "").isdecimal()), 1)
    if group.size == 1 and started > 1:
        library = MPI.Get_library_version().partition("\n")[0].strip()
        raise InputError(
            f"{started} processes were started, but this one finds itself alone: mpiexec and mpi4py belong to "
            f"different MPIs. mpi4py loaded {library}; start with its mpiexec, or install the MPI of yours."
        )
    return group


# ---------------------------------------------------------------- the group
class MpiGroup(Group):
    """The processes of an MPI communicator. It is also the `shared_batch` of batch norm (`layers.norm.SharedBatch`)."""

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self._mpi, self.comm = MPI, comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        here = comm.Split_type(MPI.COMM_TYPE_SHARED)  # those on the same machine
        self._local_rank = here.Get_rank()
        # The CPUs that each of them may use; where the system does not say, all have the same ones.
        self._cpus = here.allgather(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0})
        self.samples, self._weight = 0, 1.0  # of the step under way
        self.shared_batch = self if self.size > 1 else None

    def end(self, code: int) -> None:
        """End all processes of the group, this one too, with an exit code."""
        self.comm.Abort(code)

    def split(self, first: int) -> MpiGroup:
        """The processes from number `first` on, as a group of their own; for them to call, and the others not."""
        some = self.comm.Get_group().Incl(range(first, self.size))
        return MpiGroup(self.comm.Create_group(some))

    def begin_step(self, n: int) -> Share:
        share = self.share(n)
        self.samples, self._weight = n, share.weight
        return share

    def total(self, values: Array) -> Array:
        """The sum of `values` over the processes that have samples in this step."""
        return self.sum(values if self._weight else array_module(values).zeros_like(values))

    # ------------------------------------------------------------ sums
    def sum_gradients(self, grads: Tree) -> Tree:
        flat = dict(leaves(grads))
        sums: dict[str, Array | SparseRows] = {}
        for dtype in dict.fromkeys(g.dtype for g in flat.values() if not isinstance(g, SparseRows)):
            sums |= self._sum_dense(
                {n: g for n, g in flat.items() if not isinstance(g, SparseRows) and g.dtype == dtype}
            )
        sums |= {name: self._sum_rows(g) for name, g in flat.items() if isinstance(g, SparseRows)}
        names = iter(flat)
        return tree_map(lambda _: sums[next(names)], grads)

    def _sum_dense(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """All arrays (of one type) as one, so that the network's latency is paid for once."""
        xp = array_module(next(iter(arrays.values())))
        sums, found, start = self.total(xp.concatenate([g.reshape(-1) for g in arrays.values()])), {}, 0
        for name, g in arrays.items():
            found[name] = sums[start : start + g.size].reshape(g.shape)
            start += g.size
        return found

    def _sum_rows(self, g: SparseRows) -> SparseRows:
        # Of a process without samples they are rows of the batch's first sample, which another one has, and zeros.
        xp = array_module(g.values)
        return SparseRows.from_indices(self._join(g.rows, xp), self._join(g.values, xp), g.n_rows)

    def _join(self, part: Array, xp: Any) -> Array:
        """The parts of all processes, one below the other. (K, …) -> (Σ K, …)"""
        counts = self.comm.allgather(len(part))
        whole = xp.empty((sum(counts), *part.shape[1:]), dtype=part.dtype)
        width = int(np.prod(part.shape[1:]))
        sizes = [count * width for count in counts]
        with self._readable(xp.ascontiguousarray(part), whole) as (own, joined):
            self.comm.Allgatherv(own, [joined, sizes])
        return whole

    def sum(self, values: Array) -> Array:
        values = values.copy()  # what is passed in is not changed
        with self._readable(values) as (sums,):
            self.comm.Allreduce(self._mpi.IN_PLACE, sums)
        return values

    @contextmanager
    def _readable(self, *arrays: Array) -> Iterator[tuple[Array, ...]]:
        """The arrays as MPI can read and write them; what it has written is in them afterwards."""
        xp = array_module(arrays[0])
        on_device = xp is not np
        if on_device and self.reads_devices:
            xp.cuda.get_current_stream().synchronize()  # MPI knows nothing of streams
        staged = on_device and not self.reads_devices
        readable = tuple(to_numpy(array) for array in arrays) if staged else arrays
        yield readable
        if staged:
            for array, host in zip(arrays, readable, strict=True):
                xp.ndarray.set(array, host)

    # ------------------------------------------------------------ agreement
    def any(self, flag: bool) -> bool:
        return bool(self.sum(np.array([flag], dtype=np.int64))[0])

    def gather(self, value: T) -> list[T]:
        return self.comm.allgather(value)

    def broadcast(self, value: T) -> T:
        return self.comm.bcast(value)

    def copy_from_first(self, tree: Tree) -> None:
        for _, array in leaves(tree):
            whole = array_module(array).ascontiguousarray(array)
            with self._readable(whole) as (received,):
                self.comm.Bcast(received)
            if self.rank and whole is not array:
                array[...] = whole

    def average(self, tree: Tree) -> None:
        for _, array in leaves(tree):
            # In doubles a mean of equal numbers is that number.
            array[...] = (self.sum(array.astype(np.float64)) / self.size).astype(array.dtype)

    @contextmanager
    def first_process_before_others(self) -> Iterator[None]:
        if self.rank:
            self.comm.Barrier()
        yield
        if not self.rank:
            self.comm.Barrier()

    # ------------------------------------------------------------ the machine
    def threads(self) -> int | None:
        """CPUs of this process, those that it shares with others of the group divided among them."""
        if self.size == 1 or os.environ.get("OMP_NUM_THREADS"):
            return None
        own = self._cpus[self._local_rank]
        share = sum(1 / sum(cpu in other for other in self._cpus) for cpu in own) / len(own)
        return max(1, int(available_cpus() * share + 1e-9))

    def device(self, first: int) -> int:
        """One GPU a process; where a process sees fewer than there are processes (its own alone), they take turns."""
        return (first + self._local_rank) % device_count()

    @functools.cached_property
    def reads_devices(self) -> bool:
        """Whether MPI takes arrays in the memory of a GPU. Given one, an MPI that does not ends the process."""
        try:
            return bool(ctypes.CDLL(self._mpi.__file__).MPIX_Query_cuda_support())
        except (AttributeError, OSError):  # it has no such function, so it cannot
            return False

    def describe(self) -> dict[str, Any]:
        library = self._mpi.Get_library_version().partition("\n")[0]
        return {
            "processes": self.size,
            "threads_of_each": self.gather(get_threads()),
            "mpi": " ".join(library.split()),
            "mpi_reads_device_memory": self.reads_devices,
        }
