"""How the instance of a topology changes from round to round: pure functions of seed, round number and clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from agents.plan import Plan
from controller.planners.planning import Planned
from controller.predict.instance import GIGA, MEGA, Floats, Instance, instance, link_rates
from controller.predict.prediction import timeline
from controller.predict.simulate import Timeline
from testbed.topology import Topology, Ue

LEAST_SPEED = 0.1
"""A drawn speed is at least this share of the device's own: a normal distribution has no lower end."""
_DECADE_DB = 22.0  # what ten times the distance costs: controller.predict.radio.path_loss_db
_STREAM = 5  # of the topology's seed


@dataclass(frozen=True)
class Moment:
    """One round's instance, the plan with the link rates that follow from it, and what both predict."""

    instance: Instance
    plan: Plan
    timeline: Timeline


@dataclass(frozen=True)
class Change:
    """A link or a device as it is from a round on: a line of ``events.jsonl`` beside the tasks, and not one of them.

    It takes no time: ``start_s`` and ``end_s`` are 0. Rates are payload rates after the slot, in bit/s.
    """

    round: int
    task: str
    ue: str
    uplink_bps: float | None = None
    downlink_bps: float | None = None
    flops: float | None = None
    start_s: float = 0.0
    end_s: float = 0.0


def instance_at(topology: Topology, base: Instance, number: int, clock_s: float) -> Instance:
    """The instance in round ``number``, which begins ``clock_s`` emulated seconds after the scheme did.

    What a trace gives is taken as it is; the rest moves, fades and jitters. The same arguments, the same answer.
    """
    dynamics = topology.dynamics
    if dynamics.still:
        return base
    fading_db, jitter = draws(topology, number)
    ues = tuple(_placed(topology, ue, clock_s, float(db)) for ue, db in zip(topology.ues, fading_db, strict=True))
    moved = instance(topology.model_copy(update={"ues": ues}), base.workload)
    return replace(
        base,
        rate_up=_traced(topology, "uplink_mbps", moved.rate_up, MEGA, clock_s),
        rate_down=_traced(topology, "downlink_mbps", moved.rate_down, MEGA, clock_s),
        ue_flops=_traced(topology, "compute_gflops", base.ue_flops * jitter, GIGA, clock_s),
    )


def draws(topology: Topology, number: int) -> tuple[Floats, Floats]:
    """Per UE the gain (dB) and the factor of its speed in a round: independent, from the topology's seed."""
    dynamics, n = topology.dynamics, len(topology.ues)
    rng = np.random.default_rng([topology.seed, _STREAM, number])
    fading_db = dynamics.shadowing_db * rng.standard_normal(n)
    return fading_db, np.maximum(1.0 + dynamics.compute_jitter * rng.standard_normal(n), LEAST_SPEED)


def fastest(topology: Topology, base: Instance, rounds: int) -> Instance:
    """The instance with each UE as fast as it gets in any of these rounds: what the host must keep up with."""
    flops = [base.ue_flops * draws(topology, number)[1] for number in range(1, rounds + 1)]
    traced = base.ue_flops.copy()
    for point in topology.dynamics.trace_points:
        if point.compute_gflops is not None:
            row = base.ues.index(point.ue)
            traced[row] = max(traced[row], point.compute_gflops * GIGA)
    return replace(base, ue_flops=np.max([traced, *flops], axis=0))


def moment(topology: Topology, planned: Planned, number: int, clock_s: float) -> Moment:
    """What a round of a plan will be like: its slots stay, link rates and speeds follow."""
    schedule = planned.schedule(number)
    if topology.dynamics.still and not schedule.drawn and planned.plan.moving is None:  # every round is alike
        return Moment(planned.problem, planned.plan, planned.timeline)
    now, decision = instance_at(topology, planned.problem, number, clock_s), planned.decision
    up, down = link_rates(now, decision)
    ues = {
        name: replace(ue, uplink_bps=float(up[i]), downlink_bps=float(down[i]))
        for i, (name, ue) in enumerate(planned.plan.ues.items())
    }
    broadcast_bps = float(now.rate_down[decision.batch > 0].min()) if decision.phi else 0.0
    plan = replace(planned.plan, ues=ues, broadcast_bps=broadcast_bps)
    return Moment(now, plan, timeline(now, plan, schedule, decision))


def changes(number: int, before: Moment, after: Moment) -> Iterator[Change]:
    """What is otherwise in this round than it was."""
    for i, (name, ue) in enumerate(after.plan.ues.items()):
        old = before.plan.ues[name]
        if (ue.uplink_bps, ue.downlink_bps) != (old.uplink_bps, old.downlink_bps):
            yield Change(number, "link_change", name, ue.uplink_bps, ue.downlink_bps)
        if after.instance.ue_flops[i] != before.instance.ue_flops[i]:
            yield Change(number, "compute_change", name, flops=float(after.instance.ue_flops[i]))


def _placed(topology: Topology, ue: Ue, clock_s: float, gain_db: float) -> Ue:
    """The UE where it has moved to, nearer by what the gain is worth: shadowing and distance are one in the SNR."""
    waypoints = topology.dynamics.mobility.get(ue.name)
    distance_m = ue.distance_m
    if waypoints:
        distance_m = float(np.interp(clock_s, [p.at_s for p in waypoints], [p.distance_m for p in waypoints]))
    snr_db = None if ue.snr_db is None else ue.snr_db + gain_db
    return ue.model_copy(update={"distance_m": distance_m * 10.0 ** (-gain_db / _DECADE_DB), "snr_db": snr_db})


def _traced(topology: Topology, key: str, values: Floats, unit: float, clock_s: float) -> Floats:
    """The values, but where the trace has said something by now, that."""
    found, names = values.copy(), [ue.name for ue in topology.ues]
    for point in topology.dynamics.trace_points:
        given = getattr(point, key)
        if given is not None and point.at_s <= clock_s:
            found[names.index(point.ue)] = given * unit
    return found
