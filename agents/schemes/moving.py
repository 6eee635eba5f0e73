"""What a round begins with after another plan: units change sides, and weights go to those who lack them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from agents.plan import Moving
from agents.schedule.task import BS, MEAN
from agents.schedule.vocabulary import Round, replica

Halves = Literal["replicas", "same", "different"]


def bring(r: Round, moving: Moving, halves: Halves | None, first: Sequence[str]) -> None:
    """Writes what brings everybody what the round's cuts ask for, before anything else; ``first`` train first.

    ``replicas``: units and their momentum go between a UE and its replica. ``different``: all UEs get a copy, or the
    BS takes the mean of theirs. ``same``: one who holds the weights gives a copy up, or those who need them next get
    one. Where weights are shared, who trains first and was not given them after the last round, as one that was lost
    meanwhile, gets what the BS averaged last. None: the cuts stay.
    """
    late = [ue for ue in first if ue not in moving.holders] if halves != "different" else []
    if halves == "replicas":
        if late:
            r.catch_up(late)
        for ue in r.ues:
            if ue not in late:
                _between(r, moving.cuts[ue], r.plan.cut_of(ue), replica(ue), [ue], [ue])
        return
    old, new = max(moving.cuts[ue] for ue in r.ues), r.plan.cut
    if halves == "different":
        _between(r, old, new, BS, r.ues, r.ues)
        return
    if late:
        r.move_down(late, 0, min(old, new), model=MEAN)
    _between(r, old, new, BS, moving.holders[:1], first)


def _between(r: Round, old: int, new: int, model: str, senders: Sequence[str], heirs: Sequence[str]) -> None:
    """Moves the units between two cuts from ``senders`` up into a model at the BS, or from it down to ``heirs``."""
    if new < old:
        r.move_up(senders, new, old, model=model)
    elif new > old:
        r.move_down(heirs, old, new, model=model)
