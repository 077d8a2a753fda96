"""Published experiments as files: every setting of a run, what was published of it, and what the source left open.

A recipe is <report>/<row>.toml beside this file:

    extends     another recipe, whose values stand where this one has none
    title       what is computed, in a line;  note  what else a reader should know
    open        settings that the source does not state and that are our choice
    [published] what the source reports: accuracy in percent; precision, recall, f1; loss; epoch_seconds
    [expected]  accuracy = [low, high], the range in which the row counts as reproduced
    [[claim]]   what a source says of this row beside another: says, a sentence; source; than, the other recipe;
                measure, one of MEASURES; better: higher, lower, or same (no difference that matters)
    [train]     settings of `npsoftmax train`, as in a run's config.toml

Tables inside [train], such as model_opts, replace those of the recipe that is extended; so do the others.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from npsoftmax.errors import InputError, unknown_name
from npsoftmax.training.config import TrainConfig

FOLDER = Path(__file__).parent

# What may be changed; the run then says that it is shortened. Where and how it runs is free (FREE).
SHORTENING = ("epochs", "limit_train", "limit_test", "batch_size")
FREE = ("seed", "data_dir", "backend", "device", "precision", "threads", "conv", "log_every", "checkpoint_every")


# What a claim may be about, and from which difference on two rows are not the same.
MEASURES = {"accuracy": 0.01, "ece": 0.01, "nll": 0.02, "first_epoch": 0.01, "epochs_to_near_best": 1.0}


@dataclass(frozen=True)
class Claim:
    """What a source says of a row beside another one (`than`), to be judged by the differences of their seeds."""

    says: str
    source: str
    than: str
    measure: str
    better: str

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown_name("measure of a claim", self.measure, MEASURES)
        if self.better not in ("higher", "lower", "same"):
            raise unknown_name("side of a claim", self.better, ("higher", "lower", "same"))


@dataclass(frozen=True)
class Recipe:
    """One row of a published report. published and expected are empty for rows that the report does not have."""

    name: str
    title: str
    config: TrainConfig
    note: str = ""
    open: tuple[str, ...] = ()
    published: dict[str, float] = field(default_factory=dict)
    expected: dict[str, list[float]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()

    def config_with(self, changes: dict[str, Any]) -> TrainConfig:
        """The run's settings. InputError for a change that would make it another experiment."""
        for name in changes:
            if name not in SHORTENING + FREE:
                options = ", ".join(f"--{allowed.replace('_', '-')}" for allowed in SHORTENING + FREE)
                raise InputError(
                    f"--{name.replace('_', '-')} is fixed by the recipe {self.name}; only {options} may be given. "
                    "For another experiment, leave --recipe out and give all settings."
                )
        shorter = [
            f"{name.replace('_', '-')} {changes[name]} instead of {_shown(getattr(self.config, name))}"
            for name in SHORTENING
            if name in changes and changes[name] != getattr(self.config, name)
        ]
        return replace(self.config, **changes, shortened="; ".join(shorter) or None)


def recipe_names() -> list[str]:
    """All recipes, such as "e1/log_softmax", in alphabetical order."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.toml"))


def recipes_called(name: str) -> list[str]:
    """The recipe `name`, or all of a report: "e3" -> ["e3/hierarchical", …]. InputError gives the nearest names."""
    names = recipe_names()
    found = [one for one in names if one == name or one.partition("/")[0] == name]
    if not found:
        reports = sorted({one.partition("/")[0] for one in names})
        raise unknown_name("recipe", name, [*names, *reports])
    return found


def load_recipe(name: str) -> Recipe:
    """The recipe called `name`. InputError gives the nearest names."""
    names = recipe_names()
    if name not in names:
        raise unknown_name("recipe", name, names)
    content = _extended(name)
    path = FOLDER / f"{name}.toml"
    return Recipe(
        name=name,
        title=content["title"],
        config=TrainConfig.of(content["train"] | {"recipe": name}, str(path)),
        note=content.get("note", ""),
        open=tuple(content.get("open", ())),
        published=content.get("published", {}),
        expected=content.get("expected", {}),
        claims=tuple(Claim(**claim) for claim in content.get("claim", ())),
    )


def _extended(name: str) -> dict[str, Any]:
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8-sig"))
    if "extends" not in content:
        return content
    base = _extended(content.pop("extends"))
    train = base["train"] | content.get("train", {})
    return base | content | {"train": train}


def _shown(value: Any) -> str:
    return "all" if value is None else str(value)
