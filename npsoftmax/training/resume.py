"""Resuming a run from a checkpoint of its directory, and what to say where that fails.

Design: a run may have been killed at any moment, so its directory is put in order before anything is read: half-written
files are removed, and so are rows of the tables that are newer than the checkpoint, since those steps will be taken
again. A checkpoint is read whole, and checked against this run, before it changes anything. An older one is never taken
silently in its place: the user is told that there is one, and what to type.
"""

from __future__ import annotations

from npsoftmax.errors import InputError
from npsoftmax.files import copy_replacing
from npsoftmax.models import Model
from npsoftmax.training.checkpoint import Saved, fill_model, load_saved
from npsoftmax.training.optimizers import Optimizer
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.state import State


def restore_run(run: RunDirectory, checkpoint: str, model: Model, optimizer: Optimizer, steps_per_epoch: int) -> State:
    """Fill model and optimiser from checkpoint `last` or `previous` of a run; returns where it stands.

    A run that was killed before its first checkpoint is at its beginning. From `previous`, that one becomes `last`.
    InputError where the checkpoint cannot be read or belongs to another run; it says what to type.
    """
    run.remove_parts()
    if run.is_unbegun():
        run.cut_tables(0, 0)
        return State()
    source = run.checkpoint_file(checkpoint)
    try:
        state, saved = _read(run, checkpoint, steps_per_epoch)
    except InputError as error:
        raise InputError(f"{error} {_what_else(run, checkpoint, steps_per_epoch)}") from error
    fill_model(model, saved.arrays, source)
    moments = {n.removeprefix("optimizer."): a for n, a in saved.arrays.items() if n.startswith("optimizer.")}
    optimizer.load_state(moments, state.optimizer_steps)
    if checkpoint != "last":
        copy_replacing(source, run.checkpoint_file("last"))
    run.cut_tables(state.epoch, state.step)
    return state


def _read(run: RunDirectory, checkpoint: str, steps_per_epoch: int) -> tuple[State, Saved]:
    source = run.checkpoint_file(checkpoint)
    saved = load_saved(source)
    state = State.of(saved.state, source)
    state.check_place(steps_per_epoch, source)
    return state, saved


def _what_else(run: RunDirectory, checkpoint: str, steps_per_epoch: int) -> str:
    """What can be done where a checkpoint cannot be read."""
    if checkpoint == "last":
        try:
            state, _ = _read(run, "previous", steps_per_epoch)
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
