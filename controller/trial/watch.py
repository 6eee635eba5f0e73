"""What a trial tells while it runs: events, given to whoever watches. ``at`` is in wall seconds since 1970."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from agents.plan import Plan
from controller.judge.results import HostLoad, Round, SchemeResult

ChangeKind = Literal["plan", "channel", "fault"]


@dataclass(frozen=True)
class Stage:
    """A step begins: calibrating, deploying, …"""

    text: str


@dataclass(frozen=True)
class Learned:
    """What the stage that is over came to: how many plans, which dilation and why."""

    text: str


@dataclass(frozen=True)
class Warned:
    """Something that does not keep the trial from running, but that its user should know."""

    text: str


@dataclass(frozen=True)
class Coming:
    """A scheme that will be run: how many rounds, and about how many wall seconds they take with their evaluations."""

    label: str
    rounds: int
    wall_s: float


@dataclass(frozen=True)
class TrialBegins:
    """All agents are ready, and the first scheme comes next."""

    name: str
    ues: tuple[str, ...]
    time_dilation: float
    coming: tuple[Coming, ...]
    at: float


@dataclass(frozen=True)
class SchemeBegins:
    """A scheme is set up on links and agents; its rounds follow."""

    label: str
    rounds: int
    plan: Plan
    predicted_s: float
    predicted_bubble_rate: float


@dataclass(frozen=True)
class Changed:
    """Before a round another plan came into force, links or devices changed, or something was broken on purpose."""

    label: str
    number: int
    kind: ChangeKind


@dataclass(frozen=True)
class RoundBegins:
    """A round begins, under this plan with the link rates of this round, and with a prediction of its own."""

    label: str
    number: int
    plan: Plan
    predicted_s: float
    predicted_bubble_rate: float
    at: float


@dataclass(frozen=True)
class RoundEnded:
    """A round ended; ``idle``: the share of it in which each UE of the plan did not compute; ``host``: its load."""

    label: str
    row: Round
    idle: Mapping[str, float]
    at: float
    host: HostLoad


@dataclass(frozen=True)
class Redone:
    """The rounds of a scheme after ``from_round`` are done again, ``emulated_s`` after it began; ``why``."""

    label: str
    from_round: int
    emulated_s: float
    why: str


@dataclass(frozen=True)
class Evaluated:
    """What the model is worth after a round, ``emulated_s`` after the scheme began: the mean over its UEs' models."""

    label: str
    number: int
    emulated_s: float
    accuracy: float


@dataclass(frozen=True)
class SchemeEnded:
    """All rounds of a scheme are done, and judged."""

    label: str
    result: SchemeResult


@dataclass(frozen=True)
class TrialEnded:
    """Nothing more will be measured; ``error``: why it broke off, where it did, and ``lost`` which agents it lost."""

    error: str | None = None
    lost: tuple[str, ...] = ()


Event = (
    Stage
    | Learned
    | Warned
    | TrialBegins
    | SchemeBegins
    | Changed
    | RoundBegins
    | RoundEnded
    | Redone
    | Evaluated
    | SchemeEnded
    | TrialEnded
)
Watcher = Callable[[Event], None]


def silent(event: Event) -> None:
    """A watcher that shows nothing."""
    del event
