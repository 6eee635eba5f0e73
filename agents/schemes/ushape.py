"""U-shaped split learning: the UE has the first and the last units, so that labels never leave it; pipelined in k."""

from __future__ import annotations

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round
from agents.schemes.joint import learn, send
from agents.schemes.seam import Scheme


def ushape(r: Round) -> None:
    """Activations go up, through the middle and down to the UE's head; gradients take the same way back."""
    head_cut = r.plan.head_cut or r.units - 1
    numbers = r.micro_batches(*r.ues)
    send(r, r.ues, labels=False)
    for m in numbers:
        r.bs_forward(r.ues, m, last=head_cut)
        for ue in r.having(r.ues, m):
            r.head_downlink(ue, m, head_cut)
    for ue in r.ues:
        for m in r.micro_batches(ue):
            r.head(ue, m, head_cut, mean_over=r.samples(r.ues))
            r.head_uplink(ue, m, head_cut)
    for m in numbers:
        r.bs_backward(r.ues, m, last=head_cut)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m)
    learn(r, r.ues)
    r.step(BS)


USHAPE = Scheme(
    "ushape",
    "U-shape: the first and the last units on the UE, labels never leave it",
    ushape,
    micro_batches="k",
    cuts="twice",
    keys=frozenset({"head_cut"}),
)
