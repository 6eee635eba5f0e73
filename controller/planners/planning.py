"""Topology → a plan for each scheme, its predicted round, and how it looks in the paper's own terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from agents.own import OwnError, file_of, is_own, place_of
from agents.plan import Plan, Privacy
from agents.schedule.task import ScheduleError
from agents.schemes import Scheme
from agents.schemes.own import scheme_named
from agents.schemes.seam import Rounds
from controller.planners import DEFAULT_PLANNER, PLANNERS, Request
from controller.predict.bounds import decision_bound_s
from controller.predict.device import check_memory, in_one_go
from controller.predict.idle import idle
from controller.predict.instance import Decision, Instance, instance
from controller.predict.latency import Latency, latency
from controller.predict.paper import bubble_rate, constraints, round_times
from controller.predict.prediction import plan_of, typical
from controller.predict.simulate import Timeline
from controller.predict.workload import workload
from testbed import data
from testbed.compute import Transport
from testbed.errors import InputError
from testbed.replanning import nothing_to_decide
from testbed.topology import SchemeChoice, Topology

FREE_OF_CHARGE = Transport()
HARDLY, MOST_NAMED = 0.1, 8
"""A batch below this part of an equal share is warned of, naming so many UEs at the most."""


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
    """A plan for a problem, its predicted timeline, and how it looks in the paper's own terms.

    ``sgd``: what the scheme's entry says of learning rates and momentum, over the topology's ``training``.
    """

    label: str
    scheme: Scheme
    problem: Instance
    plan: Plan
    decision: Decision
    timeline: Timeline
    paper: dict[str, Any]
    rounds: int
    seed: int
    lower_bound_s: float
    warnings: tuple[str, ...] = ()
    sgd: Mapping[str, float] = field(default_factory=dict)

    @property
    def predicted(self) -> Predicted:
        """The timeline in short."""
        t = self.timeline
        return Predicted(t.round_s, t.bubble_rate, t.bs_busy_s, t.bs_idle_s, self.lower_bound_s)

    @cached_property
    def schedule(self) -> Rounds:
        """What happens in each round."""
        units = len(self.problem.workload.units)
        return Rounds(self.scheme, self.plan, units, self.problem.duplex, self.seed)

    @property
    def latency(self) -> Latency:
        """What the prediction allows messages to wait."""
        return latency(self.problem, self.decision)

    def at(self, dilation: float, transport: Transport) -> Planned:
        """The same plan at another dilation: messages then cost another share of an emulated second."""
        problem = with_messages(self.problem, dilation, transport)
        timeline = typical(problem, self.scheme, self.decision, self.seed, self.rounds)
        return replace(self, problem=problem, timeline=timeline, plan=replace(self.plan, time_dilation=dilation))

    def to_json(self) -> dict[str, Any]:
        """The document that ``testbed plan --json`` prints and ``plan.json`` holds."""
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        return {**self.plan.to_json(), **self.sgd, "predicted": asdict(self.predicted), "paper": self.paper, **warnings}


def plan_all(topology: Topology, dilation: float = 1.0, transport: Transport = FREE_OF_CHARGE) -> tuple[Planned, ...]:
    """A plan for each scheme that the topology asks for; messages cost what they do on a calibrated host."""
    problem = with_messages(instance(topology, workload(topology)), dilation, transport)
    return tuple(plan_one(topology, problem, i, choice, dilation) for i, choice in enumerate(topology.schemes))


def with_messages(problem: Instance, dilation: float, transport: Transport) -> Instance:
    """The problem with what messages cost on a host, in emulated seconds."""
    return replace(problem, message_s=transport.message_s / dilation, message_bytes=transport.message_bytes)


def steps(topology: Topology, choice: SchemeChoice, scheme: Scheme) -> int:
    """Batches between two synchronisations (1 for schemes that have none).

    An epoch is a pass over all samples that were dealt, so as many batches as they make.
    """
    if scheme.trains is None:
        return 1
    together = topology.training.batch * ((choice.micro_batches or 1) if choice.in_flight else 1)
    epoch = math.ceil(data.dealt_samples(topology.data, [ue.name for ue in topology.ues], topology.seed) / together)
    return choice.local_epochs * (epoch if (choice.sync_every or scheme.trains) == "epoch" else 1)


def plan_one(topology: Topology, problem: Instance, index: int, choice: SchemeChoice, dilation: float) -> Planned:
    """The plan of one entry of ``schemes``. InputError for a planner that is not there or does not know the scheme,
    and for a scheme of the user's whose rounds cannot be done."""
    name, path = choice.planner or DEFAULT_PLANNER, f"schemes.{index}"
    if name not in PLANNERS:
        raise InputError(f"{path}.planner", f"unknown planner {name}", f"choose among {', '.join(PLANNERS)}")
    try:
        scheme = scheme_named(choice.scheme)
        problem = _with_privacy(topology, problem, choice)
        request = _request(topology, problem, choice, scheme, path)
        answer = PLANNERS[name](request)
        decision = _in_flight(answer.decision, problem, choice, path)
        timeline = typical(problem, scheme, decision, topology.seed, topology.training.rounds)
    except InputError:
        raise
    except OwnError as error:
        raise InputError(path, str(error), error.hint) from error
    except Exception as error:  # whatever the user's code does
        if not is_own(choice.scheme):
            raise
        raise _of_the_users(path, choice.scheme, error) from error
    planned = Planned(
        choice.key,
        scheme,
        problem,
        plan_of(problem, scheme, decision, topology.name, name, dilation),
        decision,
        timeline,
        {
            **in_the_papers_terms(problem, decision, scheme),
            **({} if scheme.one_model else asdict(idle(timeline.events, timeline.round_s))),
            "relaxed": list(answer.relaxed),
            **answer.paper,
        },
        rounds=choice.rounds or topology.training.rounds,
        seed=topology.seed,
        lower_bound_s=decision_bound_s(problem, decision, scheme),
        warnings=(*answer.warnings, *hardly_used(problem, answer.decision), *_stays(topology, choice, scheme)),
        sgd=choice.sgd,
    )
    footprint = problem.workload.footprint
    check_memory(topology, choice.key, planned.schedule(1), footprint)
    torn = in_one_go(planned.schedule(1), footprint)
    return replace(planned, warnings=(*planned.warnings, torn)) if torn else planned


def _stays(topology: Topology, choice: SchemeChoice, scheme: Scheme) -> tuple[str, ...]:
    """A warning where the topology asks for plans that are made anew, and this one cannot be."""
    why = nothing_to_decide(choice, scheme) if topology.replan and choice.replan is None else None
    return (f"not planned anew between rounds: {why}",) if why else ()


def _with_privacy(topology: Topology, problem: Instance, choice: SchemeChoice) -> Instance:
    """The problem with the noise that this entry of ``schemes`` asks for."""
    if choice.privacy is None:
        return problem
    shape = data.info(topology.data)
    values = shape.channels * shape.height * shape.width
    return replace(problem, privacy=Privacy(**choice.privacy.model_dump()), sample_values=values)


def _request(topology: Topology, problem: Instance, choice: SchemeChoice, scheme: Scheme, path: str) -> Request:
    return Request(
        problem,
        scheme,
        choice.cut,
        choice.micro_batches,
        choice.head_cut,
        path,
        steps=steps(topology, choice, scheme),
        phi=choice.phi if "phi" in scheme.keys else 0.0,
        aggregate=choice.aggregate,
        cluster_size=choice.cluster_size if "cluster_size" in scheme.keys else None,
        seed=topology.seed,
        lemma=choice.lemma,
        p3=choice.p3,
        n_rule=choice.n_rule,
        reading=choice.reading,
        gibbs=choice.gibbs,
        saa=choice.saa.over(topology.dynamics),
    )


def _in_flight(decision: Decision, problem: Instance, choice: SchemeChoice, path: str) -> Decision:
    """Every micro-batch a whole batch, where that is asked for and every UE can hold them (C2, memory). InputError."""
    if not choice.in_flight:
        return decision
    batch, cuts = decision.batch * decision.counts(problem.n), decision.cuts(problem.n)
    for i, ue in enumerate(problem.ues):
        most = int(problem.batch_cap(int(cuts[i]))[i])
        if batch[i] > most:
            message = f"{ue} would hold {batch[i]} samples at cut {cuts[i]}, and C2 or its memory allow {most}"
            raise InputError(f"{path}.in_flight", message, "use fewer micro_batches, or lower training.batch")
    return replace(decision, batch=batch)


def hardly_used(problem: Instance, decision: Decision) -> tuple[str, ...]:
    """A warning that names the UEs whose batch is less than a tenth of an equal share, though C2 allows them one.

    None where no UE trains at all; those that C2 excludes have a warning of their own.
    """
    fair, cuts = problem.batch / problem.n, decision.cuts(problem.n)
    cap = [int(problem.batch_cap(int(cut), decision.head_cut)[i]) for i, cut in enumerate(cuts)]
    some = decision.batch.any()
    few = [i for i in range(problem.n) if some and cap[i] >= max(1, problem.min_batch[i])]
    few = [i for i in few if decision.batch[i] < fair * HARDLY]
    if not few:
        return ()
    named = [
        f"{problem.ues[i]} trains {decision.batch[i]} (min_batch {problem.min_batch[i]})" for i in few[:MOST_NAMED]
    ]
    more = f" and {len(few) - MOST_NAMED} more" if len(few) > MOST_NAMED else ""
    share = f"less than a tenth of an equal share of {fair:.4g} samples"
    return (f"{share}: {', '.join(named)}{more}; raise min_batch to have their data used",)


def _of_the_users(path: str, name: str, error: Exception) -> InputError:
    """What went wrong in a scheme of the user's, with the task's key, or with file and line."""
    if isinstance(error, ScheduleError):
        return InputError(path, f"{name}: {error}", error.hint)
    where = place_of(error, file_of(name))
    return InputError(path, f"{where}: {type(error).__name__}: {error}", "see docs/own-scheme.md for the words")


def in_the_papers_terms(problem: Instance, decision: Decision, scheme: Scheme) -> dict[str, Any]:
    """Bubble rate by eqs 16–18 and whether C2, C3 and C4 hold, with ``b_i / k`` as the paper has it.

    None, and no constraints, for schemes that the paper's equations are not about.
    """
    if not scheme.recursion:
        return {"bubble_rate": None, "constraints": {}}
    return {
        "bubble_rate": bubble_rate(round_times(problem, decision), decision.micro_batches),
        "constraints": constraints(problem, decision),
    }


def entry(topology: Topology, planned: Planned) -> tuple[int, SchemeChoice]:
    """The entry of ``schemes`` that a plan is of, and its number."""
    return next((i, choice) for i, choice in enumerate(topology.schemes) if choice.key == planned.label)
