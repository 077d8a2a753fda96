"""What can be known of settings before any data is read: whether they make a run, and which have no effect."""

from __future__ import annotations

import warnings
from dataclasses import asdict

import numpy as np

from npsoftmax.backend import BACKENDS
from npsoftmax.data.augment import SHIFTING, get_augmentation
from npsoftmax.data.label_sets import DIGIT_SETS
from npsoftmax.data.load import LABEL_SETS, SHAPES_OF, load_dataset, unknown_data
from npsoftmax.data.normalize import NORMALIZATIONS
from npsoftmax.data.own import ARRAYS, FOLDER, is_own, shape_of_images
from npsoftmax.data.split import choosing_calibration_split, train_validation_split
from npsoftmax.data.stdlib_tokens import NAME as STDLIB_TOKENS
from npsoftmax.errors import InputError, unknown_name
from npsoftmax.heads import ClassInfo
from npsoftmax.layers import Conv2d, all_layers
from npsoftmax.layers.initialisation import shapes_only
from npsoftmax.models import Model, builders
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.session import (
    check_kind,
    check_takes_sets,
    growth_of,
    make_optimizer,
    model_of,
    optimizer_options,
    refuse_on_tokens,
    schedule_of,
)

MANY = 10**6  # steps an epoch: more than any run has


def check_settings(config: TrainConfig, source: str) -> None:
    """InputError for values and names that would end the run after it has begun. source: for the error, of a value.

    Data that is not there, and limits beyond its size, are found by the run alone.
    """
    config = TrainConfig.of({name: value for name, value in asdict(config).items() if value is not None}, source)
    check_before_data(config)
    if not _is_known_unread(config):
        _check_model(config)


def check_before_data(config: TrainConfig) -> None:
    """InputError for what no data could make right, before minutes are spent on reading.

    How many classes a user's arrays and a text have is not known before they are read. There only the names of the
    model's options and the types of their values are checked.
    """
    if not is_own(config.data) and config.data not in SHAPES_OF:
        raise unknown_data(config.data)
    for what, name, known in (
        ("backend", config.backend, BACKENDS),
        ("normalization", config.normalize, NORMALIZATIONS),
    ):
        if name not in known:
            raise unknown_name(what, name, known)
    get_augmentation(config.augment)
    refuse_on_tokens(config)
    optimizer_options(config)
    schedule_of(config, MANY)
    _check_splits(config)
    builders(config.model, config.head, config.model_opts, config.head_opts)
    check_kind(config, config.data == STDLIB_TOKENS)
    if _is_known_unread(config):
        _check_model(config)


def _check_splits(config: TrainConfig) -> None:
    """A count is held against the images that there are; a share can be checked on any."""
    if isinstance(config.val_split, float) or config.val_split < 0:
        train_validation_split(np.zeros(100, dtype=np.int64), config.val_split, seed=0)
    if isinstance(config.calibration_split, float) or config.calibration_split < 0:
        choosing_calibration_split(np.zeros(100, dtype=np.int64), np.arange(100), config.calibration_split, seed=0)


def _is_known_unread(config: TrainConfig) -> bool:
    """Whether classes and shape of the data are known before it is read."""
    return config.data != STDLIB_TOKENS and not config.data.startswith(ARRAYS)


def _check_model(config: TrainConfig) -> None:
    model = model_without_parameters(config)
    make_optimizer(config, model)
    growth_of(config, model, model.input_shape, MANY)


def model_without_parameters(config: TrainConfig) -> Model:
    """The model of the settings, with the shapes of its parameters alone. InputError for options that cannot be."""
    n, input_shape, has_superclasses, multi_label = _shape_of(config)
    classes = ClassInfo(n, np.arange(n, 0, -1), np.arange(n) // 5 if has_superclasses else None)
    with shapes_only(), warnings.catch_warnings():  # what a head warns of, it says when it is trained
        warnings.simplefilter("ignore")
        model = model_of(config, classes, input_shape, n + 2 if config.data == STDLIB_TOKENS else None)
    if multi_label:
        check_takes_sets(model, config.data)
    return model.use_convolution(config.conv)


def _shape_of(config: TrainConfig) -> tuple[int, tuple[int, ...], bool, bool]:
    """As SHAPES_OF, and whether an image has a set of labels; a user's arrays are read for it."""
    if not is_own(config.data):
        n, shape, has_superclasses = SHAPES_OF[config.data]
        return config.vocabulary or n, shape, has_superclasses, config.data in LABEL_SETS
    if config.data.startswith(FOLDER):
        return *shape_of_images(config.data, config.data_dir, config.image_size), False, False
    dataset = load_dataset(config.data, config.data_dir, image_size=config.image_size)
    return dataset.n_classes, dataset.input_shape, False, dataset.multi_label


def without_effect(config: TrainConfig) -> dict[str, str]:
    """Name of a setting -> why it changes nothing beside the others, for all that do not."""
    found = {}
    if config.optimizer != "sgd":
        found["nesterov"] = f"it is for --optimizer sgd, and this is {config.optimizer}"
    if config.optimizer not in ("sgd", "muon"):
        found["momentum"] = f"it is for --optimizer sgd and muon, and this is {config.optimizer}"
    if config.optimizer != "muon":
        why = f"it is for --optimizer muon, and this is {config.optimizer}"
        found |= {name: why for name in asdict(config) if name.startswith("muon_")}
    if config.backend == "numpy":
        found["device"] = "it is for --backend cupy, and this is numpy"
    if not config.weight_decay:
        found["decay"] = "there is no --weight-decay"
    if config.data in ("synthetic100", "digits", DIGIT_SETS):
        found["data_dir"] = f"{config.data} is not read from a folder"
    if not config.data.startswith(FOLDER):
        found["image_size"] = f"it is for --data {FOLDER}PATH"
    if config.augment not in SHIFTING:
        found["shift"] = f"it is for --augment {', '.join(SHIFTING)}, and this is {config.augment}"
    if config.data != STDLIB_TOKENS:
        found["vocabulary"] = f"it is for --data {STDLIB_TOKENS}"
    else:
        found["normalize"] = f"{config.data} has words, and nothing to normalise"
        found["val_split"] = f"{config.data} itself says which files are for validation"
    if not config.val_split and config.tested == "best":
        found["tested"] = "nothing is held out, so no epoch is the best"
    if config.conv != "auto" and not any(
        isinstance(c, Conv2d) for c in all_layers(model_without_parameters(config).trunk)
    ):
        found["conv"] = f"{config.model} has no convolution"
    return found


def moved_momentum(config: TrainConfig) -> str:
    """A sentence where the schedule sets the momentum and that of the settings is never used; else nothing."""
    moved = config.schedule == "one_cycle" and config.schedule_opts.get("cycle_momentum", True)
    if config.optimizer not in ("sgd", "muon") or not config.momentum or not moved:
        return ""
    return (
        f"--momentum {config.momentum:g} has no effect: one_cycle moves the momentum itself; for a fixed one, add "
        "--schedule-opt cycle_momentum=false"
    )


def refuse_without_effect(typed: dict[str, object], configs: list[TrainConfig]) -> None:
    """InputError for an option that was typed and changes nothing in any of the runs."""
    reasons = [without_effect(config) for config in configs]
    for name in typed:
        if reasons and all(name in found for found in reasons):
            raise InputError(f"--{name.replace('_', '-')} would have no effect: {reasons[0][name]}. Leave it out.")
