"""`npsoftmax doctor FILES`: finds a wrong wiring in somebody else's work, from its numbers alone."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npsoftmax.cli._parser import whole_number
from npsoftmax.errors import InputError

if TYPE_CHECKING:
    from npsoftmax.diagnosis import Diagnosis

DESCRIPTION = """\
Find a wrong wiring in somebody else's work, from its numbers alone. What is named is proved; the rest comes with what
would decide it. Exit code 1 where something is proved, else 0. Files:

  curve.csv      losses and accuracies, an epoch (or step) a line: loss, acc, val_loss, val_acc and the like
  batch.npz      np.savez of a batch: outputs (N, C) as the loss gets them, labels (N,), loss: the mean or one a sample;
                 and again (N, C): outputs of the same samples, evaluated a second time
  before.npz after.npz
                 all parameters by name, before and after an epoch (np.savez, or safetensors)

  npsoftmax doctor curve.csv --classes 100
  npsoftmax doctor batch.npz
  npsoftmax doctor before.npz after.npz
"""
PARAMETERS = (".npz", ".safetensors")


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser(
        "doctor",
        help="find a wrong wiring in somebody else's work, from its numbers",
        description=DESCRIPTION + "\n" + _what_shows_what(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a CSV, an NPZ, or two of parameters")
    parser.add_argument("--classes", type=whole_number, metavar="C", help="how many classes there are, for a CSV")
    parser.add_argument(
        "--all-classes",
        action="store_true",
        help="the classes of the outputs are all there is: there is none for 'none of these'",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _what_shows_what() -> str:
    from npsoftmax.diagnosis.findings import WIRINGS

    lines = ["What shows what:"]
    for wiring in WIRINGS.values():
        lines += textwrap.wrap(
            f"{wiring.title}: {wiring.shown_by}", 116, initial_indent="  ", subsequent_indent="      "
        )
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis; 1 where a wiring is proved."""
    found = examined([path.expanduser() for path in args.files], args.classes, args.all_classes)
    if args.json:
        print(json.dumps(_plain(found), indent=2))
    else:
        print(wrapped(str(found)))
    return 1 if found.named else 0


def examined(files: list[Path], classes: int | None, all_classes: bool) -> Diagnosis:
    """The diagnosis of all files together. InputError for options without effect, and for one snapshot alone."""
    from npsoftmax.diagnosis import Diagnosis, examine_batch, examine_curve, examine_snapshots
    from npsoftmax.diagnosis.curves import curves_of
    from npsoftmax.diagnosis.read import read_batch, read_curve, read_parameters

    if classes is not None and classes < 2:
        raise InputError(f"--classes is {classes}, but at least 2 classes were expected.")
    found, snapshots, kinds = Diagnosis(), [], set()
    for path in files:
        if path.suffix.lower() in (".csv", ".tsv", ".txt"):
            kinds.add("curve")
            found += examine_curve(curves_of(read_curve(path)), classes)
        elif path.suffix.lower() in PARAMETERS:
            batch = read_batch(path) if path.suffix.lower() == ".npz" else None
            if batch is None:
                snapshots.append(path)
            else:
                kinds.add("batch")
                found += examine_batch(**batch, all_classes=all_classes)
        else:
            raise InputError(f"{path} is neither a .csv nor a .npz nor a .safetensors file; {_expected()}")
    if classes is not None and "curve" not in kinds:
        raise InputError("--classes is for a CSV; a batch says by its shape how many classes there are. Leave it out.")
    if all_classes and "batch" not in kinds:
        raise InputError("--all-classes is for a batch (an NPZ with outputs), and none was given. Leave it out.")
    if len(snapshots) not in (0, 2):
        raise InputError(
            f"{snapshots[0]} holds no outputs, so it is taken for a snapshot of parameters, and of those two are "
            f"needed, before and after an epoch; {len(snapshots)} were given. {_expected()}"
        )
    if snapshots:
        found += examine_snapshots(*map(read_parameters, snapshots))
    return found


def _expected() -> str:
    return "type npsoftmax doctor --help to see what files there are, and how to write them."


def wrapped(text: str) -> str:
    """The text in lines of a terminal, indented as they begin."""
    lines = []
    for line in text.splitlines():
        begin = line[: len(line) - len(line.lstrip(" "))]
        lines += textwrap.wrap(line, 100, subsequent_indent=begin + "  ", break_on_hyphens=False) or [""]
    return "\n".join(lines)


def _plain(found: Diagnosis) -> dict[str, Any]:
    findings = [
        {
            "wiring": finding.wiring,
            "title": finding.title,
            "proved": finding.proved,
            "evidence": finding.evidence,
            "type": finding.advice,
            "bring": finding.bring,
        }
        for finding in found.findings
    ]
    return {"facts": list(found.facts), "findings": findings, "looked_for": sorted(found.looked_for)}
