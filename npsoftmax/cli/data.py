"""`npsoftmax data`: download a data set, check its files, list what there is."""

from __future__ import annotations

import argparse

from npsoftmax.errors import InputError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `data` with its actions download, verify and list."""
    parser = subparsers.add_parser("data", help="download, check and list data sets")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    download = actions.add_parser("download", help="fetch CIFAR-100 or CIFAR-10 and check it")
    download.add_argument("name", metavar="NAME", help="cifar100 or cifar10")
    _add_data_dir(download, "put it into this folder (default: the user's cache)")
    download.add_argument("--mirror", metavar="URL", help="try this address first: of the archive or of its folder")
    download.set_defaults(run=_download)

    verify = actions.add_parser("verify", help="compare the files with their published md5")
    verify.add_argument("name", metavar="NAME", help="cifar100 or cifar10")
    _add_data_dir(verify, "the folder to look in (default: $NPSOFTMAX_DATA, then the user's cache)")
    verify.set_defaults(run=_verify)

    listing = actions.add_parser("list", help="list the data sets and where they were found")
    _add_data_dir(listing, "the folder to look in (default: $NPSOFTMAX_DATA, then the user's cache)")
    listing.set_defaults(run=_list)


def _add_data_dir(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help=text)


def _download(args: argparse.Namespace) -> int:
    from npsoftmax.data.download import MIRRORS, download_cifar

    mirrors = (args.mirror, *MIRRORS) if args.mirror else MIRRORS
    folder = download_cifar(args.name, args.data_dir, mirrors=mirrors)
    print(f"{args.name} is in {folder}, every file checked.")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from npsoftmax.data.editions import download_command, file_problems
    from npsoftmax.data.load import locate_cifar

    edition, folder = locate_cifar(args.name, args.data_dir)
    print(f"{edition.title} in {folder}")
    wrong = []
    for file, problem in file_problems(edition, folder):
        good = "md5 ok" if edition.files[file] else "found (no md5 is published)"
        print(f"  {file}: {problem or good}")
        if problem:
            wrong.append(file)
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(edition.files)} files are missing or damaged: {', '.join(wrong)}. "
            f"To fetch them, type: {download_command(edition, folder)}"
        )
    return 0


def _list(args: argparse.Namespace) -> int:
    from npsoftmax.data.load import BOTH_LEVELS, DIGIT_SETS, SUPERCLASSES, find_dataset

    rows = [("NAME", "CLASSES", "SAMPLES", "WHERE")]
    for name, classes in (("cifar100", "100"), ("cifar10", "10")):
        found = find_dataset(name, args.data_dir)
        where = str(found[1]) if found else f"not found; type: npsoftmax data download {name}"
        rows.append((name, classes, "50,000 + 10,000", where))
        if name == "cifar100":
            rows.append((SUPERCLASSES, "20", "50,000 + 10,000", "the same images, labelled by superclass"))
            rows.append((BOTH_LEVELS, "120", "50,000 + 10,000", "the same, by class and superclass: label sets"))
    rows.append(("synthetic100", "100", "10,000 + 2,000", "drawn when asked for"))
    rows.append(("digits", "10", "1,437 + 360", "comes with scikit-learn"))
    rows.append((DIGIT_SETS, "10", "4,000 + 1,000", "rows of digits: label sets (docs/multi-label.md)"))
    rows.append(("stdlib_tokens", "10,000", "970,000 + 20,000", "the next token of Python's library (docs/tokens.md)"))
    rows.append(("folder:PATH", "yours", "yours", "a folder for each class (docs/your-own-data.md)"))
    rows.append(("arrays:FILE.npz", "yours", "yours", "images and labels that np.savez wrote"))
    for name, classes, samples, where in rows:
        print(f"{name:<21} {classes:>7}  {samples:<16} {where}")
    return 0
