"""The least round that any schedule could reach: an LP per cut, solved by sorting and bisection.

The programme is in the design ("Command line"): air time, BS compute and each UE's compute
within R, Σ b_i = b, min_batch ≤ b_i ≤ C2's cap, for real-valued b_i.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agents.schemes import Scheme
from controller.predict.each_bound import each_alone_s
from controller.predict.instance import Decision, Floats, Instance
from controller.predict.timing import per_sample

STEPS = 60


def lower_bound_s(problem: Instance) -> float:
    """Least R (s) over the cuts; infinite when no cut can carry the batch."""
    return min((cut_lower_bound_s(problem, cut) for cut in problem.workload.cuts), default=float("inf"))


def decision_bound_s(problem: Instance, decision: Decision, scheme: Scheme) -> float:
    """A round (s) that no decision of this kind can beat: ``lower_bound_s`` for each of its batches.

    Weights on the air and what every pass takes besides are left out, which only lowers it, and so is what EPSL saves:
    with φ the downlinks and the backward passes of the BS are taken as free. Where the model is cut twice only compute
    counts. UEs with the whole model, or each with its own cut, have a bound of their own (``each_alone_s``), with both.
    """
    work = problem.workload
    if decision.cut == 0:
        return decision.steps * problem.batch * work.bs_forward_flops(0) * (1 + work.backward_ratio) / problem.bs_flops
    samples, cuts = int(decision.batch.sum()), list(scheme.allowed_cuts(len(work.units)))
    problem = replace(problem, rate_up=_most_up(problem))
    if decision.cut == len(work.units) or decision.ue_cut is not None:
        return each_alone_s(problem, cuts, decision.steps, samples, scheme.trains is not None)
    if decision.head_cut is not None:
        compute, cap = work.ue_total_flops(1) / problem.ue_flops, problem.batch_cap(1).astype(np.float64)
        return decision.steps * _level(compute, np.zeros(problem.n), cap, samples)
    if decision.phi:
        free = np.full(problem.n, np.inf)
        problem = replace(problem, rate_down=free, bs_flops=problem.bs_flops * (1 + work.backward_ratio))
    return decision.steps * lower_bound_s(problem)


def _most_up(problem: Instance) -> Floats:
    """Uplink rates (bit/s) that no deal of subcarriers exceeds for its share of the band.

    A UE may put all its power on few subcarriers; what that gains is greatest on a single one.
    """
    if problem.subcarriers is None or problem.tx_power_w is None:
        return problem.rate_up
    snr = 2 ** (problem.rate_up / problem.bandwidth_hz) - 1
    most = problem.bandwidth_hz * np.log2(1 + problem.subcarriers * snr)
    return np.where(np.isnan(problem.tx_power_w), problem.rate_up, most)


def cut_lower_bound_s(problem: Instance, cut: int) -> float:
    """Least R for which real-valued batches exist with air time, BS compute and each UE's compute within R.

    Σ b_i = b and min_batch ≤ b_i ≤ the cap of C2, or b_i = 0 where that cap is below min_batch. On
    shared air the sums over UEs of uplink and downlink time must fit (together under ``tdd``, each
    under ``fdd``); on dedicated links each UE's own. Infinite when no such batches exist.
    """
    per = per_sample(problem, cut, problem.rate_up, problem.rate_down)
    cap = problem.batch_cap(cut).astype(np.float64)
    cap = np.where(cap < problem.min_batch, 0.0, cap)
    low = np.minimum(problem.min_batch, cap).astype(np.float64)
    if cap.sum() < problem.batch or low.sum() > problem.batch:
        return float("inf")
    compute = per.ue_forward + per.ue_backward
    floor_s = problem.batch * (per.bs_forward + per.bs_backward)
    together = problem.duplex == "tdd"
    if not problem.shared_air:
        air = [per.uplink + per.downlink] if together else [per.uplink, per.downlink]
        return max(floor_s, _level(np.max([*air, compute], axis=0), low, cap, problem.batch))
    least_s = max(floor_s, _level(compute, low, cap, problem.batch))
    shared = _Shared(low, cap, compute, problem.batch, least_s)
    if together:
        return shared.least_s(per.uplink + per.downlink)[0]
    return _fdd_s(shared, per.uplink, per.downlink)


class _Shared:
    """Batches between ``low`` and what C2 and compute within R leave, and the least air time they can have."""

    def __init__(self, low: Floats, cap: Floats, compute: Floats, total: int, least_s: float) -> None:
        self.low, self.cap, self.compute, self.total, self.floor_s = low, cap, compute, total, least_s

    def least_s(self, air: Floats) -> tuple[float, Floats]:
        """Least R (s) with Σ b_i air_i ≤ R, and batches that reach it."""
        order = np.argsort(air, kind="stable")
        low, cap, compute, air = self.low[order], self.cap[order], self.compute[order], air[order]

        def cheapest(within_s: float) -> Floats:
            # A fractional knapsack: the UEs with the least air time per sample hold all they may
            room = np.maximum(np.minimum(cap, within_s / np.maximum(compute, 1e-300)) - low, 0.0)
            before = np.cumsum(room) - room
            return np.asarray(low + np.clip(self.total - low.sum() - before, 0.0, room))

        least = self.floor_s
        most = max(least, float(cheapest(least) @ air))
        for _ in range(STEPS if most > least else 0):
            middle = (least + most) / 2
            least, most = (least, middle) if cheapest(middle) @ air <= middle else (middle, most)
        batch = np.empty_like(low)
        batch[order] = cheapest(most)
        return most, batch


def _fdd_s(shared: _Shared, up: Floats, down: Floats) -> float:
    """Both directions within R: by duality the largest, over λ, bound for the mixture λ up + (1-λ) down.

    That bound is quasi-concave in λ, and which direction has the more air time says where to go.
    """
    left, right, best_s = 0.0, 1.0, 0.0
    for _ in range(STEPS):
        weight = (left + right) / 2
        bound_s, batch = shared.least_s(weight * up + (1 - weight) * down)
        best_s = max(best_s, bound_s)
        left, right = (weight, right) if batch @ up > batch @ down else (left, weight)
    return max(best_s, shared.least_s(up)[0], shared.least_s(down)[0])


def _level(seconds: Floats, low: Floats, cap: Floats, total: int) -> float:
    """Least R with Σ clip(R / seconds, low, cap) ≥ total, where every low already costs its time."""
    seconds = np.maximum(seconds, 1e-300)
    least, most = float((low * seconds).max()), float((cap * seconds).max())
    if np.clip(least / seconds, low, cap).sum() >= total:
        return least
    for _ in range(STEPS):
        middle = (least + most) / 2
        if np.clip(middle / seconds, low, cap).sum() >= total:
            most = middle
        else:
            least = middle
    return most
