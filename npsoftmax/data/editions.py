"""The official files of CIFAR-10 and CIFAR-100: names, md5, and where they are on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from npsoftmax.errors import InputError, unknown_name


@dataclass(frozen=True)
class Edition:
    """The files of one data set in one format. `md5` None: the archive's md5 is all that is published."""

    dataset: str
    title: str
    folder: str
    archive: str
    archive_md5: str
    train: dict[str, str]  # file -> md5
    test: dict[str, str]
    names: dict[str, str | None]
    n_classes: int
    n_coarse: int = 0

    @property
    def binary(self) -> bool:
        return self.archive.endswith("binary.tar.gz")

    @property
    def files(self) -> dict[str, str | None]:
        return {**self.train, **self.test, **self.names}


EDITIONS = (
    Edition(
        dataset="cifar100",
        title="CIFAR-100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        names={"meta": "7973b15100ade9c7d40fb424638fde48"},
        n_classes=100,
        n_coarse=20,
    ),
    Edition(
        dataset="cifar100",
        title="CIFAR-100",
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        archive_md5="03b5dce01913d631647c71ecec9e9cb8",
        train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
        test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
        names={"fine_label_names.txt": None, "coarse_label_names.txt": None},
        n_classes=100,
        n_coarse=20,
    ),
    Edition(
        dataset="cifar10",
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        names={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        n_classes=10,
    ),
    Edition(
        dataset="cifar10",
        title="CIFAR-10",
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
        train={
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        },
        test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
        names={"batches.meta.txt": None},
        n_classes=10,
    ),
)
CIFAR_NAMES = tuple(dict.fromkeys(edition.dataset for edition in EDITIONS))


# ---------------------------------------------------------------- finding
def editions_of(name: str) -> tuple[Edition, ...]:
    """The editions of the data set called `name`, the python edition first. Raises InputError for others."""
    if name not in CIFAR_NAMES:
        raise unknown_name("data set to download", name, CIFAR_NAMES)
    return tuple(edition for edition in EDITIONS if edition.dataset == name)


def find_cifar(name: str, places: Sequence[Path]) -> tuple[Edition, Path] | None:
    """The first folder with an edition of `name`: one of `places`, or the edition's own folder in it.

    Programs that unpack archives often put one more folder around what is in them, and that is looked into, too.
    """
    for place in places:
        for edition in editions_of(name):
            own = place / edition.folder
            candidates = [own, place, *sorted(place.glob(f"*/{edition.folder}"))]
            # A folder of any name will do when every file is there.
            for folder in candidates:
                if all((folder / file).is_file() for file in edition.files):
                    return edition, folder
            named_so = [folder for folder in candidates if folder.name == edition.folder and folder.is_dir()]
            if named_so:
                return edition, named_so[0]
    return None


def find_archive(name: str, places: Sequence[Path]) -> Path | None:
    """The archive of `name` as it is downloaded, where one of `places` is it or holds it."""
    for place in places:
        for edition in editions_of(name):
            for path in (place, place / edition.archive):
                if path.is_file() and path.name.startswith(edition.archive.removesuffix(".tar.gz")):
                    return path
    return None


def default_places() -> list[Path]:
    """Where data sets are looked for when no folder is given: $NPSOFTMAX_DATA, then the user's cache."""
    given = os.environ.get("NPSOFTMAX_DATA", "")
    return [Path(given).expanduser(), user_cache()] if given else [user_cache()]


def user_cache() -> Path:
    """The folder that downloads go to unless another is given."""
    import pooch

    return Path(pooch.os_cache("npsoftmax"))


# ---------------------------------------------------------------- checking
def file_problems(edition: Edition, folder: Path) -> Iterator[tuple[str, str | None]]:
    """(file, None or what is wrong with it) of every file; without a published md5 it has to be there."""
    for file, md5 in edition.files.items():
        path = folder / file
        if not path.is_file():
            yield file, "is missing"
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        yield file, md5_problem(found, md5)


def md5_problem(found: str, expected: str | None) -> str | None:
    """None, or that this md5 is not the expected one (None: any will do)."""
    if expected is None or found == expected:
        return None
    return f"is not the official file: its md5 is {found}, but {expected} was expected"


def file_error(edition: Edition, path: Path, problem: str) -> InputError:
    """The error for a file that is missing or wrong, with the command that fetches it."""
    command = download_command(edition, path.parent)
    return InputError(f"{path} {problem}. To get the official files, type: {command}")


def download_command(edition: Edition, folder: Path) -> str:
    """What to type to have the official files where those of `folder` are looked for."""
    place = folder.parent if folder.name == edition.folder else folder
    return f"npsoftmax data download {edition.dataset} --data-dir {place}"
