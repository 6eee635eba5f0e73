"""The topology's ``replan`` section: schemes whose plan is made anew between rounds, and which cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from agents.schemes import Scheme
from testbed.section import Section

if TYPE_CHECKING:
    from testbed.topology import SchemeChoice


class Replan(Section):
    """Plans are made anew before every ``every``-th round.

    ``when`` is ``any``, or ``rates`` for only when links have changed since the last plan. With ``charge`` the time
    that the planner takes is part of the round.
    """

    every: int = Field(default=1, ge=1)
    when: Literal["any", "rates"] = "any"
    charge: bool = False


def nothing_to_decide(choice: SchemeChoice, scheme: Scheme) -> str | None:
    """Why a plan of this entry cannot be made anew between rounds; None where it can.

    A scheme must say how its halves stand to each other (``Scheme.halves``), and its planner must have something
    left to decide: one that looks for batches, slots, clusters or shares always has, the baseline only cut and k.
    """
    if scheme.halves is None:
        return f"nothing of {choice.scheme} is planned anew between rounds"
    searches = (choice.planner or "uniform") != "uniform"
    if searches or choice.cut is None or (scheme.pipelined and choice.micro_batches is None):
        return None
    return f"{choice.key} leaves nothing to decide: equal batches and slots, and the rest is fixed"


def replans(replan: Replan | None, choice: SchemeChoice, scheme: Scheme) -> bool:
    """Whether plans of this entry are made anew between rounds."""
    return replan is not None and choice.replan is not False and nothing_to_decide(choice, scheme) is None
