"""What schemes with one BS model share: a batch of UEs, one forward one backward."""

from __future__ import annotations

from collections.abc import Sequence

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round


def joint_batch(r: Round, ues: Sequence[str]) -> None:
    """A batch of these UEs through the one BS model, which serves their m-th micro-batches together (1F1B)."""
    send(r, ues)
    for m in r.micro_batches(*ues):
        r.serve(ues, m)
        for ue in r.having(ues, m):
            r.downlink(ue, m)
    learn(r, ues)
    r.step(BS)


def send(r: Round, ues: Sequence[str], *, labels: bool = True) -> None:
    """Each UE's micro-batches go forward and up, one after another."""
    for ue in ues:
        for m in r.micro_batches(ue):
            r.forward(ue, m)
            r.uplink(ue, m, labels=labels)


def learn(r: Round, ues: Sequence[str]) -> None:
    """Each UE's micro-batches go backward, in order, and it makes its optimiser step."""
    for ue in ues:
        for m in r.micro_batches(ue):
            r.backward(ue, m)
        r.step(ue)
