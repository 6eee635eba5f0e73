"""The least round of UEs that have the whole model, or each a cut of its own: no schedule of such UEs is shorter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from controller.predict.instance import Floats, Instance
from controller.predict.timing import BITS

STEPS = 60


@dataclass(frozen=True)
class _Alone:
    """UEs that are alone, at one cut (n,): what each holds, seconds per sample of what it uses, and of its weights.

    ``uses`` are (seconds per sample, seconds per batch) of its processor, its link, and its worker at the BS.
    """

    cap: Floats
    uses: tuple[tuple[Floats, float | Floats], ...]
    weights_s: Floats

    def samples(self, within_s: float, steps: int) -> Floats:
        """The most samples (n,) that each UE can train ``steps`` times within so many seconds."""
        batch_s = (within_s - self.weights_s) / steps
        most = self.cap
        for seconds, fixed_s in self.uses:
            left_s = batch_s - fixed_s
            room = np.divide(left_s, seconds, out=np.where(left_s >= 0, np.inf, 0.0), where=seconds > 0)
            most = np.minimum(most, np.maximum(room, 0.0))
        return most


def each_alone_s(problem: Instance, cuts: list[int], steps: int, total: int, shares_weights: bool) -> float:
    """Least R (s) within which the UEs, each at its own best cut, train ``total`` samples ``steps`` times over.

    A UE's processor, its link (each direction, or both together under ``tdd``) and, where it has one, its worker at the
    BS do its batches within R, with at least one pass each way for a batch; then its weights go up, and down again.
    A UE has the whole band; but what all send over shared air, and what a BS of one processor computes, must fit as
    well. Infinite where C2 does not let the UEs hold so many.
    """
    some = np.max([problem.batch_cap(cut) for cut in cuts], axis=0)
    sure = int(((problem.min_batch > 0) & (some >= problem.min_batch)).sum())  # who takes part, whatever is decided
    alone = [_alone(problem, cut, sure, shares_weights and sure > 1) for cut in cuts]

    def trained(within_s: float) -> float:
        return float(reduce(np.maximum, [one.samples(within_s, steps) for one in alone]).sum())

    if some.sum() < total:
        return float("inf")
    least_s, most_s = 0.0, 1e-6
    while trained(most_s) < total:
        least_s, most_s = most_s, 2 * most_s
    for _ in range(STEPS):
        middle_s = (least_s + most_s) / 2
        least_s, most_s = (least_s, middle_s) if trained(middle_s) >= total else (middle_s, most_s)
    return max(least_s, steps * total * _together_s(problem, cuts))


def _alone(problem: Instance, cut: int, sharing: int, shares_weights: bool) -> _Alone:
    work = problem.workload
    compute = work.ue_total_flops(cut) / problem.ue_flops
    uses: list[tuple[Floats, float | Floats]] = [(compute, 2 * problem.ue_pass_s)]
    if (left := work.bs_forward_flops(cut)) > 0:
        uses += [(air, 0.0) for air in _air_s(problem, cut)]
        if problem.workers == "per_ue":
            server = left * (1 + work.backward_ratio) * max(1, sharing) / problem.bs_flops
            uses.append((np.full(problem.n, server), 2 * problem.bs_pass_s))
    weights_s = work.ue_weight_bytes(cut) * BITS * (1 / problem.rate_up + 1 / problem.rate_down)
    cap = problem.batch_cap(cut).astype(np.float64)
    return _Alone(cap, tuple(uses), weights_s if shares_weights else np.zeros(problem.n))


def _air_s(problem: Instance, cut: int) -> list[Floats]:
    """Seconds per sample (n,) of what cannot be on the air at the same time, with the whole band."""
    up = problem.workload.up_bytes(cut) * BITS / problem.rate_up
    down = problem.workload.down_bytes(cut) * BITS / problem.rate_down
    return [up + down] if problem.duplex == "tdd" else [up, down]


def _together_s(problem: Instance, cuts: list[int]) -> float:
    """Seconds per sample that all UEs share at the least: of a BS of one processor, and of shared air."""
    work = problem.workload
    shared = [min(work.bs_forward_flops(cut) for cut in cuts) * (1 + work.backward_ratio) / problem.bs_flops]
    if problem.shared_air and all(work.bs_forward_flops(cut) > 0 for cut in cuts):
        ways = zip(*(_air_s(problem, cut) for cut in cuts), strict=True)
        shared += [min(float(seconds.min()) for seconds in way) for way in ways]
    return max(shared)
