"""A journal → results: everything in ``results.json`` follows from the lines of ``events.jsonl``, by pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controller.judge.faults import fault_results
from controller.judge.measured import after_warm_up, idle_times, spread, ue_results
from controller.judge.record import Record, records
from controller.judge.results import Accuracy, Results, Round, SchemeResult, Scraped, Summary, Target
from controller.judge.verdict import gather, judge
from controller.trial.journal import Line


def derive(lines: Sequence[Line]) -> Results:
    """The results of a trial so far. A scheme of which no round has ended is left out."""
    return results_of(lines, {label: scheme_result(record) for label, record in records(lines).items() if record.ends})


def results_of(lines: Sequence[Line], schemes: Mapping[str, SchemeResult]) -> Results:
    """The results of a trial with what these schemes came to."""
    head, ended = lines[0], end_of(lines) or {}
    return Results(
        topology=head["topology"],
        host=head["host"],
        time_dilation=head["time_dilation"],
        schemes=dict(schemes),
        error=ended.get("error"),
    )


def end_of(lines: Sequence[Line]) -> Line | None:
    """The line that says how a trial ended; None before."""
    return next((line for line in reversed(lines) if line["event"] == "end"), None)


def scheme_result(record: Record) -> SchemeResult:
    """The results of one scheme, of which at least one round has ended."""
    begin, finish, rounds = record.begin, record.finish, record.rounds
    rows = [row for number in record.ends for row in record.rows(number)]
    summary = summary_of(rounds)
    evidence = gather(
        record.links,
        record.schedule,
        begin["predicted"]["round_s"],
        rounds,
        summary,
        rows,
        [counters for end in record.ends.values() for counters in end["host"]],
    )
    return SchemeResult(
        plan=begin["plan"],
        predicted=begin["predicted"],
        rounds=list(rounds),
        summary=summary,
        accuracy=_accuracy(record.evaluations, begin["target_accuracy"]),
        ues=ue_results(record.plan, rows, rounds),
        scraped=_scraped(finish, rounds) if finish else None,
        fidelity=judge(evidence),
        partial=finish is None,
        paper=begin.get("paper", {}),
        paper_measured={} if record.scheme.one_model else idle_times(rows, rounds),
        replanned=list(record.replanned),
        faults=fault_results(record),
    )


def summary_of(rounds: Sequence[Round]) -> Summary:
    """The rounds in short; there must be one."""
    counted = after_warm_up(rounds)
    lengths = [(r.round_s, r.predicted_s) for r in counted if r.predicted_s]
    rates = [(r.bubble_rate, r.predicted_bubble_rate) for r in counted if r.predicted_bubble_rate is not None]
    return Summary(
        round_s=spread([r.round_s for r in counted]),
        bubble_rate=spread([r.bubble_rate for r in counted]).median,
        predicted_s=spread([predicted for _, predicted in lengths]).median,
        predicted_bubble_rate=spread([predicted for _, predicted in rates]).median,
        round_error=spread([measured / predicted - 1.0 for measured, predicted in lengths]).median,
        bubble_rate_error=spread([measured - predicted for measured, predicted in rates]).median,
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


def _scraped(finish: Line, rounds: Sequence[Round]) -> Scraped:
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
