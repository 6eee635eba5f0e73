"""A number that is asked for, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """One line of the benchmark's table."""

    what: str
    asked: str
    measured: str
    met: bool


def at_most(what: str, limit: float, value: float, unit: str, digits: int = 2) -> Number:
    """A value with an upper limit."""
    return Number(what, f"≤ {limit:g} {unit}".strip(), f"{value:.{digits}f} {unit}".strip(), value <= limit)


def at_least(what: str, limit: float, value: float, unit: str, digits: int = 2) -> Number:
    """A value with a lower limit."""
    return Number(what, f"≥ {limit:g} {unit}".strip(), f"{value:.{digits}f} {unit}".strip(), value >= limit)
