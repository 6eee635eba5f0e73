"""What the report says of a trial before it shows anything: whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.report.figures.series import Series


@dataclass(frozen=True)
class Verdict:
    """Of one scheme: whether its numbers can be believed, these numbers, reasons, and what else was seen."""

    name: str
    ok: bool
    numbers: str
    reasons: Sequence[str]
    notes: Sequence[str]


def verdict(s: Series) -> Verdict:
    """The verdict on a scheme as its results have it."""
    total, fidelity = s.result.summary, s.result.fidelity
    counted = max(1, len(s.result.rounds) - 1)
    numbers = (
        f"A round took {total.round_s.median:.4g} s ({total.round_s.p5:.4g} to {total.round_s.p95:.4g} s from the "
        f"5th to the 95th percentile of {counted} round{'s' if counted != 1 else ''}), {total.round_error:+.2%} "
        f"against its prediction. The base station idled {total.bubble_rate:.1%} of it, "
        f"{100 * total.bubble_rate_error:+.2f} percentage points against the prediction."
    )
    return Verdict(s.name, fidelity.ok, numbers, fidelity.reasons, fidelity.notes)


def headline(verdicts: Sequence[Verdict]) -> str:
    """All verdicts in one sentence."""
    good = sum(v.ok for v in verdicts)
    if not verdicts:
        return "No round has been measured yet."
    if good == len(verdicts):
        return "The numbers can be believed." if good == 1 else f"The numbers of all {good} schemes can be believed."
    if not good:
        return "The numbers cannot be believed." if len(verdicts) == 1 else "The numbers of no scheme can be believed."
    return f"The numbers of {good} of {len(verdicts)} schemes can be believed; those of the others cannot."
