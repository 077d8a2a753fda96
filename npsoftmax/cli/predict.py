"""`npsoftmax predict RUN FILES`: what a trained network says of image files, or what comes next in source files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.errors import InputError

BATCH = 250


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "predict",
        help="classes and probabilities of image files, by a run",
        description="Name the classes of image files, with probabilities, by the network of a run. The images are cut "
        "to the middle and brought to the size that the network was trained on. Of a run on stdlib_tokens it names the "
        "word that follows the end of a source file, which may end anywhere. No training data is needed.",
    )
    parser.add_argument("directory", metavar="RUN", help="the run directory")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="FILES",
        help="image files, or folders of them; source files for a run on words",
    )
    parser.add_argument(
        "--top",
        type=whole_number,
        metavar="N",
        help="classes an image (default: 3; of sets of labels those in the set)",
    )
    parser.add_argument(
        "--checkpoint", choices=("best", "last", "previous"), default="best", help="which parameters (default: best)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON; which checkpoint it was goes to standard error"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a row an image; returns the exit code."""
    from npsoftmax.training.predict import Predictor

    if args.top is not None and args.top < 1:
        raise InputError(f"--top is {args.top}, but at least 1 class is needed.")
    predictor = Predictor.of_run(args.directory, args.checkpoint)
    files = image_files(args.images)
    fitted = f": {predictor.fitted.words}" if predictor.fitted else ""
    for note in predictor.fitted.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{predictor.chosen} of {args.directory}{fitted}", file=sys.stderr if args.json else sys.stdout)
    found = list(_predictions(predictor, files, args.top))
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    width = max(len(row["file"]) for row in found)
    for row in found:
        guesses = "   ".join(f"{guess['class']} {guess['probability']:.1%}" for guess in row["predictions"])
        print(f"{row['file']:<{width}}  {guesses or '(no label)'}")
        if "set" in row:
            print(f"{'':<{width}}  set: {', '.join(row['set'])}")
    return 0


def image_files(given: list[Path]) -> list[Path]:
    """The files that were named, and the images in the folders that were. InputError where there is none."""
    from npsoftmax.data.folder import images_in

    found: list[Path] = []
    for path in given:
        path = path.expanduser()
        inside = images_in(path) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"there are no images in the folder {path}.")
        found += inside
    return found


def _predictions(predictor: Any, files: list[Path], top: int | None) -> Iterator[dict[str, Any]]:
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        for path, (guesses, held) in zip(part, predictor.predict(part, top), strict=True):
            listed = [{"class": name, "probability": probability} for name, probability in guesses]
            yield {"file": str(path), "predictions": listed} | ({} if held is None else {"set": held})
