"""`python -m npsoftmax COMMAND`: the same as `npsoftmax COMMAND`."""

import sys

from npsoftmax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
