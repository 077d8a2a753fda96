"""Train a convolutional network on the functions that you wrote in assignments a1 to a3, beside the library's own.

python examples/train_with_my_gradients.py PATH            # the folder with a1_softmax, a2_layers and a3_conv
python examples/train_with_my_gradients.py PATH --steps 300
"""

import argparse
import sys
from pathlib import Path

from npsoftmax.errors import InputError
from npsoftmax.grading.capstone import STEPS_COMPARED, compare, draw, obstacles


def main(argv: list[str] | None = None) -> int:
    """Check, train twice, compare and draw: 0 if the curves are one, 1 if a function is wrong, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder you work in")
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: 100)")
    parser.add_argument("--data", default="digits", help="digits (default), synthetic100, cifar10 or cifar100")
    parser.add_argument("--out", type=Path, default=Path("my_gradients.png"), help="the figure")
    args = parser.parse_args(argv)
    try:
        return run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """The work of `main`."""
    if not args.path.is_dir():
        raise InputError(f"there is no folder {args.path}.")
    print("checking the functions that the network needs …", flush=True)
    wrong = obstacles(args.path)
    for row in wrong:
        print(row["report"] or f"· {row['assignment']} {row['exercise']}  {row['state']}")
    if wrong:
        names = ", ".join(row["exercise"] for row in wrong)
        print(f"\nnot trained: a network on a wrong gradient only hides where it is wrong. Not passed: {names}")
        return 1
    curves = compare(args.path, args.steps, args.data, tell=progress)
    draw(curves, args.out)
    compared = min(STEPS_COMPARED, args.steps)
    print(f"largest difference in the first {compared} steps: {curves.gap:.1g}; the curves: {args.out}")
    print("one curve: every gradient in it is yours." if curves.same else "two curves: something differs in training.")
    return 0 if curves.same else 1


def progress(who: str, step: int, loss: float) -> None:
    """A line every twenty steps."""
    if step % 20 == 0:
        print(f"{who:>9}  step {step + 1:>4}  loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
