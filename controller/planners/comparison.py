"""All planners side by side on one topology."""

from __future__ import annotations

from typing import Any

from controller.planners import DEFAULT_PLANNER, PLANNERS
from controller.planners.planning import plan_one
from controller.predict.instance import Instance, instance
from controller.predict.workload import workload
from testbed.errors import InputError
from testbed.topology import SchemeChoice, Topology


def compare(topology: Topology) -> list[dict[str, Any]]:
    """One record per scheme and planner: the plan in short, its gap to the bound, what it saves against uniform.

    A planner that refuses has its reason under ``note`` and nothing else.
    """
    problem = instance(topology, workload(topology))
    return [
        record
        for index, choice in enumerate(topology.schemes)
        for record in _with_savings([_record(topology, problem, index, choice, planner) for planner in PLANNERS])
    ]


def _record(topology: Topology, problem: Instance, index: int, choice: SchemeChoice, planner: str) -> dict[str, Any]:
    empty = dict.fromkeys(("cut", "k", "round_s", "bubble_rate", "lower_bound_s", "gap", "relaxed"))
    record: dict[str, Any] = {"scheme": choice.key, "planner": planner, **empty, "saved": None, "note": ""}
    try:
        planned = plan_one(topology, problem, index, choice.model_copy(update={"planner": planner}), 1.0)
    except InputError as error:
        return {**record, "note": str(error)}
    predicted = planned.predicted
    return {
        **record,
        "cut": planned.plan.cut,
        "k": planned.plan.micro_batches,
        "round_s": predicted.round_s,
        "bubble_rate": predicted.bubble_rate,
        "lower_bound_s": predicted.lower_bound_s,
        "gap": predicted.round_s / predicted.lower_bound_s - 1.0,
        "relaxed": " ".join(planned.paper["relaxed"]),
        "note": "; ".join(planned.warnings),
    }


def _with_savings(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The share of the default planner's round that each planner saves."""
    base_s = next((r["round_s"] for r in records if r["planner"] == DEFAULT_PLANNER), None)
    return [
        {**r, "saved": 1.0 - r["round_s"] / base_s if base_s and r["round_s"] is not None else None} for r in records
    ]
