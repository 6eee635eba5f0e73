"""What a trial tells while it runs, and somebody who listens in silence."""

from __future__ import annotations

from typing import Protocol

from controller.results import Round


class Watcher(Protocol):
    """Told of everything a user would want to see happening."""

    def stage(self, text: str) -> None:
        """A step begins: building, deploying, calibrating, …"""

    def scheme(self, label: str, rounds: int) -> None:
        """The rounds of a scheme begin."""

    def round(self, label: str, row: Round) -> None:
        """A round ended."""


class Silent:
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Shows nothing."""

    def scheme(self, label: str, rounds: int) -> None:
        """Shows nothing."""

    def round(self, label: str, row: Round) -> None:
        """Shows nothing."""
