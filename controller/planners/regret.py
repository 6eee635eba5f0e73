"""Plans in a world that changes: the first one, those made anew, and an oracle's, for whom nothing has to move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from controller.planners.planning import Planned, plan_all
from controller.planners.replanning import Course, Step, made_for
from controller.predict.channel import moment
from testbed.replanning import Replan, replans
from testbed.topology import Topology


@dataclass(frozen=True)
class Round:
    """A predicted round (s), what the oracle's would have been in the same world, and the step that it is."""

    step: Step
    oracle_s: float

    @property
    def round_s(self) -> float:
        """How long it is, with all that moves and what is charged of the planner's time."""
        return self.step.predicted_s

    @property
    def regret(self) -> float:
        """By which share it is longer than the oracle's."""
        return self.round_s / self.oracle_s - 1.0


def regrets(topology: Topology) -> list[dict[str, Any]]:
    """One record for each scheme whose plan can be made anew, and each of ``first`` plan, ``anew`` and ``oracle``.

    All rounds of the trial are simulated; each course sees the world at its own clock, and its regret is against the
    oracle in that very world. Plans are made anew as the topology's ``replan`` says, or before every round.
    """
    replan = topology.replan or Replan()
    asked = topology.model_copy(update={"replan": replan})
    still = topology.model_copy(update={"replan": None})
    choices = {choice.key: choice for choice in topology.schemes}
    found: list[dict[str, Any]] = []
    for planned in plan_all(asked):
        if replans(replan, choices[planned.label], planned.scheme):
            first, anew = (list(rounds(one, planned)) for one in (still, asked))
            found += _records(planned, first, anew)
    return found


def rounds(topology: Topology, planned: Planned) -> Iterator[Round]:
    """The rounds of a scheme as predicted, each beside the oracle's."""
    course, clock_s = Course(topology, planned), 0.0
    for number in range(1, planned.rounds + 1):
        step = course.step(number, clock_s)
        yield Round(step, oracle_s(topology, planned, step, number, clock_s))
        clock_s += step.predicted_s


def oracle_s(topology: Topology, planned: Planned, step: Step, number: int, clock_s: float) -> float:
    """The shortest of the round under what the planner finds for it, the first plan and the one in force, if nothing
    has to move for any of them."""
    here = replace(step.planned, plan=replace(step.planned.plan, moving=None))
    options = (made_for(topology, planned, step.now.instance), planned, here)
    return min(moment(topology, one, number, clock_s).timeline.round_s for one in options if one is not None)


def _records(planned: Planned, first: list[Round], anew: list[Round]) -> list[dict[str, Any]]:
    first_s, anew_s = (_mean([one.round_s for one in found]) for found in (first, anew))
    made = [one.step for one in anew if one.step.gained_s is not None]

    def record(plan: str, mean_s: float, found: list[Round] | None) -> dict[str, Any]:
        return {
            "scheme": planned.label,
            "planner": planned.plan.planner,
            "plan": plan,
            "mean_round_s": mean_s,
            "saved": 1.0 - mean_s / first_s,
            "regret": _mean([one.regret for one in found]) if found else 0.0,
            "worst_regret": max(one.regret for one in found) if found else 0.0,
            "changes": sum(not step.kept for step in made) if plan == "anew" else None,
            "planner_s": _mean([step.planner_s for step in made]) if plan == "anew" and made else None,
        }

    return [
        record("first", first_s, first),
        record("anew", anew_s, anew),
        record("oracle", _mean([one.oracle_s for one in anew]), None),
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
