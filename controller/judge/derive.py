"""A journal → results: everything in ``results.json`` follows from the lines of ``events.jsonl``, by pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from agents.plan import Plan
from agents.schemes.own import scheme_named
from agents.schemes.seam import Rounds
from controller.judge.explain import Links
from controller.judge.measured import (
    Happened,
    after_warm_up,
    at_plan_rates,
    idle_times,
    round_row,
    spread,
    ue_results,
)
from controller.judge.results import Accuracy, Results, Round, SchemeResult, Scraped, Summary, Target
from controller.judge.verdict import gather, judge
from controller.predict.latency import Latency
from controller.trial.journal import Line

_FIELDS = tuple(f.name for f in fields(Happened))


def derive(lines: Sequence[Line]) -> Results:
    """The results of a trial so far. A scheme of which no round has ended is left out."""
    head = lines[0]
    by_scheme: dict[str, list[Line]] = {}
    for line in lines:
        if "scheme" in line:
            by_scheme.setdefault(line["scheme"], []).append(line)
    ended = [line for line in lines if line["event"] == "end"]
    return Results(
        topology=head["topology"],
        host=head["host"],
        time_dilation=head["time_dilation"],
        schemes={
            label: scheme_result(mine)
            for label, mine in by_scheme.items()
            if any(line["event"] == "round" for line in mine)
        },
        error=ended[-1].get("error") if ended else None,
    )


def scheme_result(lines: Sequence[Line]) -> SchemeResult:
    """The results of one scheme, of which at least one round has ended."""
    begin = next(line for line in lines if line["event"] == "scheme")
    plan, predicted = Plan.from_json(begin["plan"]), begin["predicted"]
    ends = [line for line in lines if line["event"] == "round"]
    numbers = {line["round"] for line in ends}
    rows = [_happened(line) for line in lines if line["event"] == "task" and line["round"] in numbers]
    rounds = [_round(line, [row for row in rows if row.round == line["round"]]) for line in ends]
    summary = _summary(rounds)
    evidence = gather(
        Links(plan, Latency.from_json(begin["waits"])),
        Rounds(scheme_named(plan.scheme), plan, begin["units"], begin["duplex"], begin["seed"]),
        predicted["round_s"],
        rounds,
        summary,
        at_plan_rates(plan, rows, {line["round"]: _rates(plan, line) for line in ends}),
        [counters for line in ends for counters in line["host"]],
    )
    finish = next((line for line in lines if line["event"] == "scheme_end"), None)
    return SchemeResult(
        plan=begin["plan"],
        predicted=predicted,
        rounds=rounds,
        summary=summary,
        accuracy=_accuracy([line for line in lines if line["event"] == "evaluation"], begin["target_accuracy"]),
        ues=ue_results(plan, rows, rounds),
        scraped=_scraped(finish, rounds) if finish else None,
        fidelity=judge(evidence),
        partial=finish is None,
        paper=begin.get("paper", {}),
        paper_measured={} if scheme_named(plan.scheme).one_model else idle_times(rows, rounds),
    )


def _happened(line: Line) -> Happened:
    return Happened(**{name: line[name] for name in _FIELDS if name in line})


def _round(line: Line, rows: Sequence[Happened]) -> Round:
    return round_row(line["round"], rows, line["train_loss"], line["predicted_s"], line["predicted_bubble_rate"])


def _rates(plan: Plan, line: Line) -> Plan:
    """The plan with the link rates of a round."""
    rates: Mapping[str, Sequence[float]] = line.get("rates", {})
    ues = {
        name: replace(ue, uplink_bps=rates[name][0], downlink_bps=rates[name][1]) if name in rates else ue
        for name, ue in plan.ues.items()
    }
    return replace(plan, ues=ues, broadcast_bps=line.get("broadcast_bps", plan.broadcast_bps))


def _summary(rounds: list[Round]) -> Summary:
    counted = after_warm_up(rounds)
    return Summary(
        round_s=spread([r.round_s for r in counted]),
        bubble_rate=spread([r.bubble_rate for r in counted]).median,
        round_error=spread([r.round_s / r.predicted_s - 1.0 for r in counted if r.predicted_s]).median,
        bubble_rate_error=spread(
            [r.bubble_rate - r.predicted_bubble_rate for r in counted if r.predicted_bubble_rate is not None]
        ).median,
    )


def _accuracy(lines: Sequence[Line], target: float | None) -> Accuracy | None:
    if not lines:
        return None
    curve = [(line["round"], line["emulated_s"], _mean(line["accuracies"])) for line in lines]
    number, emulated_s, final = curve[-1]
    reached = None
    if target is not None:
        reached = Target(accuracy=target, reached=final >= target, round=number, emulated_s=emulated_s)
    return Accuracy(
        final=final, per_ue=lines[-1]["accuracies"], curve=curve, averaged=lines[-1]["mean"], target=reached
    )


def _mean(accuracies: Mapping[str, float]) -> float:
    return sum(accuracies.values()) / len(accuracies)


def _scraped(finish: Line, rounds: list[Round]) -> Scraped:
    """What the BS's counters grew by, beside the sums of the rounds."""
    idle_s, busy_s = finish["scraped_idle_s"], finish["scraped_busy_s"]
    events_idle_s = sum(r.bs_idle_s for r in rounds)
    return Scraped(
        bs_idle_s=idle_s,
        bubble_rate=idle_s / (idle_s + busy_s) if idle_s + busy_s else 0.0,
        events_bs_idle_s=events_idle_s,
        events_bubble_rate=events_idle_s / sum(r.round_s for r in rounds),
    )


def accuracy_of(evaluation: Mapping[str, Any]) -> float:
    """The accuracy that an evaluation stands for: the mean over UEs."""
    return _mean(evaluation["accuracies"])
