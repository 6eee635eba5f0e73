"""What a planner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agents.scheme import Scheme, cuts
from controller.predict.instance import Decision, Instance
from testbed.errors import InputError


@dataclass(frozen=True)
class Request:
    """A planning problem: the instance, the scheme, and what the user has fixed (None: free).

    ``steps`` is the number of batches between two synchronisations, ``phi`` the share of EPSL,
    ``cluster_size`` the UEs of one cluster, ``seed`` what random draws start from, ``power_budget_w`` the most
    that all UEs together may send with (None: each its own); ``lemma`` and ``p3`` are how ``ao`` reads
    Algorithm 1. ``path`` is where the request stands in the topology, for errors.
    """

    instance: Instance
    scheme: Scheme
    cut: int | None = None
    micro_batches: int | None = None
    path: str = "schemes"
    steps: int = 1
    phi: float = 0.0
    cluster_size: int | None = None
    seed: int = 0
    lemma: Literal["corrected", "printed"] = "corrected"
    p3: Literal["relaxed", "milp"] = "relaxed"
    power_budget_w: float | None = None

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts to consider."""
        return (self.cut,) if self.cut is not None else tuple(cuts(self.scheme, len(self.instance.workload.units)))

    @property
    def slotted(self) -> bool:
        """Whether all UEs train one BS model in one turn, or take turns, and every row has its own gradient."""
        return self.scheme.bs_model == "joint" and self.scheme.turn in ("one", "all") and not self.phi


@dataclass(frozen=True)
class Answer:
    """A decision, the constraints that had to be relaxed to find one, and what the user should know of it."""

    decision: Decision
    relaxed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse(request: Request, message: str, hint: str = "use planner: uniform") -> InputError:
    """The error of a planner that cannot plan the request's scheme; ``message`` starts with the planner's name."""
    return InputError(f"{request.path}.planner", f"{message} {request.scheme.name} does not", hint)


Planner = Callable[[Request], Answer]
