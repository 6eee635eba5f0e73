"""What all parts of a topology file have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

OwnName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.py:[A-Za-z_][A-Za-z0-9_]*$")]
"""Something in a file of the user's, beside the topology: ``mine.py:name``."""

Decibels = Annotated[float, Field(ge=-1000, le=1000)]
LARGEST, SMALLEST = 1e15, 1e-15
"""Numbers beyond these are slips, and what is calculated with them is infinite or nothing."""


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values are frozen, finite and of a size that can be meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _of_a_size(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and abs(number) > LARGEST:
                raise ValueError(f"must be within ±{LARGEST:g}, not {number:.6g}")
            if isinstance(number, float) and 0.0 < abs(number) < SMALLEST:
                raise ValueError(f"must be 0 or {SMALLEST:g} and more, not {number:.6g}")
        return value
