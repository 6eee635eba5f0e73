"""CVXPY problems solved so that no doubtful status becomes a plan."""

from __future__ import annotations

import warnings
from typing import Any

from testbed.errors import SolverError

HINT = "plan with another planner, and report the topology"


def solved(problem: Any, name: str, solver: str, **options: Any) -> bool:
    """Solves; False when the problem is proved infeasible. Raises SolverError unless the status is certain.

    The objectives here are bounded below by 0, so "infeasible or unbounded" is infeasible.
    """
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an inaccurate solution is an error below, not a warning
            problem.solve(solver=solver, **options)
    except cp.SolverError as error:
        raise SolverError(f"{name}: {solver} failed: {str(error).splitlines()[0]}", HINT) from error
    if problem.status in (cp.INFEASIBLE, cp.settings.INFEASIBLE_OR_UNBOUNDED):
        return False
    if problem.status != cp.OPTIMAL:
        raise SolverError(f"{name}: {solver} ended with status {problem.status}", HINT)
    return True
