"""The journal of a trial, ``events.jsonl``: append-only, versioned, and what everything else is derived from.

A line is a JSON object with an ``event``: ``journal`` (the first: version, topology, host, dilation, the schemes
``coming``), ``scheme`` (its plan and what was predicted), ``plan`` (made anew before a round, or kept), ``change`` (of
a link or a device), ``round_begins``, ``task``, ``round`` (it ended), ``evaluation``, ``scheme_end``, and ``end`` (with
an ``error``, and the agents that were ``lost``, where the trial broke off). ``at`` is in wall seconds since 1970.
Older journals have neither ``coming``, ``round_begins``, ``lost`` nor ``at``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from testbed.errors import InputError

Line = dict[str, Any]

VERSION, READS = 2, (1, 2)
"""What is written, and what can be read: version 1 had no ``plan`` lines."""
FILE, RESULTS = "events.jsonl", "results.json"


class Journal:
    """Appends lines, and has them at hand. Used as a context manager."""

    def __init__(self, out: Path) -> None:
        self.lines: list[Line] = []
        self._path = out / FILE
        self._file: IO[str] | None = None

    def __enter__(self) -> Journal:
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def append(self, event: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends events of one kind; when it returns, the operating system has them."""
        assert self._file is not None
        for line in lines:
            whole = {"event": event, **line}
            self.lines.append(whole)
            self._file.write(json.dumps(whole) + "\n")
        self._file.flush()


def read(out: Path) -> list[Line]:
    """The lines of a run directory's journal; a last line that was cut off is left out. InputError."""
    lines, wrong = read_as_far(out)
    if wrong is not None:
        raise wrong
    return lines


def read_as_far(out: Path) -> tuple[list[Line], InputError | None]:
    """The lines up to one that is no JSON, and what is wrong with that one. InputError where it cannot be read at all.

    A last line that was being written when the trial ended is left out.
    """
    path = out / FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(str(out), f"has no {FILE} that can be read", "give the --out of a trial") from error
    lines: list[Line] = []
    wrong: InputError | None = None
    whole = text.split("\n")
    decode = json.JSONDecoder().decode
    for number, one in enumerate(whole, 1):
        try:
            if one:
                lines.append(decode(one))
        except ValueError:
            if number < len(whole):
                wrong = InputError(f"{path}:{number}", "is no JSON", "the journal was changed by hand")
            break
    check(path, lines)
    return lines, wrong


def check(path: Path, lines: Sequence[Line]) -> None:
    """InputError unless the lines begin like a journal of this version."""
    head = lines[0] if lines else {}
    if not isinstance(head, dict) or head.get("event") != "journal":
        raise InputError(f"{path}:1", "is not the beginning of a journal", "was it written by an older version?")
    if head.get("version") not in READS:
        message = f"is of version {head.get('version')}, and this reads {' and '.join(map(str, READS))}"
        raise InputError(f"{path}:1", message, "use the testbed that wrote it")


def finished(out: Path) -> bool:
    """Whether a run directory holds a trial that ran to its end."""
    try:
        last = read(out)[-1]
    except InputError:
        return (out / RESULTS).exists() and not (out / FILE).exists()
    return last["event"] == "end" and "error" not in last
