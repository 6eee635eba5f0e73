"""Files of JSON lines, read while somebody appends to them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from controller.trial.journal import Line
from testbed.errors import InputError, TrialError

EVERY_S = 0.25
"""How often a file is looked at that did not grow."""


def follow(path: Path, alive: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> Iterator[Line]:
    """The lines of a file as they become whole, until an ``end``, or until nobody is alive who would write more.

    InputError for a line that is no JSON, or a file that is gone; TrialError when it was begun anew meanwhile.
    """
    growing = Growing(path)
    while True:
        lives = alive()  # asked before, so that what it wrote last is read
        lines = growing.take()
        yield from lines
        if lines and lines[-1].get("event") == "end":
            return
        if not lines:
            if not lives:
                return
            pause(EVERY_S)


class Growing:
    """A file that grows, and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._rest, self._number = path, 0, b"", 0

    def take(self) -> list[Line]:
        """The lines that have become whole since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:
                    raise TrialError(f"{self._path} was begun anew", f"type: testbed watch {self._path.parent}")
                file.seek(self._read)
                new = file.read()
        except OSError as error:
            raise InputError(str(self._path), error.strerror or str(error), "give the --out of a trial") from error
        self._read += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return [self._decoded(line) for line in whole]

    def _decoded(self, line: bytes) -> Line:
        self._number += 1
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            message = "the journal was changed by hand"
            raise InputError(f"{self._path}:{self._number}", "is no JSON", message) from error
        return found if isinstance(found, dict) else {}
