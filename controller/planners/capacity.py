"""Who takes part and how many samples each may hold (C2, min_batch)."""

from __future__ import annotations

import numpy as np

from controller.instance import Instance, Ints
from controller.planners.seam import Request
from testbed.errors import InputError


def limits(instance: Instance, cut: int) -> tuple[Ints, Ints]:
    """Fewest and most samples per UE at this cut; (0, 0) for one whose cap of C2 is below its min_batch."""
    cap = instance.batch_cap(cut)
    joins = cap >= instance.min_batch
    return np.where(joins, instance.min_batch, 0), np.where(joins, cap, 0)


def left_out(instance: Instance, cut: int) -> tuple[str, ...]:
    """One warning for each UE that cannot take part at this cut."""
    cap = instance.batch_cap(cut)
    out = np.flatnonzero((cap < instance.min_batch) | (cap == 0))
    return tuple(
        f"{instance.ues[i]} is left out: C2 lets it hold {cap[i]} samples at cut {cut}, "
        f"its min_batch is {instance.min_batch[i]}"
        for i in out
    )


def cuts_that_carry(request: Request) -> tuple[int, ...]:
    """The cuts at which the UEs can hold the batch. InputError names C2 and what is missing when there is none."""
    instance = request.instance
    most = {cut: int(limits(instance, cut)[1].sum()) for cut in request.cuts}
    carrying = tuple(cut for cut in request.cuts if most[cut] >= instance.batch)
    if not carrying:
        cut = max(most, key=lambda cut: most[cut])
        missing = instance.batch - most[cut]
        gflop = missing * instance.workload.ue_total_flops(cut) / 1e9
        message = f"C2: the UEs can carry {most[cut]} of {instance.batch} samples at cut {cut}"
        out = "".join(f"; {warning}" for warning in left_out(instance, cut)[:3])
        hint = f"{missing} samples are missing: add {gflop:.3g} GFLOP of capacity_gflop, or lower training.batch"
        raise InputError("ues", message + out, hint)
    least = min(int(limits(instance, cut)[0].sum()) for cut in carrying)
    if least > instance.batch:
        message = f"{instance.batch} samples are fewer than the {least} of all min_batch together"
        raise InputError("training.batch", message, f"use a batch of {least} or more")
    return carrying


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
