"""A training step on a device as one CUDA graph: captured once, then launched for each batch, which costs one call.

A step of a small network is some hundreds of kernels, and to launch them from Python takes longer than to run them. A
graph is their list, with addresses and arguments as they were when it was captured, so that all which changes from step
to step has to lie in memory:

    on the device, once an epoch             read when the step runs
    counts  step │ epoch │ place     ──row──►  noise of dropout and heads │ augmentation │ where the batch begins
    rates   of the optimiser         ──row──►  learning rate, momentum, corrections
    order   of the epoch's samples   ────────►  the batch: images and labels
                                               loss, right predictions ──► slots (slots.py)

The first kernel of a step copies its row to fixed places and counts on (graph.cu); the host writes nothing for a step.

Design: the function that is captured is the one that runs the step by hand, with all numbers read from the device, so
both ways make the same bits. The first batch of each length is trained on by hand, which compiles kernels and makes
what is made once; the second is captured and launched; those behind it are launched. What the graph works in comes
from a pool of memory that nobody else uses. Where CuPy refuses to capture something, or there is no room for it, steps
go on by hand, and the run says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from npsoftmax import cublas
from npsoftmax.backend import Array
from npsoftmax.cuda import compiled_for
from npsoftmax.layers import all_layers
from npsoftmax.training.schedules import Schedule
from npsoftmax.training.session import Session
from npsoftmax.training.slots import Slots
from npsoftmax.training.step import Forward, TrainingStep

STEP, EPOCH, PLACE = 0, 1, 2  # in a row of `counts`


def why_not(session: Session) -> str:
    """Why the steps of a run on a device are no graph, in words; "" if they can be one."""
    config, model = session.config, session.model
    if session.group.size > 1:
        return "several processes share each batch"
    if config.mixup or config.cutmix:
        return "mixing draws another weight for each batch"
    if model.head.uncaptured:
        return f"head {config.head}: {model.head.uncaptured}"
    reasons = (layer.uncaptured for layer in all_layers(model.trunk) if layer.uncaptured)
    if reason := next(reasons, ""):
        return f"model {config.model}: {reason}"
    xp = session.backend.xp
    if not hasattr(xp, "RawModule") or cublas.handle_of(xp, xp.cuda.Device().id) is None:
        return "cuBLAS is not found by name"
    return ""


class Capturing:
    """Makes graphs: a stream that is captured, and the pool of memory that they work in and that nobody else uses."""

    def __init__(self, xp: Any):
        self._xp, self.pool, self._stream = xp, xp.cuda.MemoryPool(), xp.cuda.Stream(non_blocking=True)

    def graph_of(self, work: Callable[[], Any]) -> Any:
        """The graph of what `work` launches, which runs when it is launched and not now. It has to be kept, and so has
        this object. Raises what CuPy refuses."""
        with self._stream, self._xp.cuda.using_allocator(self.pool.malloc):
            self._stream.begin_capture()
            try:
                work()
            except BaseException:
                with contextlib.suppress(Exception):  # what was refused may have ended the capture: it is the reason
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        graph.upload()
        return graph


class _Key(NamedTuple):
    """What graphs differ in: the length of the batch and the samples that it is made from."""

    n: int
    source: int


class StepGraph:
    """The steps of a run, taken one after the other from the beginning of an epoch (`begin`) on.

    right: the number of right predictions of a step, or None where it is not counted. reason: why steps run by hand, ""
    while they do not.
    """

    def __init__(
        self,
        session: Session,
        step: TrainingStep,
        schedule: Schedule,
        right: Callable[[Forward], Array | None],
        slots: Slots,
    ):
        self._train, self._step, self._schedule = session.train, step, schedule
        self._right, self._slots, self._backend = right, slots, session.backend
        self._xp = xp = session.backend.xp
        self.reason = ""
        steps, n_rates = len(self._train), len(self._rates_of(0))
        self._labels = xp.asarray(self._train.labels)
        self._order = xp.empty(len(self._labels), dtype=xp.int64)
        self._counts = xp.empty((steps, 3), dtype=xp.uint64)
        self._rates = xp.empty((steps, n_rates), dtype=xp.float64)
        self._row = xp.empty(1, dtype=xp.uint64)
        self._counts_now = xp.empty(3, dtype=xp.uint64)
        self._rates_now = xp.empty(n_rates, dtype=xp.float64)
        self._graphs: dict[_Key, Any] = {}  # None: a step like this was taken by hand
        self._source: Any = None
        self._ahead: tuple[int, np.ndarray] | None = None  # the order of the epoch behind this one
        self._capturing = Capturing(xp)
        self.pool = self._capturing.pool

    def begin(self, epoch: int, first: int) -> None:
        """Write down what the steps of this epoch read; the next is number `first` of it."""
        steps = len(self._train)
        number = epoch * steps + np.arange(steps)
        counts = np.stack([number, np.full(steps, epoch), np.arange(steps) * self._train.batch_size], axis=1)
        self._order.set(self._order_of(epoch))
        self._counts.set(counts.astype(np.uint64))
        self._rates.set(np.array([self._rates_of(step) for step in number.tolist()], dtype=np.float64))
        self._row.set(np.array([first], dtype=np.uint64))

    def _order_of(self, epoch: int) -> np.ndarray:
        """The samples in the order of an epoch, which takes a while to draw."""
        if self._ahead is None or self._ahead[0] != epoch:
            self._ahead = epoch, np.ascontiguousarray(self._train.order(epoch), dtype=np.int64)
        return self._ahead[1]

    def _rates_of(self, step: int) -> tuple[float, ...]:
        return self._step.optimizer.rates(*self._schedule(step), step + 1)

    def take(self, step: int, n: int) -> None:
        """Step number `step`, which is the next, on n samples."""
        source = self._train.source_at(step)
        if source is not self._source:  # images of another size
            self._graphs.clear()
            self._source = source
        key = _Key(n, id(source))
        graph = self._graphs.get(key)
        if graph is None and key in self._graphs and not self.reason:
            graph = self._graphs[key] = self._captured(n)
        if graph is not None:
            graph.launch()
            self._step.optimizer.steps = step + 1
        else:
            self._by_hand(n)
            self._graphs.setdefault(key, None)
        epoch, number = divmod(step + 1, len(self._train))
        if number == 0:  # the device has work still, and will be waited for
            self._order_of(epoch)

    def _by_hand(self, n: int) -> None:
        """All of a step, from the batch to the changed parameters. Whatever changes from step to step is an array."""
        xp, gpu = self._xp, compiled_for(self._xp, "graph", "f")
        now = self._counts_now, self._rates_now
        gpu.each("next_step", 1, self._counts, self._rates, self._row, *now, len(now[0]), len(now[1]))
        samples = xp.empty(n, dtype=xp.int64)
        gpu.each("pick", n, self._order, self._counts_now[PLACE:], samples)
        x = self._source.batch(samples, self._train.noise.at(self._counts_now[EPOCH : EPOCH + 1], samples))
        found = self._step.forward(x, self._labels[samples], samples, self._counts_now[STEP : STEP + 1], n)
        right = self._right(found)
        self._step.update(found, rates=self._rates_now)
        self._slots.keep(found.loss, right)

    def _captured(self, n: int) -> Any:
        """The graph of `_by_hand`, which does nothing yet; None, with a reason, where it cannot be captured."""
        steps = self._step.optimizer.steps
        self._backend.free_memory()  # what the step by hand worked in: a graph takes as much, of its own
        try:
            return self._capturing.graph_of(lambda: self._by_hand(n))
        except self._backend.out_of_memory:
            self.reason = "the memory of the device has no room for a graph"
        except Exception as error:
            self.reason = f"CuPy cannot capture them ({type(error).__name__}: {error})"
        finally:
            self._step.optimizer.steps = steps
        self.let_go()  # only here: an error holds the arrays of the step that failed
        return None

    def let_go(self) -> bool:
        """Give the graphs, and the memory that they worked in, back to the device; whether there were any."""
        were_there = any(self._graphs.values())
        self._graphs.clear()
        self.pool.free_all_blocks()
        return were_there
