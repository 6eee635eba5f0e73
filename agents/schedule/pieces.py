"""Which tasks of a place are done together: groups that follow at once, and pieces of work that are done as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agents.schedule.task import Compute, Key, Schedule, Task

Group = tuple[Task, ...]


def groups(tasks: Iterable[Task]) -> Iterator[Group]:
    """The tasks of a place, those that follow each other at once together."""
    group: list[Task] = []
    for task in tasks:
        if group and not task.continues:
            yield tuple(group)
            group = []
        group.append(task)
    if group:
        yield tuple(group)


def pieces(schedule: Schedule, group: Group) -> Iterator[Group]:
    """The parts of a group, each of which is one piece of work for the host.

    What takes no time is part of the work of what does before it. A pass joins the one that it continues when nobody
    else waits for what is done in between, and it waits for nothing more itself: a forward pass and its way back.
    """
    piece: list[Task] = []
    for task in group:
        if piece and task.computes and not _joins(schedule, piece, task):
            yield tuple(piece)
            piece = []
        piece.append(task)
    if piece:
        yield tuple(piece)


def at_once(schedule: Schedule, agent: str) -> Mapping[Key, Key]:
    """The forward passes of an agent whose way back is part of the same piece of work, and the way back of each."""
    found: dict[Key, Key] = {}
    mine = (tasks for tasks in schedule.at.values() if tasks[0].agent == agent and not tasks[0].transfers)
    for piece in (piece for tasks in mine for group in groups(tasks) for piece in pieces(schedule, group)):
        forward: dict[tuple[object, ...], Key] = {}
        for task in piece:
            if isinstance(work := task.work, Compute):
                if not work.backward:
                    forward[pass_of(task.key, work)] = task.key
                elif (there := forward.get(pass_of(task.key, work))) is not None:
                    found[there] = task.key
    return found


def pass_of(key: Key, work: Compute) -> tuple[object, ...]:
    """What a pass and its way back have in common."""
    return key.turn, key.step, key.micro_batch, key.ue, work.model, work.first, work.last


def _joins(schedule: Schedule, piece: list[Task], task: Task) -> bool:
    here = {one.key for one in piece}
    if not here.union(piece[0].needs).issuperset(task.needs):
        return False
    return all(need.key == task.key or need.key in here for key in here for need in schedule.needing(key))
