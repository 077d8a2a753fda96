"""From what was typed after `npsoftmax train` to a run's settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError
from npsoftmax.options import parse_pairs
from npsoftmax.training.config import TrainConfig


def new_config(given: dict[str, Any]) -> TrainConfig:
    """The settings of a new run: those of --config or --recipe, if given, and what was typed beside it."""
    if "config" in given:
        _refuse_beside(
            "config", given, {"out", "no_plots", "quiet", "stop_after", "distributed", "run", "command", "config"}
        )
        return TrainConfig.load(Path(given["config"]))
    if "recipe" in given:
        from npsoftmax.recipes import load_recipe

        changes = {name: value for name, value in settings_of(given).items() if name != "recipe"}
        return load_recipe(given["recipe"]).config_with(changes)
    return TrainConfig(**settings_of(given))


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
