"""What happens in one phase of a round, predicted: one function per kind of BS model, and the weights that move."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from agents.plan import micro_batch_sizes
from agents.scheme import AGGREGATES, Phase, Scheme, order_of, shared_rows
from controller.predict.instance import Decision, Floats, Instance
from controller.predict.latency import latency
from controller.predict.recursion import TurnEnds, turn_ends
from controller.predict.timing import (
    BITS,
    PerSample,
    TaskTimes,
    decision_per_sample,
    handover_times,
    split_batches,
    stations,
    task_times,
)


class Event(NamedTuple):
    """One task as predicted: seconds from the start of the round."""

    task: str
    ue: str
    micro_batch: int
    turn: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Trained:
    """Events (s from the phase's start), when each member and everything was done, and the BS's busy time."""

    events: Sequence[Event]
    done_s: Mapping[str, float]
    end_s: float
    busy_s: float


@dataclass(frozen=True)
class Scene:
    """What is predicted: the instance under a decision, in one numbered round."""

    instance: Instance
    scheme: Scheme
    decision: Decision
    seed: int
    number: int

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each UE."""
        return {ue: i for i, ue in enumerate(self.instance.ues)}

    @cached_property
    def per(self) -> PerSample:
        """Seconds per sample at the common cut."""
        return decision_per_sample(self.instance, self.decision)

    @cached_property
    def each(self) -> list[PerSample]:
        """Seconds per sample of each UE at its own cut."""
        return stations(self.instance, self.decision)

    @cached_property
    def handover_s(self) -> tuple[Floats, Floats]:
        """Seconds for each UE's weights to go up, and to come down."""
        return handover_times(self.instance, self.decision)

    def sizes(self, ue: str) -> tuple[int, ...]:
        """Samples in each micro-batch of a UE."""
        i, d = self.index[ue], self.decision
        return micro_batch_sizes(int(d.batch[i]), int(d.counts(self.instance.n)[i]), d.first_micro_batch)


def joint(scene: Scene, phase: Phase) -> Trained:
    """All members' m-th micro-batches through one BS model (``controller.predict.recursion``)."""
    rows = [scene.index[ue] for ue in phase.members]
    begin = np.zeros(len(rows))
    events: list[Event] = []
    busy_s = 0.0
    for _ in range(phase.steps):
        times = _joint_times(scene, rows)
        ends = turn_ends(times, scene.instance.duplex, begin)
        events += _events(times, ends, phase)
        busy_s += float(times.bs_forward.sum() + times.bs_backward.sum())
        begin = ends.ue_backward.max(axis=1, initial=0.0)
    done = dict(zip(phase.members, begin.tolist(), strict=True))
    return Trained(events, done, max((e.end_s for e in events), default=0.0), busy_s)


def _joint_times(scene: Scene, rows: list[int]) -> TaskTimes:
    decision, instance = scene.decision, scene.instance
    per = scene.per.of(rows)
    samples = split_batches(decision.batch[rows], decision.micro_batches, decision.first_micro_batch)
    times = task_times(per, samples)
    shared = shared_rows(decision.phi, decision.batch[rows].tolist())
    if not shared:
        return times
    merges = AGGREGATES[decision.aggregate].merges
    bits = shared * instance.workload.down_bytes(decision.cut) * BITS
    return TaskTimes(
        samples=samples,
        ue_forward=times.ue_forward,
        uplink=times.uplink,
        bs_forward=times.bs_forward + merges * shared * per.bs_forward,
        bs_backward=times.bs_backward - merges * shared * (len(rows) - 1) * per.bs_backward,
        downlink=np.where(
            samples > shared, (samples - shared) * per.downlink[:, None] + per.message_down[:, None], 0.0
        ),
        ue_backward=times.ue_backward,
        shared=shared,
        broadcast_s=(bits + instance.message_bytes * BITS) / float(instance.rate_down[rows].min()),
        latency=times.latency,
    )


def _events(times: TaskTimes, ends: TurnEnds, phase: Phase) -> list[Event]:
    """The tasks of a turn that exist, each from its end back by its duration."""
    found = []
    exists = {"downlink": times.samples > times.shared}
    for task in ("ue_forward", "uplink", "downlink", "ue_backward"):
        end, duration = getattr(ends, task), getattr(times, task)
        for i, m in np.argwhere(exists.get(task, times.samples > 0)):
            last = float(end[i, m])
            found.append(Event(task, phase.members[i], int(m), phase.turn, last - float(duration[i, m]), last))
    for task in ("bs_forward", "bs_backward"):
        end, duration = getattr(ends, task), getattr(times, task)
        for m in np.flatnonzero(times.samples.sum(axis=0)):
            found.append(Event(task, "bs", int(m), phase.turn, float(end[m] - duration[m]), float(end[m])))
    if times.shared:
        begin = float(max(ends.bs_backward.max(), ends.uplink.max())) + times.latency.fixed_s
        found += [Event("broadcast", ue, 0, phase.turn, begin, begin + times.broadcast_s) for ue in phase.members]
    return found


def alone(scene: Scene, phase: Phase) -> Trained:
    """Every member trains the whole model by itself."""
    events, done = [], {}
    for ue in phase.members:
        per, clock_s = scene.each[scene.index[ue]], 0.0
        for _ in range(phase.steps):
            for m, size in enumerate(scene.sizes(ue)):
                if size:
                    between_s = clock_s + size * float(per.ue_forward[0])
                    after_s = between_s + size * float(per.ue_backward[0])
                    events.append(Event("ue_forward", ue, m, phase.turn, clock_s, between_s))
                    events.append(Event("ue_backward", ue, m, phase.turn, between_s, after_s))
                    clock_s = after_s
        done[ue] = clock_s
    return Trained(events, done, max(done.values(), default=0.0), 0.0)


def own(scene: Scene, phase: Phase) -> Trained:
    """The BS trains the whole model on data of its own."""
    per, batch = scene.per, scene.instance.batch
    events, clock_s = [], 0.0
    for _ in range(phase.steps):
        between_s = clock_s + batch * per.bs_forward
        after_s = between_s + batch * per.bs_backward
        events.append(Event("bs_forward", "bs", 0, phase.turn, clock_s, between_s))
        events.append(Event("bs_backward", "bs", 0, phase.turn, between_s, after_s))
        clock_s = after_s
    return Trained(events, {}, clock_s, clock_s)


def as_they_come(scene: Scene, phase: Phase) -> Trained:
    """Each UE's micro-batches through a BS model of its own, first come first served."""
    return _Queue(scene, phase).run()


def in_order(scene: Scene, phase: Phase) -> Trained:
    """One UE after another through the one BS model, in this round's order."""
    return _Queue(scene, phase, ordered=True).run()


class _Queue:
    """One server and its customers: an event simulation, as arrivals of a step hang on services of the one before."""

    def __init__(self, scene: Scene, phase: Phase, ordered: bool = False) -> None:
        self.scene, self.phase, self.ordered = scene, phase, ordered
        self.events: list[Event] = []
        self.arrived: list[tuple[float, int, int, int]] = []
        self.free_s = 0.0
        self.busy_s = 0.0
        self.gate_s = 0.0
        self.compute_s = dict.fromkeys(phase.members, 0.0)
        self.down_s = dict.fromkeys(phase.members, 0.0)

    def run(self) -> Trained:
        """Simulates the phase."""
        for ue in self.phase.members if self.phase.steps else ():
            self._send(ue, 0)
        if self.scene.instance.duplex == "tdd":
            self.gate_s = max((arrival[0] for arrival in self.arrived), default=0.0)
        while self.arrived:
            self._serve(*self._next())
        return Trained(self.events, self.compute_s, max((e.end_s for e in self.events), default=0.0), self.busy_s)

    def _send(self, ue: str, step: int) -> None:
        """All forward passes of a batch, and their uplinks."""
        per, i = self.scene.each[self.scene.index[ue]], self.phase.members.index(ue)
        sent_s = 0.0
        for m, size in enumerate(self.scene.sizes(ue)):
            if size:
                begin_s = self.compute_s[ue]
                self.compute_s[ue] = begin_s + size * float(per.ue_forward[0])
                self._add("ue_forward", ue, m, begin_s, self.compute_s[ue])
                on_air_s = size * per.uplink + per.message_up
                begin_s = max(self.compute_s[ue] + float(per.latency.up_s(on_air_s)[0]), sent_s)
                sent_s = begin_s + float(on_air_s[0])
                self._add("uplink", ue, m, begin_s, sent_s)
                heapq.heappush(self.arrived, (sent_s, i, step, m))

    def _next(self) -> tuple[float, int, int, int]:
        if not self.ordered:
            return heapq.heappop(self.arrived)
        scene, members = self.scene, self.phase.members
        step = min(arrival[2] for arrival in self.arrived)
        order = order_of(members, scene.seed, scene.number, step)
        first = min(self.arrived, key=lambda a: (a[2], order.index(members[a[1]]), a[3]))
        self.arrived.remove(first)
        heapq.heapify(self.arrived)
        return first

    def _serve(self, arrived_s: float, i: int, step: int, m: int) -> None:
        """Forward and backward at the BS, the gradient's way down, and the UE's backward pass."""
        ue = self.phase.members[i]
        per, size = self.scene.each[self.scene.index[ue]], self.scene.sizes(ue)[m]
        begin_s = max(arrived_s, self.free_s)
        between_s = begin_s + size * per.bs_forward
        self.free_s = between_s + size * per.bs_backward
        self.busy_s += self.free_s - begin_s
        self._add("bs_forward", "bs", m, begin_s, between_s)
        self._add("bs_backward", "bs", m, between_s, self.free_s)
        on_air_s = size * per.downlink + per.message_down
        begin_s = max(max(self.free_s, self.gate_s) + float(per.latency.down_s(on_air_s)[0]), self.down_s[ue])
        self.down_s[ue] = begin_s + float(on_air_s[0])
        self._add("downlink", ue, m, begin_s, self.down_s[ue])
        begin_s = max(self.down_s[ue], self.compute_s[ue])
        self.compute_s[ue] = begin_s + size * float(per.ue_backward[0])
        self._add("ue_backward", ue, m, begin_s, self.compute_s[ue])
        last = max(n for n, size in enumerate(self.scene.sizes(ue)) if size)
        if m == last and step + 1 < self.phase.steps:
            self._send(ue, step + 1)

    def _add(self, task: str, ue: str, m: int, start_s: float, end_s: float) -> None:
        self.events.append(Event(task, ue, m, self.phase.turn, start_s, end_s))


def shared_weights(scene: Scene, phase: Phase, done_s: Mapping[str, float]) -> list[Event]:
    """The members' weights go up as each is done; once all are there, their average goes down to the heirs."""
    if not phase.syncs:
        return []
    waits = latency(scene.instance, scene.decision)
    up_s, down_s = scene.handover_s
    wait_up_s, wait_down_s = (np.broadcast_to(w, len(up_s)) for w in (waits.up_s(up_s), waits.down_s(down_s)))

    def moves(task: str, ue: str, ready_s: float, wait_s: Floats, seconds: Floats) -> Event:
        begin_s = ready_s + float(wait_s[scene.index[ue]])
        return Event(task, ue, 0, phase.turn, begin_s, begin_s + float(seconds[scene.index[ue]]))

    ups = [moves("weights_up", ue, done_s.get(ue, 0.0), wait_up_s, up_s) for ue in phase.members]
    at_s = max(event.end_s for event in ups)
    return ups + [moves("weights_down", ue, at_s, wait_down_s, down_s) for ue in phase.heirs]


TRAINING: dict[str, Callable[[Scene, Phase], Trained]] = {
    "joint": joint,
    "replicas": as_they_come,
    "in_order": in_order,
    "none": alone,
    "own": own,
}
