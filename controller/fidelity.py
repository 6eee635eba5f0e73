"""The verdict: whether what was measured is what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.plan import Plan
from controller.measured import BS_TASKS, UE_TASKS, Happened
from controller.results import Fidelity, Summary, UeResult

ROUND_ERROR = 0.03
BUBBLE_RATE_ERROR = 0.02
LINK_ERROR = 0.03
OVERRUN_SHARE = 0.02


def judge(plan: Plan, summary: Summary, rows: Sequence[Happened], ues: Mapping[str, UeResult]) -> Fidelity:
    """Each limit that is passed becomes a reason in words; no reason, no doubt."""
    computed = [row for row in rows if row.task in (*UE_TASKS, *BS_TASKS) and row.round > 1]
    overruns = [row.overrun_s for row in computed if row.overrun_s > 0]
    link_error = link_error_max(plan, ues)
    reasons = []
    if abs(summary.round_error) > ROUND_ERROR:
        reasons.append(f"the round took {summary.round_error:+.1%} against prediction (limit {ROUND_ERROR:.0%})")
    if abs(summary.bubble_rate_error) > BUBBLE_RATE_ERROR:
        reasons.append(f"the bubble rate is off by {summary.bubble_rate_error:+.3f} (limit {BUBBLE_RATE_ERROR})")
    if len(overruns) > OVERRUN_SHARE * len(computed):
        share = len(overruns) / len(computed)
        reasons.append(f"{share:.1%} of the tasks overran their time (limit {OVERRUN_SHARE:.0%}): raise time_dilation")
    if link_error > LINK_ERROR:
        reasons.append(f"a link's goodput is {link_error:.1%} off its plan (limit {LINK_ERROR:.0%})")
    return Fidelity(
        ok=not reasons,
        cpu_overruns=len(overruns),
        worst_overrun=max(overruns, default=0.0),
        link_error_max=link_error,
        reasons=reasons,
    )


def link_error_max(plan: Plan, ues: Mapping[str, UeResult]) -> float:
    """Largest relative distance of a link's goodput from its planned rate, over UEs and directions."""
    errors = [0.0]
    for name, ue in ues.items():
        pairs = ((ue.uplink_bps, plan.ues[name].uplink_bps), (ue.downlink_bps, plan.ues[name].downlink_bps))
        errors += [abs(got / asked - 1.0) for got, asked in pairs if got is not None]
    return max(errors)
