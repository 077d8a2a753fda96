"""What a command may meet around it: odd consoles, a closed output, a folder that is gone, Ctrl-C while it loads."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from npsoftmax.errors import InputError

INTERRUPTED = 128 + signal.SIGINT  # the exit code of a program that Ctrl-C ended, as shells count
LONGEST = 80  # characters of a name in an error


def prepare_surroundings() -> None:
    """Let output, and figures, work whatever the console is.

    A character that the console does not have becomes a question mark. A stream that was closed becomes the null
    device: the next file would otherwise get its number, and what is printed. Figures here are files, so the backend
    that a notebook chooses for its children is never used, and matplotlib would stop at one that it cannot load.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (it stays open)
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    os.environ["MPLBACKEND"] = "agg"


def with_home(words: Sequence[str]) -> list[str]:
    """`words` with ~ as the home folder where the shell leaves it: --out=~/run, '~/run'."""
    found = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        is_path = value == "~" or (value.startswith("~") and "/" in value)
        found.append(f"{option}{equals}{os.path.expanduser(value)}" if is_path else word)
    return found


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Within it, Ctrl-C ends the program with one line: nothing is begun yet, and an import would leave a traceback."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def end(*_: Any) -> None:
        os.write(2, b"npsoftmax: interrupted\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def columns_of_output() -> int | None:
    """How wide the output is: what COLUMNS says, or the terminal; None for a file or a pipe of any width."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    return None


def refused_by_system(error: OSError) -> InputError:
    """What the system refused, as a sentence."""
    name = str(error.filename or "a file or a stream")
    shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}…"
    reason = error.strerror or str(error)
    if error.errno == errno.ENAMETOOLONG:
        longest = max(name.split(os.sep), key=lambda part: len(os.fsencode(part)))
        size = len(os.fsencode(longest))
        counted = f"{len(longest)} characters" if len(longest) == size else f"{len(longest)} characters, {size} bytes,"
        reason = f"a name of {counted} is too long; most systems take 255 bytes"
    return InputError(f"cannot use {shown}: {reason}.")


def lost_folder() -> str:
    """A sentence where the working folder is gone, which explains other errors; else nothing."""
    try:
        os.getcwd()
    except OSError:
        return " The folder that you are in was deleted or moved; cd to another one."
    return ""


def nobody_reads() -> None:
    """The reader of a pipe has gone: let what is still to be written go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(null, stream.fileno())
    os.close(null)
