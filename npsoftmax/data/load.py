"""`load_dataset`: every data set by its name."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import numpy as np

from npsoftmax.data.cifar import read_cifar
from npsoftmax.data.dataset import Dataset
from npsoftmax.data.digits import load_digits
from npsoftmax.data.editions import CIFAR_NAMES, Edition, default_places, editions_of, find_archive, find_cifar
from npsoftmax.data.label_sets import BOTH_LEVELS, DIGIT_SETS, load_digit_sets, under_both_levels
from npsoftmax.data.own import ARRAYS, FOLDER, is_own, load_own
from npsoftmax.data.split import evenly_spaced, stratified_subset
from npsoftmax.data.stdlib_tokens import NAME as STDLIB_TOKENS
from npsoftmax.data.stdlib_tokens import VOCABULARY, WINDOW, load_stdlib_tokens
from npsoftmax.data.synthetic import N_TEST, N_TRAIN, make_synthetic100
from npsoftmax.errors import InputError, unknown_name

# The 20 superclasses of CIFAR-100 as its labels.
SUPERCLASSES = "cifar100-superclasses"
# Name -> number of classes, shape of a sample, and whether the classes have superclasses.
SHAPES_OF: dict[str, tuple[int, tuple[int, ...], bool]] = {
    "auto": (100, (32, 32, 3), True),
    "cifar100": (100, (32, 32, 3), True),
    "cifar10": (10, (32, 32, 3), False),
    SUPERCLASSES: (20, (32, 32, 3), False),
    "synthetic100": (100, (32, 32, 3), True),
    "digits": (10, (8, 8, 1), False),
    DIGIT_SETS: (10, (8, 24, 1), False),
    BOTH_LEVELS: (120, (32, 32, 3), False),
    STDLIB_TOKENS: (VOCABULARY, (WINDOW,), False),
}
LABEL_SETS = (DIGIT_SETS, BOTH_LEVELS)  # data sets with a set of labels an image
DATASETS = tuple(SHAPES_OF)


def load_dataset(
    name: str = "auto",
    data_dir: str | Path | None = None,
    *,
    download: bool = False,
    seed: int = 0,
    limit_train: int | None = None,
    limit_test: int | None = None,
    image_size: int | None = None,
    vocabulary: int | None = None,
    check_md5: bool = True,
) -> Dataset:
    """Load the data set called `name`; its `note` says in one line what it is and where it came from.

    auto: CIFAR-100 where it is found, else synthetic100. cifar100-superclasses: its images under 20 labels;
    cifar100-both: under both, a set of two labels each; digit_sets: one to three digits. data_dir:
    the folder of the CIFAR files, or the one around it; without it $NPSOFTMAX_DATA and the user's cache are searched.
    folder:PATH and arrays:FILE.npz are images of your own (docs/your-own-data.md): image_size is what those of a folder
    are cut to (None: 32), and data_dir where they lie now, if no more at PATH. stdlib_tokens is the next token of
    source files (docs/tokens.md): vocabulary is how many words there are (None: 10,000), and data_dir has other files
    than those of Python's standard library.
    download: fetch CIFAR when it is not there. seed: of synthetic100, and of the test images where your own data says
    of none that they are. limit_train, limit_test: take this many samples,
    every class its share. check_md5=False reads CIFAR files of other content than the official one.
    Raises InputError for an unknown name, files that are missing or damaged, and limits out of range.
    """
    if vocabulary is not None and name != STDLIB_TOKENS:
        raise InputError(f"--vocabulary is for {STDLIB_TOKENS}, but {name} has images. Leave it out.")
    if is_own(name):
        return _limit(load_own(name, data_dir, image_size, seed), limit_train, limit_test)
    if name not in DATASETS:
        raise unknown_data(name)
    if image_size is not None:
        raise InputError(f"--image-size is for {FOLDER}PATH, but {name} has images of one size. Leave it out.")
    if name == STDLIB_TOKENS:
        return _limit(load_stdlib_tokens(data_dir, vocabulary), limit_train, limit_test)
    if name == "digits":
        return _limit(load_digits(), limit_train, limit_test)
    if name == DIGIT_SETS:
        return _limit(load_digit_sets(), limit_train, limit_test)
    if name == "synthetic100":
        return _synthetic(seed, limit_train, limit_test)
    if name in (SUPERCLASSES, BOTH_LEVELS):
        fine = load_dataset("cifar100", data_dir, download=download, check_md5=check_md5)
        relabelled = _under_superclasses(fine) if name == SUPERCLASSES else under_both_levels(fine)
        return _limit(relabelled, limit_train, limit_test)
    wanted = "cifar100" if name == "auto" else name
    found = find_dataset(wanted, data_dir)
    if found is None and name == "auto" and data_dir is None:
        why = f"No CIFAR-100 found in {_listing(default_places())}: using "
        return _synthetic(seed, limit_train, limit_test, why)
    if found is None and name != "auto" and download:
        from npsoftmax.data.download import download_cifar

        found = editions_of(wanted)[0], download_cifar(wanted, data_dir)
    edition, folder = found or locate_cifar(wanted, data_dir)
    return _limit(read_cifar(edition, folder, check_md5=check_md5), limit_train, limit_test)


def unknown_data(name: str) -> InputError:
    """What to say of a name that no data set has; where it is that of a folder or file, how to give one."""
    place = Path(name).expanduser()
    if place.is_dir():
        return InputError(f"--data {name} is a folder; for images of your own type --data {FOLDER}{name}.")
    if place.suffix == ".npz":
        return InputError(f"--data {name} is a file; for images of your own type --data {ARRAYS}{name}.")
    return unknown_name("data set", name, (*DATASETS, f"{FOLDER}PATH", f"{ARRAYS}FILE.npz"))


def find_dataset(name: str, data_dir: str | Path | None = None) -> tuple[Edition, Path] | None:
    """The edition of CIFAR data set `name` that `load_dataset` would read and its folder, or None."""
    return find_cifar(name, _places(data_dir))


def locate_cifar(name: str, data_dir: str | Path | None = None) -> tuple[Edition, Path]:
    """As `find_dataset`; raises InputError that says where it was looked for when there is none."""
    found = find_dataset(name, data_dir)
    if found is not None:
        return found
    archive = find_archive(name, _places(data_dir))
    if archive is not None:
        file, folder = shlex.quote(str(archive)), shlex.quote(str(archive.parent))
        raise InputError(f"{archive} is still packed. Type tar -xf {file} -C {folder}, then give --data-dir {folder}.")
    editions = editions_of(name)
    folders = " or ".join(edition.folder for edition in editions)
    where = f" --data-dir {data_dir}" if data_dir is not None else ""
    raise InputError(
        f"no {editions[0].title} in {_listing(_places(data_dir))}: looked for a folder {folders}, or its files. "
        f"Type npsoftmax data download {name}{where}, or give its folder with --data-dir."
    )


def _places(data_dir: str | Path | None) -> list[Path]:
    if data_dir is None:
        return default_places()
    folder = Path(data_dir).expanduser()
    is_archive = any(find_archive(name, [folder]) for name in CIFAR_NAMES)
    if folder.exists() and not folder.is_dir() and not is_archive:
        raise InputError(f"--data-dir {folder} is a file, but the folder that holds the data set was expected.")
    return [folder]


def _under_superclasses(fine: Dataset) -> Dataset:
    """The same images, labelled by superclass."""
    assert fine.coarse is not None and fine.coarse_names is not None  # CIFAR-100 has them
    return dataclasses.replace(
        fine,
        name=SUPERCLASSES,
        y_train=fine.coarse[fine.y_train],
        y_test=fine.coarse[fine.y_test],
        class_names=fine.coarse_names,
        coarse=None,
        coarse_names=None,
        note=f"{fine.note}, labelled by superclass",
    )


def _synthetic(seed: int, limit_train: int | None, limit_test: int | None, why: str = "") -> Dataset:
    # Image i is of class i % 100 whatever the size, so what is left out need not be drawn.
    n_train = _check_limit("--limit-train", limit_train, N_TRAIN)
    n_test = _check_limit("--limit-test", limit_test, N_TEST)
    note = f"{why}synthetic100, {n_train:,} + {n_test:,} drawn pictures of 100 classes"
    if why:
        note += "; type --data cifar100 to download the real one"
    return dataclasses.replace(make_synthetic100(n_train, n_test, seed), note=note)


def _limit(dataset: Dataset, limit_train: int | None, limit_test: int | None) -> Dataset:
    n_train = _check_limit("--limit-train", limit_train, len(dataset.x_train))
    n_test = _check_limit("--limit-test", limit_test, len(dataset.x_test))
    if n_train == len(dataset.x_train) and n_test == len(dataset.x_test):
        return dataset
    train, test = _training_samples(dataset, n_train), _share(dataset, dataset.y_test, n_test)
    return dataclasses.replace(
        dataset,
        held_out=None if dataset.held_out is None else dataset.held_out[train],
        x_train=dataset.x_train[train],
        y_train=dataset.y_train[train],
        x_test=dataset.x_test[test],
        y_test=dataset.y_test[test],
    )


def _training_samples(dataset: Dataset, count: int) -> np.ndarray:
    """`count` of the training samples; where the data set says which are for validation, of both kinds their share."""
    y = dataset.y_train
    if dataset.held_out is None:
        return _share(dataset, y, count)
    training, held_out = np.flatnonzero(~dataset.held_out), np.flatnonzero(dataset.held_out)
    fewer = min(max(1, round(count * len(held_out) / len(y))), count - 1) if len(held_out) else 0
    chosen = training[_share(dataset, y[training], count - fewer)], held_out[_share(dataset, y[held_out], fewer)]
    return np.sort(np.concatenate(chosen))


def _share(dataset: Dataset, y: np.ndarray, count: int) -> np.ndarray:
    """Every class its share; of windows of words, evenly spaced ones, from all files."""
    return stratified_subset(y, count) if dataset.words is None else evenly_spaced(len(y), count)


def _check_limit(option: str, limit: int | None, available: int) -> int:
    if limit is None:
        return available
    if not 1 <= limit <= available:
        raise InputError(f"{option} is {limit}, but a whole number from 1 to {available} was expected.")
    return limit


def _listing(places: list[Path]) -> str:
    return " or ".join(str(place) for place in places)
