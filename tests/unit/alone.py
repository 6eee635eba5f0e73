"""A round as agents do it: each knows its own tasks, what messages tell it, and when a segment starts, and no more."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from agents.schedule.task import BS, Key, Schedule, Task
from agents.wire.frames import NOTHING
from agents.wire.outbox import Outbox


class Agent:
    """One agent: its processor, and what it has to send."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        self._name, self._schedule = name, schedule
        self.outbox = Outbox(schedule, name)
        self._told: set[Key] = set()
        self._group: deque[Task] = deque()
        self.idle = True

    def begin(self, tasks: Sequence[Task], segment: int) -> None:
        """A segment with these tasks; all of those before it are over."""
        self._groups: list[deque[Task]] = []
        for task in tasks:
            if task.continues and self._groups:
                self._groups[-1].append(task)
            else:
                self._groups.append(deque([task]))
        self.outbox.segment = segment

    def next(self) -> Task | None:
        """What it can do now, as far as it knows: of its group, of the group in turn, or of any group."""
        if not self._group:
            loose = self._name in self._schedule.first_ready
            ready = (group for group in (self._groups if loose else self._groups[:1]) if self._can(group[0]))
            self._group = next(ready, deque())
            if self._group:
                self._groups.remove(self._group)
        if self._group and self._can(self._group[0]):
            return self._group.popleft()
        return None

    def learn(self, key: Key) -> None:
        """A task is done: its own, or one whose message has come. What others wait for can go."""
        self._told.add(key)
        self.outbox.done([key])
        for task in self._schedule.tasks:
            if task.transfers and task.agent == self._name and key in task.needs:
                self.outbox.offer(task.key, NOTHING)

    def _can(self, task: Task) -> bool:
        known = (key for key in task.needs if self._schedule.knows(self._name, self._schedule.by_key[key]))
        return self._told.issuperset(known)


class Round:
    """All agents through all segments, where tasks take so many ``seconds``."""

    def __init__(self, schedule: Schedule, seconds: Callable[[Task], float]) -> None:
        self._schedule, self._seconds = schedule, seconds
        self._agents = {name: Agent(name, schedule) for name in (BS, *schedule.ues)}
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._tick = count()
        self._free_s: dict[str, float] = {}
        self._spans: dict[Key, tuple[float, float]] = {}

    def run(self) -> dict[Key, tuple[float, float]]:
        """When each task began and ended (s). One that never came about is missing."""
        segment_of, now_s = self._schedule.segment_of, 0.0
        for number in range(max(segment_of.values(), default=0) + 1):
            for name, agent in self._agents.items():
                mine = [task for task in self._schedule.at.get(name, ()) if segment_of[task.key] == number]
                agent.begin(mine, number)
            self._start(now_s)
            while self._ends:
                now_s, _, ended = heapq.heappop(self._ends)
                ended()
                self._start(now_s)
        return self._spans

    def _start(self, now_s: float) -> None:
        """Whatever can start now does."""
        for agent in self._agents.values():
            while agent.idle and (task := agent.next()) is not None:
                agent.idle = False
                self._until(task, now_s, now_s + self._seconds(task), partial(self._computed, agent, task))
            for departure in agent.outbox.departures(0):
                places = self._schedule.occupied(departure.task)
                start_s = max(now_s, *(self._free_s.get(place, 0.0) for place in places))
                end_s = start_s + self._seconds(departure.task)
                self._free_s.update(dict.fromkeys(places, end_s))
                self._until(departure.task, start_s, end_s, partial(self._arrived, departure.to, departure.task))

    def _until(self, task: Task, start_s: float, end_s: float, ended: Callable[[], None]) -> None:
        self._spans[task.key] = (start_s, end_s)
        heapq.heappush(self._ends, (end_s, next(self._tick), ended))

    def _computed(self, agent: Agent, task: Task) -> None:
        agent.idle = True
        agent.learn(task.key)

    def _arrived(self, receivers: Sequence[str], task: Task) -> None:
        for name in receivers:
            self._agents[name].learn(task.key)
