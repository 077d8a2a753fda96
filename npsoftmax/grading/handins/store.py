"""What is graded already, in a file of one line a hand-in, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any


class Store:
    """A file of JSON lines; None for none. terms: what the marks depend on beside the files, such as the seed."""

    def __init__(self, file: Path | None, terms: str):
        self.file, self.terms = file, terms
        self.lock = threading.Lock()
        self.known: dict[tuple[str, str], dict[str, Any]] = {}
        if file is None or not file.is_file():
            return
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                entry = json.loads(line)
                self.known[entry["submission"], entry["key"]] = entry["graded"]
            except (ValueError, KeyError, TypeError, RecursionError):  # the last line of a run that was killed
                continue

    def get(self, submission: str, content: str) -> dict[str, Any] | None:
        """What was graded before of the same content on the same terms."""
        return self.known.get((submission, self._key(content)))

    def put(self, submission: str, content: str, graded: dict[str, Any]) -> None:
        """Keep it, on disk at once."""
        if self.file is None:
            return
        entry = {"submission": submission, "key": self._key(content), "graded": graded}
        with self.lock, self.file.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(entry)}")  # the break comes first: the last line may have been cut off

    def _key(self, content: str) -> str:
        return hashlib.sha256(f"{self.terms} {content}".encode()).hexdigest()
