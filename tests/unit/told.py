"""Events of trials that never were."""

from __future__ import annotations

from collections.abc import Mapping

from agents.plan import Plan, UePlan
from controller.judge.results import Fidelity, HostLoad, Round, SchemeResult
from controller.trial.watch import RoundBegins, RoundEnded, SchemeBegins, SchemeEnded

PLAN = Plan("cell", "psl", "uniform", 2, 1, 1.0, {"ue1": UePlan(4, 0.01, 0.01, 8e6, 2e7)})
CALM = HostLoad(busy_share=0.5, others_share=0.1, steal_share=0, throttled_share=0, waited_share=0, clock_jump_s=0)
PREDICTED_S, BS_BUSY_S = 2.0, 0.5


def scheme_begins(label: str, rounds: int) -> SchemeBegins:
    return SchemeBegins(label, rounds, PLAN, PREDICTED_S, 1 - BS_BUSY_S / PREDICTED_S)


def round_begins(label: str, number: int, at: float, predicted_s: float = PREDICTED_S) -> RoundBegins:
    return RoundBegins(label, number, PLAN, predicted_s, 1 - BS_BUSY_S / predicted_s, at)


def round_ended(
    label: str, number: int, round_s: float, idle: Mapping[str, float], at: float, predicted_s: float = PREDICTED_S
) -> RoundEnded:
    """A round in which the BS computed for half a second."""
    row = Round(
        round=number,
        round_s=round_s,
        bubble_rate=1 - BS_BUSY_S / round_s,
        bs_busy_s=BS_BUSY_S,
        bs_idle_s=round_s - BS_BUSY_S,
        train_loss=2.25,
        degraded=False,
        predicted_s=predicted_s,
        predicted_bubble_rate=1 - BS_BUSY_S / predicted_s,
    )
    return RoundEnded(label, row, idle, at, CALM)


def scheme_ended(label: str, *reasons: str) -> SchemeEnded:
    """A scheme whose numbers are believed unless there are reasons."""
    verdict = Fidelity.model_construct(ok=not reasons, reasons=list(reasons))
    return SchemeEnded(label, SchemeResult.model_construct(fidelity=verdict))
