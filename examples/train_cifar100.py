"""Train a network on CIFAR-100, every gradient of it written by hand. The same options as `npsoftmax train`.

python examples/train_cifar100.py                                    # the embedded set, a minute on two idle cores
python examples/train_cifar100.py --data-dir DIR --model convnet --epochs 5
python examples/train_cifar100.py --backend cupy --head hierarchical
"""

import sys

from npsoftmax.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
