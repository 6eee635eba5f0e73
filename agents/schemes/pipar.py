"""PiPar (PiPar paper, Alg. 1 and 2): SFL in N micro-batches, a cut and N for each UE, averaged after an epoch."""

from __future__ import annotations

from agents.schemes.seam import Scheme
from agents.schemes.sfl import sfl

PIPAR = Scheme(
    "pipar",
    "PiPar: pipelined SFL, a cut and N for each UE",
    sfl,
    micro_batches="each",
    trains="epoch",
    keys=frozenset({"local_epochs", "sync_every", "in_flight"}),
    planners=("uniform", "pipar"),
    halves="replicas",
)
