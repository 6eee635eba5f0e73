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


class Processor:
    """One processor of an agent, which does what is at its place."""

    def __init__(self, agent: Agent, place: str) -> None:
        self.agent, self.place = agent, place
        self._group: deque[Task] = deque()
        self.idle = True

    def begin(self, tasks: Sequence[Task]) -> None:
        """A segment with these tasks."""
        self._groups: list[deque[Task]] = []
        for task in tasks:
            if task.continues and self._groups:
                self._groups[-1].append(task)
            else:
                self._groups.append(deque([task]))

    def next(self) -> Task | None:
        """What it can do now, as far as its agent knows: of its group, of the group in turn, or of any group."""
        if not self._group:
            loose = self.place in self.agent.schedule.first_ready
            ready = (group for group in (self._groups if loose else self._groups[:1]) if self.agent.can(group[0]))
            self._group = next(ready, deque())
            if self._group:
                self._groups.remove(self._group)
        if self._group and self.agent.can(self._group[0]):
            return self._group.popleft()
        return None


class Agent:
    """One agent: its processors, what it knows, and what it has to send."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        self._name, self.schedule = name, schedule
        self.outbox = Outbox(schedule, name)
        self.processors = [Processor(self, place) for place in schedule.processors(name)]
        self._told: set[Key] = set()

    def begin(self, segment: int) -> None:
        """A segment; all of those before it are over."""
        for one in self.processors:
            one.begin([t for t in self.schedule.at[one.place] if self.schedule.segment_of[t.key] == segment])
        self.outbox.segment = segment

    def learn(self, key: Key) -> None:
        """A task is done: its own, or one whose message has come. What others wait for can go."""
        self._told.add(key)
        self.outbox.done([key])
        for task in self.schedule.tasks:
            if task.transfers and task.agent == self._name and key in task.needs:
                self.outbox.offer(task.key, NOTHING)

    def can(self, task: Task) -> bool:
        """Whether all that it needs is done, as far as the agent knows."""
        known = (key for key in task.needs if self.schedule.knows(self._name, self.schedule.by_key[key]))
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
            for agent in self._agents.values():
                agent.begin(number)
            self._start(now_s)
            while self._ends:
                now_s, _, ended = heapq.heappop(self._ends)
                ended()
                self._start(now_s)
        return self._spans

    def _start(self, now_s: float) -> None:
        """Whatever can start now does."""
        for agent in self._agents.values():
            for one in agent.processors:
                while one.idle and (task := one.next()) is not None:
                    one.idle = False
                    self._until(task, now_s, now_s + self._seconds(task), partial(self._computed, one, task))
            for departure in agent.outbox.departures(0):
                places = self._schedule.occupied(departure.task)
                start_s = max(now_s, *(self._free_s.get(place, 0.0) for place in places))
                end_s = start_s + self._seconds(departure.task)
                self._free_s.update(dict.fromkeys(places, end_s))
                self._until(departure.task, start_s, end_s, partial(self._arrived, departure.to, departure.task))

    def _until(self, task: Task, start_s: float, end_s: float, ended: Callable[[], None]) -> None:
        self._spans[task.key] = (start_s, end_s)
        heapq.heappush(self._ends, (end_s, next(self._tick), ended))

    def _computed(self, processor: Processor, task: Task) -> None:
        processor.idle = True
        processor.agent.learn(task.key)

    def _arrived(self, receivers: Sequence[str], task: Task) -> None:
        for name in receivers:
            self._agents[name].learn(task.key)
