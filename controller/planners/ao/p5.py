"""P5 (eq. 23): slots for fixed cut, micro-batches and batches; one slot per UE serves both directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from controller.planners.solve import solved
from controller.predict.instance import Floats


@dataclass(frozen=True)
class SlotProblem:
    """What P5 is given: seconds of each UE's tasks for a whole round (n,), on air with the whole frame to itself.

    ``up_limit_s`` is the right side of C̃3 and ``air_limit_s`` that of C̃4, None where they do not bind.
    """

    forward: Floats
    up: Floats
    down: Floats
    backward: Floats
    up_limit_s: float | None
    air_limit_s: float | None


def shares(problem: SlotProblem) -> Floats | None:
    """Share of the frame of each UE, ``τ_i / T``, all of it given out; None when P5 is infeasible.

    The shares are the ``g_i`` of the solver's t1 … t4. What is left of the frame, in the last digits or
    because only t1 and t2 bind, is given out in proportion, which no constraint minds.
    """
    times = least_times(problem)
    if times is None:
        return None
    needed = least_shares(problem, *times)
    return np.asarray(needed / needed.sum(), dtype=np.float64)


def least_shares(problem: SlotProblem, t1: float, t2: float, t3: float, t4: float) -> Floats:
    """``g_i(t1, t2, t3, t4) / T``: the least share for which C̃3 and C7 to C10 hold."""
    busy = problem.up > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = [problem.up / (t1 - problem.forward), problem.down / (t2 - problem.backward)]
        rows += [problem.up / t3, problem.down / t4]
        if problem.up_limit_s is not None:
            rows.append(problem.up / problem.up_limit_s)
    return np.where(busy, np.max(rows, axis=0), 0.0)


def least_times(problem: SlotProblem) -> tuple[float, float, float, float] | None:
    """The optimal t1 … t4 (s, of a whole round) by Clarabel; t3 = t4 = ∞ without C̃4. None when infeasible."""
    model = _model(len(problem.up), problem.up_limit_s is not None, problem.air_limit_s is not None)
    # In this unit t1 and t2 are of order 1, whatever the model and the radio.
    unit = float(problem.up.sum() + problem.down.sum() + problem.forward.max() + problem.backward.max())
    model["root_up"].value, model["root_down"].value = np.sqrt(problem.up / unit), np.sqrt(problem.down / unit)
    model["forward"].value, model["backward"].value = problem.forward / unit, problem.backward / unit
    if problem.up_limit_s is not None:
        model["least"].value = problem.up / problem.up_limit_s
    if problem.air_limit_s is not None:
        model["limit"].value = problem.air_limit_s / unit
    if not solved(model["problem"], "P5", "CLARABEL"):
        return None
    t1, t2, t3, t4 = (np.inf if t.value is None else float(t.value) * unit for t in model["times"])
    return t1, t2, t3, t4


@lru_cache(maxsize=32)
def _model(n: int, up_bounded: bool, air_bounded: bool) -> dict[str, Any]:
    """P5 compiled once per shape. ``x / y ≤ σ`` is the cone ``‖(2√x, σ − y)‖ ≤ σ + y``, in which √x is a parameter."""
    import cvxpy as cp

    share = cp.Variable(n)
    times = t1, t2, t3, t4 = [cp.Variable() for _ in range(4)]
    values = {name: cp.Parameter(n, nonneg=True) for name in ("root_up", "root_down", "forward", "backward", "least")}
    limit = cp.Parameter(nonneg=True)

    def at_least_ratio(root: Any, time: Any) -> Any:
        return cp.SOC(share + time, cp.vstack([2 * root, share - time]))

    def everyone(time: Any) -> Any:
        return time * np.ones(n)

    rules = [
        cp.sum(share) <= 1,
        at_least_ratio(values["root_up"], everyone(t1) - values["forward"]),
        at_least_ratio(values["root_down"], everyone(t2) - values["backward"]),
    ]
    if up_bounded:
        rules.append(share >= values["least"])
    if air_bounded:
        rules += [at_least_ratio(values["root_up"], everyone(t3)), at_least_ratio(values["root_down"], everyone(t4))]
        rules.append(t3 + t4 <= limit)
    problem = cp.Problem(cp.Minimize(t1 + t2), rules)
    return {**values, "limit": limit, "times": times, "problem": problem}
