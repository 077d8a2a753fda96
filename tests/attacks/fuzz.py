"""Fuzzing of every reader of files, guided by what code an input reaches: `pip install atheris`, then

    python tests/attacks/fuzz.py                      # all readers, 2,000 inputs each, and what came of them
    python tests/attacks/fuzz.py --inputs 50000 --json figures.json
    python tests/attacks/fuzz.py zip pickle           # some readers

A reader runs in a process of its own, with a limit on its memory. An input that it may not treat so (another exception
than InputError, a program started, a file written elsewhere) is kept in the folder --found, and is the last line said;
it belongs into tests/attacks/corpus/<reader>/, where the tests read it from then on, once it is mended.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
MEMORY = 2**31  # bytes that a reader's process may have beyond what it starts with


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the readers of files.")
    parser.add_argument("readers", nargs="*", help="names in READERS of readers.py (default: all)")
    parser.add_argument("--inputs", type=int, default=2000, help="how many, of each reader (2,000)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--found", type=Path, default=Path("found"), help="folder for inputs that do harm (found/)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return fuzz(args.child, args.inputs, args.found)
    names = args.readers or json.loads(_child("--child", "?"))
    figures = {name: _figures(name, args.inputs, args.found) for name in names}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(f["harm"] == 0 for f in figures.values()) else 1


def _child(*words: str) -> str:
    command = [sys.executable, "-W", "ignore", __file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    return done.stdout.splitlines()[-1]


def _figures(name: str, inputs: int, found: Path) -> dict:
    start = time.perf_counter()
    told = json.loads(_child("--child", name, "--inputs", str(inputs), "--found", str(found)))
    told["seconds"] = round(time.perf_counter() - start, 1)
    print(f"{name:18} {told}", flush=True)
    return told


def fuzz(name: str, inputs: int, found: Path) -> int:
    """What a reader's process does; its last line is what came of the inputs."""
    import atheris

    with atheris.instrument_imports(include=["npsoftmax"]):
        sys.path.insert(0, str(HERE))
        from inputs import try_one
        from readers import make_readers

    scratch = Path(tempfile.mkdtemp())
    readers = make_readers(scratch)
    if name == "?":
        print(json.dumps(list(readers)))
        return 0
    reader, seeds = readers[name], scratch / "seeds"
    seeds.mkdir()
    for number, seed in enumerate((*reader.seeds, *(p.read_bytes() for p in (HERE / "corpus" / name).glob("*")))):
        (seeds / str(number)).write_bytes(seed)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    told: dict = {"inputs": 0, "read": 0, "refused": 0, "harm": 0}

    def one(data: bytes) -> None:
        told["inputs"] += 1
        try:
            told["read" if try_one(reader, scratch / "f", data) == "read" else "refused"] += 1
        except BaseException as error:
            told["harm"] += 1
            found.mkdir(exist_ok=True)
            (found / f"{name}-{told['harm']}").write_bytes(data)
            told["last"] = f"{type(error).__name__}: {error!s:.150}"
        if told["inputs"] >= inputs:
            told["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps(told), flush=True)
            os._exit(0)

    atheris.Setup([sys.argv[0], str(seeds), "-runs=-1", "-seed=1", "-max_len=20000", "-verbosity=0"], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
