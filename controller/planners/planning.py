"""Topology → instance → plan with its prediction: what ``testbed plan`` prints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from agents.plan import Plan, UePlan
from agents.scheme import SCHEMES, Scheme
from controller.planners import DEFAULT_PLANNER, PLANNERS, Request
from controller.predict.bounds import decision_bound_s
from controller.predict.instance import Decision, Instance, instance, link_rates
from controller.predict.latency import Latency, latency
from controller.predict.paper import bubble_rate, constraints, round_times
from controller.predict.timeline import Timeline, typical
from controller.predict.workload import workload
from testbed import data
from testbed.compute import Transport
from testbed.errors import InputError
from testbed.topology import Privacy, SchemeChoice, Topology

FREE_OF_CHARGE = Transport()


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
    """A plan for a problem, its predicted timeline, and how it looks in the paper's own terms."""

    label: str
    problem: Instance
    plan: Plan
    decision: Decision
    timeline: Timeline
    predicted: Predicted
    paper: dict[str, Any]
    rounds: int
    privacy: Privacy | None = None
    warnings: tuple[str, ...] = ()

    @property
    def latency(self) -> Latency:
        """What the prediction allows messages to wait."""
        return latency(self.problem, self.decision)

    def to_json(self) -> dict[str, Any]:
        """The document that ``testbed plan --json`` prints and ``plan.json`` holds."""
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {**self.plan.to_json(), "predicted": asdict(self.predicted), "paper": self.paper, **warnings}


def plan_all(topology: Topology, dilation: float = 1.0, transport: Transport = FREE_OF_CHARGE) -> tuple[Planned, ...]:
    """A plan for each scheme that the topology asks for; messages cost what they do on a calibrated host."""
    problem = replace(
        instance(topology, workload(topology)),
        message_s=transport.message_s / dilation,
        message_bytes=transport.message_bytes,
    )
    return tuple(plan_one(topology, problem, i, choice, dilation) for i, choice in enumerate(topology.schemes))


def steps(topology: Topology, choice: SchemeChoice) -> int:
    """Batches between two synchronisations (1 for schemes that have none).

    An epoch is as many batches as there are in the whole training set, so a pass over all data together.
    """
    scheme = SCHEMES[choice.scheme]
    if scheme.ue_weights == "kept":
        return 1
    epoch = math.ceil(data.info(topology.data).train / topology.training.batch)
    return choice.local_epochs * (epoch if (choice.sync_every or scheme.local_epoch) == "epoch" else 1)


def plan_one(topology: Topology, problem: Instance, index: int, choice: SchemeChoice, dilation: float) -> Planned:
    """The plan of one entry of ``schemes``."""
    name = choice.planner or DEFAULT_PLANNER
    if name not in PLANNERS:
        raise InputError(f"schemes.{index}.planner", f"unknown planner {name}", f"choose among {', '.join(PLANNERS)}")
    scheme = SCHEMES[choice.scheme]
    request = Request(
        problem,
        scheme,
        choice.cut,
        choice.micro_batches,
        f"schemes.{index}",
        steps=steps(topology, choice),
        phi=choice.phi if scheme.aggregates else 0.0,
        cluster_size=choice.cluster_size if scheme.turn == "cluster" else None,
        seed=topology.seed,
        lemma=choice.lemma,
        p3=choice.p3,
    )
    answer = PLANNERS[name](request)
    decision = replace(answer.decision, aggregate=choice.aggregate)
    if choice.in_flight:
        decision = replace(decision, batch=decision.batch * decision.counts(problem.n))
    timeline = typical(problem, scheme, decision, topology.seed, topology.training.rounds)
    bound_s = decision_bound_s(problem, scheme, decision)
    predicted = Predicted(timeline.round_s, timeline.bubble_rate, timeline.bs_busy_s, timeline.bs_idle_s, bound_s)
    plan = _plan(topology, problem, decision, scheme, name, dilation)
    paper = {**in_the_papers_terms(problem, decision, scheme), "relaxed": list(answer.relaxed)}
    return Planned(
        choice.key,
        problem,
        plan,
        decision,
        timeline,
        predicted,
        paper,
        rounds=choice.rounds or topology.training.rounds,
        privacy=choice.privacy,
        warnings=answer.warnings,
    )


def in_the_papers_terms(problem: Instance, decision: Decision, scheme: Scheme) -> dict[str, Any]:
    """Bubble rate by eqs 16–18 and whether C2, C3 and C4 hold, with ``b_i / k`` as the paper has it.

    None, and no constraints, where UEs and BS do not train one model cut at one place.
    """
    if scheme.bs_model != "joint":
        return {"bubble_rate": None, "constraints": {}}
    return {
        "bubble_rate": bubble_rate(round_times(problem, decision), decision.micro_batches),
        "constraints": constraints(problem, decision),
    }


def _plan(
    topology: Topology, problem: Instance, decision: Decision, scheme: Scheme, planner: str, dilation: float
) -> Plan:
    up, down = link_rates(problem, decision)
    cluster = decision.clusters(problem.ues)
    ues = {
        name: UePlan(
            batch=int(decision.batch[i]),
            slot_up_s=float(decision.slot_up_s[i]),
            slot_down_s=float(decision.slot_down_s[i]),
            uplink_bps=float(up[i]),
            downlink_bps=float(down[i]),
            cluster=cluster.get(name, 0),
            cut=None if decision.ue_cut is None else int(decision.ue_cut[i]),
            micro_batches=None if decision.ue_micro_batches is None else int(decision.ue_micro_batches[i]),
        )
        for i, name in enumerate(problem.ues)
    }
    return Plan(
        topology.name,
        scheme.name,
        planner,
        decision.cut,
        decision.micro_batches,
        dilation,
        ues,
        first_micro_batch=decision.first_micro_batch,
        steps=decision.steps,
        bs_batch=problem.batch if scheme.bs_model == "own" else 0,
        phi=decision.phi,
        aggregate=decision.aggregate,
        broadcast_bps=float(problem.rate_down[decision.batch > 0].min()) if decision.phi else 0.0,
    )


def decision_of(plan: Plan) -> Decision:
    """The decision inside a plan, as arrays."""
    ues = list(plan.ues.values())
    return Decision(
        plan.cut,
        plan.micro_batches,
        np.array([ue.batch for ue in ues], dtype=np.int64),
        np.array([ue.slot_up_s for ue in ues]),
        np.array([ue.slot_down_s for ue in ues]),
        np.array([ue.cluster for ue in ues], dtype=np.int64),
        np.array([plan.cut_of(name) for name in plan.ues], dtype=np.int64),
        np.array([ue.micro_batches or plan.micro_batches for ue in ues], dtype=np.int64),
        plan.steps,
        plan.phi,
        plan.first_micro_batch,
        plan.aggregate,
    )
