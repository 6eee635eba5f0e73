"""How much memory an agent needs at most, as it follows from its schedule; bytes, free of torch.

A walk over an agent's own pieces of work in the order in which they are listed. What is there while one is done:
weights, gradients from the first pass back until the optimiser step, momenta; what passes keep until their way back;
what may have come and is not used yet, that is after the last own task without which it could not have been sent;
what may still have to leave, that is before the first own task that comes of its arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from agents.schedule.footprint import Footprint
from agents.schedule.pieces import at_once, groups, pass_of, pieces
from agents.schedule.task import (
    BS,
    Activations,
    Average,
    Compute,
    Gradients,
    Key,
    Noise,
    Schedule,
    Step,
    Task,
    Weights,
)

RUNTIME_BYTES = 255e6
"""A process that has imported torch and has computed once with it."""
HEAP = 1.15
"""How much more than the tensors in it the heap takes at the least."""
SPARE, MOST_SPARE_BYTES = 1.4, 95e6
"""So many times its tensors more, up to so much, is free in the heap and not given back.

What is larger than 32 MB is given back at once. Agents of VGG-5 took 0.3 to 2.5 times their 14 to 150 MB of tensors
more, alike ones by up to 55 MB differently. Giving all back at once made passes 20 to 100 % slower.
"""
SOCKET_BYTES = 8e6
"""The most that a link's socket holds of what is on its way, which the kernel counts as the agent's (cgroup v2)."""
_TENSORS = 4
"""Of the size of its largest, in an evaluation: a residual block has as many at a time."""

Part = tuple[str, int, int]


@dataclass(frozen=True)
class Keeps:
    """What an agent keeps besides its tasks: so many samples, and momenta (one per weight) if there are any.

    ``whole``: it keeps a copy of the whole model, to evaluate with, and not only while it takes up a scheme.
    ``threads``: so many chunks of a pass are computed at a time.
    """

    samples: int
    momentum: bool
    whole: bool = False
    threads: int = 1


def container_bytes(schedule: Schedule, agent: str, footprint: Footprint, keeps: Keeps) -> float:
    """The most that the process of an agent takes, from when it takes up the schedule until it has been evaluated."""
    parts = parts_of(schedule, agent)
    weights = sum(_weights(footprint, *part[1:]) for part in parts)
    whole = _weights(footprint, 0, len(footprint.weight_bytes))
    always = keeps.samples * footprint.input_bytes + whole * keeps.whole
    settled = weights * (1 + keeps.momentum)
    most = max(
        whole * (not keeps.whole) + weights,
        weights + _warm_up(schedule, agent, footprint, keeps.threads),
        round_bytes(schedule, agent, footprint, keeps.momentum, keeps.threads),
        settled + _evaluation(schedule, agent, footprint, keeps),
    )
    tensors = always + most
    heap = HEAP * tensors + min(SPARE * tensors, MOST_SPARE_BYTES)
    return RUNTIME_BYTES + heap + sockets_bytes(schedule, agent, footprint)


def round_bytes(schedule: Schedule, agent: str, footprint: Footprint, momentum: bool, threads: int | None = 1) -> float:
    """The most that an agent's tensors take in a round, with passes in chunks on so many threads, or in one go."""
    if not schedule.processors(agent):
        return 0.0
    walk = _Walk(schedule, agent, footprint)
    walk.models(momentum)
    walk.passes(threads)
    walk.messages()
    return walk.most()


def sockets_bytes(schedule: Schedule, agent: str, footprint: Footprint) -> float:
    """What may be in the sockets of an agent's links: a transfer of each, and only of those that may leave at once."""
    most: dict[str, float] = {}
    for task in schedule.tasks:
        if task.transfers and task.agent == agent:
            most[task.place] = max(most.get(task.place, 0.0), _in_socket(task, footprint))
    if not schedule.processors(agent):
        return sum(most.values())
    walk = _Walk(schedule, agent, footprint)
    walk.sockets()
    return min(walk.most(), sum(most.values()))


def parts_of(schedule: Schedule, agent: str) -> list[Part]:
    """The parts of models that an agent trains."""
    works = (task.work for task in schedule.tasks if task.agent == agent)
    return list(dict.fromkeys((w.model, w.first, w.last) for w in works if isinstance(w, Compute)))


class _Walk:
    """The bytes that are there while each of an agent's own pieces of work is done."""

    def __init__(self, schedule: Schedule, agent: str, footprint: Footprint) -> None:
        self._schedule, self._agent, self._footprint = schedule, agent, footprint
        listed = {task.key: i for i, task in enumerate(schedule.tasks)}
        places = schedule.processors(agent)
        found = [piece for place in places for group in groups(schedule.at[place]) for piece in pieces(schedule, group)]
        self._own = sorted(found, key=lambda piece: listed[piece[0].key])
        self._at = {task.key: i for i, piece in enumerate(self._own) for task in piece}
        self._side_by_side = len(places) > 1
        self._changes = [0.0] * (len(self._own) + 1)
        self._work = [0.0] * len(self._own)

    def most(self) -> float:
        """The most of all; what several processors do may fall together."""
        largest: dict[str, float] = {}
        for piece, work in zip(self._own, self._work, strict=True):
            largest[piece[0].place] = max(largest.get(piece[0].place, 0.0), work)
        all_bytes, there = sum(largest.values()), accumulate(self._changes[:-1])
        return max(
            kept + work + all_bytes - largest[piece[0].place]
            for piece, kept, work in zip(self._own, there, self._work, strict=True)
        )

    def models(self, momentum: bool) -> None:
        """Weights and momenta all the time, gradients until the optimiser step, or as long where order is loose."""
        loose = self._side_by_side or not self._schedule.first_ready.isdisjoint(self._schedule.processors(self._agent))
        begun = dict[Part, int]()
        for part in parts_of(self._schedule, self._agent):
            self._add(0, len(self._own) - 1, _weights(self._footprint, *part[1:]) * (1 + momentum + loose))
        for i, task in self._tasks():
            match task.work:
                case Compute(backward=True) as work if not loose:
                    begun.setdefault((work.model, work.first, work.last), i)
                case Step(model=model, first=first, last=last) if (model, first, last) in begun:
                    self._add(begun.pop((model, first, last)), i, _weights(self._footprint, first, last))
                case Average(replicas=replicas):
                    self._work[i] = _weights(self._footprint, 0, len(self._footprint.weight_bytes) * replicas)
                case Noise(first=first, last=last):  # beside the weights as they came: change, clipped, noise, noisy, …
                    self._work[i] = 6 * _weights(self._footprint, first, last)
                    self._add(0, len(self._own) - 1, _weights(self._footprint, first, last))

    def passes(self, threads: int | None) -> None:
        """What passes keep until their way back, and what they take beside while they are done."""
        f, begun = self._footprint, dict[tuple[object, ...], int]()
        back = {pass_of(task.key, w): w.rows for _, task in self._tasks() if isinstance(w := task.work, Compute)}
        together = at_once(self._schedule, self._agent)
        for i, task in self._tasks():
            if not isinstance(work := task.work, Compute) or task.key in together.values():
                continue
            first, last, way = work.first, work.last, pass_of(task.key, work)
            rows, samples = back[way], 0.0 if first or work.backward else work.samples * f.input_bytes
            if task.key in together:
                copies = work.paired * (1 if rows < work.samples else 2 * len(task.needs))
                self._work[i] = _chunks_bytes(f, first, last, work.rows, threads) + samples
                self._work[i] += copies * f.inner_bytes(first)
                continue
            gradients = work.samples * f.inner_bytes(last) * work.backward
            self._work[i] = rows * (f.pass_bytes(first, last) - f.held_bytes(first, last)) + samples + gradients
            if work.backward:
                self._add(begun.pop(way), i, rows * f.held_bytes(first, last))
            else:
                begun[way] = i

    def messages(self) -> None:
        """What may be there of what others send, and of what is to be sent."""
        since = self._last_own_before()
        for task in self._schedule.tasks:
            if task.transfers and self._agent in self._schedule.receivers(task):
                users = [self._at[one.key] for one in self._schedule.needing(task.key) if one.key in self._at]
                if users:
                    self._add(since[task.key] + 1, self._until(max(users)), self._bytes(task))
        for first, last, tasks in self._leaving():
            sizes = [self._bytes(task) for task in tasks]
            shared = all(isinstance(task.work, Weights) for task in tasks)
            self._add(first, last, max(sizes) if shared else sum(sizes))

    def sockets(self) -> None:
        """What may be in the sockets of the agent's links of what is to be sent, as far as it goes in."""
        for first, last, tasks in self._leaving():
            self._add(first, last, sum(_in_socket(task, self._footprint) for task in tasks))

    def _leaving(self) -> Iterator[tuple[int, int, list[Task]]]:
        """What is sent as soon as one of the own pieces is done, and with which it may begin and end to leave."""
        until = self._first_own_after()
        found: dict[Key, list[Task]] = {}
        for task in self._schedule.tasks:
            for key in task.needs if task.transfers and task.agent == self._agent else ():
                if key in self._at:
                    found.setdefault(key, []).append(task)
        for key, tasks in found.items():
            yield self._since(self._at[key]), max(until[task.key] for task in tasks) - 1, tasks

    def _last_own_before(self) -> dict[Key, int]:
        """For each task the last of the own ones that must be done before it; -1 where there is none."""
        found: dict[Key, int] = {}
        for task in self._schedule.ordered:
            before = self._schedule.before[task.key]
            found[task.key] = max((self._at.get(key, found[key]) for key in before), default=-1)
        return found

    def _first_own_after(self) -> dict[Key, int]:
        """For each task the first of the own ones that it must be done before; their number where there is none."""
        found = dict.fromkeys(self._schedule.by_key, len(self._own))
        for task in reversed(self._schedule.ordered):
            here = self._at.get(task.key, found[task.key])
            for key in self._schedule.before[task.key]:
                found[key] = min(found[key], here)
        return found

    def _since(self, i: int) -> int:
        """When a piece of work may be done in truth: of several processors each is at any of a batch's."""
        return next(j for j in range(len(self._own)) if self._with(j, i)) if self._side_by_side else i

    def _until(self, i: int) -> int:
        return next(j for j in reversed(range(len(self._own))) if self._with(j, i)) if self._side_by_side else i

    def _with(self, i: int, j: int) -> bool:
        return self._own[i][0].key[:2] == self._own[j][0].key[:2]

    def _tasks(self) -> Iterator[tuple[int, Task]]:
        return ((i, task) for i, piece in enumerate(self._own) for task in piece)

    def _bytes(self, task: Task) -> float:
        return _carried(task, self._footprint)

    def _add(self, first: int, last: int, size: float) -> None:
        """So many bytes while these own tasks are done, from the first to the last."""
        if first <= last:
            self._changes[first] += size
            self._changes[last + 1] -= size


def _carried(task: Task, footprint: Footprint) -> float:
    """The tensors of a transfer."""
    match task.work:
        case Activations(unit=unit, samples=samples) | Gradients(unit=unit, samples=samples):
            return samples * footprint.inner_bytes(unit)
        case Weights(first=first, last=last):
            return _weights(footprint, first, last)
        case _:
            return 0.0


def _in_socket(task: Task, footprint: Footprint) -> float:
    """A transfer, as far as it goes in."""
    return min(SOCKET_BYTES, _carried(task, footprint))


def _weights(footprint: Footprint, first: int, last: int) -> float:
    return sum(footprint.weight_bytes[first:last])


def _chunks_bytes(footprint: Footprint, first: int, last: int, rows: int, threads: int | None) -> float:
    """A pass there and back in one go, or in chunks on so many threads, each but the first with its own gradients."""
    if threads is None:
        return rows * footprint.pass_bytes(first, last)
    chunk = footprint.chunk_rows(first, last, rows, threads)
    gradients = (threads - 1) * _weights(footprint, first, last) if chunk < rows else 0.0
    return min(rows, threads * chunk) * footprint.pass_bytes(first, last) + gradients


def _warm_up(schedule: Schedule, agent: str, footprint: Footprint, threads: int) -> float:
    """A copy of a part, its gradients, and a pass of each size that it will have."""
    together = at_once(schedule, agent)
    most = 0.0
    for task in schedule.tasks:
        if task.agent == agent and isinstance(work := task.work, Compute) and not work.backward:
            rows = work.samples
            if task.key in together:
                rows = footprint.chunk_rows(work.first, work.last, rows, threads)
            own = 2 * _weights(footprint, work.first, work.last)
            most = max(most, own + rows * footprint.pass_bytes(work.first, work.last))
    return most


def _evaluation(schedule: Schedule, agent: str, footprint: Footprint, keeps: Keeps) -> float:
    """A UE gives its weights away; the BS holds those of all that are asked, and test images go through the model."""
    if agent != BS:
        return sum(_weights(footprint, *part[1:]) for part in parts_of(schedule, agent))
    cuts = [part for ue in schedule.holders[:1] or schedule.ues for part in parts_of(schedule, ue)]
    sent = sum(_weights(footprint, *part[1:]) for part in cuts)
    images = footprint.evaluated_rows() * (footprint.input_bytes + _TENSORS * max(footprint.largest_bytes))
    return sent + max((_weights(footprint, *part[1:]) for part in cuts), default=0.0) + images
