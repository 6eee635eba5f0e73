"""Planners: small functions behind one seam, found by name."""

from __future__ import annotations

from controller.planners.ao import ao
from controller.planners.cpsl import cpsl
from controller.planners.epsl import epsl
from controller.planners.makespan import makespan
from controller.planners.pipar import pipar
from controller.planners.seam import Planner, Request
from controller.planners.uniform import uniform

PLANNERS: dict[str, Planner] = {
    "uniform": uniform,
    "ao": ao,
    "makespan": makespan,
    "cpsl": cpsl,
    "epsl": epsl,
    "pipar": pipar,
}
DEFAULT_PLANNER = "uniform"
CUT_STAYS = frozenset({"cpsl"})
"""Planners that decide on the cut for a larger timescale than a round (CPSL paper, section VI)."""

__all__ = ["CUT_STAYS", "DEFAULT_PLANNER", "PLANNERS", "Planner", "Request"]
