"""SL: split learning, one UE after another; the UE half is handed on over the air."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.seam import Scheme, groups
from agents.schemes.turns import in_turns


def sl(r: Round) -> None:
    """Each UE trains its batch with the one BS model, then the next one goes on with its weights."""
    in_turns(r, groups("one", r.plan.clusters))


SL = Scheme(
    "sl",
    "SL: split learning, one UE after another",
    sl,
    turns="one",
    trains="batch",
    keys=frozenset({"local_epochs", "sync_every"}),
    planners=("uniform", "makespan"),
    halves="same",
)
