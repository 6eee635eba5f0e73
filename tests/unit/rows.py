"""Rows of the scheme table for tests of planners, which ask for columns and never for names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def row(**columns: Any) -> Any:
    """All UEs in one turn with one BS model and one micro-batch, but for these columns."""
    values = {"name": "row", "turn": "all", "bs_model": "joint", "micro_batches": "one", "pipelined": False}
    return SimpleNamespace(**{**values, **columns})


CLUSTERS = row(turn="cluster")
TOGETHER = row()
REPLICAS = row(bs_model="replicas", micro_batches="each", pipelined=True)
