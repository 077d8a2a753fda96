"""Train networks on the functions that you wrote in the assignments, beside the library's own.

python examples/train_with_my_gradients.py PATH                    # the folder with a1_softmax, a2_layers, a3_conv …
python examples/train_with_my_gradients.py PATH --steps 300 --model vit_small

The same as `npsoftmax train --my-gradients PATH`.
"""

import sys

from npsoftmax.cli.main import main as npsoftmax


def main(argv: list[str] | None = None) -> int:
    """0 if the curves are one, 1 if a function is wrong, 2 for bad input."""
    return npsoftmax(["train", "--my-gradients", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
