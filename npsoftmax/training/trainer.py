"""The training loop: epochs of steps, and everything around a step that is not the step (step.py).

Design: a run can be killed at any moment and go on as if nothing had happened, to the last bit. Three rules make it so:
* Beside parameters, moments and averages, all that a run is are the few numbers of `State`. Order, augmentation, noise,
  mixing and learning rate are functions of the number of the step, so no generator's state has to be saved.
* A checkpoint is one file that is replaced whole, and the tables that it counts on are on the disk before it. What a
  table has beyond it is cut off when the run goes on (resume.py), and written again.
* Losses are written down and read later, since to look at a number on a device is to wait for it: every few steps, and
  always before anything is saved. A loss that is not finite ends the run then, and never reaches a checkpoint.

On a device a step is one CUDA graph, where it can be (graph.py); the loop is the same.

Several processes go through the same loop side by side. Where they could part, they agree first: whether to stop, what
the losses were. One of them, the first, writes.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.data import made_ahead
from npsoftmax.errors import InputError
from npsoftmax.host import keep_freed_memory, set_threads, single_threaded_blas
from npsoftmax.params import Tree, leaves
from npsoftmax.set_metrics import overlap
from npsoftmax.training.callbacks import Callback
from npsoftmax.training.checkpoint import save_arrays, write_json
from npsoftmax.training.early_stopping import EarlyStopping
from npsoftmax.training.evaluate import Predictions, SetPredictions, predict_all
from npsoftmax.training.graph import StepGraph, why_not
from npsoftmax.training.interrupt import HANG_UP, Interrupt
from npsoftmax.training.ledger import Ledger, Pending
from npsoftmax.training.out_of_memory import out_of_memory_message
from npsoftmax.training.progress import Progress
from npsoftmax.training.resume import restore_run
from npsoftmax.training.run_directory import METRICS, RunDirectory
from npsoftmax.training.session import Session, make_optimizer, make_step, run_schedule
from npsoftmax.training.slots import Slots
from npsoftmax.training.state import State
from npsoftmax.training.step import Forward

# Above so many classes no prediction is made while training: a tree that has learned little searches nearly all of it.
MOST_PREDICTED = 1000


class Trainer:
    """Trains a session's model and writes the run directory as it goes; in a group, the first process writes.

    The training accuracy is that of the head's predictions at each step. With more than MOST_PREDICTED classes these
    would cost more than the step, and it is left out.
    """

    def __init__(
        self,
        session: Session,
        run: RunDirectory,
        progress: Progress,
        *,
        stop_after: int | None = None,
        callbacks: Sequence[Callback] = (),
        graph: bool = True,
    ):
        self.session, self.run, self.progress = session, run, progress
        self.config, self.model, self.group = session.config, session.model, session.group
        if self.config.early_stop is not None and session.validation is None:
            raise InputError(
                "--early-stop watches the validation accuracy, but --val-split is 0; hold some images out."
            )
        self.schedule = run_schedule(session)
        self.optimizer = make_optimizer(self.config, self.model)
        self.step = make_step(session, self.optimizer)
        self.stopper = None if self.config.early_stop is None else EarlyStopping(self.config.early_stop)
        self.last_epoch = self.config.epochs if stop_after is None else min(stop_after, self.config.epochs)
        self.callbacks = callbacks if session.group.is_first else ()
        xp, slots = session.backend.xp, None
        if hasattr(xp, "RawModule"):
            slots = Slots(xp, self.config.log_every)
        self.ledger = Ledger(run, self.group, self.config.log_every, slots)
        self.state = State()
        self.interrupted = False  # all processes of the group know of it
        self._interrupt = Interrupt()  # of this process
        self._predicts = self.model.head.classes.n <= MOST_PREDICTED
        if not session.backend.on_host:
            session.by_hand = why_not(session) if graph else "--no-graph"
        self.graph: StepGraph | None = None
        if slots is not None and not session.by_hand:
            self.graph = StepGraph(session, self.step, self.schedule, self._right, slots)
            session.pool = self.graph.pool
        self._since = 0.0  # when the seconds that are not yet in the state began

    # ------------------------------------------------------------ the loop
    def fit(self) -> State:
        """Train up to the last epoch, early stopping, Ctrl-C, SIGTERM or SIGHUP; what was learned is saved always."""
        self._say_what_runs_by_hand()
        self.progress.start_table()
        for callback in self.callbacks:
            callback.begin(self.session, self.run)
        keep_freed_memory()
        if self.config.threads is not None:
            set_threads(self.config.threads)  # another run of this process may have set its own since
        self.state.prepare_seconds += self.session.prepare_seconds
        # What diverges is told once, by the step that finds its loss or features not finite.
        silence = np.errstate(over="ignore", invalid="ignore", divide="ignore")
        with self.run.explaining_failures(), single_threaded_blas(), self._interrupt.caught(), silence:
            if self.group.is_first and not self.run.checkpoint_file("last").exists():
                self.save()  # a disk that cannot be written is found now, and killed at any moment the run can go on
            try:
                while self.state.epoch < self.last_epoch and not self.state.stopped_early and not self.interrupted:
                    self._epoch()
                    self._check_interrupt()
            except self.session.backend.out_of_memory as error:
                traceback.clear_frames(error.__traceback__)  # they hold the arrays of the step that failed
                graphs = self.graph is not None and self.graph.let_go()
                raise InputError(out_of_memory_message(self.session, self.run.path, graphs)) from error
        return self.state

    @property
    def ended_by(self) -> int | None:
        """The number of the signal that ended `fit` (where another process of the group got it, that of Ctrl-C)."""
        return (self._interrupt.signal or signal.SIGINT) if self.interrupted else None

    def _epoch(self) -> None:
        state = self.state
        self.progress.start_epoch(state.epoch + 1, self.session.train_images, state.seen)
        self._since = time.perf_counter()
        try:
            with closing(self._steps()) as steps:
                for taken in steps:
                    self._write_down(taken)
                    self._check_interrupt()
                    if self.interrupted:
                        break
                    if self._checkpoint_is_due():
                        self._complete_state()
                        self.save()
                        self._since = time.perf_counter()
            self._complete_state()
        finally:
            self.progress.end_bar()
        if state.step_in_epoch < len(self.session.train):
            self.save()  # interrupted inside the epoch: it continues from here
        else:
            self._finish_epoch()

    def _steps(self) -> Generator[Pending, None, None]:
        """The rest of this epoch, step by step: each is taken when it is asked for."""
        train, first = self.session.train, self.state.step_in_epoch
        if self.graph is not None:
            self.graph.begin(self.state.epoch, first)
            for number in range(first, len(train)):
                yield self._launch(train.length(number))
            return
        with self._batches() as batches:
            for x, targets, samples in batches:
                yield self._step(x, targets, samples)

    def _batches(self) -> AbstractContextManager[Iterator[tuple[Array, np.ndarray, Array]]]:
        """The rest of this epoch: made ahead by a thread, or on the device, which does it without being waited for."""
        batches = self.session.train.epoch(self.state.epoch, self.state.step_in_epoch, self.step.part_of)
        return made_ahead(batches) if self.session.backend.on_host else nullcontext(batches)

    def _launch(self, images: int) -> Pending:
        """A step of the graph."""
        assert self.graph is not None
        lr, momentum = self.schedule(self.state.step)
        self.graph.take(self.state.step, images)
        if self.graph.reason and not self.session.by_hand:
            self.session.by_hand = self.graph.reason
            self._say_what_runs_by_hand()
        return Pending(self.state.step + 1, lr, momentum, images, 1.0, None, None)

    def _say_what_runs_by_hand(self) -> None:
        if reason := self.session.by_hand:
            self.progress.say(f"steps are launched kernel by kernel, not as one CUDA graph: {reason}")

    def _step(self, x: Array, targets: np.ndarray, samples: Array) -> Pending:
        """A step by hand."""
        state = self.state
        lr, momentum = self.schedule(state.step)
        images = self.session.train.length(state.step_in_epoch)
        try:
            found = self.step.forward(x, targets, samples, state.step, images)
        except InputError as error:  # a head refuses features that are not finite, and knows of no step
            raise InputError(f"at {state.place(state.step + 1, lr)}: {error}") from error
        right = self._right(found)
        self.step.update(found, lr, momentum)
        return Pending(state.step + 1, lr, momentum, images, found.share, found.loss, right)

    def _write_down(self, taken: Pending) -> None:
        self.state.step = taken.step
        self.state.step_in_epoch += 1
        self.ledger.add(taken)
        if self.session.backend.on_host:
            self._read_losses()
        elif self.state.step % self.config.log_every == 0:
            self._tell(self.ledger.read_behind_into(self.state))

    def _right(self, found: Forward) -> Array | None:
        """How many images the head gets right; with sets of labels the sum of what is right of each."""
        if not self._predicts:
            return None
        head, noise, labels = self.model.head, found.rng.child("predict"), self.session.backend.asarray(found.labels)
        if self.session.dataset.multi_label:
            return overlap(labels >= 0.5, head.predict_sets(found.h, rng=noise)).sum()
        return (head.predict(found.h, rng=noise)[:, 0] == labels).sum()

    def _read_losses(self) -> None:
        self._tell(self.ledger.read_into(self.state))

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        for callback in self.callbacks if rows else ():
            callback.steps(rows)
        if self.state.seen:
            self.progress.update(self.state.seen, self.state.loss_sum / self.state.seen, self._train_accuracy())

    def _train_accuracy(self) -> float | None:
        return self.state.correct / self.state.seen if self._predicts else None

    def _check_interrupt(self) -> None:
        self.interrupted = self.group.any(self._interrupt.pressed)
        if self.interrupted and self._interrupt.signal == HANG_UP:
            self.progress.hush()

    def _checkpoint_is_due(self) -> bool:
        every, state = self.config.checkpoint_every, self.state
        # The last step of an epoch has its checkpoint after the validation.
        return every is not None and state.step % every == 0 and state.step_in_epoch < len(self.session.train)

    def _complete_state(self) -> None:
        """Before a checkpoint: losses and seconds so far go into the state, and all processes get the same model."""
        self._read_losses()
        self.group.average(self.model.trunk.buffers)
        # They hold the same already, but for processors that round differently: what drifts apart is brought together.
        self.group.copy_from_first({**self.model.params, "optimizer": self.optimizer.state_tree()})
        elapsed = time.perf_counter() - self._since
        self.state.epoch_seconds += elapsed
        self.state.train_seconds += elapsed

    # ------------------------------------------------------------ the end of an epoch
    def _finish_epoch(self) -> None:
        state, started = self.state, time.perf_counter()
        held_out = self._validate()
        state.epoch += 1
        state.step_in_epoch = 0
        seconds = state.epoch_seconds + time.perf_counter() - started
        row = {
            "epoch": state.epoch,
            "train_loss": state.loss_sum / state.seen,
            "train_accuracy": self._train_accuracy(),
            "val_loss": None if held_out is None else held_out.loss,
            "val_accuracy": None if held_out is None else held_out.accuracy,
            "learning_rate": self.schedule(state.step - 1)[0],
            "seconds": seconds,
        }
        speed = state.seen / max(state.epoch_seconds, 1e-9)
        state.total_seconds += seconds
        state.loss_sum, state.correct, state.seen, state.epoch_seconds = 0.0, 0, 0, 0.0
        if held_out is not None:
            self._record_validation(held_out.accuracy)
        if self.group.is_first:
            self.run.append(self.run.metrics_file, METRICS, [row])
        self.save()
        self.progress.end_epoch(row, speed)
        for callback in self.callbacks:
            callback.epoch(row)

    def _validate(self) -> Predictions | SetPredictions | None:
        session = self.session
        if session.validation is None:
            return None
        return predict_all(self.model, session.validation, session.backend, session.rng, self.group)

    def _record_validation(self, accuracy: float) -> None:
        """Of epochs that are equally good, the first is the best one."""
        state = self.state
        if state.best_accuracy is None or accuracy > state.best_accuracy:
            state.best_accuracy, state.best_epoch = accuracy, state.epoch
            if self.group.is_first:
                save_arrays(self.run.checkpoint_file("best"), self._model_tree(), {"epoch": state.epoch})
        if self.stopper is not None:
            state.stopped_early = self.stopper.update(accuracy)
            state.early_stopping = self.stopper.state()

    # ------------------------------------------------------------ saving and resuming
    def _model_tree(self) -> Tree:
        return {**dict(leaves(self.model.params)), **dict(leaves(self.model.buffers))}

    def _whole_tree(self) -> Tree:
        return {**self._model_tree(), "optimizer": self.optimizer.state_tree()}

    def save(self) -> None:
        """Write the checkpoint `last`, keep the one before as `previous`, and write state.json.

        The tables are on the disk before a checkpoint that counts on them.
        """
        self.state.optimizer_steps = self.optimizer.steps
        if not self.group.is_first:
            return
        self.run.sync_tables()
        last, previous = self.run.checkpoint_file("last"), self.run.checkpoint_file("previous")
        save_arrays(last, self._whole_tree(), asdict(self.state), before=previous)
        write_json(self.run.state_file, asdict(self.state))

    def resume(self, checkpoint: str = "last") -> None:
        """Continue from a checkpoint of the run directory: `last`, or (where that is damaged) `previous`.

        The first process of a group reads it for all. InputError as for `restore_run`.
        """
        if self.group.is_first:
            with self.run.explaining_failures():
                self.state = restore_run(self.run, checkpoint, self.model, self.optimizer, len(self.session.train))
        self.state = self.group.broadcast(self.state)
        self.optimizer.steps = self.state.optimizer_steps
        self.group.copy_from_first(self._whole_tree())
        if self.stopper is not None and self.state.early_stopping is not None:
            self.stopper.load_state(self.state.early_stopping)
