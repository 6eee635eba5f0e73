"""SFL V1 (SplitFed): a BS replica for each UE; both halves are averaged."""

from __future__ import annotations

from agents.schedule.vocabulary import Round, replica
from agents.schemes.joint import learn, send
from agents.schemes.seam import Scheme


def sfl(r: Round) -> None:
    """Each UE trains with a BS model of its own, served as its batches arrive; then whole models are averaged."""
    r.as_they_come()
    for step in range(r.plan.steps):
        r.begin(step=step)
        send(r, r.ues)
        for ue in r.ues:
            for m in r.micro_batches(ue):
                r.serve([ue], m, model=replica(ue))
                r.downlink(ue, m)
            r.step(replica(ue))
        learn(r, r.ues)
    if r.shares:
        r.share_weights(r.ues, r.ues, replicas=True)


SFL = Scheme(
    "sfl",
    "SFL V1: a BS replica per UE, both halves averaged",
    sfl,
    trains="batch",
    keys=frozenset({"local_epochs", "sync_every"}),
    planners=("uniform", "pipar"),
    halves="replicas",
)
