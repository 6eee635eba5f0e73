"""Plan → duration of every task (C²P²SL paper, eqs 7–12), in emulated seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from controller.predict.instance import Decision, Floats, Instance, Ints, link_rates
from controller.predict.latency import Latency, latency
from controller.predict.workload import Workload

BITS = 8.0


@dataclass(frozen=True)
class PerSample:
    """Seconds that one sample takes in each task: per UE (n,), and for the BS.

    A transfer takes ``message_up`` or ``message_down`` (n,) more on its link, however few its samples, and begins
    ``latency`` after it was handed over. A pass takes ``ue_pass`` (n,) or ``bs_pass`` more, likewise.
    """

    ue_forward: Floats
    uplink: Floats
    bs_forward: float
    bs_backward: float
    downlink: Floats
    ue_backward: Floats
    message_up: Floats
    message_down: Floats
    ue_pass: Floats
    bs_pass: float = 0.0
    latency: Latency = field(default_factory=Latency)

    @property
    def passes(self) -> bool:
        """Whether a pass takes any time besides that of its samples."""
        return bool(self.bs_pass or self.ue_pass.any())


def split_batches(batch: Ints, micro_batches: int, first: int = 0) -> Ints:
    """(..., k) samples per micro-batch of batches (...): ``agents.plan.micro_batch_sizes`` for arrays."""
    share, rest = np.divmod(batch[..., None], micro_batches)
    begin = np.where(share == 0, np.minimum(first, micro_batches - rest), 0)
    column = np.arange(micro_batches)
    return np.asarray(share + ((begin <= column) & (column < begin + rest)), dtype=np.int64)


def per_sample(instance: Instance, cut: int, rate_up: Floats, rate_down: Floats) -> PerSample:
    """Eqs 7–12 for one sample: all of them are linear in samples but for passes. A rate of 0 gives an infinite time.

    Messages cost nothing here: planners search for slots and batches without them.
    """
    work: Workload = instance.workload
    bs_forward = work.bs_forward_flops(cut) / instance.bs_flops
    with np.errstate(divide="ignore"):
        uplink = work.up_bytes(cut) * BITS / rate_up
        downlink = work.down_bytes(cut) * BITS / rate_down
    return PerSample(
        ue_forward=instance.ue_forward_s(cut),
        uplink=uplink,
        bs_forward=bs_forward,
        bs_backward=bs_forward * work.backward_ratio,
        downlink=downlink,
        ue_backward=work.ue_forward_flops(cut) / instance.ue_flops * work.backward_ratio,
        message_up=np.zeros(np.shape(uplink)),
        message_down=np.zeros(np.shape(downlink)),
        ue_pass=instance.ue_pass_s,
        bs_pass=instance.bs_pass_s,
    )


def _with_messages(instance: Instance, decision: Decision, per: PerSample) -> PerSample:
    """The same with what the instance says that a message costs and waits; no link, no message."""
    rate_up, rate_down = link_rates(instance, decision)
    bits = instance.message_bytes * BITS

    def each(rate: Floats) -> Floats:
        return np.where(rate > 0, bits / np.where(rate > 0, rate, 1.0), 0.0)

    waits = latency(instance, decision)
    return replace(per, message_up=each(rate_up), message_down=each(rate_down), latency=waits)


def decision_per_sample(instance: Instance, decision: Decision) -> PerSample:
    """``per_sample`` under the rates that the decision's slots give, with the cost of messages."""
    up, down = link_rates(instance, decision)
    return _with_messages(instance, decision, per_sample(instance, decision.cut, up, down))
