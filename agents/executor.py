"""An agent does its tasks: when what they need is there, in the order of the schedule, as long as the model says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch

from agents.job import Job
from agents.meter import Meter
from agents.pace import Pacer, sleep_until
from agents.schedule.task import BROADCAST_PLACE, Compute, Key, Schedule, Task, owner
from agents.wire.air import Air, AirError
from agents.wire.frames import Layout, Sealed, seal
from agents.wire.inbox import Arrival, Expected
from agents.wire.outbox import Outbox

T = TypeVar("T")
Group = tuple[Task, ...]
Arrivals = Mapping[Key, Arrival]


@dataclass(frozen=True)
class Done:
    """What a task has made: for each transfer what it carries, and what is left to do when that is on its way."""

    carries: Mapping[Key, Sequence[torch.Tensor]]
    afterwards: Callable[[], None] | None = None


class Executor:
    """One agent in one round: its processor does groups of tasks that follow each other at once.

    ``perform`` does a task, given what has arrived for it, and says what it has made.
    """

    def __init__(self, name: str, meter: Meter, perform: Callable[[Task, Sequence[Arrival]], Done]) -> None:
        self._name, self._meter, self._perform = name, meter, perform
        self._pacer = Pacer()
        self._job: Job | None = None
        self.schedule = Schedule(())

    def begin(self, job: Job, number: int, air: Air, layout: Callable[[Task], Layout]) -> None:
        """Takes up a round: what will arrive, as its ``layout`` says, and what there is to do."""
        schedule = job.schedule(number)
        if self._job is not job or self.schedule is not schedule:
            self._job, self.schedule, self._air = job, schedule, air
            incoming = [task for task in schedule.tasks if self._name in schedule.receivers(task)]
            self._expected = {task.key: Expected(task.agent, layout(task)) for task in incoming}
            self.carried = _carried(schedule, self._name)
            self._occupy_ns = {
                task.key: round(job.costs.seconds(task, job.plan) * job.plan.time_dilation * 1e9)
                for task in schedule.tasks
                if task.place == BROADCAST_PLACE
            }
        air.begin(number, self._expected, Outbox(schedule, self._name, self._occupy_ns))
        self._done_ns: dict[Key, int] = {}
        self._counted = 0

    def run(self, segment: int, start_ns: int) -> None:
        """Does this agent's tasks of a segment, which starts at ``start_ns`` of the monotonic clock."""
        self._segment, segment_of = segment, self.schedule.segment_of
        place = self._name
        groups = list(_groups(t for t in self.schedule.at.get(place, ()) if segment_of[t.key] == segment))
        over = [key for key, number in segment_of.items() if number < segment]
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        self._air.offer(over)
        while groups:
            group, arrivals = self._first_ready(groups) if place in self.schedule.first_ready else self._next(groups)
            groups.remove(group)
            self._do(group, arrivals)
        self._await_keys([key for key in self._expected if segment_of[key] == segment])
        self._count_arrivals()

    def _next(self, groups: Sequence[Group]) -> tuple[Group, Arrivals]:
        return groups[0], self._await_keys(groups[0][0].needs)

    def _await_keys(self, keys: Sequence[Key]) -> Arrivals:
        """What others send of these, when all of it is there."""
        wanted = [key for key in keys if key in self._expected]

        def all_there(arrivals: Arrivals) -> Arrivals | None:
            return {key: arrivals[key] for key in wanted} if all(key in arrivals for key in wanted) else None

        return self._wait(all_there, wanted)

    def _first_ready(self, groups: Sequence[Group]) -> tuple[Group, Arrivals]:
        """The group that was ready first, as soon as one is."""

        def earliest(arrivals: Arrivals) -> tuple[Group, Arrivals] | None:
            found = [(group, came) for group in groups if (came := self._ready(group[0], arrivals)) is not None]
            return min(found, key=lambda one: self._ready_ns(*one), default=None)

        return self._wait(earliest, [key for group in groups for key in group[0].needs])

    def _ready(self, task: Task, arrivals: Arrivals) -> Arrivals | None:
        """What a task needs of others if it can start, else None."""
        needs = [key for key in task.needs if key in self._expected]
        if not all(key in arrivals for key in needs):
            return None
        mine = (key for key in task.needs if self.schedule.segment_of[key] == self._segment and self._is_mine(key))
        return {key: arrivals[key] for key in needs} if all(key in self._done_ns for key in mine) else None

    def _ready_ns(self, group: Group, came: Arrivals) -> int:
        """When the last of what a group needs was there."""
        done = [self._done_ns[key] for key in group[0].needs if key in self._done_ns]
        return max([arrival.arrived_ns for arrival in came.values()] + done, default=0)

    def _is_mine(self, key: Key) -> bool:
        task = self.schedule.by_key[key]
        return not task.transfers and task.agent == self._name

    def _wait(self, look: Callable[[Arrivals], T | None], keys: Sequence[Key]) -> T:
        assert self._job is not None
        try:
            return self._air.wait(look, self._job.deadline_s)
        except AirError as error:
            missing = self._air.missing(keys)
            named = "; ".join(f"{key} from {peer}" for key, peer in list(missing.items())[:3])
            peers = tuple(dict.fromkeys(missing.values()))
            raise AirError(f"{self._name} waited for {named or 'its turn'}: {error}", peers) from error

    def _do(self, group: Group, arrivals: Arrivals) -> None:
        """The tasks of a group, one after another; what takes no time is part of the work of what does before it."""
        at = 0
        while at < len(group):
            end = at + 1
            while end < len(group) and not group[end].computes:
                end += 1
            part, came = group[at:end], arrivals if at == 0 else self._await_keys(group[at].needs)
            self._do_together(part, came)
            at = end

    def _do_together(self, tasks: Group, arrivals: Arrivals) -> None:
        assert self._job is not None
        first = tasks[0]
        came = [arrivals[key] for key in first.needs if key in arrivals]

        def work() -> list[tuple[Done, Mapping[Key, Sealed]]]:
            made = [self._perform(task, came if task is first else ()) for task in tasks]
            return [(done, {key: seal(tensors) for key, tensors in done.carries.items()}) for done in made]

        if isinstance(first.work, Compute):
            ready_ns = max((arrival.arrived_ns for arrival in came), default=0)
            duration_s = self._job.costs.compute_s(first.work, first.place) * self._job.plan.time_dilation
            made, span = self._pacer.run(work, ready_ns, duration_s if self._job.paced else None)
            self._meter.computed(first, span)
        else:
            made = work()
        carries = dict(chain.from_iterable(sealed.items() for _, sealed in made))
        self._done_ns.update(dict.fromkeys([task.key for task in tasks], self._pacer.free_ns))
        self._air.offer([task.key for task in tasks], carries)
        for done, _ in made:
            if done.afterwards is not None:
                done.afterwards()

    def _count_arrivals(self) -> None:
        """Counts what has come since it was last counted."""
        arrivals = self._air.arrivals
        for arrival in arrivals[self._counted :]:
            task = self.schedule.by_key[arrival.key]
            ue = owner(task.place) if task.place != BROADCAST_PLACE else self._name
            self._meter.received(task, ue, arrival)
        self._counted = len(arrivals)


def _groups(tasks: Iterator[Task]) -> Iterator[Group]:
    """The tasks of a place, those that follow each other at once together."""
    group: list[Task] = []
    for task in tasks:
        if group and not task.continues:
            yield tuple(group)
            group = []
        group.append(task)
    if group:
        yield tuple(group)


def _carried(schedule: Schedule, agent: str) -> dict[Key, list[Task]]:
    """For each task of an agent the transfers for which it makes something: those of its own that need it."""
    found: dict[Key, list[Task]] = {}
    for task in schedule.tasks:
        if task.transfers and task.agent == agent:
            for key in task.needs:
                found.setdefault(key, []).append(task)
    return found
