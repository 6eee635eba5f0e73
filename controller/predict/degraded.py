"""A round in which a UE is lost, as predicted: what of it comes, when that is noticed, and how long the round takes."""

from __future__ import annotations

from dataclasses import dataclass

from agents.schedule.task import BROADCAST_PLACE, Key, Schedule, Task, goes_up, owner
from agents.schedule.without import without
from controller.predict.simulate import Seconds, Timeline, simulate


@dataclass(frozen=True)
class Degraded:
    """What is left of a round without a UE, its timeline, and its length (s): at least until the loss was noticed."""

    schedule: Schedule
    timeline: Timeline
    round_s: float


def degraded(whole: Schedule, ue: str, lost_s: float, noticed_s: float, seconds: Seconds, wait_s: Seconds) -> Degraded:
    """A round in which a UE does nothing more from ``lost_s`` on (emulated s from its start), noticed at ``noticed_s``.

    What had come of it by then counts. Whoever waits for more of it, or comes after something that does, goes on when
    it is noticed.
    """
    undisturbed = simulate(whole, seconds, wait_s)
    came = [
        event.key
        for event in undisturbed.events
        if owner(event.place) == ue and goes_up(event.place) and event.end_s <= lost_s
    ]
    left = without(whole, ue, came)
    waiting = _waiting(whole, left, ue)
    timeline = simulate(left, seconds, wait_s, earliest_s=lambda task: noticed_s if task.key in waiting else 0.0)
    return Degraded(left, timeline, max(timeline.round_s, noticed_s))


def stalled_s(whole: Schedule, ue: str, from_s: float, until_s: float, seconds: Seconds, wait_s: Seconds) -> float:
    """How long a round is in which nothing goes to a UE, nor from it, in between: no less than it would be without."""
    events = {one.key: one for one in simulate(whole, seconds, wait_s).events if _link_of(ue, whole.by_key[one.key])}
    under_way = {key for key, one in events.items() if one.start_s < from_s < one.end_s}
    later = {key for key, one in events.items() if one.start_s >= from_s}

    def longer(task: Task) -> float:
        return seconds(task) + (until_s - from_s if task.key in under_way else 0.0)

    held = simulate(whole, longer, wait_s, earliest_s=lambda task: until_s if task.key in later else 0.0)
    return held.round_s


def needs_link(whole: Schedule, ue: str, from_s: float, timeline: Timeline) -> bool:
    """Whether anything goes to a UE, or from it, after a moment of a round with this timeline."""
    return any(one.end_s > from_s and _link_of(ue, whole.by_key[one.key]) for one in timeline.events)


def _link_of(ue: str, task: Task) -> bool:
    return task.transfers and (owner(task.place) == ue or task.place == BROADCAST_PLACE)


def _waiting(whole: Schedule, left: Schedule, ue: str) -> set[Key]:
    """The tasks of others that would wait for what does not come: they need it, or their place would do it first."""
    gone = whole.by_key.keys() - left.by_key.keys()
    found = {
        task.key
        for task in whole.tasks
        if task.key in left.by_key and owner(task.place) != ue and _held(task, whole, gone)
    }
    return found


def _held(task: Task, whole: Schedule, gone: set[Key]) -> bool:
    return any(key in gone and not _to_the_lost(whole.by_key[key]) for key in whole.before[task.key])


def _to_the_lost(task: Task) -> bool:
    """Whether it is sent down: that nobody takes it delays nobody."""
    return task.transfers and not goes_up(task.place)
