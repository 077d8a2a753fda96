"""Who trains together: the processes that share every batch. Here there is one; those of MPI are in distributed.py.

Design: a step of several processes is the step of one process. Each of them goes through the same batches and takes its
part of every batch; the head's loss is a mean over that part, so backward begins with the part's share of the batch,
and what the processes find is then only to be summed. Optimisers, clipping and schedules know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from npsoftmax.backend import Array
from npsoftmax.layers.norm import SharedBatch
from npsoftmax.params import Tree

T = TypeVar("T")


class Share(NamedTuple):
    """The part of a batch that a process takes, and the weight of its mean in the mean over the batch."""

    part: slice
    weight: float


def share_of(n: int, rank: int, size: int) -> Share:
    """What process `rank` of `size` takes of n > 0 samples: neighbours, as many as the others or one less.

    One for which nothing is left takes the first sample with weight 0, because it has to join in all that the processes
    do together.
    """
    first, last = -(-n * rank // size), -(-n * (rank + 1) // size)
    return Share(slice(first, last), (last - first) / n) if last > first else Share(slice(0, 1), 0.0)


class Group:
    """A process on its own. In a group of several, what sums, gathers, averages or copies is called by all of them."""

    rank, size = 0, 1
    shared_batch: SharedBatch | None = None  # what batch norm takes its averages over, if not over this process's part

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def share(self, n: int) -> Share:
        """What this process takes of a batch of n samples."""
        return share_of(n, self.rank, self.size)

    def begin_step(self, n: int) -> Share:
        """Like `share`, for the step that begins now."""
        return self.share(n)

    def sum_gradients(self, grads: Tree) -> Tree:
        """The sum over the processes of every leaf, dense or SparseRows."""
        return grads

    def sum(self, values: Array) -> Array:
        """The sum over the processes."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def broadcast(self, value: T) -> T:
        """The value of the first process."""
        return value

    def copy_from_first(self, tree: Tree) -> None:
        """Overwrite every leaf with that of the first process."""

    def average(self, tree: Tree) -> None:
        """Overwrite every leaf with its mean over the processes."""

    @contextmanager
    def first_process_before_others(self) -> Iterator[None]:
        """Within it, the others begin when the first process has ended: it may have to download what they then find.

        Nothing in it may be done together.
        """
        yield

    def threads(self) -> int | None:
        """Threads for this process, where several share a machine; None where it has it for itself."""
        return None

    def device(self, first: int) -> int:
        """The number of this process's GPU, where that of the first one is `first`."""
        return first

    def describe(self) -> dict[str, Any]:
        """For env.json."""
        return {"processes": self.size}


ALONE = Group()
