"""A worker: `python -m npsoftmax.bench JOB` does what JOB (JSON) says and prints the answer as one line of JSON."""

from __future__ import annotations

import json
import sys

from npsoftmax.bench.workers import BenchmarkError, work

if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(work(json.loads(sys.argv[1]))) + "\n")
    except BenchmarkError as error:
        sys.exit(str(error))
