"""One program's attempt at a file: it ends in time, within memory, with a result or an error meant for the user."""

from __future__ import annotations

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import TestbedError

MEMORY_BYTES = 3 << 30
"""What a process may have mapped over what it had before."""


class TooLong(BaseException):
    """It did not end in time. No Exception, so that nothing on the way takes it for one of its own."""


def attempt(what: Callable[[], object], most_s: float, exit_status: int | None = 2) -> str:
    """Runs it: '' when it ended well or refused in words, else what a user would have met.

    ``exit_status``: what every refusal must lead to; None where any of ours will do.
    """
    try:
        with _in_time(most_s):
            what()
    except TestbedError as error:
        if "\n" in str(error).strip() or (exit_status is not None and error.exit_status != exit_status):
            return f"{type(error).__name__} with exit {error.exit_status}: {str(error)[:200]!r}"
    except (Exception, TooLong) as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}" if ours else "nowhere"
        return f"{type(error).__name__} at {at}: {str(error)[:120]!r}"
    return ""


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Whoever asks for more than ``MEMORY_BYTES`` more gets a MemoryError; for this whole process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _in_time(most_s: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong(f"over {most_s:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, most_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
