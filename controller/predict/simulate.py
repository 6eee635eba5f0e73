"""A schedule in time, by events: a task starts when all that it needs is done and its place is free."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

from agents.schedule.task import Key, Schedule, Task, at_the_bs, goes_down, goes_up, workers
from controller.predict.cores import Cores, Host

Seconds = Callable[[Task], float]


def at_once(task: Task) -> float:
    """Nothing holds it up: 0 s."""
    del task
    return 0.0


Band = Literal["UE", "up", "down", "BS"]


class Event(NamedTuple):
    """One task as predicted: seconds from the start of the round."""

    key: Key
    place: str
    start_s: float
    end_s: float

    @property
    def band(self) -> Band:
        """Where it happens, as one word: at a UE, on its way up or down, or at the BS."""
        if goes_up(self.place):
            return "up"
        if goes_down(self.place):
            return "down"
        return "BS" if at_the_bs(self.place) else "UE"

    @property
    def backward(self) -> bool:
        """Whether it is a backward pass, or carries gradients."""
        return self.key.kind.endswith("_backward") or self.key.kind in ("downlink", "broadcast", "head_uplink")

    @property
    def weights(self) -> bool:
        """Whether it carries weights."""
        return self.key.kind.startswith(("weights", "move"))


@dataclass(frozen=True)
class Timeline:
    """A predicted round: its events in order of start, its length (s), and that of each of its segments."""

    events: tuple[Event, ...]
    segments_s: tuple[float, ...]

    @cached_property
    def round_s(self) -> float:
        """Length of the round."""
        return sum(self.segments_s)

    @cached_property
    def bs_busy_s(self) -> float:
        """Seconds for which the BS computes; each of several workers is that share of it."""
        busy_s = sum(event.end_s - event.start_s for event in self.events if at_the_bs(event.place))
        return busy_s / workers(event.place for event in self.events)

    @property
    def bs_idle_s(self) -> float:
        """Seconds of the round in which the BS does not compute."""
        return self.round_s - self.bs_busy_s

    @property
    def bubble_rate(self) -> float:
        """Idle share of the BS (eq. 16)."""
        return self.bs_idle_s / self.round_s


def simulate(
    schedule: Schedule,
    seconds: Seconds,
    wait_s: Seconds = at_once,
    host: Host | None = None,
    earliest_s: Seconds = at_once,
) -> Timeline:
    """The timeline of a schedule whose tasks take so many ``seconds``; a transfer begins ``wait_s`` after it could.

    No task begins before its ``earliest_s``, from the start of the round. A segment starts when the one before it is
    over. Tasks that take no time (averages, optimiser steps) are left out.
    On a ``host`` a computation takes longer than its ``seconds`` where the cores that all agents share are not done
    with it by then.
    """
    parts: dict[int, list[Task]] = {}
    for key, number in schedule.segment_of.items():
        parts.setdefault(number, []).append(schedule.by_key[key])
    position = {task.key: i for i, task in enumerate(schedule.tasks)}
    events: list[Event] = []
    lengths: list[float] = []
    for number in sorted(parts):
        tasks = sorted(parts[number], key=lambda task: position[task.key])
        before_s = sum(lengths)
        held_s = [earliest_s(task) - before_s for task in tasks]
        spans = _Segment(schedule, tasks, seconds, wait_s, host, held_s).run()
        events += [
            Event(task.key, task.place, before_s + start_s, before_s + end_s)
            for task, (start_s, end_s) in zip(tasks, spans, strict=True)
            if task.computes or task.transfers
        ]
        lengths.append(max((end_s for _, end_s in spans), default=0.0))
    return Timeline(tuple(sorted(events, key=lambda e: (e.start_s, e.end_s))), tuple(lengths))


class _Segment:
    """Tasks that are started together, by number in the order in which they are listed."""

    def __init__(
        self,
        schedule: Schedule,
        tasks: Sequence[Task],
        seconds: Seconds,
        wait_s: Seconds,
        host: Host | None,
        held_s: Sequence[float],
    ) -> None:
        self._tasks, self._seconds, self._wait_s, self._host = tasks, seconds, wait_s, host
        self._cores = Cores(host.cores) if host else None
        number = {task.key: i for i, task in enumerate(tasks)}
        self._places = [schedule.occupied(task) for task in tasks]
        self._first_ready = schedule.first_ready
        self._left = [0] * len(tasks)
        self._after: list[list[int]] = [[] for _ in tasks]
        self._follower: dict[int, int] = {}
        for i, task in enumerate(tasks):
            self._wait_for(i, [number[key] for key in task.needs if key in number])
        self._keep_order(number, schedule)
        self._ready_s = [0.0] * len(tasks)
        self._spans = [(0.0, 0.0)] * len(tasks)
        self._free_s: dict[str, float] = {}
        self._busy: set[str] = set()
        self._queues: dict[str, list[tuple[float, int]]] = {place: [] for place in schedule.first_ready}
        self._ends = [(until_s, ~i) for i, until_s in enumerate(held_s) if until_s > 0]  # ~i: task i may begin
        heapq.heapify(self._ends)
        for _, i in self._ends:
            self._left[~i] += 1

    def _wait_for(self, i: int, others: Sequence[int]) -> None:
        self._left[i] += len(others)
        for other in others:
            self._after[other].append(i)

    def _keep_order(self, number: Mapping[Key, int], schedule: Schedule) -> None:
        """A task waits for the one before it at its place; where what is ready goes first, only if it continues it."""
        self._order: list[list[int]] = [[] for _ in self._tasks]
        for place, listed in schedule.at.items():
            here = [number[task.key] for task in listed if task.key in number]
            for before, i in pairwise(here):
                if place not in self._first_ready:
                    self._order[before].append(i)
                    self._left[i] += 1
                elif self._tasks[i].continues:
                    self._follower[before] = i
                    self._left[i] += 1

    def run(self) -> list[tuple[float, float]]:
        """Start and end (s) of each task, from the start of the segment."""
        for i in [i for i, left in enumerate(self._left) if not left]:
            self._launch(i)
        while self._ends or self._cores:
            if self._cores and (not self._ends or self._cores.next_s < self._ends[0][0]):
                self._computed(*self._cores.pop())
            else:
                end_s, i = heapq.heappop(self._ends)
                self._finish(i, end_s)
        return self._spans

    def _computed(self, i: int, done_s: float) -> None:
        """The cores are done with a computation, which ends when its modelled time is over too."""
        assert self._host is not None
        start_s, due_s = self._spans[i]
        self._end(i, start_s, max(due_s, done_s + self._host.late_s(self._tasks[i])))

    def _launch(self, i: int) -> None:
        """All that the task needs is done; it starts when its place is free."""
        place = self._places[i][0]
        if place in self._first_ready and not self._tasks[i].continues:
            heapq.heappush(self._queues[place], (self._ready_s[i], i))
            self._next(place)
        else:
            self._start(i)

    def _start(self, i: int) -> None:
        task = self._tasks[i]
        ready_s = self._ready_s[i] + (self._wait_s(task) if task.transfers else 0.0)
        start_s = max(ready_s, *(self._free_s.get(place, 0.0) for place in self._places[i]))
        end_s = start_s + self._seconds(task)
        self._busy.update(self._places[i])
        if self._cores is None or self._host is None or not task.computes:
            self._end(i, start_s, end_s)
        else:
            self._spans[i] = (start_s, end_s)
            self._cores.add(i, start_s, self._host.work_s(task), self._host.threads(task))

    def _end(self, i: int, start_s: float, end_s: float) -> None:
        self._spans[i] = (start_s, end_s)
        for place in self._places[i]:
            self._free_s[place] = end_s
        heapq.heappush(self._ends, (end_s, i))

    def _finish(self, i: int, end_s: float) -> None:
        if i < 0:
            self._ready_s[~i] = max(self._ready_s[~i], end_s)
            self._done_before(~i)
            return
        for after in self._after[i]:
            self._ready_s[after] = max(self._ready_s[after], end_s)
            self._done_before(after)
        for after in self._order[i]:
            self._done_before(after)
        follower = self._follower.get(i)
        if follower is not None:
            self._done_before(follower)
            return
        place = self._places[i][0]
        self._busy.discard(place)
        if place in self._first_ready:
            self._next(place)

    def _done_before(self, i: int) -> None:
        self._left[i] -= 1
        if not self._left[i]:
            self._launch(i)

    def _next(self, place: str) -> None:
        """The first that is ready at a place that is free."""
        if place not in self._busy and self._queues[place]:
            self._start(heapq.heappop(self._queues[place])[1])
