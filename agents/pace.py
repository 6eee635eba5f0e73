"""Pacing: do the real computation, then wait until the modelled duration has passed."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")

_PR_SET_TIMERSLACK = 29
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime (the slice), deadline, period
SHORT_NS, LONG_NS = 100_000, 20_000_000
NAP_NS, NAP_IF_LEFT_NS = 100_000, 4_000_000
_libc = ctypes.CDLL(None, use_errno=True)
_OVERRUN_TOLERANCE_NS = 200_000


def sharpen_timers() -> None:
    """Lets the sleeps of this thread, and of those that it starts, end when they should.

    Within microseconds instead of the kernel's default slack of 50 µs; on a busy core see ``ask_for_slices``.
    """
    _libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
    ask_for_slices(SHORT_NS)


def ask_for_slices(slice_ns: int) -> None:
    """Computes in slices of this length from now on.

    A thread that wakes up with a shorter slice comes before one that computes in longer ones (Linux since 6.12; no
    other kernel does anything).
    """
    if _SCHED_SETATTR:
        _libc.syscall(_SCHED_SETATTR, 0, _SCHED_ATTR.pack(_SCHED_ATTR.size, 0, 0, 0, 0, slice_ns, 0, 0), 0)


def _slice_ns(due_ns: int | None) -> int:
    """A quarter of the time left, so that what is due sooner comes first; long for what is due at no time."""
    left_ns = 4 * LONG_NS if due_ns is None else due_ns - time.monotonic_ns()
    return min(max(left_ns // 4, SHORT_NS), LONG_NS)


def _give_way(due_ns: int | None) -> None:
    """Naps, where there is room for it, so that who is due in this very instant wakes up before this thread computes.

    The kernel looks at who is to run when a thread wakes up, and then not before its next tick: one that woke up
    next to a thread which only then began to compute waited for all of that.
    """
    if due_ns is not None and due_ns - time.monotonic_ns() > NAP_IF_LEFT_NS:
        time.sleep(NAP_NS / 1e9)


def sleep_until(at_ns: int) -> None:
    """Returns at ``at_ns`` of the monotonic clock, or at once when that has passed."""
    while (left := at_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


@dataclass(frozen=True)
class Span:
    """When a task occupied the modelled processor (monotonic ns), and by how much it ran over its time.

    ``cpu_ns``: the CPU time that the work itself took on the host. ``wait_ns``: how long it had to wait for a
    core, or for its quota, on top of that; both are sums over its
    threads. ``late_ns``: how long after the end of its time this thread woke up.
    """

    start_ns: int
    end_ns: int
    overrun_ns: int = 0
    cpu_ns: int = 0
    wait_ns: int = 0
    late_ns: int = 0

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    def split(self, durations_s: Sequence[float]) -> list[Span]:
        """The spans of tasks that were done as one piece of work, by their modelled durations.

        What it ran over, and how late the thread woke up, belong to the last.
        """
        total_s, modelled_ns = sum(durations_s), max(0, self.end_ns - self.start_ns - self.overrun_ns - self.late_ns)
        shares = [each / total_s if total_s else 1 / len(durations_s) for each in durations_s]
        ends = [self.start_ns + round(modelled_ns * until) for until in accumulate(shares)]
        spans = [
            Span(start, end, cpu_ns=round(self.cpu_ns * share), wait_ns=round(self.wait_ns * share))
            for start, end, share in zip((self.start_ns, *ends), ends, shares, strict=False)
        ]
        return [*spans[:-1], replace(spans[-1], end_ns=self.end_ns, overrun_ns=self.overrun_ns, late_ns=self.late_ns)]


class Pacer:
    """A modelled processor that runs one task at a time.

    A task starts when its input is there and the processor is free, by the modelled times
    and not by when this thread woke up, so that late wake-ups do not add up over a round. What it is given to do is
    shared out over so many ``threads``.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._cpu_ns = time.thread_time_ns if threads == 1 else time.process_time_ns
        self._free_ns = 0
        self._last_end_ns = 0

    def start_round(self, at_ns: int) -> None:
        """The processor is free from ``at_ns`` on."""
        self._free_ns = self._last_end_ns = at_ns

    @property
    def free_ns(self) -> int:
        """When the processor is done with what it was given."""
        return self._free_ns

    def run(self, work: Callable[[], T], ready_ns: int, duration_s: float | None) -> tuple[T, Span]:
        """Does ``work``, returns its result and the span it took.

        ``ready_ns``: when the task's input was there. ``duration_s``: wall seconds that the
        modelled processor needs, None for as long as it takes (``compute: quota``).
        """
        begin_ns = max(self._free_ns, ready_ns)
        due_ns = None if duration_s is None else begin_ns + round(duration_s * 1e9)
        _give_way(due_ns)
        ask_for_slices(_slice_ns(due_ns))
        cpu_ns, started_ns = -self._cpu_ns(), time.monotonic_ns()
        result = work()
        done_ns = time.monotonic_ns()
        cpu_ns += self._cpu_ns()
        ask_for_slices(SHORT_NS)
        if due_ns is None:
            due_ns = done_ns
        overrun_ns = done_ns - due_ns
        if overrun_ns > _OVERRUN_TOLERANCE_NS:
            self._free_ns = done_ns
        else:
            overrun_ns = 0
            sleep_until(due_ns)
            self._free_ns = due_ns
        start_ns, end_ns = max(begin_ns, self._last_end_ns), max(time.monotonic_ns(), self._last_end_ns)
        wait_ns = max(0, (done_ns - started_ns) * self._threads - cpu_ns)
        self._last_end_ns = end_ns
        return result, Span(start_ns, end_ns, overrun_ns, cpu_ns, wait_ns, end_ns - self._free_ns)
