"""What an agent has to send in a round, link by link, and when each may leave: no socket, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.schedule.task import Key, Schedule, Task
from agents.wire.frames import Sealed


@dataclass(frozen=True)
class Departure:
    """A transfer that may leave now: what, and to whom."""

    task: Task
    to: tuple[str, ...]
    sealed: Sealed


@dataclass
class Outbox:
    """The transfers of one agent, each link's in order; one leaves when all that it needs is done, and it is its turn.

    What the agent can't know of is done when the transfer's ``segment`` begins, or when something else is that it does
    know of. ``occupy_ns``: how long a broadcast keeps the links of all that it goes to busy, by its key.
    """

    schedule: Schedule
    agent: str
    occupy_ns: Mapping[Key, int] = field(default_factory=dict)
    segment: int = -1

    def __post_init__(self) -> None:
        self._links: dict[str, deque[Task]] = {}
        for place, tasks in self.schedule.at.items():
            mine = deque(task for task in tasks if task.transfers and task.agent == self.agent)
            if mine:
                self._links[place] = mine
        self._known = self._needed()
        self._done: set[Key] = set()
        self._sealed: dict[Key, Sealed] = {}
        self._free_ns: dict[str, int] = {}

    def prune(self, left: Schedule) -> None:
        """From now on only what is left of the schedule leaves."""
        self.schedule = left
        for place, queue in self._links.items():
            self._links[place] = deque(left.by_key[task.key] for task in queue if task.key in left.by_key)
        self._known = self._needed()
        self._sealed = {key: sealed for key, sealed in self._sealed.items() if key in left.by_key}

    def _needed(self) -> dict[Key, list[Key]]:
        """Of what each transfer needs, all that the agent knows of when it is done."""
        return {
            task.key: [key for key in task.needs if self.schedule.knows(self.agent, self.schedule.by_key[key])]
            for mine in self._links.values()
            for task in mine
        }

    def done(self, keys: Sequence[Key]) -> None:
        """These tasks are done: computed here, or arrived."""
        self._done.update(keys)

    def offer(self, key: Key, sealed: Sealed) -> None:
        """What a transfer carries has been made."""
        self._sealed[key] = sealed

    def departures(self, now_ns: int) -> Iterator[Departure]:
        """All that may leave now; what is given is gone."""
        found = True
        while found:
            found = False
            for place in list(self._links):
                task = self._next(place, now_ns)
                if task is not None:
                    found = True
                    yield self._leave(task, now_ns)

    def next_ns(self) -> int | None:
        """When a link that is kept busy is free again, if something waits for it."""
        waiting = [at for place, at in self._free_ns.items() if self._links.get(place)]
        return min(waiting, default=None)

    def _next(self, place: str, now_ns: int) -> Task | None:
        """What may leave by this link: its first, or any where what is ready goes first."""
        if self._free_ns.get(place, 0) > now_ns:
            return None
        queue = self._links[place]
        some = list(queue) if place in self.schedule.first_ready else list(queue)[:1]
        return next((task for task in some if self._may_leave(task, now_ns)), None)

    def _may_leave(self, task: Task, now_ns: int) -> bool:
        if task.key not in self._sealed or self.schedule.segment_of[task.key] > self.segment:
            return False
        if not self._done.issuperset(self._known[task.key]):
            return False
        places = self.schedule.occupied(task)
        return len(places) == 1 or all(
            self._links[place][0] is task and self._free_ns.get(place, 0) <= now_ns for place in places
        )

    def _leave(self, task: Task, now_ns: int) -> Departure:
        for place in self.schedule.occupied(task):
            self._links[place].remove(task)
            self._free_ns.pop(place, None)
            if task.key in self.occupy_ns:
                self._free_ns[place] = now_ns + self.occupy_ns[task.key]
        return Departure(task, self.schedule.receivers(task), self._sealed.pop(task.key))
