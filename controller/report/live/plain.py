"""Events as lines for logs and programs: a word, a colon, then ``key=value`` pairs. Words and keys stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from controller.trial.watch import (
    Changed,
    Evaluated,
    Event,
    Learned,
    Redone,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    Stage,
    TrialBegins,
    TrialEnded,
    Warned,
)


def plain(event: Event) -> Iterator[str]:
    """The lines that an event is worth; none for those that only a view needs."""
    match event:
        case Stage(text):
            yield f"stage: {text}"
        case Learned(text):
            yield f"note: {text}"
        case Warned(text):
            yield f"warning: {text}"
        case TrialBegins():
            schemes = ",".join(one.label for one in event.coming)
            yield _pairs(
                "trial", name=event.name, ues=len(event.ues), time_dilation=f"{event.time_dilation:g}", schemes=schemes
            )
        case SchemeBegins():
            plan, predicted = event.plan, {"predicted_s": _4(event.predicted_s)}
            what = {"rounds": event.rounds, "cut": plan.cut, "micro_batches": plan.micro_batches, **predicted}
            yield _pairs("scheme", scheme=event.label, **what, predicted_bubble_rate=_4(event.predicted_bubble_rate))
        case Changed():
            yield _pairs("change", scheme=event.label, round=event.number, kind=event.kind)
        case RoundEnded():
            yield _round(event)
        case Redone():
            yield _pairs("redone", scheme=event.label, from_round=event.from_round, why=f'"{event.why}"')
        case Evaluated():
            found = {"accuracy": _4(event.accuracy), "emulated_s": _4(event.emulated_s)}
            yield _pairs("evaluation", scheme=event.label, round=event.number, **found)
        case SchemeEnded():
            fidelity = event.result.fidelity
            yield _pairs("verdict", scheme=event.label, believe="yes" if fidelity.ok else "no")
            for reason in fidelity.reasons:
                yield f"reason: scheme={event.label} {reason}"
        case TrialEnded():
            yield f"end: {event.error or 'done'}"


def _round(event: RoundEnded) -> str:
    row = event.row
    numbers = {
        "round_s": row.round_s,
        "predicted_s": row.predicted_s,
        "bubble_rate": row.bubble_rate,
        "predicted_bubble_rate": row.predicted_bubble_rate,
        "train_loss": row.train_loss,
        "ue_idle": fmean(event.idle.values()) if event.idle else None,
    }
    known = {key: _4(value) for key, value in numbers.items() if value is not None}
    return _pairs("round", scheme=event.label, round=row.round, **known)


def _4(value: float) -> str:
    return f"{value:.4f}"


def _pairs(word: str, **pairs: Any) -> str:
    return f"{word}: {' '.join(f'{key}={value}' for key, value in pairs.items())}"
