"""CPSL's resource manager (CPSL paper, section VII): cut by sample averages, clusters by Gibbs, shares by greed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.planners.capacity import Room, even_batches, rooms
from controller.planners.cpsl.clustering import CHAINS, ITERATIONS, SMOOTH, Clustering, gibbs, gibbs_chains
from controller.planners.cpsl.latency import Phases, phases
from controller.planners.seam import Answer, Request, check
from controller.planners.subcarriers import shares_of
from controller.predict.instance import Decision, Floats, Instance, Ints
from testbed.topology import CLUSTER_SIZE


@dataclass(frozen=True)
class Options:
    """How much is searched, and how devices vary (section VIII-C).

    ``samples`` are J of Alg. 2, each clustered with ``sample_iterations``; then ``iterations`` (G) of Alg. 4
    with smooth factor ``smooth`` (δ, s) in ``chains``, of which the best is taken. UEs vary by ``compute_sd``
    of their mean speed (0.05 of 0.55 Gcycle/s in the paper), their SNR by ``snr_sd_db``.
    """

    samples: int = 10
    sample_iterations: int = 150
    iterations: int = ITERATIONS
    smooth: float = SMOOTH
    chains: int = CHAINS
    compute_sd: float = 0.05 / 0.55
    snr_sd_db: float = 2.0


LEAST_SPEED = 0.1
"""Of a UE's own speed: a Gaussian draw (section VII-A) may not stop or reverse it."""


def cpsl(request: Request, options: Options | None = None) -> Answer:
    """Cut, clusters and shares of the air with equal batches.

    InputError for a scheme whose turns are not clusters, and where C2 cannot hold.
    """
    check(request, "cpsl", "deals UEs into clusters that take turns")
    options, instance = options or Options(), request.instance
    rng = np.random.default_rng([request.seed, 14])
    plans = [_Plan(request, room) for room in rooms(request)]
    plan = best_cut(plans, options, rng) if len(plans) > 1 else plans[0]
    found = gibbs_chains(plan.phases(instance), plan.size, rng, options.chains, options.iterations, options.smooth)
    return Answer(plan.decision(found), warnings=plan.room.warnings)


class _Plan:
    """One cut with its batches: the problem that Alg. 4 is given, for the UEs that take part."""

    def __init__(self, request: Request, room: Room) -> None:
        self.request, self.room = request, room
        self.batch: Ints = even_batches(room.low, room.cap, request.instance.batch)
        self.members = np.flatnonzero(self.batch > 0)
        self.size = min(request.cluster_size or CLUSTER_SIZE, len(self.members))
        self.shares = shares_of(request.instance, self.size)

    def phases(self, instance: Instance) -> Phases:
        """The latency of this cut for an instance with these UEs, as it is or as it may vary."""
        rows = self.members
        some = replace(
            instance,
            ue_flops=instance.ue_flops[rows],
            ue_pass_s=instance.ue_pass_s[rows],
            rate_up=instance.rate_up[rows],
            rate_down=instance.rate_down[rows],
        )
        return phases(some, self.room.cut, self.batch[rows], self.request.steps, self.shares)

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
            self.room.cut, 1, self.batch, slots, slots, cluster=cluster, steps=self.request.steps, phi=self.request.phi
        )


def best_cut(plans: list[_Plan], options: Options, rng: np.random.Generator) -> _Plan:
    """Alg. 2: the cut with the least latency on average over samples of the devices, clustered by Alg. 4.

    All cuts see the same samples and, as problems of one size run side by side, the same search.
    """
    drawn = samples(plans[0].request.instance, options, rng)
    mean_s = []
    seed = int(rng.integers(2**32))
    for plan in plans:
        each = [plan.phases(instance) for instance in drawn]
        together = replace(
            each[0],
            fixed=np.stack([one.fixed for one in each]),
            per_share=np.stack([one.per_share for one in each]),
            server_s=np.stack([one.server_s for one in each]),
        )
        found = gibbs(together, plan.size, np.random.default_rng(seed), options.sample_iterations, options.smooth)
        mean_s.append(float(found.latency_s.mean()))
    return plans[int(np.argmin(mean_s))]


def samples(instance: Instance, options: Options, rng: np.random.Generator) -> list[Instance]:
    """J draws of computing capability and SNR about the instance's own (section VII-A); dedicated links stay."""
    found = []
    for _ in range(options.samples):
        speed = instance.ue_flops + rng.normal(0, options.compute_sd * instance.ue_flops.mean(), instance.n)
        change_db = rng.normal(0, options.snr_sd_db, instance.n)
        found.append(
            replace(
                instance,
                ue_flops=np.maximum(speed, LEAST_SPEED * instance.ue_flops),
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
