"""From what was typed after `npsoftmax train` to a run's settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError
from npsoftmax.options import parse_pairs
from npsoftmax.training.config import TrainConfig

# What may still be said when a run is resumed; everything else is as it was begun.
CHANGEABLE = ("epochs", "threads", "data_dir", "backend", "device", "checkpoint_every")
WITH_RESUME = {
    "resume",
    "checkpoint",
    "stop_after",
    "distributed",
    *CHANGEABLE,
    "run",
    "command",
    "quiet",
    "no_plots",
    "no_graph",
    "json_lines",
    "tensorboard",
}


def what_to_run(given: dict[str, Any]) -> tuple[Any, Any]:
    """The directory of the run that is resumed, or None; and the settings."""
    from npsoftmax.training import RunDirectory
    from npsoftmax.training.checks import refuse_without_effect

    stop_after = given.get("stop_after")
    if stop_after is not None and stop_after < 1:
        raise InputError(f"--stop-after is {stop_after}, but at least 1 epoch is needed.")
    if "checkpoint" in given and "resume" not in given:
        raise InputError("--checkpoint says where to continue; give it together with --resume RUN.")
    resumed = RunDirectory.existing(given["resume"]) if "resume" in given else None
    config = _resumed_config(resumed, given) if resumed else new_config(given)
    refuse_without_effect(given, [config])
    if "sync_batch_norm" in given and not given.get("distributed"):
        raise InputError("--sync-batch-norm would have no effect: it is for --distributed. Leave it out.")
    if stop_after is not None and stop_after > config.epochs:
        raise InputError(
            f"--stop-after {stop_after} would have no effect: the run has {config.epochs} epochs. Leave it out."
        )
    return resumed, config


def new_config(given: dict[str, Any]) -> TrainConfig:
    """The settings of a new run: those of --config or --recipe, if given, and what was typed beside it."""
    if "config" in given:
        _refuse_beside(
            "config",
            given,
            {
                "out",
                "no_plots",
                "no_graph",
                "quiet",
                "json_lines",
                "tensorboard",
                "stop_after",
                "distributed",
                "run",
                "command",
                "config",
            },
        )
        return TrainConfig.load(Path(given["config"]))
    if "recipe" in given and "start_from" in given:
        raise InputError("--from and --recipe: a recipe begins with new parameters. Leave one of them out.")
    if "recipe" in given:
        from npsoftmax.recipes import load_recipe

        changes = {name: value for name, value in settings_of(given).items() if name != "recipe"}
        return load_recipe(given["recipe"]).config_with(changes)
    if "start_from" in given:
        from npsoftmax.training.start_from import settings_taken

        run = str(Path(given["start_from"]).expanduser().absolute())
        return TrainConfig(**settings_taken(run, given) | settings_of(given) | {"start_from": run})
    return TrainConfig(**settings_of(given))


def _resumed_config(directory: Any, given: dict[str, Any]) -> Any:
    from npsoftmax.training import TrainConfig

    refused = sorted(set(given) - WITH_RESUME)
    if refused:
        raise InputError(
            f"--{refused[0].replace('_', '-')} cannot be changed when a run is resumed: it goes on with the settings "
            f"in {directory.config_file}. Only --epochs (more of them), --stop-after, --threads, --data-dir, "
            "--backend, --device, --distributed and --checkpoint-every may be given."
        )
    changes = {name: given[name] for name in CHANGEABLE if name in given}
    config = TrainConfig.load(directory.config_file)
    if "epochs" in given:
        _check_more_epochs(config, given["epochs"])
    return config.moved(**changes)


def _check_more_epochs(config: TrainConfig, epochs: int) -> None:
    """A run may get more epochs than it was begun with, never fewer; that of a recipe has those of its recipe."""
    if config.recipe is not None:
        raise InputError(
            f"--epochs {epochs}: this is a run of {config.recipe}, whose number of epochs is part of it. To train its "
            "network further, begin a new run: npsoftmax train --from RUN --epochs N"
        )
    if epochs <= config.epochs:
        raise InputError(
            f"--epochs is {epochs}, but the run has {config.epochs} already: give more, or leave it out to end these."
        )


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """Settings by name; options of model, head and schedule as tables."""
    names = {f.name for f in fields(TrainConfig)}
    values = {name: value for name, value in given.items() if name in names}
    for name in ("model_opts", "head_opts", "schedule_opts"):
        if name in values:
            values[name] = parse_pairs(values[name])
    if "label_smoothing" in given:
        values.setdefault("head_opts", {})["label_smoothing"] = given["label_smoothing"]
    _add_attention(values, given)
    return values


def _refuse_beside(name: str, given: dict[str, Any], allowed: set[str]) -> None:
    refused = sorted(set(given) - allowed)
    if refused:
        raise InputError(f"--{refused[0].replace('_', '-')} cannot be given beside --{name}, which has all settings.")


def _add_attention(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Put --attention and --attention-opt among the options of the model. InputError where it has no attention."""
    from npsoftmax.models import MODELS, model_builder
    from npsoftmax.options import option_defaults

    if not ("attention" in given or "attention_opts" in given):
        return
    model = values.get("model", TrainConfig.model)
    if "attention" not in option_defaults(model_builder(model)):
        having = [name for name, builder in MODELS.items() if "attention" in option_defaults(builder)]
        raise InputError(
            f"--attention is for transformers, but {model} has no attention; choose --model {', '.join(having)}."
        )
    options = values.setdefault("model_opts", {})
    if "attention" in given:
        options["attention"] = given["attention"]
    if "attention_opts" in given:
        options["attention_opts"] = parse_pairs(given["attention_opts"])
