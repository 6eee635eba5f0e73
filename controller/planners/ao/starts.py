"""Where an alternation begins: it climbs down to the nearest valley, so it is given several hillsides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from controller.planners.capacity import even_batches, room
from controller.planners.seam import Request
from controller.planners.uniform import equal_slots
from controller.predict.instance import Decision, Floats, Instance, Ints
from controller.predict.timing import per_sample

# How much of its even share a UE keeps; the rest goes to the UEs with the best uplinks.
KEPT = (1.0, 0.75, 0.5, 0.25, 0.0)


def starts(request: Request, cuts: tuple[int, ...], c3: bool) -> Iterator[Decision]:
    """Batches from even to those that need the least uplink time, within C2 and, with ``c3``, C3's bound on b_i.

    Who can take part at the first cut does so at every cut. With slots in proportion to the uplink time,
    the last start of a cut meets C3 if any batches and slots do.
    """
    instance, equal = request.instance, equal_slots(request)
    low, high = room(instance, cuts[0]).limits
    yield Decision(cuts[0], 1, even_batches(low, high, instance.batch), equal, equal)
    for cut in cuts:
        high = room(instance, cut).limits[1]
        per = per_sample(instance, cut, instance.rate_up, instance.rate_down)
        if c3:
            busy = per.ue_forward if instance.shared_air else np.maximum(per.ue_forward, per.uplink)
            high = fitting(high, instance.batch * (per.bs_forward + per.bs_backward), busy)
        if (low > high).any() or not low.sum() <= instance.batch <= high.sum():
            continue
        even = even_batches(low, high, instance.batch)
        for kept in KEPT if cut == cuts[0] else KEPT[-1:]:  # the alternation itself moves on to other cuts
            least = np.maximum(low, np.floor(kept * even)).astype(np.int64)
            batch = _filled(least, high, instance.batch, np.argsort(per.uplink, kind="stable"))
            yield _in_proportion(instance, Decision(cut, 1, batch, equal, equal))


def fitting(high: Ints, limit_s: float, per_sample_s: Floats) -> Ints:
    """``high``, or the samples that fit into the limit where these are fewer."""
    with np.errstate(divide="ignore"):
        return np.minimum(high, np.floor(limit_s / per_sample_s * (1 + 1e-9))).astype(np.int64)


def _filled(least: Ints, high: Ints, total: int, order: Ints) -> Ints:
    """``least``, raised UE after UE in this order until the sum is right."""
    batch = least.copy()
    for i in order:
        batch[i] += min(high[i] - batch[i], total - int(batch.sum()))
    return batch


def _in_proportion(instance: Instance, decision: Decision) -> Decision:
    """The same with slots in proportion to the uplink time that the batches need."""
    need: Floats = decision.batch / instance.rate_up
    slots = need / need.sum() * instance.frame_s
    return replace(decision, slot_up_s=slots, slot_down_s=slots)
