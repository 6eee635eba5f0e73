"""EPSL's resource manager (EPSL summary): subchannels to the slowest, power control, and the cut, for a given φ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from controller.planners.capacity import Room, even_batches, rooms
from controller.planners.epsl.latency import Stages, down_s, stages, up_s
from controller.planners.seam import Answer, Request, check
from controller.planners.subcarriers import Bools, equal_shares, shares_of
from controller.predict.instance import Decision, Floats, Instance, Ints, up_rates
from controller.predict.prediction import round_s

STEPS = 60


def epsl(request: Request) -> Answer:
    """The cut whose round is shortest, with equal batches and its own shares of the air in each direction.

    Under FDMA a UE sends with all its power on the subcarriers that it has, or with less where the radio's
    ``power_budget_w`` limits the sum. InputError for schemes in which not all UEs share one BS model and send one
    batch together, and where C2 cannot hold.
    """
    check(request, "epsl", "plans one batch of all UEs through one BS model")
    plans = [(_planned(request, room), room) for room in rooms(request)]
    lengths = [round_s(request.instance, request.scheme, decision) for decision, _ in plans]
    decision, room = plans[int(np.argmin(lengths))]
    return Answer(decision, warnings=room.warnings)


def _planned(request: Request, room: Room) -> Decision:
    """The decision at one cut."""
    instance = request.instance
    batch = even_batches(room.low, room.cap, instance.batch)
    part = batch > 0
    stage = stages(instance, room.cut, batch, request.phi, request.aggregate)
    decision = Decision(
        room.cut,
        1,
        batch,
        *(np.full(instance.n, instance.frame_s),) * 2,
        steps=request.steps,
        phi=request.phi,
        aggregate=request.aggregate,
    )
    if not instance.shared_air:
        return decision
    total, power_w = shares_of(instance, int(part.sum())), None
    up = up_shares(instance, stage, part, total)
    if instance.power_budget_w is not None and instance.snr_up is not None:
        power_w = within_budget(instance, stage, up / total, instance.power_budget_w)
    down = down_shares(instance, stage, part, total)
    unit_s = instance.frame_s / total
    slot_up_s, slot_down_s = (np.asarray(shares * unit_s, dtype=np.float64) for shares in (up, down))
    return replace(decision, slot_up_s=slot_up_s, slot_down_s=slot_down_s, tx_power_w=power_w)


def up_shares(instance: Instance, stage: Stages, part: Bools, total: int) -> Ints:
    """Shares of the air, of ``total``, for the uplinks of the UEs that take ``part`` (n,)."""
    return slowest_first(total, part, lambda shares: up_s(stage, up_rates(instance, shares / total)))


def down_shares(instance: Instance, stage: Stages, part: Bools, total: int) -> Ints:
    """Shares for the downlinks: the two directions are never on the air together within a round.

    Equal ones where all is broadcast, so that no share helps anybody.
    """
    if not stage.down_bits.any():
        even = np.zeros(instance.n, dtype=np.int64)
        even[part] = equal_shares(total, instance.rate_down[part])
        return even
    return slowest_first(total, part, lambda shares: down_s(stage, instance.rate_down * shares / total))


def slowest_first(total: int, part: Bools, finish_s: Callable[[Ints], Floats]) -> Ints:
    """One share for each UE that takes ``part`` (n,), then each further one to whoever finishes last.

    As a UE's time falls with its shares and depends on them alone, no other allocation finishes sooner.
    """
    shares = part.astype(np.int64)
    if not part.any():
        return shares
    for _ in range(total - int(shares.sum())):
        shares[np.argmax(np.where(part, finish_s(shares), -np.inf))] += 1
    return shares


def within_budget(instance: Instance, stage: Stages, share: Floats, budget_w: float) -> Floats:
    """What each UE sends with (W) so that all finish as early as their power and the budget for the sum allow.

    The least common finishing time is bisected: the power that a rate needs grows with the rate. Everybody
    sends with no more power than that time needs. UEs whose SNR is given have no power, NaN, and are not in the sum.
    """
    snr, full_w = instance.snr_up, instance.tx_power_w
    if snr is None or full_w is None:
        raise ValueError("power is of UEs that share subcarriers")
    sends = share > 0
    counted, most = sends & ~np.isnan(full_w), up_rates(instance, share)
    band_hz = np.where(sends, share, 1.0) * instance.bandwidth_hz

    def power_w(finish_s: float) -> Floats:
        spare_s = np.maximum(finish_s - stage.forward_s - stage.wait_s, 1e-12)
        rate = np.minimum(stage.up_bits / spare_s, most)
        needed = full_w * band_hz / instance.bandwidth_hz * np.expm1(np.log(2) * rate / band_hz) / snr
        return np.where(counted, np.minimum(needed, full_w), np.where(np.isnan(full_w), np.nan, 0.0))

    least = late = float(up_s(stage, most).max())
    while np.nansum(power_w(late)) > budget_w and late < least * 2.0**STEPS:
        late *= 2
    for _ in range(STEPS):
        middle = (least + late) / 2
        least, late = (least, middle) if np.nansum(power_w(middle)) <= budget_w else (middle, late)
    return power_w(late)
