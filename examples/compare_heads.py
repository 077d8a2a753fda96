"""Compare softmax heads or published recipes, each with several seeds, and write one report.

    python examples/compare_heads.py --heads softmax,gumbel_softmax,hierarchical --epochs 3
    python examples/compare_heads.py e3 --seeds 3 --data-dir DIR

The same as `npsoftmax compare`.
"""

import sys

from npsoftmax.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
