"""EPSL's resource manager (EPSL summary): subchannels to the slowest, power control, and the cut, for a given φ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from controller.planners.capacity import Room, even_batches, rooms
from controller.planners.epsl.latency import Stages, down_s, round_s, stages, up_s
from controller.planners.seam import Answer, Request, check
from controller.planners.subcarriers import Bools, equal_shares, shares_of
from controller.predict.instance import Decision, Floats, Instance, Ints

STEPS = 60

Rates = Callable[[Ints], Floats]


def epsl(request: Request) -> Answer:
    """The cut whose round is shortest, with equal batches and its own shares of the air in each direction.

    Under FDMA a UE sends with all its power on the subcarriers that it has, or with less where
    ``power_budget_w`` limits the sum; its ``slot_up_s`` is then the share of the frame that has the same rate,
    so slots may sum to more than the frame. InputError for schemes in which not all UEs share one BS model and
    send one batch together, and where C2 cannot hold.
    """
    check(request, "epsl", "plans one batch of all UEs through one BS model")
    plans = [_planned(request, room) for room in rooms(request)]
    _, decision, room = min(plans, key=lambda plan: plan[0])
    return Answer(decision, warnings=room.warnings)


def _planned(request: Request, room: Room) -> tuple[float, Decision, Room]:
    """The round (s) and the decision at one cut."""
    instance = request.instance
    batch = even_batches(room.low, room.cap, instance.batch)
    stage = stages(instance, room.cut, batch, request.phi)
    rate_up, rate_down = allocated(instance, stage, batch > 0, request.power_budget_w)
    slots = (np.full(instance.n, instance.frame_s),) * 2
    if instance.shared_air:
        slots = (
            np.asarray(instance.frame_s * rate_up / instance.rate_up),
            np.asarray(instance.frame_s * rate_down / instance.rate_down),
        )
    decision = Decision(room.cut, 1, batch, *slots, steps=request.steps, phi=request.phi)
    return round_s(stage, rate_up, rate_down), decision, room


def allocated(
    instance: Instance, stage: Stages, part: Bools, power_budget_w: float | None = None
) -> tuple[Floats, Floats]:
    """Rates (bit/s) up and down that the shares of the air give to the UEs that take ``part`` (n,).

    The two directions are never on the air together within a round, so each has shares of its own.
    """
    if not instance.shared_air:
        return instance.rate_up, instance.rate_down
    total = shares_of(instance, int(part.sum()))

    def up_rates(shares: Ints) -> Floats:
        return focused(instance, shares)

    def down_rates(shares: Ints) -> Floats:
        return np.asarray(instance.rate_down * shares / total)

    shares = slowest_first(total, part, lambda shares: up_s(stage, up_rates(shares)))
    rate_up = up_rates(shares)
    if power_budget_w is not None and instance.subcarriers is not None:
        rate_up = within_budget(instance, stage, shares, power_budget_w)
    if not stage.down_bits.any():  # all is broadcast: no share helps anybody
        even = np.zeros(instance.n, dtype=np.int64)
        even[part] = equal_shares(total, instance.rate_down[part])
        return rate_up, down_rates(even)
    return rate_up, down_rates(slowest_first(total, part, lambda shares: down_s(stage, down_rates(shares))))


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


def focused(instance: Instance, shares: Ints) -> Floats:
    """Uplink rates (bit/s) with all of a UE's power on its shares: ``c W log2(1 + snr M / c)`` under FDMA.

    In time shares, or where the SNR is given and there is no power to control, ``c / M`` of the whole.
    """
    total = instance.subcarriers or shares_of(instance, int((shares > 0).sum()))
    plain = np.asarray(instance.rate_up * shares / total)
    if instance.subcarriers is None or instance.tx_power_w is None or not instance.bandwidth_hz:
        return plain
    share = np.maximum(shares, 1) / total
    dense = share * instance.bandwidth_hz * np.log2(1 + _snr(instance) / share)
    return np.where(np.isnan(instance.tx_power_w) | (shares == 0), plain, dense)


def within_budget(instance: Instance, stage: Stages, shares: Ints, budget_w: float) -> Floats:
    """Uplink rates (bit/s) with which all finish as early as their power and the budget (W) for the sum allow.

    The least common finishing time is bisected: the power that a rate needs grows with the rate. Everybody
    sends with no more power than that time needs. UEs whose SNR is given are not in the sum.
    """
    most = focused(instance, shares)
    if instance.tx_power_w is None or not instance.bandwidth_hz:
        return most
    share, snr = np.maximum(shares, 1) / (instance.subcarriers or 1), _snr(instance)
    counted = (shares > 0) & ~np.isnan(instance.tx_power_w)
    full_w = np.where(counted, instance.tx_power_w, 0.0)

    def rates(finish_s: float) -> Floats:
        spare_s = np.maximum(finish_s - stage.forward_s, 1e-12)
        return np.where(counted, np.minimum(stage.up_bits / spare_s, most), most)

    def power_w(rate: Floats) -> float:
        return float((full_w * share * np.expm1(np.log(2) * rate / (share * instance.bandwidth_hz)) / snr).sum())

    least, late = float(up_s(stage, most).max()), float(up_s(stage, most).max())
    while power_w(rates(late)) > budget_w and late < least * 2.0**STEPS:
        late *= 2
    for _ in range(STEPS):
        middle = (least + late) / 2
        least, late = (least, middle) if power_w(rates(middle)) <= budget_w else (middle, late)
    return rates(late)


def _snr(instance: Instance) -> Floats:
    """Uplink SNR of each UE (n,) with its power spread over the whole band."""
    return np.asarray(np.maximum(np.expm1(np.log(2) * instance.rate_up / instance.bandwidth_hz), 1e-300))
