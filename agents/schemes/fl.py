"""FL: federated learning, the whole model on the UE; the BS only averages (FedAvg)."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.seam import Scheme


def fl(r: Round) -> None:
    """Each UE trains alone, as fast as it can; then the models are averaged."""
    for step in range(r.plan.steps):
        r.begin(step=step)
        for ue in r.ues:
            for m in r.micro_batches(ue):
                r.forward(ue, m)
                r.backward(ue, m)
            r.step(ue)
    if r.shares:
        r.share_weights(r.ues, r.ues)


FL = Scheme(
    "fl",
    "FL: federated learning, the whole model on the UE",
    fl,
    cuts="nowhere",
    trains="epoch",
    keys=frozenset({"local_epochs", "sync_every"}),
)
