"""What is done with one input, and inputs made of whole files: bits turned, pieces cut, doubled, replaced."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from readers import Reader
from watch import watched

WORDS = (
    b"\0", b"\xff" * 8, b"-1", b"0", b"1e999", b"NaN", b"null", b"{}", b"[]", b'"', b"'", b"../", b"/etc/passwd", b"\\",
    b"9" * 400, b"18446744073709551616", b"2147483648", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b",",
    b"[" * 5000, b"__import__('os').system('touch owned')", b"cos\nsystem\n(S'touch owned'\ntR.", b"PK\x03\x04",
    b"\x93NUMPY", b"O",
)  # fmt: skip


def try_one(reader: Reader, folder: Path, data: bytes) -> str:
    """Let a reader read; returns "read" or the name of what it raised. Anything that it may not raise comes through."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with watched(folder):
            reader.read(folder, data)
    except reader.raises as error:
        return type(error).__name__
    return "read"


def mutated(draw: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """A whole file, changed in one to six places, mostly in one."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        place = draw.randrange(len(data) + 1)
        length = min(len(data) - place, draw.choice((1, 1, 2, 4, 8, 40, 400)))
        match draw.randrange(6):
            case 0:
                data[place : place + length] = draw.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length] * draw.choice((1, 2, 50))
            case 3:
                data[place:place] = draw.choice(WORDS)
            case 4:
                data[place : place + len(word)] = (word := draw.choice(WORDS))
            case _ if place < len(data):
                data[place] ^= 1 << draw.randrange(8)
        del data[2**20 :]
    return bytes(data)
