"""`npsoftmax conform RUN --coverage 0.95`: sets of classes that hold the right one as often as was asked for."""

from __future__ import annotations

import argparse
from typing import Any

from npsoftmax.cli._after import add_run_options, changes_of, say, say_basis
from npsoftmax.cli._parser import number, whole_number

DESCRIPTION = """Find, on images that the run held out, how large sets of classes must be to hold the right one as often
as --coverage says: split conformal prediction. conformal.json beside the run has it; eval, predict and plot use it.
What comes of it on the test set is shown, and decides nothing. docs/calibration.md"""


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser("conform", help="sets of classes of a given coverage", description=DESCRIPTION)
    add_run_options(parser)
    parser.add_argument(
        "--coverage", type=number, default=0.95, metavar="P", help="a share, such as 0.9 (default: 0.95)"
    )
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="aps, raps (smaller sets; a fifth of the images chooses its regularisation) or subtrees (default: "
        "subtrees where the head has a tree, else aps)",
    )
    parser.add_argument(
        "--subtrees",
        type=whole_number,
        default=argparse.SUPPRESS,
        metavar="N",
        help="for --method subtrees: so many subtrees a set at most (default: 1)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, save and show; returns the exit code."""
    from npsoftmax.errors import InputError
    from npsoftmax.training.conform import FILE, conform

    if "subtrees" in args and args.method not in (None, "subtrees"):
        raise InputError(f"--subtrees would have no effect beside --method {args.method}. Leave one of them out.")
    most = getattr(args, "subtrees", None)
    method = "subtrees" if most is not None else args.method
    found = conform(
        args.directory, args.coverage, method, args.checkpoint, 1 if most is None else most, **changes_of(args)
    )
    if say(args, found, args.coverage):
        return 0
    say_basis(args, found, args.coverage)
    test = found["test"]
    how = {
        "aps": "APS",
        "raps": f"RAPS, penalty {found['penalty']:g} from rank {found['free_ranks'] + 1} on",
        "subtrees": "one subtree a set" if found["subtrees"] == 1 else f"at most {found['subtrees']} subtrees a set",
    }[found["method"]]
    print(f"{how}, threshold {found['threshold']:.4f}")
    print(
        f"\n{test['images']:,} test images: coverage {test['coverage']:.2%} (asked for: {100 * args.coverage:g}%), "
        f"sets of {test['mean_size']:.1f} classes in the mean, {test['median_size']:.0f} in the middle\n"
    )
    print(f"{'classes':>12} {'images':>8} {'coverage':>9}")
    for group in test["by_size"]:
        size = f"{group['least']} to {group['most']}" if group["least"] < group["most"] else f"{group['least']}"
        share = "–" if group["coverage"] is None else f"{group['coverage']:.2%}"
        print(f"{size:>12} {group['images']:>8,} {share:>9}")
    if test["accuracy"] >= args.coverage:
        print(
            f"\nthe first class alone is right in {test['accuracy']:.2%}: sets are never empty, so they hold more often"
        )
    print(f"\nsaved in {args.directory}/{FILE}; npsoftmax eval, predict and plot use it")
    return 0
