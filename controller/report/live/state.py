"""What is known of a trial so far: an immutable state, and what each event makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from agents.plan import Plan
from controller.judge.derive import summary_of
from controller.judge.results import Round, Summary
from controller.trial.watch import (
    Changed,
    Coming,
    Evaluated,
    Event,
    Learned,
    Redone,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    Stage,
    TrialBegins,
    TrialEnded,
)


@dataclass(frozen=True)
class SchemeSoFar:
    """One scheme: its rounds that ended, the plan in force, and which one that is.

    ``begun_at`` is when its first round began, ``until`` when its last one ended (wall seconds since 1970).
    """

    coming: Coming
    plan: Plan | None = None
    rows: tuple[Round, ...] = ()
    plans: int = 1
    accuracy: float | None = None
    believed: bool | None = None
    begun_at: float | None = None
    until: float | None = None
    over: bool = False

    @property
    def label(self) -> str:
        """What the scheme is called in this trial."""
        return self.coming.label

    @cached_property
    def summary(self) -> Summary | None:
        """Its rounds in short, as the results will have them; None before the first."""
        return summary_of(self.rows) if self.rows else None


@dataclass(frozen=True)
class Seen:
    """A trial as its events tell it.

    ``stage`` is what it does outside rounds, since ``stage_at``; ``round`` the round under way; ``last`` the one that
    ended last.
    """

    name: str
    stage: str | None = None
    stage_at: float = 0.0
    ues: tuple[str, ...] = ()
    time_dilation: float | None = None
    schemes: Mapping[str, SchemeSoFar] = field(default_factory=dict)
    current: str | None = None
    round: RoundBegins | None = None
    last: RoundEnded | None = None
    lost: tuple[str, ...] = ()
    error: str | None = None
    ended: bool = False

    @property
    def scheme(self) -> SchemeSoFar | None:
        """The scheme whose rounds are under way."""
        return None if self.current is None else self.schemes[self.current]

    def having(self, label: str, **what: object) -> Seen:
        """The same with something else about one scheme."""
        one = replace(self.schemes[label], **what)  # type: ignore[arg-type]
        return replace(self, schemes={**self.schemes, label: one})


def after(seen: Seen, event: Event, now: float) -> Seen:
    """The state after an event that came ``now`` (wall seconds since 1970)."""
    match event:
        case Stage(text):
            return replace(seen, stage=text, stage_at=now, round=None)
        case Learned():
            return replace(seen, stage=None)
        case TrialBegins():
            schemes = {coming.label: SchemeSoFar(coming) for coming in event.coming}
            ready = replace(seen, name=event.name, stage=None, schemes=schemes)
            return replace(ready, ues=event.ues, time_dilation=event.time_dilation)
        case SchemeBegins(label=label):
            began = replace(seen, current=label, last=None, stage=f"setting up {label}", stage_at=now)
            return began.having(label, plan=event.plan)
        case Changed(kind="plan", label=label):
            return seen.having(label, plans=seen.schemes[label].plans + 1)
        case RoundBegins(label=label):
            begun_at = seen.schemes[label].begun_at or event.at
            return replace(seen, round=event, stage=None).having(label, plan=event.plan, begun_at=begun_at)
        case RoundEnded(label=label):
            rows = (*seen.schemes[label].rows, event.row)
            so_far = seen.having(label, rows=rows, until=event.at)
            return replace(so_far, round=None, last=event)
        case Redone(label=label):
            kept = tuple(row for row in seen.schemes[label].rows if row.round <= event.from_round)
            timed = {} if kept else {"begun_at": None, "until": None}
            return replace(seen, round=None, last=None).having(label, rows=kept, **timed)
        case Evaluated(label=label):
            return seen.having(label, accuracy=event.accuracy)
        case SchemeEnded(label=label):
            return seen.having(label, believed=event.result.fidelity.ok, over=True)
        case TrialEnded():
            return replace(seen, stage=None, round=None, error=event.error, lost=event.lost, ended=True)
        case _:
            return seen
