"""Equal batches and slots: the baseline. Cut and micro-batches by search over the timeline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from controller.planners.seam import Answer, Planner, Request
from controller.planners.subcarriers import equal_shares
from controller.predict.device import device_bytes
from controller.predict.instance import Decision, Instance, Ints
from controller.predict.prediction import round_s
from testbed.errors import InputError
from testbed.topology import CLUSTER_SIZE

SLACK, SLACK_OF_KNOWN_COST = 0.05, 0.03
MOST_MICRO_BATCHES = 64
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of micro-batches to try where a prediction takes long."""


def uniform(request: Request) -> Answer:
    """The best cut and k for equal batches and slots, judged by the predicted round.

    Micro-batches are not free: where the cost of a message is not known, the smallest k within 5 % of the
    best round is taken, and where it is, within 3 %, since the verdict lets a prediction be that much off.
    Clusters are UEs in the topology's order. InputError names C2 when equal batches fit at no cut.
    """
    instance = request.instance
    if not request.scheme.group_size(instance.n, 1):
        nothing = np.zeros(instance.n)
        return Answer(Decision(0, 1, nothing.astype(np.int64), nothing, nothing, steps=request.steps))
    batch = equal_batches(instance)
    _check_min_batch(instance, batch)
    head_cut = _head_cut(request)
    cuts = [cut for cut in request.cuts if head_cut is None or cut < head_cut]
    feasible = [cut for cut in cuts if bool((batch <= instance.batch_cap(cut, head_cut)).all())]
    if not feasible:
        raise InputError(*_c2(instance, batch, tuple(cuts)))
    rounds = {
        (cut, k): round_s(instance, request.scheme, _decision(request, cut, k, batch))
        for cut in feasible
        for k in _candidates(request, batch)
    }
    best_s = min(rounds.values())
    slack = SLACK_OF_KNOWN_COST if instance.message_s or instance.message_bytes else SLACK
    k, cut = min((k, cut) for (cut, k), seconds in rounds.items() if seconds <= best_s * (1 + slack))
    return Answer(_decision(request, cut, k, batch))


def attempted(request: Request, planner: Planner) -> tuple[Decision | None, float]:
    """A planner's decision and its round (s), to be compared with; None and infinity where it has no answer."""
    try:
        decision = planner(request).decision
    except InputError:  # equal batches fit nowhere
        return None, float("inf")
    return decision, round_s(request.instance, request.scheme, decision)


def equal_batches(instance: Instance) -> Ints:
    """The batch dealt evenly, the first UEs one more where it does not divide."""
    share, rest = divmod(instance.batch, instance.n)
    return np.array([share + (i < rest) for i in range(instance.n)], dtype=np.int64)


def equal_slots(request: Request) -> npt.NDArray[np.float64]:
    """The frame divided evenly among the UEs that are on the air in the same turn; whole subcarriers under FDMA."""
    instance, cluster = request.instance, equal_clusters(request)
    slots: npt.NDArray[np.float64] = instance.frame_s / np.bincount(cluster)[cluster]
    if instance.subcarriers is not None:
        for turn in range(int(cluster.max()) + 1):
            members = cluster == turn
            shares = equal_shares(instance.subcarriers, instance.rate_up[members])
            slots[members] = shares * (instance.frame_s / instance.subcarriers)
    return slots


def equal_clusters(request: Request) -> Ints:
    """The turn of each UE (n,), in the UEs' order: one for all, one each, or clusters as equal as can be."""
    n = request.instance.n
    size = request.scheme.group_size(n, request.cluster_size or CLUSTER_SIZE)
    count = -(-n // size)
    sizes = [n // count + (m < n % count) for m in range(count)]
    return np.repeat(np.arange(count), sizes).astype(np.int64)


def _candidates(request: Request, batch: Ints) -> list[int]:
    if request.micro_batches is not None:
        return [request.micro_batches]
    if not request.scheme.pipelined:
        return [1]
    most = min(int(batch.max()), MOST_MICRO_BATCHES)
    return [k for k in (range(1, most + 1) if request.scheme.recursion else LADDER) if k <= most]


def _decision(request: Request, cut: int, k: int, batch: Ints) -> Decision:
    slots = equal_slots(request)
    clusters = equal_clusters(request) if request.cluster_size is not None else None
    return Decision(
        cut,
        k,
        batch,
        slots,
        slots,
        cluster=clusters,
        steps=request.steps,
        phi=request.phi,
        aggregate=request.aggregate,
        head_cut=_head_cut(request),
    )


def _head_cut(request: Request) -> int | None:
    return request.scheme.head_cut(len(request.instance.workload.units), request.head_cut)


def _check_min_batch(instance: Instance, batch: Ints) -> None:
    for i in np.flatnonzero(batch < instance.min_batch):
        message = f"{instance.min_batch[i]} is more than the {batch[i]} samples of an equal share"
        raise InputError(f"ues.{i}.min_batch", message, "lower it, or raise training.batch")


def _c2(instance: Instance, batch: Ints, cuts: tuple[int, ...]) -> tuple[str, str, str]:
    cut = min(cuts, key=instance.workload.ue_total_flops)  # the least that any cut asks of a UE
    cap = instance.batch_cap(cut)
    worst = int(np.argmax(batch - cap))
    if instance.memory_bytes is not None:
        needs = device_bytes(instance.workload.footprint, cut, None, int(batch[worst]))
        if needs > instance.memory_bytes[worst]:
            has, wants = instance.memory_bytes[worst] / 1e6, needs / 1e6
            message = (
                f"{instance.ues[worst]} has {has:.3g} MB and needs {wants:.3g} to train {cut} units on {batch[worst]}"
            )
            hint = "raise it, cut earlier, or lower training.batch"
            return f"ues.{worst}.memory_mb", f"{message} samples", hint
    message = f"C2: {instance.ues[worst]} can hold {cap[worst]} of its {batch[worst]} samples at cut {cut}"
    return "ues", message, "raise its capacity_gflop, or lower training.batch"
