"""Whether the tasks of a round happened as its schedule has them: each once, and after what it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from agents.schedule.task import BROADCAST_PLACE, BS, Key, Schedule, Task, goes_up, owner
from controller.judge.measured import Happened

CLOCK_S = 1e-3
"""By how much (emulated s) a task may seem to begin before what it needs was done: clocks of two hosts differ."""


def wrong_tasks(left: Schedule, rows: Sequence[Happened], whole: Schedule, lost: Collection[str] = ()) -> Iterator[str]:
    """Every task that takes time happens once, at its place; a broadcast at each UE that hears it.

    ``left`` is what was left of the ``whole`` when UEs were ``lost``. Of them nobody knows what they did and got.
    """
    planned, possible = _by_place(left), _by_place(whole)
    happened = Counter((row.key, row.place, row.ue) for row in rows)
    for key, place, ue in planned - happened:
        if _told_by(left.by_key[key], ue) not in lost:
            yield f"{key} did not happen at {ue if place == BROADCAST_PLACE else place}"
    for (key, place, ue), count in happened.items():
        who = (key, place, ue)
        if count > 1:
            yield f"{key} happened {count} times at {place}"
        elif who not in planned and not (who in possible and _told_by(whole.by_key[key], ue) in lost):
            yield f"{key} at {place} is not in the schedule"


def _by_place(schedule: Schedule) -> Counter[tuple[Key, str, str]]:
    """Every task that takes time, where it is done, and for whom."""
    return Counter(
        (task.key, task.place, ue)
        for task in schedule.tasks
        if task.computes or task.transfers
        for ue in (schedule.receivers(task) if task.place == BROADCAST_PLACE else (task.key.ue,))
    )


def _told_by(task: Task, ue: str) -> str:
    """Who says that it was done: whoever did it, or got it."""
    if task.place == BROADCAST_PLACE:
        return ue
    if task.transfers:
        return BS if goes_up(task.place) else owner(task.place)
    return owner(task.place)


def wrong_order(schedule: Schedule, rows: Sequence[Happened]) -> Iterator[str]:
    """A task begins when what it needs is done, and what was before it at its place is over."""
    ends: dict[tuple[Key, str], float] = {}
    at: dict[str, list[Happened]] = {}
    for row in rows:
        ends[row.key, row.ue if row.place == BROADCAST_PLACE else ""] = row.end_s
        if row.place != BROADCAST_PLACE:
            at.setdefault(row.place, []).append(row)
    for row in rows:
        for key in _timed_needs(schedule, row.key):
            end_s = ends.get((key, ""), ends.get((key, owner(row.place)), 0.0))
            if end_s > row.start_s + CLOCK_S:
                yield f"{row.key} began {end_s - row.start_s:.3g} s before {key} was done"
    for place, here in at.items():
        for before, after in pairwise(sorted(here, key=lambda one: (one.start_s, one.end_s))):
            if before.end_s > after.start_s + CLOCK_S:
                yield f"{after.key} began at {place} while {before.key} was not over"


def _timed_needs(schedule: Schedule, key: Key) -> set[Key]:
    """What a task needs that takes time, also by way of what takes none."""
    found: set[Key] = set()
    queue = list(schedule.by_key[key].needs) if key in schedule.by_key else []
    while queue:
        one = queue.pop()
        task = schedule.by_key[one]
        if task.computes or task.transfers:
            found.add(one)
        else:
            queue += task.needs
    return found
