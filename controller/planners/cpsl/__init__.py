"""CPSL's resource manager (CPSL paper, section VII): cut by sample averages, clusters by Gibbs, shares by greed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controller.planners.capacity import Room, even_batches, rooms
from controller.planners.cpsl.clustering import Clustering, gibbs, gibbs_chains
from controller.planners.cpsl.latency import Phases, phases, side_by_side
from controller.planners.seam import Answer, Request, check
from controller.planners.subcarriers import shares_of
from controller.predict.instance import Decision, Floats, Instance, Ints, up_rates
from testbed.topology import CLUSTER_SIZE, Saa

LEAST_SPEED = 0.1
"""Of a UE's own speed: a Gaussian draw (section VII-A) may not stop or reverse it."""


def cpsl(request: Request) -> Answer:
    """Cut, clusters and shares of the air with equal batches; the latency that it goes by is ``paper.round_s``.

    InputError for a scheme whose turns are not clusters, and where C2 cannot hold.
    """
    check(request, "cpsl", "deals UEs into clusters that take turns")
    rng = np.random.default_rng([request.seed, 14])
    plans = [_Plan(request, room) for room in rooms(request)]
    plan = best_cut(plans, request.saa, request.gibbs.smooth_s, rng) if len(plans) > 1 else plans[0]
    search = request.gibbs
    found = gibbs_chains(plan.phases(), plan.size, rng, search.chains, search.iterations, search.smooth_s)
    paper = {"round_s": float(found.latency_s[0]), "reading": request.reading}
    return Answer(plan.decision(found), warnings=plan.room.warnings, paper=paper)


class _Plan:
    """One cut with its batches: the problem that Alg. 4 is given, for the UEs that take part."""

    def __init__(self, request: Request, room: Room) -> None:
        self.request, self.room = request, room
        self.batch: Ints = even_batches(room.low, room.cap, request.instance.batch)
        self.members = np.flatnonzero(self.batch > 0)
        self.size = min(request.cluster_size or CLUSTER_SIZE, len(self.members))
        self.shares = shares_of(request.instance, self.size)
        self.power_w = self._within_budget()

    def phases(self, instance: Instance | None = None) -> Phases:
        """The latency of this cut for the request's instance, or for one with these UEs as they may vary."""
        instance = instance or self.request.instance
        if self.power_w is not None:
            whole = up_rates(instance, np.ones(instance.n), self.power_w)
            instance = replace(instance, rate_up=whole, tx_power_w=self.power_w)
        some, rows = instance.only(self.members), self.members
        return phases(some, self.room.cut, self.batch[rows], self.request.steps, self.shares, self.request.reading)

    def decision(self, found: Clustering) -> Decision:
        """The clusters as a decision: UEs that take no part are in cluster −1 and have no slots."""
        instance = self.request.instance
        cluster = np.full(instance.n, -1, dtype=np.int64)
        slots = np.zeros(instance.n)
        cluster[self.members] = found.cluster[0]
        slots[self.members] = found.shares[0] * instance.frame_s / self.shares
        if not instance.shared_air:
            slots[self.members] = instance.frame_s
        return Decision(
            self.room.cut,
            1,
            self.batch,
            slots,
            slots,
            cluster=cluster,
            steps=self.request.steps,
            phi=self.request.phi,
            tx_power_w=self.power_w,
        )

    def _within_budget(self) -> Floats | None:
        """What each UE sends with (W): less than it may by one factor, with which any cluster keeps to the budget."""
        instance = self.request.instance
        if instance.power_budget_w is None or instance.snr_up is None or instance.tx_power_w is None:
            return None
        loudest = np.sort(np.nan_to_num(instance.tx_power_w[self.members]))[-self.size :].sum()
        factor: float = min(1.0, instance.power_budget_w / loudest) if loudest > 0 else 1.0
        return np.asarray(instance.tx_power_w * factor)


def best_cut(plans: list[_Plan], saa: Saa, smooth_s: float, rng: np.random.Generator) -> _Plan:
    """Alg. 2: the cut with the least latency on average over samples of the devices, clustered by Alg. 4.

    All cuts see the same samples and, as problems of one size run side by side, the same search.
    """
    drawn = samples(plans[0].request.instance, saa, rng)
    mean_s = []
    seed = int(rng.integers(2**32))
    for plan in plans:
        together = side_by_side([plan.phases(instance) for instance in drawn])
        found = gibbs(together, plan.size, np.random.default_rng(seed), saa.iterations, smooth_s)
        mean_s.append(float(found.latency_s.mean()))
    return plans[int(np.argmin(mean_s))]


def samples(instance: Instance, saa: Saa, rng: np.random.Generator) -> list[Instance]:
    """J draws of computing capability and SNR about the instance's own (section VII-A); dedicated links stay.

    Where nothing varies, the instance itself is the one sample.
    """
    jitter, shadowing_db = saa.compute_jitter or 0.0, saa.shadowing_db or 0.0
    if not jitter and not shadowing_db:
        return [instance]
    found = []
    for _ in range(saa.samples):
        factor = np.maximum(1 + rng.normal(0, jitter, instance.n), LEAST_SPEED)
        change_db = rng.normal(0, shadowing_db, instance.n)
        found.append(
            replace(
                instance,
                ue_flops=instance.ue_flops * factor,
                rate_up=_faded(instance, instance.rate_up, change_db),
                rate_down=_faded(instance, instance.rate_down, change_db),
            )
        )
    return found


def _faded(instance: Instance, rate: Floats, change_db: Floats) -> Floats:
    """Rates (bit/s) when the SNR behind them changes by so many dB; ``log2(1 + snr)`` is the rate per hertz."""
    if not instance.bandwidth_hz or not instance.shared_air:
        return rate
    snr = np.expm1(rate / instance.bandwidth_hz * np.log(2)) * 10 ** (change_db / 10)
    return np.asarray(instance.bandwidth_hz * np.log2(1 + snr))
