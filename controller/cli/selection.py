"""What the command line changes of a topology: which schemes, which planner, how many rounds."""

from __future__ import annotations

from collections.abc import Sequence

from agents.own import is_own
from agents.schemes import SCHEMES
from testbed.errors import InputError
from testbed.topology import SchemeChoice, Topology


def select(
    topology: Topology, schemes: Sequence[str] | None, *, planner: str | None = None, rounds: int | None = None
) -> Topology:
    """The topology with only these schemes (by label or name; known ones it does not list are added)."""
    choices = topology.schemes if schemes is None else tuple(_choice(topology, name.strip()) for name in schemes)
    if planner is not None:
        choices = tuple(choice.model_copy(update={"planner": planner}) for choice in choices)
    training = topology.training if rounds is None else topology.training.model_copy(update={"rounds": rounds})
    return topology.model_copy(update={"schemes": choices, "training": training})


def _choice(topology: Topology, name: str) -> SchemeChoice:
    for choice in topology.schemes:
        if choice.key == name:
            return choice
    for choice in topology.schemes:
        if choice.scheme == name:
            return choice
    if name in SCHEMES or is_own(name):
        return SchemeChoice(scheme=name)
    raise InputError("--scheme", f"unknown scheme {name}", f"choose among {', '.join(SCHEMES)}")
