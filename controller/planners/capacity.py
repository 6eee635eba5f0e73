"""Who can take part at which cut: C2 and ``min_batch`` (C²P²SL paper, P1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.planners.seam import Request
from controller.predict.instance import Instance, Ints
from testbed.errors import InputError


@dataclass(frozen=True)
class Room:
    """Least and most samples of each UE at a cut; both 0 for a UE that cannot take part."""

    cut: int
    low: Ints
    cap: Ints
    warnings: tuple[str, ...]

    @property
    def limits(self) -> tuple[Ints, Ints]:
        """Least and most samples of each UE."""
        return self.low, self.cap


def room(instance: Instance, cut: int) -> Room:
    """What C2 and ``min_batch`` leave at this cut, with a warning for every UE that they exclude."""
    cap = instance.batch_cap(cut)
    out = cap < instance.min_batch
    warnings = tuple(
        f"{instance.ues[i]} is left out: C2 lets it hold {cap[i]} samples at cut {cut}, "
        f"its min_batch is {instance.min_batch[i]}"
        for i in np.flatnonzero(out | (cap == 0))
    )
    return Room(cut, np.where(out, 0, instance.min_batch), np.where(out, 0, cap), warnings)


def rooms(request: Request) -> list[Room]:
    """The cuts that can carry the batch and exclude the fewest UEs.

    InputError names C2 when no cut can carry the batch, ``min_batch`` when the least batches exceed it.
    """
    instance = request.instance
    found = [room(instance, cut) for cut in request.cuts]
    carrying = [r for r in found if r.cap.sum() >= instance.batch]
    if not carrying:
        most = max(found, key=lambda r: int(r.cap.sum()))
        missing = instance.batch - int(most.cap.sum())
        message = f"C2: the UEs can carry {most.cap.sum()} of {instance.batch} samples at cut {most.cut}"
        gflop = missing * instance.workload.ue_total_flops(most.cut) / 1e9
        out = "".join(f"; {warning}" for warning in most.warnings[:3])
        add = f"add {gflop:.3g} GFLOP of capacity_gflop, or lower training.batch by {missing}"
        raise InputError("ues", message + out, f"{missing} samples are missing: {add}")
    fitting = [r for r in carrying if r.low.sum() <= instance.batch]
    if not fitting:
        least = min(int(r.low.sum()) for r in carrying)
        message = f"the UEs' min_batch are {least} samples together, more than the batch of {instance.batch}"
        raise InputError("training.batch", message, f"use a batch of {least} or more")
    fewest = min(len(r.warnings) for r in fitting)
    return [r for r in fitting if len(r.warnings) == fewest]


def even_batches(low: Ints, high: Ints, total: int) -> Ints:
    """Integer batches with this sum, as equal as their limits allow; the first UEs get what does not divide."""
    least, most = 0, total
    while least < most:  # the highest level that does not overfill
        level = (least + most + 1) // 2
        least, most = (level, most) if np.clip(level, low, high).sum() <= total else (least, level - 1)
    batch: Ints = np.clip(least, low, high).astype(np.int64)
    can_grow = np.flatnonzero((batch < high) & (batch == least))
    batch[can_grow[: total - int(batch.sum())]] += 1
    return batch
