"""Half duplex: the air is for uplinks or for downlinks, and what follows from that for a schedule."""

from __future__ import annotations

from dataclasses import replace

from agents.schedule.task import Activations, Compute, Key, Schedule, Task, goes_up, is_link


def half_duplex(schedule: Schedule) -> Schedule:
    """The schedule for air that is for uplinks or for downlinks at a time (``tdd``).

    The transfers of a round go in legs, up and down in turn: a transfer that follows from one in the other direction
    belongs to a later leg, and starts when all of the leg before are done. The forward passes of a new batch begin
    with the leg of their uplinks, so that all UEs begin it together. As a link keeps its order, its first transfer
    in a leg waits for the last ones of the leg before on theirs.
    """
    leg_of = _legs(schedule)
    firsts, lasts = set[Key](), dict[int, list[Key]]()
    for place, tasks in schedule.at.items():
        if not is_link(place):
            continue
        legs: dict[int, list[Key]] = {}
        for task in tasks:
            legs.setdefault(leg_of[task.key], []).append(task.key)
        for leg, keys in legs.items():
            loose = place in schedule.first_ready
            firsts.update(keys if loose else keys[:1])
            lasts.setdefault(leg, []).extend(keys if loose else keys[-1:])
    ends = {leg: tuple(dict.fromkeys(keys)) for leg, keys in lasts.items()}
    awaited = {key: ends.get(leg_of[key] - 1, ()) for key in firsts}
    for task in schedule.tasks:  # what an uplink of a new batch waits for, its forward pass waits for
        if task.key in firsts and isinstance(task.work, Activations) and goes_up(task.place):
            awaited.update({key: awaited[task.key] for key in task.needs if _fresh(schedule.by_key[key])})
    return replace(schedule, tasks=tuple(_with_needs(task, awaited.get(task.key, ())) for task in schedule.tasks))


def _legs(schedule: Schedule) -> dict[Key, int]:
    """The leg of each transfer, even ones up and odd ones down; of other tasks that of the latest before them.

    What goes down before anything went up is in leg −1: nobody's uplinks are to keep a UE from what it begins with.
    """
    found: dict[Key, int] = {}
    for task in schedule.ordered:
        leg = max((found[key] for key in schedule.before[task.key]), default=-1)
        if task.transfers:
            leg += leg % 2 != (0 if goes_up(task.place) else 1)
        found[task.key] = leg
    return found


def _fresh(task: Task) -> bool:
    """Whether a task takes samples that nothing was computed of yet."""
    return isinstance(task.work, Compute) and not task.work.backward and task.work.first == 0


def _with_needs(task: Task, more: tuple[Key, ...]) -> Task:
    return replace(task, needs=tuple(dict.fromkeys((*task.needs, *more)))) if more else task
