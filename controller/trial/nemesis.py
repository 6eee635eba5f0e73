"""Does what a topology's ``faults`` ask for, at the tasks that they name, and undoes it in time."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from agents.schedule.task import BS, Schedule
from controller.predict.simulate import Timeline
from controller.predict.strikes import Strike, Strikes
from controller.trial.session import LEAD_NS
from testbed.errors import TestbedError
from testbed.faults import Kind

Record = Callable[[str, Mapping[str, Any]], None]
"""Takes what a journal is told: the event, and the rest of its line."""


Struck = tuple[str, int, str, Kind]
"""Scheme, round, agent and kind of a fault."""


class Breaks(Protocol):
    """What does and undoes faults: ``testbed.injection.Injector``."""

    def break_(self, agent: str, kind: Kind) -> None:
        """Does this to an agent."""

    def mend(self, agent: str, kind: Kind) -> None:
        """Undoes it."""


@dataclass(frozen=True)
class _Round:
    """A round that goes on: what is to happen in it, and when it is predicted to."""

    label: str
    number: int
    schedule: Schedule
    timeline: Timeline
    dilation: float


@dataclass(frozen=True)
class _Segment:
    """A part of a round: when it starts (monotonic ns), and at which emulated second of the round, as predicted."""

    of: _Round
    start_ns: int
    begin_s: float

    def now_s(self) -> float:
        """The emulated second of the round that it is."""
        return self.begin_s + (time.monotonic_ns() - self.start_ns) / 1e9 / self.of.dilation


@dataclass(order=True)
class _Due:
    at_ns: int
    order: int
    do: Callable[[], None] = field(compare=False)


class Nemesis:
    """A thread that breaks things while rounds go on. Used as a context manager; at its end all is undone.

    What it does is recorded as it is done: ``injected`` lines, with ``failed`` where it could not be or ``skipped``
    where there was nothing to break, and ``undone`` lines.
    """

    def __init__(
        self, breaks: Breaks, strikes: Mapping[str, Strikes], record: Record, struck: Collection[Struck] = ()
    ) -> None:
        """``struck``: what has been done already. Rounds may be done again, but nothing in them strikes twice."""
        self._breaks, self._strikes, self._record = breaks, strikes, record
        self._struck = set(struck)
        self._due: list[_Due] = []
        self._order = itertools.count()
        self._broken: dict[str, tuple[Kind, _Round]] = {}
        self._changed = threading.Condition()
        self._working = threading.Lock()
        self._closed = False
        self._round: _Round | None = None
        self._thread = threading.Thread(target=self._work, name="nemesis", daemon=True)

    def __enter__(self) -> Nemesis:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._undo_all()

    def round_begins(self, label: str, number: int, schedule: Schedule, timeline: Timeline, dilation: float) -> None:
        """A round is about to be done by this schedule, predicted so, with so many wall seconds to an emulated one."""
        self._round = _Round(label, number, schedule, timeline, dilation)

    def segment_begins(self, index: int) -> None:
        """A segment of it is about to be started: what is to strike in it is set, but not in a round done again."""
        assert self._round is not None
        now = self._round
        segment = _Segment(now, time.monotonic_ns() + LEAD_NS, sum(now.timeline.segments_s[:index]))
        for strike in self._strikes.get(now.label, {}).get(now.number, ()):
            done = (now.label, now.number, strike.ue, strike.kind)
            if done not in self._struck and _segment(now.schedule, strike) == index:
                self._struck.add(done)
                offset_s = middle_s(now.timeline, strike, index)
                due_ns = segment.start_ns + round(offset_s * now.dilation * 1e9)
                self._set(due_ns, partial(self._strike, strike, segment))

    def scheme_ends(self) -> None:
        """What was to be broken until then is undone, and nothing more strikes."""
        with self._changed:
            self._due.clear()
        self._undo_all()

    def _set(self, at_ns: int, do: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, _Due(at_ns, next(self._order), do))
            self._changed.notify()

    def _work(self) -> None:
        while (due := self._next()) is not None:
            with self._working:
                due.do()

    def _next(self) -> _Due | None:
        """What is due next, when it is; None when nothing more will be."""
        with self._changed:
            while not self._closed:
                left_s = (self._due[0].at_ns - time.monotonic_ns()) / 1e9 if self._due else None
                if left_s is not None and left_s <= 0:
                    return heapq.heappop(self._due)
                self._changed.wait(left_s)
        return None

    def _strike(self, strike: Strike, segment: _Segment) -> None:
        now = segment.of
        line: dict[str, Any] = {"round": now.number, "ue": strike.ue, "kind": strike.kind}
        line |= {"task": list(strike.key)} if strike.key else {}
        line |= {"for_s": strike.for_s} if strike.for_s else {}
        why = self._why_not(strike, now)
        line |= {"skipped": why} if why else self._break(strike, now)
        line |= {"at_s": segment.now_s(), "at": time.time()}
        self._record("injected", {"scheme": now.label, **line})

    def _why_not(self, strike: Strike, now: _Round) -> str:
        """Why there is nothing to break; empty where there is."""
        if now is not self._round:
            return "the round was over before"
        if strike.ue in self._broken:
            return f"{strike.ue} is already broken"
        if strike.ue not in (*now.schedule.ues, BS):
            return f"{strike.ue} takes no part"
        if strike.key is not None and strike.key not in now.schedule.by_key:
            return f"there is no {strike.key} in this round"
        if strike.drawn and not set(now.schedule.ues) - {*self._broken, strike.ue}:
            return f"nobody else is left but {strike.ue}"
        return ""

    def _break(self, strike: Strike, now: _Round) -> dict[str, str]:
        """Breaks it, and sets when it is undone; why it could not be, in a line's words."""
        try:
            self._breaks.break_(strike.ue, strike.kind)
        except TestbedError as error:
            return {"failed": str(error)}
        self._broken[strike.ue] = (strike.kind, now)
        for_s = 0.0 if strike.kind == "restart" else strike.for_s
        if for_s is not None:
            self._set(time.monotonic_ns() + round(for_s * now.dilation * 1e9), partial(self._undo, strike.ue))
        return {}

    def _undo(self, ue: str) -> None:
        if ue not in self._broken:
            return
        kind, struck_in = self._broken.pop(ue)
        line: dict[str, Any] = {"scheme": struck_in.label, "round": struck_in.number, "ue": ue, "kind": kind}
        try:
            self._breaks.mend(ue, kind)
        except TestbedError as error:
            line["failed"] = str(error)
        self._record("undone", {**line, "at": time.time()})

    def _undo_all(self) -> None:
        with self._working:
            for ue in list(self._broken):
                self._undo(ue)


def _segment(schedule: Schedule, strike: Strike) -> int:
    """The segment in which it strikes; the first where its task is not there."""
    return 0 if strike.key is None else schedule.segment_of.get(strike.key, 0)


def middle_s(timeline: Timeline, strike: Strike, segment: int = 0) -> float:
    """How long after the start of its segment it strikes: in the middle of its task, as predicted (emulated s)."""
    event = next((one for one in timeline.events if one.key == strike.key), None)
    before_s = sum(timeline.segments_s[:segment])
    return 0.0 if event is None else max(0.0, (event.start_s + event.end_s) / 2 - before_s)
