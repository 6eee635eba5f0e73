"""P3 (eq. 21): batches for fixed cut, micro-batches and slots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from controller.planners.solve import solved
from controller.predict.instance import Floats, Ints


@dataclass(frozen=True)
class BatchProblem:
    """What P3 is given: seconds per sample of each task (n,), limits of each batch, and their sum.

    ``high`` holds C2 and, where it is kept, C3: both are upper bounds on ``b_i``. ``air_limit_s`` is the
    right side of C̃4, None where it does not bind. All times are of a whole round: k scales the
    objective and nothing else.
    """

    forward: Floats
    up: Floats
    down: Floats
    backward: Floats
    low: Ints
    high: Ints
    total: int
    air_limit_s: float | None

    def objective_s(self, batch: Floats | Ints) -> float:
        """``t1 + t2`` of these batches (s)."""
        there, back = self.forward + self.up, self.down + self.backward
        return float((batch * there).max() + (batch * back).max())


def batches(problem: BatchProblem, integer: bool = False) -> Ints | None:
    """Integer batches by the LP relaxation and floor/ceil, or with ``integer`` by the MILP itself.

    None when P3 is infeasible.
    """
    exact = relaxed(problem, integer)
    if exact is None:
        return None
    return np.rint(exact).astype(np.int64) if integer else rounded(problem, exact)


def relaxed(problem: BatchProblem, integer: bool = False) -> Floats | None:
    """The minimiser of P3 over real batches (or integer ones), by HiGHS; None when infeasible."""
    if (problem.low > problem.high).any() or not problem.low.sum() <= problem.total <= problem.high.sum():
        return None
    bounded = problem.air_limit_s is not None
    model = _model(len(problem.low), bounded, integer)
    even = np.full(len(problem.low), problem.total / len(problem.low))
    scale = problem.objective_s(even)
    model["there"].value = (problem.forward + problem.up) / scale
    model["back"].value = (problem.down + problem.backward) / scale
    model["low"].value, model["high"].value = problem.low, problem.high
    model["total"].value = problem.total
    if problem.air_limit_s is not None:
        model["up"].value, model["down"].value = problem.up / scale, problem.down / scale
        model["limit"].value = problem.air_limit_s / scale
    # A gap of a millionth costs the MILP little and makes its answer comparable with the relaxation's.
    options = {"mip_rel_gap": 1e-6} if integer else {}
    if not solved(model["problem"], "P3", "HIGHS", **options):
        return None
    return np.clip(np.asarray(model["batch"].value, dtype=np.float64), problem.low, problem.high)


def rounded(problem: BatchProblem, exact: Floats) -> Ints:
    """Floor, then ceil where it costs ``t1 + t2`` least, until the sum is right; limits are kept."""
    floor = np.floor(exact + 1e-6).astype(np.int64)
    there, back = problem.forward + problem.up, problem.down + problem.backward
    worst_there, worst_back = (exact * there).max(), (exact * back).max()
    ceil = floor + 1
    cost = np.maximum(ceil * there - worst_there, 0) + np.maximum(ceil * back - worst_back, 0)
    order = np.lexsort((floor - exact, np.where(ceil <= problem.high, cost, np.inf)))
    floor[order[: problem.total - int(floor.sum())]] += 1
    return floor


@lru_cache(maxsize=32)
def _model(n: int, bounded: bool, integer: bool) -> dict[str, Any]:
    """P3 compiled once per shape; its numbers are parameters, so that solving again is cheap."""
    import cvxpy as cp

    batch = cp.Variable(n, integer=integer)
    t1, t2, t3, t4 = (cp.Variable() for _ in range(4))
    values = {name: cp.Parameter(n, nonneg=True) for name in ("there", "back", "up", "down", "low", "high")}
    total, limit = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
    rules = [
        batch >= values["low"],
        batch <= values["high"],
        cp.sum(batch) == total,
        cp.multiply(values["there"], batch) <= t1,
        cp.multiply(values["back"], batch) <= t2,
    ]
    if bounded:
        rules += [cp.multiply(values["up"], batch) <= t3, cp.multiply(values["down"], batch) <= t4, t3 + t4 <= limit]
    problem = cp.Problem(cp.Minimize(t1 + t2), rules)
    return {**values, "batch": batch, "total": total, "limit": limit, "problem": problem}
