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
class Warned:
    """Something that does not keep the trial from running, but that its user should know."""

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


Event = Stage | Warned | SchemeBegins | RoundEnded
Watcher = Callable[[Event], None]


def silent(event: Event) -> None:
    """A watcher that shows nothing."""
    del event
