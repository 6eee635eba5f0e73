"""The journal of a trial, ``events.jsonl``: append-only, versioned, and what everything else is derived from.

A line is a JSON object with an ``event``: ``journal`` (the first: version, topology, host, dilation, the schemes
``coming``, and what the plans were made with), ``scheme`` (its plan and what was predicted), ``plan`` (made anew before
a round, or kept; ``why`` where UEs were lost or are back), ``change`` (of a link or a device), ``round_begins``,
``injected`` (a fault of the topology's, or why it was not) and ``undone``, ``fault`` (a UE was lost), ``returned`` (it
takes part again), ``task``, ``round`` (it ended), ``evaluation``, ``checkpoint``, ``scheme_end`` (with a digest of all
``weights``), and ``end`` (with an ``error``, and the agents that were ``lost``, where the trial broke off).

A ``fault`` says which ``ue`` was lost in or before which ``round``, its ``kind`` (killed, oom, frozen, cut) and
``why``, ``at_s`` and ``detected_s`` (emulated, from the start of the round; ``at_s`` null where nobody knows), the keys
of the transfers that ``came`` of it in that round, and those of optimiser steps that others had made too ``late``: on
gradients of a loss over all samples. ``returned`` says whose ``weights`` it has: its ``own``, the newest ``shared``
ones, those of a ``checkpoint``, or ``initial`` ones. A ``round`` has the ``samples`` of each UE that came and that were
lost; if it is ``degraded``, it lasted at least ``until_s``.

``restart`` (of the base station) and ``resume`` (by another controller) say ``from_round``: lines of later rounds of
their ``scheme`` that stand before them are void, as those rounds are done again (``in_force``). ``at`` is in wall
seconds since 1970. Older journals lack some of that.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from testbed.errors import InputError, StorageError
from testbed.files import storing

Line = dict[str, Any]

VERSION, READS = 3, (1, 2, 3)
"""What is written, and what can be read: version 1 had no ``plan`` lines, version 2 no ``fault`` lines."""
FILE, RESULTS = "events.jsonl", "results.json"
_VOIDING = ("restart", "resume")
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What comes of lines that are JSON, and yet no journal: they lack something, or contradict each other."""


class Journal:
    """Appends lines, and has those in force at hand. Used as a context manager. StorageError of a full disk.

    With ``lines`` it goes on with the journal that holds these in its first ``length`` bytes; what follows, a line that
    was cut off, goes.
    """

    def __init__(self, out: Path, lines: Sequence[Line] = (), length: int = 0) -> None:
        self.lines: list[Line] = list(lines)
        self._path, self._length = out / FILE, length
        self._appending = threading.Lock()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        with storing(self._path):
            if self.lines:
                os.truncate(self._path, self._length)
            self._file = self._path.open("ab" if self.lines else "wb", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            with self._file, suppress(StorageError) if kind else nullcontext():
                self.sync()

    def sync(self) -> None:
        """Returns when the disk has all lines."""
        assert self._file is not None
        with storing(self._path):
            os.fsync(self._file.fileno())

    def append(self, event: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Appends events of one kind, from any thread; when it returns, the operating system has them.

        All of them, or none.
        """
        assert self._file is not None
        whole = [{"event": event, **line} for line in lines]
        left = memoryview("".join(json.dumps(line) + "\n" for line in whole).encode())
        with self._appending, storing(self._path):
            end = self._file.tell()
            try:
                while left:
                    left = left[self._file.write(left) :]
            except BaseException:
                self._file.truncate(end)  # which makes room for a line that says why
                self._file.seek(end)
                raise
            self.lines += whole
            if event in _VOIDING:
                self.lines = in_force(self.lines)


def in_force(lines: Iterable[Line]) -> list[Line]:
    """The lines without those of rounds that were done again, and without ends after which a trial went on.

    Faults were done all the same, and strike once: those of such rounds stay, with ``again``.
    """
    found: list[Line] = []
    for line in lines:
        event = line.get("event")
        if event in _VOIDING:
            scheme, from_round = line.get("scheme"), line.get("from_round", 0)
            void = [one.get("scheme") == scheme and one.get("round", 0) > from_round for one in found]
            found = [
                one | {"again": True} if gone else one
                for one, gone in zip(found, void, strict=True)
                if not gone or one.get("event") == "injected"
            ]
            found = [one for one in found if event != "resume" or one.get("event") != "end"]
        found.append(line)
    return found


def read(out: Path) -> list[Line]:
    """The lines in force of a run directory's journal; a last line that was cut off is left out. InputError."""
    lines, wrong = read_as_far(out)
    if wrong is not None:
        raise wrong
    return lines


def read_all(out: Path) -> list[Line]:
    """All lines of a run directory's journal, also those of rounds that were done again. InputError."""
    lines, wrong = _all_as_far(out)
    if wrong is not None:
        raise wrong
    return lines


def read_as_far(out: Path) -> tuple[list[Line], InputError | None]:
    """The lines in force up to one that is no JSON, and what is wrong with it. InputError where none can be read.

    A last line that was being written when the trial ended is left out.
    """
    lines, wrong = _all_as_far(out)
    return in_force(lines), wrong


def _all_as_far(out: Path) -> tuple[list[Line], InputError | None]:
    path = out / FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(str(out), f"has no {FILE} that can be read", "give the --out of a trial") from error
    lines, wrong = parsed(path, text)
    check(path, lines)
    return lines, wrong


def parsed(path: Path, text: str) -> tuple[list[Line], InputError | None]:
    """All lines of a journal up to one that is no JSON, and what is wrong with that one, unless it is the last."""
    lines: list[Line] = []
    wrong: InputError | None = None
    whole = text.split("\n")
    decode = json.JSONDecoder().decode
    for number, one in enumerate(whole, 1):
        try:
            if one:
                lines.append(_object(decode(one)))
        except (ValueError, RecursionError):
            if number < len(whole):
                wrong = InputError(f"{path}:{number}", "is no JSON object", "the journal was changed by hand")
            break
    return lines, wrong


def _object(found: Any) -> Line:
    if not isinstance(found, dict):
        raise ValueError
    return found


def check(path: Path, lines: Sequence[Line]) -> None:
    """InputError unless the lines begin like a journal of this version."""
    head = lines[0] if lines else {}
    if not isinstance(head, dict) or head.get("event") != "journal":
        raise InputError(f"{path}:1", "is not the beginning of a journal", "was it written by an older version?")
    if head.get("version") not in READS:
        message = f"is of version {in_a_line(head.get('version'))}, and this reads {' and '.join(map(str, READS))}"
        raise InputError(f"{path}:1", message, "use the testbed that wrote it")


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Whatever is done with a journal's lines in here: InputError where they do not fit together."""
    try:
        yield
    except MISFITS as error:
        what = f"its lines do not fit together: {type(error).__name__} {in_a_line(error)}"
        raise InputError(str(path), what, "were they changed by hand?") from error


def in_a_line(said: object) -> str:
    """What is said of lines that anybody may have written, where no more than a line is to be said."""
    text = next(iter(str(said).strip().splitlines()), "")
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 100 else f"{text[:97]}…"


def finished(out: Path) -> bool:
    """Whether a run directory holds a trial that ran to its end."""
    try:
        last = read(out)[-1]
    except InputError:
        return (out / RESULTS).exists() and not (out / FILE).exists()
    return last.get("event") == "end" and "error" not in last
