"""Beginning a run with what an earlier one has learned: its trunk, and its head where that is still the right one."""

from __future__ import annotations

from typing import Any

from npsoftmax.errors import InputError
from npsoftmax.files import read_json
from npsoftmax.training.checkpoint import load_saved, restore
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.session import Session, choose_checkpoint

# What a run takes over from the one that it starts from, unless something else is said.
TAKEN = ("data", "data_dir", "image_size", "vocabulary", "model", "model_opts", "normalize", "head", "head_opts")


def settings_taken(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings that a run starting from `path` has without saying so; `given`: what it says.

    Another data set comes with its own folder, and another head with its own options. InputError for another model.
    """
    run = RunDirectory.existing(path)
    config = TrainConfig.load(run.config_file)
    taken = {name: getattr(config, name) for name in TAKEN}
    if "data" in given:
        taken |= {"data_dir": None, "image_size": None, "vocabulary": None}
    if "head" in given and given["head"] != config.head:
        taken["head_opts"] = {}
    if given.get("model", config.model) != config.model:
        raise InputError(
            f"--model {given['model']}: {path} is a {config.model}, and its parameters fit no other model."
        )
    return taken


def start_from(session: Session, path: str) -> str:
    """Fill the model with the parameters of the run in `path`: all of its trunk; the head where it is the same.

    The head is the same where its name, its options and the names of the classes are. Returns what was done, in words.
    InputError where the trunk does not fit.
    """
    run = RunDirectory.existing(path)
    chosen = choose_checkpoint(run, "best")
    arrays, model = load_saved(chosen.path).arrays, session.model
    same = _same_head(session, run)
    parts = ("trunk", "head") if same else ("trunk",)
    try:
        for tree in (model.params, model.buffers):
            restore({part: tree[part] for part in parts}, arrays, chosen.path)
    except InputError as error:
        raise InputError(
            f"the parameters of {path} do not fit: {error} Give the same --model-opt, and images of the same size, "
            "as there."
        ) from error
    what = "all parameters" if same else f"its {session.config.model} (the {session.config.head} head is new)"
    return f"starts from {path}, checkpoint {chosen.name}: {what}"


def _same_head(session: Session, run: RunDirectory) -> bool:
    config, before = session.config, TrainConfig.load(run.config_file)
    names = read_json(run.classes_file).get("names") if run.classes_file.is_file() else None
    return (config.head, config.head_opts, list(session.dataset.class_names)) == (before.head, before.head_opts, names)
