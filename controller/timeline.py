"""Durations and scheme → predicted events, round time and bubble rate.

The recursion is the design's C²P²SL timeline; other schemes are turns of it, one after
another, with weights on the air where the scheme moves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.scheme import Scheme, turns
from controller.instance import Decision, Instance
from controller.timing import PerSample, TaskTimes, decision_per_sample, handover_times, split_batches, task_times

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Event(NamedTuple):
    """One task as predicted: seconds from the start of the round."""

    task: str
    ue: str
    micro_batch: int
    turn: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class TurnEnds:
    """When each task of a turn ends (s from the turn's start), shaped as ``TaskTimes``."""

    ue_forward: Floats
    uplink: Floats
    bs_forward: Floats
    bs_backward: Floats
    downlink: Floats
    ue_backward: Floats
    turn_s: float


@dataclass(frozen=True)
class Timeline:
    """A predicted round: its events in order of start, its length and the BS's busy time (s)."""

    events: tuple[Event, ...]
    round_s: float
    bs_busy_s: float

    @property
    def bs_idle_s(self) -> float:
        """Seconds of the round in which the BS does not compute."""
        return self.round_s - self.bs_busy_s

    @property
    def bubble_rate(self) -> float:
        """Idle share of the BS (eq. 16)."""
        return self.bs_idle_s / self.round_s


def turn_ends(times: TaskTimes, duplex: str) -> TurnEnds:
    """End of each task of one turn, by recursion over micro-batches and vectorised over UEs.

    UE forwards run back to back; an uplink starts after its forward and the UE's previous
    uplink; the BS runs micro-batch m, forward then backward, once every UE that has one has
    sent it; with ``tdd`` no downlink starts before the last uplink of the turn; a UE's
    backwards run in order after its forwards. A UE with an empty micro-batch takes no time
    for it, and nobody waits.
    """
    has = times.samples > 0
    forward = np.cumsum(times.ue_forward, axis=1)
    uplink = _in_order(forward, times.uplink, has)
    served = np.asarray(has.any(axis=0), dtype=np.bool_)
    ready = np.where(has, uplink, 0.0).max(axis=0, initial=0.0)
    bs_backward = _in_order(ready, times.bs_forward + times.bs_backward, served)
    bs_forward = bs_backward - times.bs_backward
    last_uplink = uplink[:, -1].max(initial=0.0) if duplex == "tdd" else 0.0
    downlink = _in_order(np.maximum(bs_backward, last_uplink)[None, :], times.downlink, has)
    backward = _in_order(np.maximum(downlink, forward[:, -1:]), times.ue_backward, has)
    turn_s = max(float(backward.max(initial=0.0)), float(bs_backward.max(initial=0.0)))
    return TurnEnds(forward, uplink, bs_forward, bs_backward, downlink, backward, turn_s)


def _in_order(ready: Floats, duration: Floats, exists: npt.NDArray[np.bool_]) -> Floats:
    """End of each task along the last axis: it starts when it is ready and the one before it has ended.

    ``end_m = max(ready_m, end_{m-1}) + d_m``, unrolled: ``D_m + max_{j ≤ m} (ready_j − D_{j-1})`` with
    D the sums of d. A task that does not exist takes no time and waits for nothing.
    """
    duration = np.where(exists, duration, 0.0)
    done = np.cumsum(duration, axis=-1)
    earliest = np.where(exists, ready - (done - duration), 0.0)
    return done + np.maximum.accumulate(earliest, axis=-1)


def gradients_leave(per: PerSample, samples: Ints, duplex: str) -> Floats:
    """Earliest start (..., k) in seconds of each micro-batch's downlink, for turns of samples (..., n, k).

    The recursion of ``turn_ends`` written as running maxima, for as many turns at a time as
    there are leading axes; arrays of ``per`` are (..., n).
    """
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before = done - samples
    forward, uplink = per.ue_forward[..., None], _where_used(per.uplink, done)
    sent = uplink * done + np.maximum.accumulate(forward * done - uplink * before, axis=-1)
    ready = np.where(samples > 0, sent, -np.inf).max(axis=-2)
    bs = per.bs_forward + per.bs_backward
    computed = bs * done.sum(axis=-2) + np.maximum.accumulate(ready - bs * before.sum(axis=-2), axis=-1)
    leave: Floats = np.maximum(computed, sent[..., -1].max(axis=-1)[..., None]) if duplex == "tdd" else computed
    return leave


def turn_s(per: PerSample, samples: Ints, leave: Floats) -> Floats:
    """Lengths (s) of turns of samples (..., n, k) whose gradients leave the BS at ``leave`` (..., k)."""
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before, batch = done - samples, done[..., -1:]
    downlink, backward = _where_used(per.downlink, done), per.ue_backward[..., None]
    waits = np.where(samples > 0, leave[..., None, :] - downlink * before, -np.inf)
    got = downlink * done + np.maximum.accumulate(waits, axis=-1)
    last = np.maximum(
        (got + backward * (batch - before)).max(axis=-1), (per.ue_forward + per.ue_backward) * batch[..., 0]
    )
    ends: Floats = np.maximum(np.maximum(last.max(axis=-1), leave.max(axis=-1)), 0.0)
    return ends


def _where_used(seconds: Floats, done: Floats) -> Floats:
    """Per-sample times (..., n, 1), 0 for a UE without samples: it may have no slot, and so an infinite time."""
    return np.where(done[..., -1:] > 0, seconds[..., None], 0.0)


def round_s(instance: Instance, scheme: Scheme, decision: Decision) -> float:
    """``predict(…).round_s`` without the events: what planners search with."""
    per = decision_per_sample(instance, decision)
    samples = split_batches(decision.batch, decision.micro_batches, decision.first_micro_batch)
    if scheme.turn == "one":
        per, samples = per.each_alone(), samples[:, None, :]
    lengths = turn_s(per, samples, gradients_leave(per, samples, instance.duplex))
    handed_s = 0.0
    if scheme.ue_weights == "handed" and instance.n > 1:
        handed_s = float(np.sum(handover_times(instance, decision)))
    return float(lengths.sum()) + handed_s


def predict(instance: Instance, scheme: Scheme, decision: Decision) -> Timeline:
    """The round that this decision gives under this scheme."""
    per = decision_per_sample(instance, decision)
    samples = split_batches(decision.batch, decision.micro_batches, decision.first_micro_batch)
    weights_up, weights_down = handover_times(instance, decision)
    index = {ue: i for i, ue in enumerate(instance.ues)}
    order = turns(scheme, instance.ues)
    handed = scheme.ue_weights == "handed" and instance.n > 1
    events: list[Event] = []
    clock_s, busy_s = 0.0, 0.0
    for turn, members in enumerate(order):
        rows = [index[ue] for ue in members]
        times = task_times(per.of(rows), samples[rows])
        ends = turn_ends(times, instance.duplex)
        events += _events(times, ends, members, turn, clock_s)
        busy_s += float(times.bs_forward.sum() + times.bs_backward.sum())
        clock_s += ends.turn_s
        if handed:
            heir = order[(turn + 1) % len(order)][0]
            up_s, down_s = float(weights_up[rows[0]]), float(weights_down[index[heir]])
            events.append(Event("weights_up", members[0], 0, turn, clock_s, clock_s + up_s))
            events.append(Event("weights_down", heir, 0, turn, clock_s + up_s, clock_s + up_s + down_s))
            clock_s += up_s + down_s
    return Timeline(tuple(sorted(events, key=lambda e: (e.start_s, e.end_s))), clock_s, busy_s)


def _events(times: TaskTimes, ends: TurnEnds, members: tuple[str, ...], turn: int, offset_s: float) -> list[Event]:
    """The tasks of a turn that exist, each from its end back by its duration."""
    found = []
    for task in ("ue_forward", "uplink", "downlink", "ue_backward"):
        end, duration = getattr(ends, task) + offset_s, getattr(times, task)
        for i, m in np.argwhere(times.samples > 0):
            found.append(Event(task, members[i], int(m), turn, float(end[i, m] - duration[i, m]), float(end[i, m])))
    for task in ("bs_forward", "bs_backward"):
        end, duration = getattr(ends, task) + offset_s, getattr(times, task)
        for m in np.flatnonzero(times.samples.sum(axis=0)):
            found.append(Event(task, "bs", int(m), turn, float(end[m] - duration[m]), float(end[m])))
    return found
