"""Which tasks of a schedule are started together: the parts of a round that the controller begins one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.schedule.task import Key, Schedule


def of(schedule: Schedule) -> Mapping[Key, int]:
    """The segment of each task, from 0.

    A need that no message carries to the agent that has it, directly or as part of what another one says, ends a
    segment. Tasks that wait for the same are in the same one, though some of their agents may know earlier that it is
    done: who went ahead would keep the others waiting. The order of a place is kept by the place itself.
    """
    found = _with(schedule, {})
    if not any(found.values()):
        return found
    needs_of = {task.key: frozenset(task.needs) for task in schedule.tasks if task.needs}
    while True:
        latest: dict[frozenset[Key], int] = {}
        for key, needs in needs_of.items():
            latest[needs] = max(latest.get(needs, 0), found[key])
        least = {key: latest[needs] for key, needs in needs_of.items()}
        if all(found[key] == segment for key, segment in least.items()):
            return found
        found = _with(schedule, least)


def _with(schedule: Schedule, least: Mapping[Key, int]) -> dict[Key, int]:
    """The segments where each task is in no earlier one than is given for it."""
    found: dict[Key, int] = {}
    for task in schedule.ordered:
        unknown = [key for key in task.needs if not schedule.knows(task.agent, schedule.by_key[key])]
        before = schedule.before[task.key]
        known = [key for key in before if key not in unknown] if unknown else before
        segment = max((found[key] for key in known), default=0)
        late = {key for key in unknown if found[key] >= segment}
        if late:
            implied = _ancestors(schedule, known, found, min(found[key] for key in late))
            segment = max([segment, *(found[key] + 1 for key in late - implied)])
        found[task.key] = max(segment, least.get(task.key, 0))
    return found


def _ancestors(schedule: Schedule, keys: Sequence[Key], segment_of: Mapping[Key, int], least: int) -> set[Key]:
    """All that must have been done before these, as far back as a segment."""
    seen: set[Key] = set()
    queue = list(keys)
    while queue:
        key = queue.pop()
        if key not in seen and segment_of[key] >= least:
            seen.add(key)
            queue += schedule.before[key]
    return seen
