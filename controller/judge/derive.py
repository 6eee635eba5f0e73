"""A journal → results: everything in ``results.json`` follows from the lines of ``events.jsonl``, by pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from agents.plan import Plan
from agents.schedule.task import Schedule
from agents.schemes.own import scheme_named
from agents.schemes.seam import Rounds
from controller.judge.explain import Links
from controller.judge.measured import Happened, after_warm_up, idle_times, round_row, spread, ue_results
from controller.judge.results import Accuracy, Replanned, Results, Round, SchemeResult, Scraped, Summary, Target
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
    course, predicted, plan = _Course(begin, lines), begin["predicted"], Plan.from_json(begin["plan"])
    ends = [line for line in lines if line["event"] == "round"]
    numbers = {line["round"] for line in ends}
    rows = [_happened(line) for line in lines if line["event"] == "task" and line["round"] in numbers]
    rounds = [_round(line, [row for row in rows if row.round == line["round"]]) for line in ends]
    summary = _summary(rounds)
    evidence = gather(
        course.links,
        course.schedule,
        predicted["round_s"],
        rounds,
        summary,
        rows,
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
        replanned=[Replanned(**{key: line[key] for key in Replanned.model_fields}) for line in course.made],
    )


class _Course:
    """The plan of each round of a scheme, the first or one that was made anew, with the link rates of the round."""

    def __init__(self, begin: Line, lines: Sequence[Line]) -> None:
        self._begin = begin
        self.made = [line for line in lines if line["event"] == "plan"]
        self._ends = {line["round"]: line for line in lines if line["event"] == "round"}
        self._links: dict[int, Links] = {}
        self._rounds: dict[tuple[int, bool], Rounds] = {}

    def links(self, number: int) -> Links:
        """What transfers of a round should take."""
        if number not in self._links:
            line = self._line(number)
            plan = _rates(Plan.from_json(line["plan"]), self._ends[number])
            self._links[number] = Links(plan, Latency.from_json(line["waits"]))
        return self._links[number]

    def schedule(self, number: int) -> Schedule:
        """The schedule of a round; only the first under a plan begins with what moves."""
        line, begin = self._line(number), self._begin
        since = line.get("round", 1), line.get("round", 1) == number
        if since not in self._rounds:
            plan = Plan.from_json(line["plan"])
            plan = plan if since[1] else replace(plan, moving=None)
            rounds = Rounds(scheme_named(plan.scheme), plan, begin["units"], begin["duplex"], begin["seed"])
            self._rounds[since] = rounds
        return self._rounds[since](number)

    def _line(self, number: int) -> Line:
        """The line that holds the plan of a round."""
        return next((line for line in reversed(self.made) if line["plan"] and line["round"] <= number), self._begin)


def _happened(line: Line) -> Happened:
    return Happened(**{name: line[name] for name in _FIELDS if name in line})


def _round(line: Line, rows: Sequence[Happened]) -> Round:
    predicted = line["predicted_s"], line["predicted_bubble_rate"]
    return round_row(line["round"], rows, line["train_loss"], *predicted, line.get("charged_s", 0.0))


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
