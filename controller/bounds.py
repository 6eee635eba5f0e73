"""The least round that any schedule could reach: one linear programme per cut."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from controller.instance import Floats, Instance
from controller.timing import per_sample


def lower_bound_s(problem: Instance) -> float:
    """Least R (s) over the cuts; infinite when no cut can carry the batch."""
    return min((cut_lower_bound_s(problem, cut) for cut in problem.workload.cuts), default=float("inf"))


def cut_lower_bound_s(problem: Instance, cut: int) -> float:
    """Least R for which real-valued batches exist with air time, BS compute and each UE's compute within R.

    Σ b_i = b and min_batch ≤ b_i ≤ the cap of C2. On shared air the sums over UEs of uplink and
    downlink time must fit (together under ``tdd``, each under ``fdd``); on dedicated links each
    UE's own. Infinite when C2 leaves too little capacity.
    """
    per = per_sample(problem, cut, problem.rate_up, problem.rate_down)
    cap, n = problem.batch_cap(cut).astype(np.float64), problem.n
    low = np.minimum(problem.min_batch, cap)
    if cap.sum() < problem.batch:
        return float("inf")
    compute = per.ue_forward + per.ue_backward
    together = problem.duplex == "tdd"
    air = [per.uplink + per.downlink] if together else [per.uplink, per.downlink]
    floor_s = problem.batch * (per.bs_forward + per.bs_backward)
    if problem.shared_air:
        alone = compute
        rows = np.array([np.append(a, -1.0) for a in air])
        solution = linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=np.vstack([rows, np.hstack([np.diag(alone), -np.ones((n, 1))])]),
            b_ub=np.zeros(len(air) + n),
            A_eq=np.append(np.ones(n), 0.0)[None, :],
            b_eq=[problem.batch],
            bounds=[*zip(low, cap, strict=True), (floor_s, None)],
        )
        return float(solution.fun) if solution.success else float("inf")
    per_ue = np.max([*air, compute], axis=0)
    return max(floor_s, _level(per_ue, low, cap, problem.batch))


def _level(seconds: Floats, low: Floats, cap: Floats, total: int) -> float:
    """Least R with Σ clip(R / seconds, low, cap) ≥ total, where every low already costs its time."""
    least, most = float((low * seconds).max()), float((cap * seconds).max())
    for _ in range(200):
        middle = (least + most) / 2
        if np.clip(middle / seconds, low, cap).sum() >= total:
            most = middle
        else:
            least = middle
    return most
