"""Centralised: all data at the BS, no network. What accuracy the others can hope for."""

from __future__ import annotations

from agents.schedule.task import BS
from agents.schedule.vocabulary import Round
from agents.schemes.seam import Scheme


def centralised(r: Round) -> None:
    """The BS trains the whole model on batches of its own."""
    for step in range(r.plan.steps):
        r.begin(step=step)
        r.own_batch()
        r.step(BS)


CENTRALISED = Scheme(
    "centralised", "Centralised: all data at the BS, no network", centralised, turns="none", cuts="at the bs"
)
