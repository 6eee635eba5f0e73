"""CPSL (CPSL paper, Alg. 1): cluster after cluster, parallel split learning within."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.seam import Scheme, groups
from agents.schemes.turns import in_turns


def cpsl(r: Round) -> None:
    """A cluster trains its local epochs; its halves are averaged (eq. 8) and go to the next cluster (eq. 9)."""
    in_turns(r, groups("cluster", r.plan.clusters))


CPSL = Scheme(
    "cpsl",
    "CPSL: cluster after cluster, PSL within",
    cpsl,
    turns="cluster",
    trains="batch",
    keys=frozenset({"local_epochs", "sync_every", "cluster_size"}),
    planners=("uniform", "cpsl"),
    halves="same",
)
