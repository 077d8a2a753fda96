"""The settings of a training run: one dataclass, saved as TOML in the run directory."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from npsoftmax.backend import PRECISIONS
from npsoftmax.data.own import whole_name
from npsoftmax.errors import InputError, as_number, unknown_name
from npsoftmax.files import read_at_most, write_replacing
from npsoftmax.options import convert, written_out
from npsoftmax.training.mixing import check_alpha

# What weight decay acts on: all parameters, weights alone (no norms, biases, positions), or what suits the model.
DECAYS = ("auto", "all", "weights")

# Whose parameters are tested at the end: those of the best epoch by validation, or those of the last.
TESTED = ("best", "last")

# Counts, and the smallest that each may be.
LEAST = {
    "epochs": 1,
    "batch_size": 1,
    "vocabulary": 1,
    "limit_train": 1,
    "limit_test": 1,
    "early_stop": 1,
    "threads": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "seed": 0,
}
MOST = 2**128 - 1  # of any of them: what NumPy's pages advise as a seed has 128 bits

MOST_TEXT = 2**20  # bytes: a longer file is no configuration, and might take long to read


@dataclass
class TrainConfig:
    """Everything that decides a run. None means "not set"; see `npsoftmax train --help` for what each does.

    recipe: the published experiment that this is; shortened: what was changed of it, in words. start_from: the
    directory of the run whose parameters this one begins with.
    """

    data: str = "auto"
    data_dir: str | None = None
    image_size: int | None = None
    vocabulary: int | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    val_split: int | float = 0.1
    calibration_split: int | float = 0
    normalize: str = "standard"
    augment: str = "none"
    shift: int | None = None
    image_sizes: str | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    model: str = "convnet"
    model_opts: dict[str, Any] = field(default_factory=dict)
    conv: str = "auto"
    head: str = "softmax"
    head_opts: dict[str, Any] = field(default_factory=dict)
    backend: str = "numpy"
    device: int = 0
    precision: str = "auto"
    threads: int | None = None
    epochs: int = 6
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 3e-3
    momentum: float = 0.9
    nesterov: bool = False
    muon_lr: float = 0.02
    muon_momentum: float = 0.95
    muon_steps: int = 5
    muon_unit_filters: bool = False
    muon_matrices: bool = False
    weight_decay: float = 0.0
    decay: str = "auto"
    clip_value: float | None = None
    clip_norm: float | None = None
    schedule: str = "one_cycle"
    schedule_opts: dict[str, Any] = field(default_factory=dict)
    early_stop: int | None = None
    tested: str = "best"
    seed: int = 0
    sync_batch_norm: bool = False
    log_every: int = 10
    checkpoint_every: int | None = None
    recipe: str | None = None
    shortened: str | None = None
    start_from: str | None = None

    def __post_init__(self) -> None:
        self.data = whole_name(self.data)
        self.head_opts = {name: written_out(value) for name, value in self.head_opts.items()}
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not as_number(value) >= least:
                raise InputError(f"--{name.replace('_', '-')} is {value}, but at least {least} is needed.")
            if value is not None and value > MOST:
                raise InputError(f"--{name.replace('_', '-')} is {value}, but at most 2**128 - 1 is possible.")
        for name in ("lr", "clip_value", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < as_number(value) < math.inf:
                raise InputError(f"--{name.replace('_', '-')} is {value}, but a finite number above 0 was expected.")
        check_alpha("--mixup", self.mixup)
        check_alpha("--cutmix", self.cutmix)
        if self.precision not in PRECISIONS:
            raise unknown_name("--precision", self.precision, PRECISIONS)
        if self.decay not in DECAYS:
            raise unknown_name("--decay", self.decay, DECAYS)
        if self.tested not in TESTED:
            raise unknown_name("--tested", self.tested, TESTED)

    def save(self, path: Path) -> None:
        """Write as TOML; what is not set is left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        write_replacing(path, tomli_w.dumps(_without_none(values)).encode())

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what `save` wrote. InputError where it is no such file."""
        text = read_at_most(path, MOST_TEXT)
        try:
            # Some editors of Windows write UTF-16, which begins with a mark of its own.
            coding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            values = tomllib.loads(text.decode(coding))
        except (RecursionError, ValueError) as error:  # not all of tomllib's errors are its own
            raise InputError(f"{path} cannot be read as a run's configuration: {error}") from error
        return cls.of(values, str(path))

    def moved(self, **changes: Any) -> TrainConfig:
        """With other settings of where it runs; on the host, precision is what it always is there."""
        if changes.get("backend") == "numpy":
            changes["precision"] = "auto"
        return replace(self, **changes)

    @classmethod
    def of(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """From plain values; InputError names `source` and the setting that is unknown or of the wrong type."""
        known, found = get_type_hints(cls), {}
        for name, value in values.items():
            if name not in known:
                raise unknown_name(f"setting in {source}", name, known)
            found[name] = convert(f"{source}: {name}", value, known[name])
            if isinstance(value, dict):
                found[name] = {key: _option(option) for key, option in value.items()}
        return cls(**found)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: an option set to none is written as the word, as on the command line."""
    return {
        name: _without_none(value) if isinstance(value, dict) else "none" if value is None else value
        for name, value in values.items()
    }


def _option(value: Any) -> Any:
    """An option as the command line gives it: `_without_none`, backwards."""
    if isinstance(value, list):
        return tuple(value)
    return None if value == "none" else value
