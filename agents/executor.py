"""An agent does its tasks: when what they need is there, in the order of the schedule, as long as the model says."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

import torch

from agents.job import Job
from agents.meter import Meter
from agents.pace import Pacer, sharpen_timers, sleep_until
from agents.schedule.pieces import Group, at_once, groups, pieces
from agents.schedule.task import BROADCAST_PLACE, Compute, Key, Noise, Schedule, Task, at_the_bs, owner
from agents.schedule.without import scales, without
from agents.wire.air import Air, AirError
from agents.wire.frames import Layout, Sealed, seal
from agents.wire.inbox import Arrival, Expected
from agents.wire.outbox import Outbox

T = TypeVar("T")
Arrivals = Mapping[Key, Arrival]


@dataclass(frozen=True)
class Done:
    """What a task has made: for each transfer what it carries, and what is left to do when that is on its way."""

    carries: Mapping[Key, Sequence[torch.Tensor]]
    afterwards: Callable[[], None] | None = None


class Executor:
    """One agent in one round: each of its processors does groups of tasks that follow each other at once.

    ``perform`` does a task, given what has arrived for it, and says what it has made. Of several processors each has a
    thread of its own, and calls it from there.
    """

    def __init__(self, name: str, meter: Meter, perform: Callable[[Task, Sequence[Arrival]], Done]) -> None:
        self.name, self.meter, self.perform = name, meter, perform
        self._processors: dict[str, _Processor] = {}
        self._job: Job | None = None
        self._counting = threading.Lock()
        self._awaiting: dict[int, Sequence[Key]] = {}
        self._busy = 0
        self._begin(Schedule(()))

    def begin(self, job: Job, number: int, air: Air, layout: Callable[[Task], Layout]) -> None:
        """Takes up a round: what will arrive, as its ``layout`` says, and what there is to do."""
        schedule = job.schedule(number)
        if self._job is not job or self.schedule is not schedule:
            self._job, self.air = job, air
            incoming = [task for task in schedule.tasks if self.name in schedule.receivers(task)]
            self.expected = {task.key: Expected(task.agent, layout(task)) for task in incoming}
            self.carried = _carried(schedule, self.name)
            self.at_once = at_once(schedule, self.name)
            mine = [task for task in schedule.tasks if task.agent == self.name and not task.transfers]
            self._users = Counter(key for task in mine for key in task.needs if key in self.expected)
            places = schedule.processors(self.name) or (self.name,)
            self._processors = {place: self._processors.get(place) or _Processor(self, place, job) for place in places}
            computing = {task.place for task in schedule.tasks if task.computes and task.place in places}
            self.meter.processors = max(1, len(computing))
            self._occupy_ns = {
                task.key: round(job.costs.seconds(task, job.plan) * job.plan.time_dilation * 1e9)
                for task in schedule.tasks
                if task.place == BROADCAST_PLACE
            }
        self._begin(schedule)
        self._uses_left = self._users.copy()
        air.begin(number, self.expected, Outbox(schedule, self.name, self._occupy_ns))
        self._counted = 0

    def _begin(self, schedule: Schedule) -> None:
        self.schedule = self._whole = schedule
        self._scales: Mapping[Key, float] = {}
        self._stepped: set[Key] = set()

    def lose(self, ue: str, came: Sequence[Key]) -> list[Key]:
        """Goes on with the round without a UE, of which the BS has what ``came``.

        Nobody waits for anything else of it. The optimiser steps that have been made on gradients of another scale than
        they should have had: that of the samples that came.
        """
        left = without(self.schedule, ue, came)
        found = scales(self._whole, left)
        expected = {key: one for key, one in self.expected.items() if key in left.by_key}
        carried = _carried(left, self.name)

        def take() -> None:
            self.schedule, self.expected, self.carried = left, expected, carried
            before, self._scales = self._scales, found
            late.extend(key for key in self._stepped if found.get(key) != before.get(key))

        late: list[Key] = []
        self.air.prune(left, [key for key in self.expected if key not in expected], take)
        return late

    @property
    def pruned(self) -> bool:
        """Whether a UE was lost in this round."""
        return self.schedule is not self._whole

    def scale(self, step: Key) -> float:
        """What the gradients of an optimiser step are to be multiplied by."""
        self._stepped.add(step)
        return self._scales.get(step, 1.0)

    def looks(self) -> tuple[bool, int, list[str]]:
        """Whether something is being computed, how much has been done and has come, and who is waited for."""
        keys = {key: None for waiting in list(self._awaiting.values()) for key in waiting}
        came = self.air.arrivals if self._job is not None else []
        missing = self.air.missing(keys) if keys else {}
        return self._busy > 0, len(self.meter.events) + len(came), list(dict.fromkeys(missing.values()))

    @property
    def job(self) -> Job:
        """What the agent does, once begun."""
        assert self._job is not None
        return self._job

    def run(self, segment: int, start_ns: int) -> None:
        """Does this agent's tasks of a segment, which starts at ``start_ns`` of the monotonic clock."""
        first, *others = self._processors.values()
        with ThreadPoolExecutor(
            max(1, len(others)), initializer=_settle_in, initargs=(torch.get_num_threads(),)
        ) as threads:
            running = [threads.submit(self._watched, one, segment, start_ns) for one in others]
            self._watched(first, segment, start_ns)
        for one in running:
            one.result()
        self.await_keys([key for key in self.expected if self.schedule.segment_of[key] == segment])
        self._count_arrivals()

    def _watched(self, processor: _Processor, segment: int, start_ns: int) -> None:
        """What a processor does; when it fails, the others wait for nothing more."""
        try:
            processor.run(segment, start_ns)
        except Exception as error:
            self.air.fail(f"{processor.place}: {error}")
            raise

    def await_keys(self, keys: Sequence[Key]) -> Arrivals:
        """What others send of these, when all of it is there that they still send."""

        def all_there(arrivals: Arrivals) -> Arrivals | None:
            wanted = [key for key in keys if key in self.expected]
            return {key: arrivals[key] for key in wanted} if all(key in arrivals for key in wanted) else None

        return self.wait(all_there, keys)

    def await_group(self, group: Group) -> tuple[Group, Arrivals]:
        """What is left of a group when what its first task needs is there, and what has come for that."""

        def ready(arrivals: Arrivals) -> tuple[Group, Arrivals] | None:
            left = self.left_of(group)
            wanted = [key for key in left[0].needs if key in self.expected] if left else []
            return (left, {key: arrivals[key] for key in wanted}) if all(key in arrivals for key in wanted) else None

        return self.wait(ready, group[0].needs)

    def left_of(self, group: Group) -> Group:
        """What is to be done of these tasks, as it is to be done now."""
        return tuple(self.schedule.by_key[task.key] for task in group if task.key in self.schedule.by_key)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Something is computed meanwhile."""
        with self._counting:
            self._busy += 1
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    def wait(self, look: Callable[[Arrivals], T | None], keys: Iterable[Key]) -> T:
        """What ``look`` finds among what has arrived, as soon as it does. AirError names who owes these keys."""
        self._awaiting[threading.get_ident()] = keys = list(keys)
        try:
            return self.air.wait(look, self.job.deadline_s)
        except AirError as error:
            missing = self.air.missing(keys)
            named = "; ".join(f"{key} from {peer}" for key, peer in list(missing.items())[:3])
            peers = tuple(dict.fromkeys(missing.values()))
            raise AirError(f"{self.name} waited for {named or 'its turn'}: {error}", peers) from error
        finally:
            self._awaiting.pop(threading.get_ident(), None)

    def used(self, tasks: Group) -> None:
        """Lets go of what has come for these tasks and for no other any more."""
        came = [key for task in tasks for key in task.needs if key in self.expected]
        with self._counting:
            self._uses_left.subtract(came)
            over = [key for key in dict.fromkeys(came) if not self._uses_left[key]]
        self.air.release(over)

    def _count_arrivals(self) -> None:
        """Counts what has come since it was last counted."""
        arrivals = self.air.arrivals
        for arrival in arrivals[self._counted :]:
            task = self.schedule.by_key[arrival.key]
            ue = owner(task.place) if task.place != BROADCAST_PLACE else self.name
            self.meter.received(task, ue, arrival)
        self._counted = len(arrivals)


class _Processor:
    """One processor of an agent: what is at its place, in order, at the pace of the modelled one."""

    def __init__(self, agent: Executor, place: str, job: Job) -> None:
        self._agent, self.place = agent, place
        self._pacer = Pacer(job.bs_threads if at_the_bs(place) else 1)

    def run(self, segment: int, start_ns: int) -> None:
        """Does the tasks of a segment at this place, which starts at ``start_ns``."""
        schedule = self._agent.schedule
        self._segment, segment_of = segment, schedule.segment_of
        self._done_ns: dict[Key, int] = {}
        todo = list(groups(t for t in schedule.at.get(self.place, ()) if segment_of[t.key] == segment))
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        self._agent.air.begin_segment(segment)
        if self.place in schedule.first_ready:
            self._as_they_come(todo)
        else:
            for group in todo:
                self._do(*self._agent.await_group(group))

    def _as_they_come(self, todo: Sequence[Group]) -> None:
        """Does what was ready first, until nothing is left."""
        left = {group[0].key: group for group in todo}
        ready, schedule = _Ready(todo, self._waits_for), self._agent.schedule

        def first(arrivals: Arrivals) -> tuple[Group, Arrivals] | None:
            nonlocal left, ready, schedule
            if self._agent.schedule is not schedule:  # a UE was lost
                schedule = self._agent.schedule
                left = {now[0].key: now for group in left.values() if (now := self._agent.left_of(group))}
                ready = _Ready([*left.values()], self._waits_for)
                for key, at_ns in self._done_ns.items():
                    ready.done(key, at_ns)
            return ready.first(arrivals) if left else ((), {})

        while left:
            group, arrivals = self._agent.wait(first, ready.awaited)
            self._do(group, arrivals)
            for task in group:
                left.pop(task.key, None)
                ready.done(task.key, self._done_ns[task.key])

    def _waits_for(self, task: Task) -> list[Key]:
        """What a task of this segment needs that is not there from its start: what others send, what is done here."""
        schedule = self._agent.schedule
        here = (k for k in task.needs if schedule.by_key[k].place == self.place)
        mine = (k for k in here if schedule.segment_of[k] == self._segment)
        return [*(key for key in task.needs if key in self._agent.expected), *mine]

    def _do(self, group: Group, arrivals: Arrivals) -> None:
        """The pieces of work of a group, one after another; nothing where nothing is left of it."""
        if not group:
            return
        for piece in pieces(self._agent.schedule, group):
            self._do_together(piece, arrivals if piece[0] is group[0] else self._agent.await_keys(piece[0].needs))

    def _do_together(self, tasks: Group, arrivals: Arrivals) -> None:
        """Does a piece of work, in the time of all its passes; each task is reported for itself."""
        job, agent = self._agent.job, self._agent
        came = [arrivals[key] for key in tasks[0].needs if key in arrivals]

        def work() -> list[tuple[Done, Mapping[Key, Sealed]]]:
            made = [agent.perform(task, came if task is tasks[0] else ()) for task in tasks]
            return [(done, {key: seal(tensors) for key, tensors in done.carries.items()}) for done in made]

        modelled = {
            task: job.costs.compute_s(task.work, task.place) * job.plan.time_dilation
            for task in tasks
            if isinstance(task.work, Compute | Noise)
        }
        with agent.computing():
            if modelled:
                ready_ns = max((arrival.arrived_ns for arrival in came), default=0)
                made, span = self._pacer.run(work, ready_ns, sum(modelled.values()) if job.paced else None)
                for task, own in zip(modelled, span.split([*modelled.values()]), strict=True):
                    agent.meter.computed(task, own)
            else:
                made = work()
        carries = dict(chain.from_iterable(sealed.items() for _, sealed in made))
        self._done_ns.update(dict.fromkeys([task.key for task in tasks], self._pacer.free_ns))
        agent.air.offer([task.key for task in tasks], carries)
        agent.used(tasks)
        for done, _ in made:
            if done.afterwards is not None:
                done.afterwards()


def _settle_in(cores: int) -> None:
    """What a new thread has to be told: a matrix product that is its first work would take all cores of the host."""
    sharpen_timers()
    torch.set_num_threads(cores)


class _Ready:
    """Groups of tasks that are done as they get ready; what has come is looked at once."""

    def __init__(self, groups: Sequence[Group], waits_for: Callable[[Task], list[Key]]) -> None:
        self._groups = groups
        self._needs = [waits_for(group[0]) for group in groups]
        self._left = [len(keys) for keys in self._needs]
        self._ready_ns = [0] * len(groups)
        self._waiting: dict[Key, list[int]] = {}
        for i, keys in enumerate(self._needs):
            for key in keys:
                self._waiting.setdefault(key, []).append(i)
        self._ready = [(0, i) for i, left in enumerate(self._left) if not left]
        self._seen = 0

    @property
    def awaited(self) -> Iterable[Key]:
        """What is still waited for."""
        return self._waiting.keys()

    def done(self, key: Key, at_ns: int) -> None:
        """Something is done, or there."""
        for i in self._waiting.pop(key, ()):
            self._left[i] -= 1
            self._ready_ns[i] = max(self._ready_ns[i], at_ns)
            if not self._left[i]:
                heapq.heappush(self._ready, (self._ready_ns[i], i))

    def first(self, arrivals: Arrivals) -> tuple[Group, Arrivals] | None:
        """The group that was ready first, with what has come for it; None while there is none."""
        for arrival in islice(arrivals.values(), self._seen, None):
            self.done(arrival.key, arrival.arrived_ns)
        self._seen = len(arrivals)
        if not self._ready:
            return None
        _, i = heapq.heappop(self._ready)
        return self._groups[i], {key: arrivals[key] for key in self._needs[i] if key in arrivals}


def _carried(schedule: Schedule, agent: str) -> dict[Key, list[Task]]:
    """For each task of an agent the transfers for which it makes something: those of its own that need it."""
    mine = [task for task in schedule.tasks if task.agent == agent and not task.transfers]
    return {
        task.key: [one for one in schedule.needing(task.key) if one.transfers and one.agent == agent] for task in mine
    }
