"""`stdlib_tokens`: the next token of Python's own standard library, from the files of the interpreter that runs.

Design: always at hand, real, and with the long tail of words: half of 20,000 words occur fewer than five times. Whole
files are held out, for validation and for the test, so that nothing is learned by heart from the lines around. Words
are numbered by falling frequency in the training files alone. What is no word is `<other>`: a window may hold it, but
it is no class, and no sample has it to be guessed; so a perplexity is that of guessing words, and one with another
vocabulary is of other samples.
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from pathlib import Path

import numpy as np

from npsoftmax.data.dataset import Dataset
from npsoftmax.data.source import TOO_LONG, Source, read_source
from npsoftmax.data.split import evenly_spaced
from npsoftmax.errors import InputError

NAME = "stdlib_tokens"
VOCABULARY = 10_000  # words, if nothing else is said
LEAST, MOST = 2, 50_000
WINDOW = 8  # tokens that the next one is guessed from
HELD_OUT = 20_000  # windows at most, of those of the held-out files, for validation and for the test
EVERY = 10  # of so many files one is for validation and one for the test
TRAINING, VALIDATION, TEST = 0, 1, 2


def load_stdlib_tokens(folder: str | Path | None = None, vocabulary: int | None = None) -> Dataset:
    """Windows of WINDOW tokens, uint16 (N, 8), and the number of the next one. Classes are the `vocabulary` words.

    In windows, `vocabulary` stands for <other>, and the number after it for a place before the file begins. Windows
    before an <other> are left out; of those of held-out files, HELD_OUT are taken, evenly spaced. folder: source files
    in place of the standard library. The files of a version of Python are the same everywhere but where a distributor
    changed or left out some: `fingerprint` and `note` tell.
    Raises InputError for a vocabulary out of range, no source files, or too few.
    """
    vocabulary = VOCABULARY if vocabulary is None else vocabulary
    if not LEAST <= vocabulary <= MOST:
        raise InputError(f"--vocabulary is {vocabulary}, but a whole number from {LEAST} to {MOST:,} was expected.")
    place = Path(sysconfig.get_path("stdlib") if folder is None else folder).expanduser()
    source = read_source(place)
    part = _parts(source, place)
    words, names = _words(source, part, vocabulary)
    x, y, of_file = _windows(source, words, len(names))
    left_out = 1 - len(y) / len(source.tokens)
    training, held_out, test = (np.flatnonzero(part[of_file] == which) for which in (TRAINING, VALIDATION, TEST))
    held_out, test = (samples[evenly_spaced(len(samples), HELD_OUT)] for samples in (held_out, test))
    if not (len(training) and len(held_out) and len(test)):
        raise InputError(f"{place} has too few tokens in {len(source.files)} files to train, validate and test with.")
    kept = np.concatenate([training, held_out])
    hashed = _hash(source)
    whose = f"Python {platform.python_version()}'s standard library" if folder is None else str(place)
    note = (
        f"{whose}: {len(source.tokens):,} tokens in {len(source.files)} files (content {hashed[:12]}), {len(names):,} "
        f"words; {left_out:.1%} of the tokens are none, and nobody guesses them; every tenth file is for validation, "
        "whatever --val-split is, every tenth for the test"
    )
    note += f"; {source.unread:,} files that are no Python of this version are left out" if source.unread else ""
    return Dataset(
        NAME,
        x[kept],
        y[kept],
        x[test],
        y[test],
        names,
        note=note,
        held_out=np.arange(len(kept)) >= len(training),
        fingerprint=hashed,
        words=len(names) + 2,
    )


def window_before_the_end(tokens: list[str], names: tuple[str, ...], length: int) -> np.ndarray:
    """The window (length,) whose next token comes after all `tokens`, in the numbers of a run with these `names`."""
    numbers = {name: number for number, name in enumerate(names)}
    found = [numbers.get(token, len(names)) for token in tokens[-length:]]
    return np.array([len(names) + 1] * (length - len(found)) + found, dtype=np.uint16)


def _parts(source: Source, place: Path) -> np.ndarray:
    """Of each file TRAINING, VALIDATION or TEST, by its place in the order of the hashes of the files' names."""
    count = len(source.files)
    if count < 3:
        raise InputError(f"{place} has {count} files that can be read, but at least 3 are needed: one is for the test.")
    order = sorted(range(count), key=lambda i: hashlib.sha256(source.files[i].encode()).digest())
    each = max(1, count // EVERY)
    part = np.full(count, TRAINING)
    part[order[:each]], part[order[each : 2 * each]] = TEST, VALIDATION
    return part


def _words(source: Source, part: np.ndarray, vocabulary: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each of the source's texts as a word, or that of <other>; and the words, most frequent first."""
    lengths = np.diff(source.ends, prepend=0)
    tokens = source.tokens[np.repeat(part == TRAINING, lengths)]
    counts = np.bincount(tokens[tokens != TOO_LONG], minlength=len(source.texts))
    # Of words that are equally frequent, the first in the order of their texts.
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (-counts[i], source.texts[i]))[:vocabulary]
    if len(order) < LEAST:
        raise InputError(f"the training files have {len(order)} words, but at least {LEAST} are needed.")
    words = np.full(len(source.texts), len(order))
    words[order] = np.arange(len(order))
    return words, tuple(source.texts[i] for i in order)


def _windows(source: Source, words: np.ndarray, other: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows (N, T) that a word follows, that word (N,), and the file of each (N,)."""
    before = other + 1
    numbers = np.where(source.tokens == TOO_LONG, other, words[source.tokens]).astype(np.uint16)
    lengths = np.diff(source.ends, prepend=0)
    of_file = np.repeat(np.arange(len(lengths)), lengths)
    row = np.full(len(numbers) + WINDOW * len(lengths), before, dtype=np.uint16)
    places = np.arange(len(numbers)) + WINDOW * (of_file + 1)
    row[places] = numbers
    chosen = np.flatnonzero(numbers != other)
    windows = np.lib.stride_tricks.sliding_window_view(row, WINDOW)
    return windows[places[chosen] - WINDOW], numbers[chosen].astype(np.int64), of_file[chosen]


def _hash(source: Source) -> str:
    """SHA-256 of the names and tokens of all files."""
    found = hashlib.sha256("\n".join((*source.files, *source.texts)).encode())
    found.update(source.ends.astype("<i8").tobytes() + source.tokens.astype("<i4").tobytes())
    return found.hexdigest()
