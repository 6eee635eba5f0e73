"""The topology's ``faults`` section: what is broken on purpose, at which task of which round, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from pydantic import Field, PositiveFloat

from testbed.section import Section

Problem = tuple[str, str, str]
Kind = Literal["kill", "freeze", "cut", "oom", "restart"]

KINDS: tuple[Kind, ...] = get_args(Kind)
OF_THE_BS: tuple[Kind, ...] = ("kill", "restart")
"""What can be done to the base station."""
BS = "bs"
DRAWN_S = 10.0


class Fault(Section):
    """Something that breaks a UE, or the base station (``bs``), in a round.

    It strikes in the predicted middle of the ``task`` of this UE, of the first of its kind unless a ``micro_batch``
    (from 0) is given; without a ``task`` when the round begins. ``kill`` ends the container at once, ``oom`` has the
    kernel end it for its memory, ``freeze`` pauses it, ``cut`` lets nothing through its link, ``restart`` restarts it.
    After ``for_s`` emulated seconds it is undone, without it when the scheme ends. ``scheme``: a label of ``schemes``,
    by default all of them.
    """

    round: int = Field(ge=1)
    ue: str
    kind: Kind
    task: str | None = None
    micro_batch: int | None = Field(default=None, ge=0)
    for_s: PositiveFloat | None = None
    scheme: str | None = None


class DrawnFaults(Section):
    """Faults that the seed draws: in each round of each scheme one with probability ``rate``, or ``count`` in all.

    Whom it strikes (any of ``ues``, by default of all UEs; ``bs`` may be among them), at which task, and how (one of
    ``kinds``) is drawn evenly; it lasts ``for_s`` emulated seconds.
    """

    rate: float | None = Field(default=None, gt=0, le=1)
    count: int | None = Field(default=None, ge=1)
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)
    ues: tuple[str, ...] = ()
    for_s: PositiveFloat = DRAWN_S


Faults = tuple[Fault, ...] | DrawnFaults


def problems(faults: Faults, ues: Sequence[str], rounds: Mapping[str, int]) -> list[Problem]:
    """What is wrong with the section of a topology that has these UEs and so many rounds of each scheme, by label."""
    if isinstance(faults, DrawnFaults):
        return _drawn_problems(faults, ues, rounds)
    found: list[Problem] = []
    for i, fault in enumerate(faults):
        where = f"faults.{i}"
        found += _target_problems(f"{where}.ue", fault.ue, ues)
        if fault.scheme is not None and fault.scheme not in rounds:
            hint = f"labels are {', '.join(rounds)}"
            found.append((f"{where}.scheme", f"there is no scheme {fault.scheme}", hint))
        if fault.ue == BS and fault.kind not in OF_THE_BS:
            found.append((f"{where}.kind", f"{fault.kind} is for UEs", f"use {' or '.join(OF_THE_BS)} for bs"))
        if fault.micro_batch is not None and fault.task is None:
            found.append((f"{where}.micro_batch", "is of no task", "add task: uplink, or leave it out"))
        if fault.kind == "restart" and fault.for_s is not None:
            found.append((f"{where}.for_s", "a restart takes as long as it takes", "leave it out, or use kind: kill"))
        found += round_problems(i, fault, rounds)
    return found


def round_problems(i: int, fault: Fault, rounds: Mapping[str, int]) -> list[Problem]:
    """That a scheme to which the fault applies has no such round."""
    short = [label for label in rounds if fault.scheme in (None, label) and fault.round > rounds[label]]
    if not short:
        return []
    message = f"{fault.round} is after the last round of {short[0]}, {rounds[short[0]]}"
    hint = "choose an earlier one" if fault.scheme else "choose an earlier one, or say scheme: …"
    return [(f"faults.{i}.round", message, hint)]


def _drawn_problems(faults: DrawnFaults, ues: Sequence[str], rounds: Mapping[str, int]) -> list[Problem]:
    if (faults.rate is None) == (faults.count is None):
        return [("faults", "needs either a rate or a count", "write: {rate: 0.05} or {count: 10}")]
    found = [one for i, ue in enumerate(faults.ues) for one in _target_problems(f"faults.ues.{i}", ue, ues)]
    total = sum(rounds.values())
    if faults.count is not None and faults.count > total:
        message = f"{faults.count} are more than the {total} rounds of all schemes, of which each has one at the most"
        found.append(("faults.count", message, f"use {total} or less, or more rounds"))
    if faults.ues == (BS,) and not set(faults.kinds).intersection(OF_THE_BS):
        found.append(("faults.kinds", "are all for UEs", f"add {' or '.join(OF_THE_BS)}"))
    return found


def _target_problems(where: str, ue: str, ues: Sequence[str]) -> list[Problem]:
    if ue in (*ues, BS):
        return []
    return [(where, f"there is no UE {ue}", f"use {', '.join(ues)}, or bs")]
