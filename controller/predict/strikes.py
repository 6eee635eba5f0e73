"""Where faults strike: a topology's ``faults`` on the schedules of its schemes, drawn where it asks so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.schedule.task import BS, EVERYBODY, Key, Schedule, Task, owner
from controller.planners.planning import Planned
from testbed.errors import InputError
from testbed.faults import OF_THE_BS, DrawnFaults, Fault, Kind, round_problems
from testbed.topology import Topology

_STREAM = 14  # of the topology's seed


@dataclass(frozen=True)
class Strike:
    """A fault at a moment of a round: in the middle of a task, or when the round begins (``key`` is None).

    One that was ``drawn`` leaves at least one UE.
    """

    round: int
    ue: str
    kind: Kind
    key: Key | None = None
    for_s: float | None = None
    drawn: bool = False


Strikes = Mapping[int, tuple[Strike, ...]]
"""The faults of a scheme by round."""


def strikes_of(topology: Topology, planned: Sequence[Planned]) -> dict[str, Strikes]:
    """The faults of each scheme, by label, as planned: the same topology, the same faults.

    InputError, with the key's path, for a task or a round that a scheme does not have.
    """
    rounds = {one.label: one.rounds for one in planned}
    if isinstance(topology.faults, DrawnFaults):
        return _drawn(topology, topology.faults, planned)
    for i, fault in enumerate(topology.faults):
        for problem in round_problems(i, fault, rounds):
            raise InputError(*problem)
    return {one.label: _listed(topology.faults, one) for one in planned}


def _listed(faults: Sequence[Fault], planned: Planned) -> Strikes:
    found: dict[int, tuple[Strike, ...]] = {}
    for i, fault in enumerate(faults):
        if fault.scheme in (None, planned.label):
            key = _struck(i, fault, planned)
            strike = Strike(fault.round, fault.ue, fault.kind, key, fault.for_s)
            found[fault.round] = (*found.get(fault.round, ()), strike)
    return found


def _struck(i: int, fault: Fault, planned: Planned) -> Key | None:
    """The task at which a fault strikes. InputError names the scheme that has none, and those that it has."""
    if fault.task is None:
        return None
    schedule = planned.schedule(fault.round)
    own = [task.key for task in tasks_of(schedule, fault.ue)]
    of_kind = [key for key in own if key.kind == fault.task]
    where = "" if fault.scheme else f", or say for which scheme: scheme: {planned.label}"
    if not of_kind:
        kinds = ", ".join(dict.fromkeys(key.kind for key in own)) or "nothing to do"
        message = f"{planned.label} has no {fault.task} of {fault.ue} in round {fault.round}"
        raise InputError(f"faults.{i}.task", message, f"{fault.ue} has {kinds}{where}")
    found = [key for key in of_kind if fault.micro_batch in (None, key.micro_batch)]
    if not found:
        numbers = sorted({key.micro_batch for key in of_kind})
        message = f"{planned.label} has no micro-batch {fault.micro_batch} in {fault.task} of {fault.ue}"
        raise InputError(f"faults.{i}.micro_batch", message, f"there is {', '.join(map(str, numbers))}{where}")
    return found[0]


def tasks_of(schedule: Schedule, ue: str) -> list[Task]:
    """The tasks of a UE that take time: its own, and those that the BS does for it, alone or with others."""
    timed = [task for task in schedule.tasks if task.computes or task.transfers]
    own = {task.key for task in timed if ue in (task.key.ue, owner(task.place))}
    turns = {task.key.turn for task in timed if task.place == ue}
    return [task for task in timed if task.key in own or (task.key.turn in turns and task.key.ue in (BS, EVERYBODY))]


def _drawn(topology: Topology, faults: DrawnFaults, planned: Sequence[Planned]) -> dict[str, Strikes]:
    rng = np.random.default_rng([topology.seed, _STREAM])
    places = [(one.label, number) for one in planned for number in range(1, one.rounds + 1)]
    if faults.count is not None and faults.count > len(places):
        raise InputError("faults.count", f"{faults.count} are more than the {len(places)} rounds", "ask for less")
    if faults.count is None:
        hit = [
            place for place, drawn in zip(places, rng.random(len(places)), strict=True) if drawn < (faults.rate or 0)
        ]
    else:
        hit = [places[i] for i in sorted(rng.choice(len(places), faults.count, replace=False))]
    found: dict[str, dict[int, tuple[Strike, ...]]] = {one.label: {} for one in planned}
    schedules: dict[str, Callable[[int], Schedule]] = {one.label: one.schedule for one in planned}
    for label, number in hit:
        one_of_it = np.random.default_rng([topology.seed, _STREAM, [*found].index(label), number])
        strike = _draw(one_of_it, topology, faults, number, schedules[label](number))
        found[label][number] = (strike,)
    return dict(found)


def _draw(rng: np.random.Generator, topology: Topology, faults: DrawnFaults, number: int, schedule: Schedule) -> Strike:
    """One fault: whom, then how, then where, each of what is possible evenly."""
    able = [kind for kind in faults.kinds if kind in OF_THE_BS]
    ues = [ue for ue in faults.ues or tuple(ue.name for ue in topology.ues) if ue != BS or able]
    ue = ues[rng.integers(len(ues))]
    kinds = able if ue == BS else faults.kinds
    kind = kinds[rng.integers(len(kinds))]
    tasks = tasks_of(schedule, ue)
    key = tasks[rng.integers(len(tasks))].key if tasks else None
    return Strike(number, ue, kind, key, None if kind == "restart" else faults.for_s, drawn=True)
