"""`npsoftmax grade a1 a2 --class FOLDER`: what a class got wrong, as a page, tables and feedback."""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import Any

from npsoftmax.cli._surroundings import INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Grade, write and say what was written and what needs a look: 0, or 130 where Ctrl-C ended it."""
    from npsoftmax.errors import InputError
    from npsoftmax.grading.classroom.files import write_class
    from npsoftmax.grading.classroom.gather import gather
    from npsoftmax.grading.classroom.roster import read_roster
    from npsoftmax.grading.exercises import EXERCISES, SEED, find
    from npsoftmax.grading.gradebook import score
    from npsoftmax.grading.handins.students import submissions_in

    if args.out is None:
        raise InputError("--class needs --out DIR, the folder for class.html, marks.csv and the feedback.")
    if args.out.is_file():
        raise InputError(f"--out {args.out} is a file; name a folder.")
    targets = [target for target in (args.target, args.path, *args.more) if target is not None]
    wanted = {e.name for target in targets or [None] for e in find(target)}
    exercises = [exercise for exercise in EXERCISES.values() if exercise.name in wanted]
    roster = read_roster(args.roster) if args.roster is not None else None
    try:
        submissions_in(args.class_)
    except InputError as error:  # before anything is written
        raise InputError(str(error).replace("--csv", "--class", 1)) from error

    def tell(graded: Any) -> None:
        reached, possible = score(graded.rows)
        say(f"{graded.submission}: {reached} of {possible}", sys.stderr)

    seed = SEED if args.seed is None else args.seed
    args.out.mkdir(parents=True, exist_ok=True)
    known = args.roster.read_bytes() if args.roster is not None else b""
    store = args.out / f".graded-{hashlib.sha256(known + str(seed).encode()).hexdigest()[:12]}"  # good for these people
    try:
        room = gather(args.class_, exercises, roster, seed, args.time_limit, hidden=args.hidden, store=store, tell=tell)
    except KeyboardInterrupt:
        say("stopped; typed again, it goes on where it was", sys.stderr)
        return INTERRUPTED
    written = write_class(room, args.out)
    for path in written[: len(written) - len(room.students)]:
        say(str(path))
    say(f"{args.out / 'feedback'}: a page for each of {len(room.students)}")
    for student in room.strangers:
        say(f"whose is {student.handin}? {student.why}")
    if room.absent:
        say(f"without a hand-in: {', '.join(map(str, room.absent))}")
    if roster is None:
        say("no files for Moodle and Canvas: they need --roster FILE, a CSV of your class")
    return 0


def say(text: str, stream: Any = None) -> None:
    """Print; characters that the terminal does not have become question marks, and names cannot steer it."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    print(shown.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
