"""Tasks as agents would have reported them, and the schedule that they are tasks of."""

from __future__ import annotations

from typing import Any

from agents.plan import Plan
from agents.schedule.task import BROADCAST_PLACE, BS, Schedule, down, up
from agents.schemes import SCHEMES
from controller.judge.measured import Happened

UNITS = 2


def row(number: int, task: str, ue: str, micro_batch: int, start_s: float, end_s: float, **more: Any) -> Happened:
    """A task of round ``number`` in turn 0, at the place where such a task of this UE happens."""
    return Happened(number, task, ue, micro_batch, more.pop("turn", 0), start_s, end_s, place_of(task, ue), **more)


def place_of(task: str, ue: str) -> str:
    """Where a task of this kind happens."""
    if task.startswith("bs_"):
        return BS
    places = {"uplink": up(ue), "weights_up": up(ue), "downlink": down(ue), "weights_down": down(ue)}
    return {**places, "broadcast": BROADCAST_PLACE}.get(task, ue)


def schedule_of(plan: Plan, duplex: str = "tdd", number: int = 1) -> Schedule:
    """What happens in a round of a plan for a model of two units."""
    return SCHEMES[plan.scheme].schedule(plan, UNITS, duplex, 0, number)
