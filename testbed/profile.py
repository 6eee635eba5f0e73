"""The rows of ``model.profile``: what each costs, and which units of the model it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from testbed.section import Section

Problem = tuple[str, str, str]


class UnitProfile(Section):
    """Cost of a part of the model for one sample: forward FLOPs (2 per multiply-accumulate) and sizes in bytes.

    ``covers`` names the units of the model that it stands for, which are then cut nowhere; left out, the unit of its
    own name. Rows without any ``covers`` stand for the units one by one, whatever their names. ``weight_bytes`` left
    out are the model's.
    """

    unit: str
    covers: tuple[str, ...] | None = Field(default=None, min_length=1)
    forward_flops: float = Field(ge=0)
    output_bytes: float = Field(gt=0)
    weight_bytes: float | None = Field(default=None, ge=0)


def group_sizes(rows: Sequence[UnitProfile], units: Sequence[str]) -> tuple[int, ...] | None:
    """How many units of the model each row stands for, in their order; None where rows tell only what to plan with."""
    if any(row.covers for row in rows):
        return tuple(len(_covered(row)) for row in rows)
    return (1,) * len(rows) if len(rows) == len(units) else None


def problems(rows: Sequence[UnitProfile], units: Sequence[str], model: str) -> list[Problem]:
    """What is wrong with rows that name units: every unit must be covered once, in order."""
    if not any(row.covers for row in rows):
        return []
    at: dict[str, int] = {}
    for i, row in enumerate(rows):
        for name in _covered(row):
            if message := _misplaced(name, units, at, model):
                return [(f"model.profile.{i}.covers", message, f"units are {', '.join(units)}")]
            at[name] = i
    if left := units[len(at) :]:
        message = f"the last row ends before {', '.join(left)}, which nothing covers"
        return [(f"model.profile.{len(rows) - 1}.covers", message, f"units are {', '.join(units)}")]
    return []


def _covered(row: UnitProfile) -> Sequence[str]:
    return row.covers or (row.unit,)


def _misplaced(name: str, units: Sequence[str], at: dict[str, int], model: str) -> str | None:
    """Why this unit cannot be the next one that is covered, or None; ``at``: the rows of those before it."""
    if name not in units:
        return f"{model} has no unit {name}"
    if name in at:
        return f"{name} is covered by model.profile.{at[name]} already"
    expected = units[len(at)]
    return None if name == expected else f"{name} comes before {expected} is covered"
