"""Who works on a trial: a lock per engine and name that goes with its holder, however that ends.

A lock is a file that its holder has locked (flock), with a line that says who that is. The kernel gives up the lock of
a process that is killed; a file that nobody has locked means nothing, and the next holder removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from testbed.errors import DeployError, TrialError
from testbed.kept import state_folder

DOWN = "down"
ENDS_S = 60.0
"""So long has a process to end that is told to."""
_LOOK_S = 0.1


@dataclass(frozen=True)
class Holder:
    """The process that works on a trial, and the verb that it does."""

    verb: str
    process: int
    started: str = ""

    def __str__(self) -> str:
        return f"testbed {self.verb}, process {self.process}" if self.process else "another process"


SOMEBODY = Holder("", 0)


@dataclass(frozen=True)
class Found:
    """Whom ``testbed down`` found at work.

    ``told``: told to end; it ``stays`` if it has not. ``killed``: it had the lock when it was killed.
    """

    told: Holder | None = None
    stays: bool = False
    killed: bool = False


def folder(engine: str) -> Path:
    """Where the locks for the engine of this id are."""
    return state_folder() / "locks" / hashlib.sha256(engine.encode()).hexdigest()[:12]


def names(engine: str) -> list[str]:
    """Names that are locked, or whose holder was killed."""
    return sorted(path.name for path in folder(engine).glob("*"))


@contextmanager
def held(engine: str, name: str, verb: str) -> Iterator[None]:
    """Meanwhile this process alone works on the trial of this name on the engine of this id.

    DeployError names who does already; TrialError when ``testbed down`` has ended it. Where no file can be written
    there is no lock, and the engine alone refuses a second trial of a name.
    """
    path = folder(engine) / name
    if not _can_be_locked(path):
        yield
        return
    file = _take(path)
    if file is None:
        hint = f"wait until it ends, or type: testbed down {name}"
        raise DeployError(f"{name} is in the hands of {_holder(path)}", hint)
    with _released(path, file):
        _write(file, _me(verb))
        try:
            yield
        except BaseException as error:
            if _taken_over(path):
                raise TrialError(f"{name} was ended by testbed down", "run it again when you need it") from error
            raise


@contextmanager
def taken_over(engine: str, name: str, patience_s: float = ENDS_S) -> Iterator[Found]:
    """The lock as ``testbed down`` takes it: whoever has it is told to end, and waited for.

    Without a place for locks, or when somebody does not end in ``patience_s``, it goes on without.
    """
    path, told = folder(engine) / name, None
    end = time.monotonic() + patience_s
    if not _can_be_locked(path):
        yield Found()
        return
    while (file := _take(path)) is None and time.monotonic() < end:
        holder = _holder(path)
        if holder not in (SOMEBODY, told) and holder.verb != DOWN:
            told = holder
            _tell(path, holder)
        time.sleep(_LOOK_S)
    if file is None:
        yield Found(told, stays=True)
        return
    with _released(path, file):
        killed = path.stat().st_size > 0
        _write(file, _me(DOWN))
        yield Found(told, killed=killed)


def started(process: int) -> str:
    """When a process of this host started, in the kernel's own count; empty where there is none, or it has ended."""
    try:
        _, _, rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")
    except OSError:
        return ""
    state, *fields = rest.split()
    return "" if state == "Z" else fields[18]


def _me(verb: str) -> Holder:
    return Holder(verb, os.getpid(), started(os.getpid()))


def _can_be_locked(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError:
        return False
    return True


def _take(path: Path) -> IO[str] | None:
    """The file, locked; None where somebody else has it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever had it has removed it meanwhile


@contextmanager
def _released(path: Path, file: IO[str]) -> Iterator[None]:
    """Meanwhile the lock is ours; then its file is gone."""
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _write(file: IO[str], holder: Holder) -> None:
    with suppress(OSError):  # of a full disk: the lock holds without a word
        file.truncate(0)
        file.write(json.dumps(asdict(holder)) + "\n")
        file.flush()


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def _holder(path: Path) -> Holder:
    """Who has the lock, as far as its file says."""
    try:
        return Holder(**json.loads(_lines(path)[0]))
    except (ValueError, TypeError, IndexError):
        return SOMEBODY


def _tell(path: Path, holder: Holder) -> None:
    """Ends a holder as Ctrl-C would, and lets it know why."""
    with suppress(OSError):  # it has just ended, or is another user's
        process = os.pidfd_open(holder.process)
        try:
            if _holder(path) == holder and started(holder.process) == holder.started:  # its number is nobody else's
                with path.open("a", encoding="utf-8") as file:
                    file.write(DOWN + "\n")
                signal.pidfd_send_signal(process, signal.SIGTERM)
        finally:
            os.close(process)


def _taken_over(path: Path) -> bool:
    """Whether ``testbed down`` has told the holder to end."""
    return DOWN in _lines(path)[1:]
