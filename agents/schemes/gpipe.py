"""GPipe's order (arXiv 1811.06965): as C²P²SL, but the BS runs all forward passes before its first backward pass."""

from __future__ import annotations

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round
from agents.schemes.joint import learn, send
from agents.schemes.seam import Scheme


def gpipe(r: Round) -> None:
    """All micro-batches go forward through the BS, then all backward, in the same order."""
    send(r, r.ues)
    numbers = r.micro_batches(*r.ues)
    for m in numbers:
        r.bs_forward(r.ues, m)
    for m in numbers:
        r.bs_backward(r.ues, m)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m)
    learn(r, r.ues)
    r.step(BS)


GPIPE = Scheme(
    "gpipe",
    "GPipe: C²P²SL with all forward passes before the first backward",
    gpipe,
    micro_batches="k",
    planners=("uniform", "makespan"),
    halves="different",
)
