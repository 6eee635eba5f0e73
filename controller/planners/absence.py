"""Plans for the rounds in which UEs that were lost take no part: made on the problem of the others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

import numpy as np

from controller.planners.planning import Planned, entry, plan_one
from controller.predict.instance import Decision, Instance
from controller.predict.prediction import plan_of, typical
from testbed.errors import InputError, SolverError
from testbed.topology import Topology


def made_without(
    topology: Topology, first: Planned, now: Instance, away: Collection[str], cut: int | None
) -> Planned | None:
    """What the planner of a scheme finds for the other UEs, as a plan of all in which these have no samples.

    ``first``: the plan for all, whose problem it is for. ``cut`` is fixed if it is given, and with it a second one.
    None where nothing fits.
    """
    there = np.array([i for i, ue in enumerate(now.ues) if ue not in away])
    index, choice = entry(topology, first)
    fixed = {} if cut is None else {"cut": cut, "head_cut": first.plan.head_cut or choice.head_cut}
    try:
        found = plan_one(topology, now.only(there), index, choice.model_copy(update=fixed), first.plan.time_dilation)
    except (InputError, SolverError):
        return None
    return _planned(first, _spread(found.decision, first.decision, there), away, found)


def with_batches_of(planned: Planned, away: Collection[str]) -> Planned:
    """The plan with the samples, slots and cuts that the others have in it already."""
    gone = np.array([ue in away for ue in planned.problem.ues])
    decision = planned.decision
    decision = replace(
        decision,
        batch=np.where(gone, 0, decision.batch),
        slot_up_s=np.where(gone, 0.0, decision.slot_up_s),
        slot_down_s=np.where(gone, 0.0, decision.slot_down_s),
    )
    return _planned(planned, decision, away, planned)


def _planned(planned: Planned, decision: Decision, away: Collection[str], found: Planned) -> Planned:
    """A plan for the same problem by another decision; ``found``: what is known of it beside that."""
    scheme, problem, old = planned.scheme, planned.problem, planned.plan
    plan = plan_of(problem, scheme, decision, old.topology, old.planner, old.time_dilation)
    return replace(
        planned,
        plan=replace(plan, away=tuple(ue for ue in problem.ues if ue in away)),
        decision=decision,
        timeline=typical(problem, scheme, decision, planned.seed, planned.rounds),
        paper=found.paper,
        lower_bound_s=found.lower_bound_s,
    )


def _spread(decision: Decision, of_all: Decision, there: np.ndarray[Any, Any]) -> Decision:
    """A decision on some UEs as one on all: the others have no samples and no slots, and their cuts as before."""

    def spread(name: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        before = getattr(of_all, name)
        empty = name in ("batch", "slot_up_s", "slot_down_s") or before is None
        found = np.zeros(len(of_all.batch), dtype=value.dtype) if empty else before.astype(value.dtype)
        found[there] = value
        return found

    return replace(decision, **{f.name: spread(f.name, getattr(decision, f.name)) for f in fields(decision)})
