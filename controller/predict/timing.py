"""Plan → duration of every task (C²P²SL paper, eqs 7–12), in emulated seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from controller.predict.instance import Decision, Floats, Instance, Ints, link_rates
from controller.predict.latency import Latency, latency
from controller.predict.workload import Workload

BITS = 8.0
PER_UE = ("ue_forward", "uplink", "downlink", "ue_backward", "message_up", "message_down")


@dataclass(frozen=True)
class PerSample:
    """Seconds that one sample takes in each task: per UE (n,), and for the BS.

    A transfer takes ``message_up`` or ``message_down`` (n,) more on its link, however few its samples, and begins
    ``latency`` after it was handed over.
    """

    ue_forward: Floats
    uplink: Floats
    bs_forward: float
    bs_backward: float
    downlink: Floats
    ue_backward: Floats
    message_up: Floats
    message_down: Floats
    latency: Latency = field(default_factory=Latency)

    def of(self, rows: list[int]) -> PerSample:
        """The same for some of the UEs."""
        return replace(self, latency=self.latency.of(rows), **{key: getattr(self, key)[rows] for key in PER_UE})


@dataclass(frozen=True)
class TaskTimes:
    """Durations (s) of the tasks of one turn: (UEs, micro-batches), for the BS (micro-batches,).

    ``samples`` (UEs, micro-batches) says which tasks exist: an empty micro-batch has none. The gradients of
    ``shared`` rows of each UE are broadcast in ``broadcast_s``, so that only the others have a downlink. Transfers
    begin ``latency`` after they could.
    """

    samples: Ints
    ue_forward: Floats
    uplink: Floats
    bs_forward: Floats
    bs_backward: Floats
    downlink: Floats
    ue_backward: Floats
    shared: int = 0
    broadcast_s: float = 0.0
    latency: Latency = field(default_factory=Latency)


def split_batches(batch: Ints, micro_batches: int, first: int = 0) -> Ints:
    """(..., k) samples per micro-batch of batches (...): ``agents.plan.micro_batch_sizes`` for arrays."""
    share, rest = np.divmod(batch[..., None], micro_batches)
    begin = np.where(share == 0, np.minimum(first, micro_batches - rest), 0)
    column = np.arange(micro_batches)
    return np.asarray(share + ((begin <= column) & (column < begin + rest)), dtype=np.int64)


def per_sample(instance: Instance, cut: int, rate_up: Floats, rate_down: Floats) -> PerSample:
    """Eqs 7–12 for one sample: all of them are linear in samples. A rate of 0 gives an infinite time.

    Messages cost nothing here: planners search for slots and batches without them.
    """
    work: Workload = instance.workload
    ue_forward = work.ue_forward_flops(cut) / instance.ue_flops
    bs_forward = work.bs_forward_flops(cut) / instance.bs_flops
    with np.errstate(divide="ignore"):
        uplink = work.up_bytes(cut) * BITS / rate_up
        downlink = work.down_bytes(cut) * BITS / rate_down
    return PerSample(
        ue_forward=ue_forward,
        uplink=uplink,
        bs_forward=bs_forward,
        bs_backward=bs_forward * work.backward_ratio,
        downlink=downlink,
        ue_backward=ue_forward * work.backward_ratio,
        message_up=np.zeros(np.shape(uplink)),
        message_down=np.zeros(np.shape(downlink)),
    )


def _with_messages(instance: Instance, decision: Decision, per: PerSample) -> PerSample:
    """The same with what the instance says that a message costs and waits; no link, no message."""
    rate_up, rate_down = link_rates(instance, decision)
    bits = instance.message_bytes * BITS

    def each(rate: Floats) -> Floats:
        return np.where(rate > 0, bits / np.where(rate > 0, rate, 1.0), 0.0)

    waits = latency(instance, decision)
    return replace(per, message_up=each(rate_up), message_down=each(rate_down), latency=waits)


def task_times(per: PerSample, samples: Ints) -> TaskTimes:
    """Durations of a turn whose UEs send these samples (n, k)."""
    total = samples.sum(axis=0)

    def each(seconds: Floats, message: Floats | None = None) -> Floats:
        whole = seconds[:, None] * np.maximum(samples, 1)
        return np.where(samples > 0, whole if message is None else whole + message[:, None], 0.0)

    return TaskTimes(
        samples=samples,
        ue_forward=each(per.ue_forward),
        uplink=each(per.uplink, per.message_up),
        bs_forward=total * per.bs_forward,
        bs_backward=total * per.bs_backward,
        downlink=each(per.downlink, per.message_down),
        ue_backward=each(per.ue_backward),
        latency=per.latency,
    )


def decision_per_sample(instance: Instance, decision: Decision) -> PerSample:
    """``per_sample`` under the rates that the decision's slots give, with the cost of messages."""
    up, down = link_rates(instance, decision)
    return _with_messages(instance, decision, per_sample(instance, decision.cut, up, down))


def stations(instance: Instance, decision: Decision) -> list[PerSample]:
    """``per_sample`` of each UE alone (arrays of one), at its own cut, with the cost of messages."""
    up, down = link_rates(instance, decision)
    cuts = set(decision.cuts(instance.n).tolist())
    found = {int(c): _with_messages(instance, decision, per_sample(instance, int(c), up, down)) for c in cuts}
    return [found[int(cut)].of([i]) for i, cut in enumerate(decision.cuts(instance.n))]


def handover_times(instance: Instance, decision: Decision) -> tuple[Floats, Floats]:
    """Seconds to move the UE half's weights up from, and down to, each UE (n,); infinite without a slot."""
    rate_up, rate_down = link_rates(instance, decision)
    cuts = decision.cuts(instance.n)
    weights = np.array([instance.workload.ue_weight_bytes(int(cut)) for cut in cuts])
    bits = (weights + instance.message_bytes) * BITS
    with np.errstate(divide="ignore", invalid="ignore"):
        return bits / rate_up, bits / rate_down
