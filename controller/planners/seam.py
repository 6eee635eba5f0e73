"""What a planner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.schemes import Scheme
from controller.predict.instance import Decision, Instance
from testbed.errors import InputError
from testbed.topology import Gibbs, Saa


@dataclass(frozen=True)
class Request:
    """A planning problem: the instance, the scheme, and what the user has fixed (None: free).

    ``head_cut`` is where a UE's last units begin under a scheme that cuts twice. ``steps`` is the number of batches
    between two synchronisations, ``phi`` the share of EPSL, ``cluster_size`` the UEs of one cluster (None where a
    scheme has none), ``aggregate`` the reading of EPSL, ``seed`` what random draws start from. ``lemma`` and ``p3``
    are how ``ao`` reads Algorithm 1, ``n_rule`` is how ``pipar`` chooses N; ``reading``, ``gibbs`` and ``saa`` (with
    its deviations) are for ``cpsl``. ``path`` is where the request stands in the topology, for errors.
    """

    instance: Instance
    scheme: Scheme
    cut: int | None = None
    micro_batches: int | None = None
    head_cut: int | None = None
    path: str = "schemes"
    steps: int = 1
    phi: float = 0.0
    aggregate: str = "virtual"
    cluster_size: int | None = None
    seed: int = 0
    lemma: Literal["corrected", "printed"] = "corrected"
    p3: Literal["relaxed", "milp"] = "relaxed"
    n_rule: Literal["search", "eq14"] = "search"
    reading: Literal["printed", "corrected"] = "corrected"
    gibbs: Gibbs = field(default_factory=Gibbs)
    saa: Saa = field(default_factory=Saa)

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts to consider."""
        return (
            (self.cut,) if self.cut is not None else tuple(self.scheme.allowed_cuts(len(self.instance.workload.units)))
        )


@dataclass(frozen=True)
class Answer:
    """A decision, the constraints that had to be relaxed to find one, and what the user should know of it.

    ``paper``: the planner's own figures, in the terms of its paper.
    """

    decision: Decision
    relaxed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    paper: Mapping[str, Any] = field(default_factory=dict)


def check(request: Request, planner: str, what: str) -> None:
    """InputError where a planner does not know the request's scheme; ``what`` says what it plans."""
    if planner not in request.scheme.planners:
        known = ", ".join(request.scheme.planners)
        message = f"{planner} {what}, not {request.scheme.name}"
        raise InputError(f"{request.path}.planner", message, f"{request.scheme.name} is planned by {known}")


Planner = Callable[[Request], Answer]
