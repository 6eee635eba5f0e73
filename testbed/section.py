"""What all parts of a topology file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

OwnName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.py:[A-Za-z_][A-Za-z0-9_]*$")]
"""Something in a file of the user's, beside the topology: ``mine.py:name``."""


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values are frozen and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
