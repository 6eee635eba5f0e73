"""A plan → the job that agents are given: all that they need to know before the first round of a scheme."""

from __future__ import annotations

from agents.job import Job
from controller.planners.planning import Planned
from controller.predict.channel import Moment
from controller.predict.prediction import costs_of
from controller.trial.prepare import Prepared
from testbed import data
from testbed.topology import Topology

LEAST_DEADLINE_S = 20.0
LEAST_MOST_BYTES = 1 << 20


def job_of(prepared: Prepared, planned: Planned, bs_address: str) -> Job:
    """All that agents need to know of a scheme before its first round."""
    t, dealing = prepared.topology, prepared.dealt.dealings[planned.label]
    return Job(
        trial=t.name,
        label=planned.label,
        plan=planned.plan,
        costs=costs_of(planned.problem),
        model=t.model.name,
        norm=t.model.norm,
        dataset_info=data.info(t.data),
        lr=planned.sgd.get("lr", t.training.lr),
        bs_lr=planned.sgd.get("bs_lr"),
        footprint=planned.problem.workload.footprint,
        momentum=planned.sgd.get("momentum", t.training.momentum),
        seed=t.seed,
        paced=t.compute == "paced",
        duplex=t.radio.duplex,
        deadline_s=deadline_s(Moment(planned.problem, planned.plan, planned.timeline)),
        bs_address=bs_address,
        shares=dict(dealing.shares),
        dealing=dealing.number,
        delay_s=planned.problem.delay_s,
        bs_threads=prepared.fitted.bs_threads,
        group_sizes=t.group_sizes or (),
    )


def deadline_s(now: Moment) -> float:
    """Wall seconds that anybody waits for a peer: far longer than the whole round should take."""
    return max(LEAST_DEADLINE_S, 10.0 * now.timeline.round_s * now.plan.time_dilation)


def most_bytes(topology: Topology, planned: Planned) -> int:
    """No tensor on the air is larger than this: twice what the profile says, which may be the user's.

    Of plans that are made anew, as they are when UEs are lost, whatever they may be: a whole batch at any cut, and all
    weights.
    """
    costs, schedule = costs_of(planned.problem), planned.schedule(1)
    sizes = [size for task in schedule.tasks if (size := costs.bytes(task)) is not None]
    sizes += [topology.training.batch * (max(costs.output_bytes) + costs.label_bytes), sum(costs.weight_bytes)]
    return 2 * int(max(sizes, default=0.0)) + LEAST_MOST_BYTES
