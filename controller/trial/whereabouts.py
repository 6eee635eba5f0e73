"""Where the trials of this machine write, and what they do until they have a journal: a file for each name.

A line is a JSON object with an ``event``: ``run`` (the first: run directory and process), ``stage``, ``learned`` and
``warned`` (each with a ``text``), ``rounds`` (from here on the journal says everything) and ``end`` (with an ``error``
where there were none). The file of a trial that is over stays until another of its name begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from controller.trial.watch import Event, Learned, Stage, TrialBegins, Warned, Watcher
from testbed.errors import TestbedError
from testbed.kept import state_folder
from testbed.lock import started

TEXTS: Mapping[type[Event], str] = {Stage: "stage", Learned: "learned", Warned: "warned"}


@dataclass(frozen=True)
class Run:
    """A trial that was begun on this machine: the file that says so, where it writes, and whether it said its end."""

    file: Path
    out: Path
    process: int
    started: str
    ended: bool = False

    @property
    def alive(self) -> bool:
        """Whether it has not ended, and its process is still there, and not another one with the same number."""
        return not self.ended and self.started != "" and started(self.process) == self.started


def folder() -> Path:
    """Where the files are."""
    return state_folder() / "runs"


def run_of(name: str) -> Run | None:
    """The run of the trial of this name that began last; None where none has, or its file cannot be read."""
    return _read(folder() / f"{name}.jsonl")


def run_into(out: Path) -> Run | None:
    """The run that wrote last into a directory, if it is known."""
    found = (_read(file) for file in sorted(folder().glob("*.jsonl")))
    return next((run for run in found if run is not None and run.out == out.resolve()), None)


def names() -> list[str]:
    """Of the trials that were begun on this machine, the last one first."""
    return [file.stem for file in sorted(folder().glob("*.jsonl"), key=lambda file: -file.stat().st_mtime)]


@contextmanager
def findable(name: str, out: Path, watcher: Watcher) -> Iterator[Watcher]:
    """Meanwhile, and until another begins, a trial is found by its name: a watcher that passes everything on.

    A second one of a name, which cannot come up while the first one runs, does not take its place. Where nothing can be
    written, the trial is not found.
    """
    before = run_of(name)
    with _opened(name, taken=before is not None and before.alive) as file:
        _append(file, "run", out=str(out.resolve()), process=os.getpid(), started=started(os.getpid()))

        def watch(event: Event) -> None:
            if isinstance(event, TrialBegins):
                _append(file, "rounds")
            elif isinstance(event, Stage | Learned | Warned):
                _append(file, TEXTS[type(event)], text=event.text)
            watcher(event)

        try:
            yield watch
        except BaseException as error:
            _append(file, "end", error=str(error) if isinstance(error, TestbedError) else type(error).__name__)
            raise
        _append(file, "end")


@contextmanager
def _opened(name: str, taken: bool) -> Iterator[IO[str] | None]:
    file = None
    with suppress(OSError):
        if not taken:
            folder().mkdir(parents=True, exist_ok=True)
            file = (folder() / f"{name}.jsonl").open("w", encoding="utf-8")
    try:
        yield file
    finally:
        if file is not None:
            file.close()


def _append(file: IO[str] | None, event: str, **what: Any) -> None:
    if file is not None:
        with suppress(OSError):
            file.write(json.dumps({"event": event, **what}) + "\n")
            file.flush()


def _read(file: Path) -> Run | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        first, ended = json.loads(lines[0]), lines[-1].startswith('{"event": "end"')
        return Run(file, Path(first["out"]), int(first["process"]), str(first["started"]), ended)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
