"""EPSL (arXiv 2303.15991): PSL with the last-layer gradients of a share φ of rows aggregated, and broadcast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round
from agents.schemes.joint import joint_batch, learn, send
from agents.schemes.seam import Scheme


@dataclass(frozen=True)
class Aggregate:
    """A reading of EPSL: whether paired rows go backward as one, and whether a UE takes its λ_i of the gradient."""

    merges: bool
    weighted: bool


AGGREGATES: dict[str, Aggregate] = {
    "virtual": Aggregate(merges=True, weighted=True),
    "own": Aggregate(merges=False, weighted=False),
    "cut": Aggregate(merges=False, weighted=False),
}


def paired_rows(phi: float, batches: Iterable[int]) -> int:
    """Rows of each UE's batch whose gradients are aggregated: ``m = ⌈φ b⌉``, b of the smallest batch."""
    return math.ceil(phi * min(batches, default=0) - 1e-9)


def epsl(r: Round) -> None:
    """The first m = ⌈φ b⌉ rows of every UE are paired; their shared gradient is broadcast before the UEs' own."""
    paired = paired_rows(r.plan.phi, (r.samples([ue]) for ue in r.ues))
    if not paired:
        joint_batch(r, r.ues)
        return
    reading = AGGREGATES[r.plan.aggregate]
    send(r, r.ues)
    for m in r.micro_batches(*r.ues):
        r.serve_paired(r.ues, m, paired, merges=reading.merges, weighted=reading.weighted)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m, but=paired)
    learn(r, r.ues)
    r.step(BS)


EPSL = Scheme(
    "epsl",
    "EPSL: PSL with aggregated last-layer gradients",
    epsl,
    keys=frozenset({"phi", "aggregate"}),
    planners=("uniform", "epsl"),
    halves="different",
)
