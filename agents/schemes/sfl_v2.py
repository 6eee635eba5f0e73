"""SFL V2 (SplitFed): one BS model, which makes a step for each UE, in an order that is drawn every round."""

from __future__ import annotations

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round
from agents.schemes.joint import learn, send
from agents.schemes.seam import Scheme


def sfl_v2(r: Round) -> None:
    """The BS serves one UE's batch after another; then the UE halves are averaged."""
    for step in range(r.plan.steps):
        r.begin(step=step)
        send(r, r.ues)
        for ue in r.drawn(r.ues):
            for m in r.micro_batches(ue):
                r.serve([ue], m)
                r.downlink(ue, m)
            r.step(BS)
        learn(r, r.ues)
    if r.shares:
        r.share_weights(r.ues, r.ues)


SFL_V2 = Scheme(
    "sfl-v2",
    "SFL V2: one BS model, one step per UE",
    sfl_v2,
    trains="batch",
    keys=frozenset({"local_epochs", "sync_every"}),
    halves="same",
)
