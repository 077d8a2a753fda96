"""`npsoftmax calibrate RUN`: make the probabilities of a run mean what they say."""

from __future__ import annotations

import argparse
from typing import Any

from npsoftmax.cli._after import add_run_options, changes_of, say, say_basis

DESCRIPTION = """Fit a temperature, or two numbers a class, on images that the run held out, so that what is said with a
probability of 80 percent is right in 80 of 100 cases. calibration.json beside the run has it; eval, predict and plot
use it. What it does to the test set is shown, and decides nothing. docs/calibration.md"""

END = {
    False: "the answers to these images are nearly all right, so they cannot say how sure it should be of harder ones",
    True: "these probabilities say next to nothing of the right class; is the run trained?",
}


def add_parser(subparsers: Any) -> None:
    """Register this command and its options."""
    parser = subparsers.add_parser("calibrate", help="fit a temperature to a run", description=DESCRIPTION)
    add_run_options(parser)
    parser.add_argument(
        "--method",
        default="temperature",
        metavar="NAME",
        help="temperature (one number; no prediction changes) or vector (two numbers a class) (default: temperature)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, save and show; returns the exit code."""
    from npsoftmax.training.calibrate import FILE, calibrate

    found = calibrate(args.directory, args.checkpoint, args.method, **changes_of(args))
    if say(args, found):
        return 0
    say_basis(args, found)
    if found["temperature"] is not None:
        print(f"temperature {found['temperature']:.4g}")
        if found["at_the_end_of_the_bracket"]:
            print(f"note: this is the end of what is looked at: {END[found['temperature'] > 1]}")
    folds = {name: nll for name, nll in found["nll_across_folds"].items() if nll is not None}
    print(f"\n{'':<28} {'accuracy':>9} {'nll':>8} {'ece':>8}")
    for place, title in (("fitted_on", "the images it is fitted on"), ("test", "test images")):
        for when in ("before", "after"):
            scores = found[place][when]
            numbers = f"{scores['accuracy']:>9.4f} {scores['nll']:>8.4f} {scores['ece']:>8.4f}"
            print(f"{title + ',' if when == 'before' else '':<28}{numbers}   {when}")
    if len(folds) == 2:
        better = min(folds, key=lambda name: folds[name])
        told = ", ".join(f"{name} {nll:.4f}" for name, nll in folds.items())
        print(f"\nnll of a fifth of the images, fitted on the others: {told} ({better} is better)")
    print(f"\nsaved in {args.directory}/{FILE}; npsoftmax eval, predict and plot use it")
    return 0
