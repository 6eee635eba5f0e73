"""Topology → instance → plan with its prediction: what ``testbed plan`` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.plan import Plan, UePlan
from agents.scheme import SCHEMES
from controller.bounds import lower_bound_s
from controller.instance import Decision, Instance, instance, link_rates
from controller.paper import bubble_rate, constraints, round_times
from controller.planners import DEFAULT_PLANNER, PLANNERS, Request
from controller.timeline import Timeline, predict
from controller.workload import workload
from testbed.errors import InputError
from testbed.topology import SchemeChoice, Topology


@dataclass(frozen=True)
class Predicted:
    """What the timeline says of a plan, in emulated seconds; ``lower_bound_s`` is below any schedule."""

    round_s: float
    bubble_rate: float
    bs_busy_s: float
    bs_idle_s: float
    lower_bound_s: float


@dataclass(frozen=True)
class Planned:
    """A plan, its predicted timeline, and how it looks in the paper's own terms."""

    label: str
    plan: Plan
    decision: Decision
    timeline: Timeline
    predicted: Predicted
    paper: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document that ``testbed plan --json`` prints and ``plan.json`` holds."""
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {**self.plan.to_json(), "predicted": asdict(self.predicted), "paper": self.paper, **warnings}


def plan_all(topology: Topology, dilation: float = 1.0) -> tuple[Planned, ...]:
    """A plan for each scheme that the topology asks for."""
    problem = instance(topology, workload(topology))
    return tuple(plan_one(topology, problem, i, choice, dilation) for i, choice in enumerate(topology.schemes))


def plan_one(topology: Topology, problem: Instance, index: int, choice: SchemeChoice, dilation: float) -> Planned:
    """The plan of one entry of ``schemes``."""
    name = choice.planner or DEFAULT_PLANNER
    if name not in PLANNERS:
        raise InputError(f"schemes.{index}.planner", f"unknown planner {name}", f"choose among {', '.join(PLANNERS)}")
    scheme = SCHEMES[choice.scheme]
    request = Request(
        problem, scheme, choice.cut, choice.micro_batches, f"schemes.{index}", lemma=choice.lemma, p3=choice.p3
    )
    answer = PLANNERS[name](request)
    decision = answer.decision
    timeline = predict(problem, scheme, decision)
    predicted = Predicted(
        timeline.round_s, timeline.bubble_rate, timeline.bs_busy_s, timeline.bs_idle_s, lower_bound_s(problem)
    )
    plan = _plan(topology, problem, decision, scheme.name, name, dilation)
    paper = {**in_the_papers_terms(problem, decision), "relaxed": list(answer.relaxed)}
    return Planned(choice.key, plan, decision, timeline, predicted, paper, answer.warnings)


def in_the_papers_terms(problem: Instance, decision: Decision) -> dict[str, Any]:
    """Bubble rate by eqs 16–18 and whether C2, C3 and C4 hold, with ``b_i / k`` as the paper has it."""
    return {
        "bubble_rate": bubble_rate(round_times(problem, decision), decision.micro_batches),
        "constraints": constraints(problem, decision),
    }


def _plan(
    topology: Topology, problem: Instance, decision: Decision, scheme: str, planner: str, dilation: float
) -> Plan:
    up, down = link_rates(problem, decision)
    ues = {
        name: UePlan(
            batch=int(decision.batch[i]),
            slot_up_s=float(decision.slot_up_s[i]),
            slot_down_s=float(decision.slot_down_s[i]),
            uplink_bps=float(up[i]),
            downlink_bps=float(down[i]),
        )
        for i, name in enumerate(problem.ues)
    }
    k, first = decision.micro_batches, decision.first_micro_batch
    return Plan(topology.name, scheme, planner, decision.cut, k, dilation, ues, first)


def decision_of(plan: Plan) -> Decision:
    """The decision inside a plan, as arrays."""
    ues = plan.ues.values()
    return Decision(
        plan.cut,
        plan.micro_batches,
        np.array([ue.batch for ue in ues], dtype=np.int64),
        np.array([ue.slot_up_s for ue in ues]),
        np.array([ue.slot_down_s for ue in ues]),
        first_micro_batch=plan.first_micro_batch,
    )
