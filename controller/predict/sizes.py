"""Where the rows of a profile differ from the model that is built.

Plans and predictions take the profile's figures, but agents send the tensors of the real model: a row whose output
is another would make a trial measure other transfers than were planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.compute import UnitSize
from testbed.errors import InputError
from testbed.topology import Topology

CLOSE = 0.05
"""By so much weights may differ: papers round them, and count norm layers or leave them out."""


@dataclass(frozen=True)
class Difference:
    """A size in bytes that a row of the profile gives, and that of the model: ``key`` of row ``row`` (from 0)."""

    row: int
    key: str
    given: float
    real: float
    model: str

    @property
    def path(self) -> str:
        """Where the row says it."""
        return f"model.profile.{self.row}.{self.key}"

    @property
    def bears_no_trial(self) -> bool:
        """Whether what is sent would not be what was planned."""
        return self.key == "output_bytes" or abs(self.given - self.real) > CLOSE * self.real

    def __str__(self) -> str:
        return f"{self.path}: {self.given:.0f} bytes, but those units of {self.model} have {self.real:.0f}"


def differences(topology: Topology, real: Sequence[UnitSize]) -> list[Difference]:
    """Where the rows of the topology's profile and these sizes differ; none where there are no sizes."""
    rows = topology.model.profile
    if rows == "measured" or not real:
        return []
    found = []
    for i, (row, size) in enumerate(zip(rows, real, strict=True)):
        for key, have in (("output_bytes", size.output_bytes), ("weight_bytes", size.weight_bytes)):
            given = getattr(row, key)
            if given is not None and given != have:
                found.append(Difference(i, key, given, have, topology.model.name))
    return found


def check_rows(topology: Topology) -> None:
    """InputError for a profile that can be planned with, but whose rows stand for no units that can be trained."""
    if topology.group_sizes is None:
        model, names = topology.model, topology.built_units
        message = (
            f"has {len(model.profile)} rows for the {len(names)} units of {model.name}, and says not which is which"
        )
        hint = f"add covers: [{names[0]}, …] to each row; units are {', '.join(names)}; testbed plan takes any"
        raise InputError("model.profile", message, hint)


def check_sizes(found: Sequence[Difference]) -> None:
    """InputError for the first difference with which a trial would not be what was planned."""
    for one in found:
        if one.bears_no_trial:
            way_out = "leave it out" if one.key == "weight_bytes" else f"write {one.real:.0f}, or use profile: measured"
            message = str(one).removeprefix(f"{one.path}: ")
            raise InputError(one.path, message, f"{way_out}; testbed plan takes any")
