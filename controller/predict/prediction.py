"""A decision under a scheme → the plan it makes, and the predicted timeline of its round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agents.plan import Plan, UePlan
from agents.schedule.costs import Costs
from agents.schedule.task import BROADCAST_PLACE, Noise, Schedule, Task, goes_up, owner
from agents.schemes import Scheme
from agents.schemes.seam import Rounds
from controller.predict.instance import Decision, Floats, Instance, link_rates
from controller.predict.latency import Latency, latency
from controller.predict.recursion import gradients_leave, turn_s
from controller.predict.simulate import Timeline, simulate
from controller.predict.timing import decision_per_sample, split_batches


def round_s(instance: Instance, scheme: Scheme, decision: Decision) -> float:
    """``predict(…).round_s``, by a shorter way where there is one: what planners search with."""
    if not scheme.recursion or decision.phi or decision.steps > 1:
        return predict(instance, scheme, decision).round_s
    per = decision_per_sample(instance, decision)
    samples = split_batches(decision.batch, decision.micro_batches, decision.first_micro_batch)
    return float(turn_s(per, samples, gradients_leave(per, samples, instance.duplex)))


def predict(instance: Instance, scheme: Scheme, decision: Decision, seed: int = 0, number: int = 1) -> Timeline:
    """The round that this decision gives under this scheme.

    ``seed`` and ``number`` (of the round) matter to schemes that draw an order every round.
    """
    plan = plan_of(instance, scheme, decision)
    schedule = scheme.schedule(plan, len(instance.workload.units), instance.duplex, seed, number)
    return timeline(instance, plan, schedule, decision)


def timeline(instance: Instance, plan: Plan, schedule: Schedule, decision: Decision) -> Timeline:
    """The timeline of a round of a plan that this decision made."""
    costs = costs_of(instance)
    waits = wait_s(plan, costs, latency(instance, decision))
    return simulate(schedule, lambda task: costs.seconds(task, plan), waits)


def typical(instance: Instance, scheme: Scheme, decision: Decision, seed: int, rounds: int) -> Timeline:
    """The timeline of median length among rounds 2 … ``rounds``; all are alike unless an order is drawn."""
    plan = plan_of(instance, scheme, decision)
    schedules = Rounds(scheme, plan, len(instance.workload.units), instance.duplex, seed)
    numbers = range(2, max(3, rounds + 1)) if schedules(2).drawn else (2,)
    found = [timeline(instance, plan, schedules(number), decision) for number in numbers]
    lengths = [one.round_s for one in found]
    return found[int(np.argsort(lengths, kind="stable")[(len(found) - 1) // 2])]


def costs_of(instance: Instance) -> Costs:
    """What work costs in this instance."""
    work = instance.workload
    return Costs(
        forward_flops=tuple(work.forward_flops.tolist()),
        output_bytes=tuple(work.output_bytes.tolist()),
        weight_bytes=tuple(work.weight_bytes.tolist()),
        backward_ratio=work.backward_ratio,
        label_bytes=work.label_bytes,
        ue_flops=dict(zip(instance.ues, instance.ue_flops.tolist(), strict=True)),
        bs_flops=instance.bs_flops,
        message_bytes=instance.message_bytes,
        ue_pass_s=dict(zip(instance.ues, instance.ue_pass_s.tolist(), strict=True)),
        bs_pass_s=instance.bs_pass_s,
        sample_values=float(instance.sample_values),
    )


def weights_noise_s(instance: Instance, cut: int) -> Floats:
    """Seconds (n,) of the noise that each UE adds to its weights before they leave; 0 without."""
    privacy = instance.privacy
    if privacy is None or privacy.method != "weights":
        return np.zeros(instance.n)
    return np.asarray(costs_of(instance).noise_flops(Noise(0, cut, privacy.mechanism)) / instance.ue_flops)


def wait_s(plan: Plan, costs: Costs, waits: Latency) -> Callable[[Task], float]:
    """How long after it could a transfer begins: hosts, the way, and slots."""
    row = {ue: i for i, ue in enumerate(plan.ues)}

    def of(task: Task) -> float:
        if task.place == BROADCAST_PLACE or not waits.gated:
            return waits.fixed_s
        gate = waits.up if goes_up(task.place) else waits.down
        duration_s = np.array([costs.seconds(task, plan)])
        return waits.fixed_s + float(gate.of([row[owner(task.place)]]).wait_s(duration_s)[0])

    return of


def plan_of(
    instance: Instance, scheme: Scheme, decision: Decision, topology: str = "", planner: str = "", dilation: float = 1.0
) -> Plan:
    """The plan that a decision makes."""
    up, down = (rates.tolist() for rates in link_rates(instance, decision))
    cluster = decision.clusters(instance.ues)
    cuts = [None] * instance.n if decision.ue_cut is None else decision.ue_cut.tolist()
    counts = [None] * instance.n if decision.ue_micro_batches is None else decision.ue_micro_batches.tolist()
    power = [None] * instance.n if decision.tx_power_w is None else [_known(w) for w in decision.tx_power_w.tolist()]
    slots = zip(decision.slot_up_s.tolist(), decision.slot_down_s.tolist(), strict=True)
    ues = {
        name: UePlan(batch, *slot, up[i], down[i], cluster.get(name, 0), cuts[i], counts[i], power[i])
        for i, (name, batch, slot) in enumerate(zip(instance.ues, decision.batch.tolist(), slots, strict=True))
    }
    return Plan(
        topology,
        scheme.name,
        planner,
        decision.cut,
        decision.micro_batches,
        dilation,
        ues,
        first_micro_batch=decision.first_micro_batch,
        steps=decision.steps,
        bs_batch=instance.batch if decision.cut == 0 else 0,
        phi=decision.phi,
        aggregate=decision.aggregate,
        broadcast_bps=float(instance.rate_down[decision.batch > 0].min()) if decision.phi else 0.0,
        head_cut=decision.head_cut,
        privacy=instance.privacy,
        workers=instance.workers,
    )


def decision_of(plan: Plan) -> Decision:
    """The decision inside a plan, as arrays."""
    ues = list(plan.ues.values())
    power = np.array([np.nan if ue.tx_power_w is None else ue.tx_power_w for ue in ues])
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
        plan.head_cut,
        None if np.isnan(power).all() else power,
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
