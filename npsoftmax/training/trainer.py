"""The training loop.

Design: all that a run is, beyond its parameters, is a handful of numbers (`State`): noise, order and learning rate
are functions of the step, so going on from a checkpoint is the same as never having stopped.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from npsoftmax.backend import Array, keep_freed_memory, single_threaded_blas
from npsoftmax.data import made_ahead
from npsoftmax.errors import InputError
from npsoftmax.files import copy_replacing
from npsoftmax.params import Tree, leaves
from npsoftmax.training.checkpoint import Saved, fill_model, load_saved, save_arrays, write_json
from npsoftmax.training.clipping import clip_by_norm, clip_by_value
from npsoftmax.training.early_stopping import EarlyStopping
from npsoftmax.training.evaluate import MANY_CLASSES, Predictions, predict_all
from npsoftmax.training.mixing import Mixed, mix, mixed_backward, mixed_forward
from npsoftmax.training.out_of_memory import out_of_memory_message
from npsoftmax.training.progress import Progress
from npsoftmax.training.run_directory import METRICS, STEPS, RunDirectory
from npsoftmax.training.session import Session, make_optimizer, run_schedule
from npsoftmax.training.state import State


class Trainer:
    """Trains a session's model and writes the run directory as it goes; in a group, the first process writes.

    The training accuracy is that of the head's predictions at each step. With more than MANY_CLASSES classes these
    would cost more than the step, and it is left out.
    """

    def __init__(self, session: Session, run: RunDirectory, progress: Progress, *, stop_after: int | None = None):
        self.session, self.run, self.progress = session, run, progress
        self.config, self.model, self.group = session.config, session.model, session.group
        self.schedule = run_schedule(session)
        self.optimizer = make_optimizer(self.config, self.model)
        self.stopper = EarlyStopping(self.config.early_stop) if self._stops_early() else None
        self.last_epoch = self.config.epochs if stop_after is None else min(stop_after, self.config.epochs)
        self._predicts = self.model.head.classes.n <= MANY_CLASSES
        self._clipped({})  # a limit that is none is refused now, not after the first step
        self.state = State()
        self.interrupted = False  # all processes of the group know of it
        self._stop_wanted = False  # Ctrl-C was pressed
        # Losses that may still be on the device: read every few steps, so that training does not wait for them.
        self._pending: list[tuple[int, float, float | None, Array, Array | None, float, int]] = []
        self._since = 0.0  # when the seconds that are not yet in the state began

    def _stops_early(self) -> bool:
        if self.config.early_stop is not None and self.session.validation is None:
            raise InputError(
                "--early-stop watches the validation accuracy, but --val-split is 0; hold some images out."
            )
        return self.config.early_stop is not None

    # ------------------------------------------------------------ the loop
    def fit(self) -> State:
        """Train up to the last epoch, early stopping or Ctrl-C; what was learned is saved in every case."""
        self.progress.start_table()
        keep_freed_memory()
        with self.run.saying_how_to_go_on(), single_threaded_blas(), self._catching_interrupt():
            if self.group.is_first and not self.run.checkpoint_file("last").exists():
                self.save()  # a disk that cannot be written is found now, and killed at any moment the run can go on
            try:
                while self.state.epoch < self.last_epoch and not self.state.stopped_early and not self.interrupted:
                    self._epoch()
                    self._agree_to_stop()
            except self.session.backend.out_of_memory as error:
                traceback.clear_frames(error.__traceback__)  # they hold the arrays of the step that failed
                raise InputError(out_of_memory_message(self.session, self.run.path)) from error
        return self.state

    def _epoch(self) -> None:
        state, train = self.state, self.session.train
        self.progress.start_epoch(state.epoch + 1, self.session.train_images, state.seen)
        self._since = time.perf_counter()
        try:
            with self._batches() as batches:
                for x, targets, samples in batches:
                    self._step(x, targets, samples)
                    self._agree_to_stop()
                    if self.interrupted:
                        break
                    if self._checkpoint_is_due():
                        self._settle()
                        self.save()
                        self._since = time.perf_counter()
            self._settle()
        finally:
            self.progress.end_bar()
        if state.step_in_epoch < len(train):
            self.save()  # interrupted inside the epoch: it continues from here
        else:
            self._finish_epoch()

    def _checkpoint_is_due(self) -> bool:
        every, state = self.config.checkpoint_every, self.state
        # The last step of an epoch has its checkpoint after the validation.
        return every is not None and state.step % every == 0 and state.step_in_epoch < len(self.session.train)

    def _agree_to_stop(self) -> None:
        self.interrupted = self.group.any(self._stop_wanted)

    def _settle(self) -> None:
        """Put into the state what the steps so far came to: losses, seconds; and let all processes have one model."""
        self._read_losses()
        self.group.average(self.model.trunk.buffers)
        # They hold the same already, but for processors that round differently: what drifts apart is brought together.
        self.group.copy_from_first({**self.model.params, "optimizer": self.optimizer.state_tree()})
        elapsed = time.perf_counter() - self._since
        self.state.epoch_seconds += elapsed
        self.state.train_seconds += elapsed

    def _batches(self) -> AbstractContextManager[Iterator[tuple[Array, Array, Array]]]:
        """The rest of this epoch: made ahead by a thread, or on the device, which does it without being waited for."""
        # Mixing needs the whole batch, in which any two samples may be partners.
        part = slice if self._mixes() else lambda n: self.group.share(n).part
        batches = self.session.train.epoch(self.state.epoch, self.state.step_in_epoch, part)
        return made_ahead(batches) if self.session.backend.on_host else nullcontext(batches)

    def _step(self, x: Array, targets: Array, samples: Array) -> None:
        state, model, backend = self.state, self.model, self.session.backend
        lr, momentum = self.schedule(state.step)
        whole = self.session.train.length(state.step_in_epoch)
        part, share = self.group.begin_step(whole)
        mixed = self._mixed(x)
        if mixed is not None:
            x, others = mixed.images[part], targets[mixed.partners][part]
            targets, samples = targets[part], samples[part]
        rng = self.session.rng.child("noise").at(state.step, samples)
        x, t = backend.asarray(x), backend.asarray(targets)
        labels = targets if model.head.reads_labels else t
        try:
            if mixed is None:
                h, loss, cache = model.forward(x, labels, train=True, rng=rng)
            else:
                others_there = backend.asarray(others)
                pair = labels, others if model.head.reads_labels else others_there
                h, loss, cache = mixed_forward(model, x, *pair, mixed.weight, rng=rng)
                t = t if mixed.weight >= 0.5 else others_there  # the label of the larger part
        except InputError as error:  # a head refuses features that are not finite, and knows of no step
            raise InputError(f"at {self._place(state.step + 1, lr)}: {error}") from error
        correct = (model.head.predict(h, rng=rng.child("predict"))[:, 0] == t).sum() if self._predicts else None
        del h
        grads = model.backward(cache, share) if mixed is None else mixed_backward(model, cache, share)
        grads = self._clipped(self.group.sum_gradients(grads))
        self.optimizer.step(model.params, grads, lr=lr, momentum=momentum)
        state.step += 1
        state.step_in_epoch += 1
        self._pending.append((state.step, lr, momentum, loss, correct, share, whole))
        if backend.on_host or state.step % self.config.log_every == 0:
            self._read_losses()

    def _mixes(self) -> bool:
        return bool(self.config.mixup or self.config.cutmix)

    def _mixed(self, x: Array) -> Mixed | None:
        if not self._mixes():
            return None
        rng = self.session.rng.child("mixing").at(self.state.step)
        return mix(x, rng, mixup=self.config.mixup, cutmix=self.config.cutmix)

    def _clipped(self, grads: Tree) -> Tree:
        if self.config.clip_value is not None:
            grads = clip_by_value(grads, self.config.clip_value)
        if self.config.clip_norm is not None:
            grads, _ = clip_by_norm(grads, self.config.clip_norm)
        return grads

    def _read_losses(self) -> None:
        state, rows = self.state, []
        own = [
            (float(loss) * share, 0 if correct is None or not share else int(correct))
            for *_, loss, correct, share, _ in self._pending
        ]
        found = self.group.sum(np.array(own, dtype=np.float64).reshape(-1, 2)).tolist()
        for (step, lr, momentum, *_, n), (value, correct) in zip(self._pending, found, strict=True):
            if not math.isfinite(value):
                raise self._diverged(step, lr, value)
            state.last_loss = value
            state.loss_sum += value * n
            state.correct += int(correct)
            state.seen += n
            state.images += n
            if step % self.config.log_every == 0 or step == 1:
                rows.append({"step": step, "loss": value, "learning_rate": lr, "momentum": momentum})
        self._pending.clear()
        if rows and self.group.is_first:
            self.run.append(self.run.steps_file, STEPS, rows)
        if state.seen:
            self.progress.update(state.seen, state.loss_sum / state.seen, self._train_accuracy())

    def _train_accuracy(self) -> float | None:
        return self.state.correct / self.state.seen if self._predicts else None

    def _diverged(self, step: int, lr: float, value: float) -> InputError:
        return InputError(
            f"the loss became {value} at {self._place(step, lr)}. Lower --lr, or clip gradients with --clip-norm 1. "
            f"What was saved before stands in {self.run.path}."
        )

    def _place(self, step: int, lr: float) -> str:
        last = self.state.last_loss
        before = "there was no finite loss before" if last is None else f"the last finite loss was {last:.4g}"
        return f"step {step} (learning rate {lr:.3g}; {before})"

    # ------------------------------------------------------------ the end of an epoch
    def _finish_epoch(self) -> None:
        state, started = self.state, time.perf_counter()
        held_out = None if self.session.validation is None else self._validate()
        state.epoch += 1
        state.step_in_epoch = 0
        row = {
            "epoch": state.epoch,
            "train_loss": state.loss_sum / state.seen,
            "train_accuracy": self._train_accuracy(),
            "val_loss": None if held_out is None else held_out.loss,
            "val_accuracy": None if held_out is None else held_out.accuracy,
            "learning_rate": self.schedule(state.step - 1)[0],
            "seconds": state.epoch_seconds + time.perf_counter() - started,
        }
        speed = state.seen / max(state.epoch_seconds, 1e-9)
        state.total_seconds += row["seconds"]
        state.loss_sum, state.correct, state.seen, state.epoch_seconds = 0.0, 0, 0, 0.0
        if held_out is not None:
            self._note_validation(held_out.accuracy)
        if self.group.is_first:
            self.run.append(self.run.metrics_file, METRICS, [row])
        self.save()
        self.progress.end_epoch(row, speed)

    def _validate(self) -> Predictions:
        return predict_all(self.model, self.session.validation, self.session.backend, self.session.rng, self.group)

    def _note_validation(self, accuracy: float) -> None:
        state = self.state
        if state.best_accuracy is None or accuracy > state.best_accuracy:
            state.best_accuracy, state.best_epoch = accuracy, state.epoch
            if self.group.is_first:
                save_arrays(self.run.checkpoint_file("best"), self._model_tree(), {"epoch": state.epoch})
        if self.stopper is not None:
            state.stopped_early = self.stopper.update(accuracy)
            state.early_stopping = self.stopper.state()

    # ------------------------------------------------------------ saving and going on
    def _model_tree(self) -> Tree:
        return {**dict(leaves(self.model.params)), **dict(leaves(self.model.buffers))}

    def save(self) -> None:
        """Write the checkpoint `last`, keep the one before as `previous`, and write state.json.

        The tables are on the disk before a checkpoint that counts on them.
        """
        self.state.optimizer_steps = self.optimizer.steps
        if not self.group.is_first:
            return
        self.run.sync_tables()
        tree = {**self._model_tree(), "optimizer": self.optimizer.state_tree()}
        last, previous = self.run.checkpoint_file("last"), self.run.checkpoint_file("previous")
        save_arrays(last, tree, asdict(self.state), before=previous)
        write_json(self.run.state_file, asdict(self.state))

    def resume(self, checkpoint: str = "last") -> None:
        """Go on from a checkpoint of the run directory: `last`, or (where that is damaged) `previous`.

        A run that was killed before its first checkpoint is begun. InputError where the checkpoint cannot be read or
        is none of this run; it says what to type where the one before it is whole. The first process of a group reads
        it for all.
        """
        if self.group.is_first:
            with self.run.saying_how_to_go_on():
                self._take_up(checkpoint)
        self.state = self.group.broadcast(self.state)
        self.optimizer.steps = self.state.optimizer_steps
        self.group.copy_from_first({**self._model_tree(), "optimizer": self.optimizer.state_tree()})
        if self.stopper is not None and self.state.early_stopping is not None:
            self.stopper.load_state(self.state.early_stopping)

    def _take_up(self, checkpoint: str) -> None:
        run = self.run
        run.remove_parts()
        if run.is_unbegun():
            run.cut_tables(0, 0)
        else:
            source = run.checkpoint_file(checkpoint)
            try:
                self.state, saved = self._read(source)
            except InputError as error:
                raise InputError(f"{error} {self._instead_of(checkpoint)}") from error
            fill_model(self.model, saved.arrays, source)
            moments = {n.removeprefix("optimizer."): a for n, a in saved.arrays.items() if n.startswith("optimizer.")}
            self.optimizer.load_state(moments, self.state.optimizer_steps)
            if checkpoint != "last":
                copy_replacing(source, run.checkpoint_file("last"))
            run.cut_tables(self.state.epoch, self.state.step)

    def _read(self, source: Path) -> tuple[State, Saved]:
        saved = load_saved(source)
        state = State.of(saved.state, source)
        state.check_place(len(self.session.train), source)
        return state, saved

    def _instead_of(self, checkpoint: str) -> str:
        """What can be done where a checkpoint cannot be read."""
        run = self.run
        if checkpoint == "last":
            try:
                state, _ = self._read(run.checkpoint_file("previous"))
            except InputError:
                pass
            else:
                return (
                    f"The one before it, after {state.epoch} epochs and {state.step} steps, is whole; to go on from "
                    f"that, type: npsoftmax train --resume {run.path} --checkpoint previous"
                )
        return (
            "There is no other to go on from; to begin the same run anew, type: "
            f"npsoftmax train --config {run.config_file} --out {run.path}-again"
        )

    @contextmanager
    def _catching_interrupt(self) -> Iterator[None]:
        """The first Ctrl-C ends the run after the step under way; a second one ends the program at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def stop(_: int, __: Any) -> None:
            self._stop_wanted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
