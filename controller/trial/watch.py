"""What a trial tells while it runs: events, given to whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.judge.results import Round


@dataclass(frozen=True)
class Stage:
    """A step begins: calibrating, deploying, …"""

    text: str


@dataclass(frozen=True)
class SchemeBegins:
    """The rounds of a scheme begin."""

    label: str
    rounds: int


@dataclass(frozen=True)
class RoundEnded:
    """A round ended."""

    label: str
    row: Round


Watcher = Callable[[Stage | SchemeBegins | RoundEnded], None]


def silent(event: Stage | SchemeBegins | RoundEnded) -> None:
    """A watcher that shows nothing."""
    del event
