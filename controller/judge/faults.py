"""What the faults of a trial cost: each round in which something was broken, as predicted with it and as measured."""

from __future__ import annotations

import math
from bisect import bisect
from itertools import accumulate

from agents.schedule.task import BS, Key, Task
from controller.judge.record import Record
from controller.judge.results import FaultResult
from controller.predict.degraded import degraded, needs_link, stalled_s
from controller.predict.prediction import wait_s
from controller.predict.simulate import Timeline
from controller.trial.journal import Line
from controller.trial.losses import STILL_S, patience_s

TOLD_S = 0.15
"""Wall seconds from the end, or the pause, of a container until its engine has told of it and agents know."""


def fault_results(record: Record) -> list[FaultResult]:
    """The faults of a scheme in the order in which they were done."""
    rounds_s = {one.round: one.round_s for one in record.rounds}
    return [_result(record, line, rounds_s.get(line["round"])) for line in record.injected]


def _result(record: Record, line: Line, measured_s: float | None) -> FaultResult:
    ue, why_not = line["ue"], line.get("skipped") or line.get("failed")
    again = line.get("again", False)
    counts = measured_s is not None and why_not is None and not again
    return FaultResult(
        round=line["round"],
        ue=ue,
        kind=line["kind"],
        task=_words(Key.of(line["task"])) if "task" in line else None,
        at_s=line["at_s"],
        for_s=line.get("for_s"),
        predicted_s=_predicted_s(record, line) if counts and ue != BS else None,
        measured_s=measured_s if counts else None,
        lost=record.ends[line["round"]].get("samples", {}).get(ue, [0, 0])[1] if counts and ue != BS else None,
        why_not=why_not,
        again=again,
    )


def _words(key: Key) -> str:
    return f"{key.kind}, micro-batch {key.micro_batch}"


def _predicted_s(record: Record, line: Line) -> float | None:
    """The round simulated with the loss of the UE; None where the journal does not say what work costs."""
    number, ue = line["round"], line["ue"]
    felt = (one["at_s"] for one in record.faults(number) if one["ue"] == ue and one["at_s"])
    at_s = next(felt, line["at_s"])  # the engine knows better when a container ended than who asked for it
    costs, links, timeline = record.costs(number), record.links(number), record.predicted(number)
    if costs is None or timeline is None:
        return None
    noticed = noticed_s(line["kind"], at_s, timeline, links.plan.time_dilation)
    waits, whole = wait_s(links.plan, costs, links.waits), record.planned(number)
    charged_s = float(record.ends[number].get("charged_s", 0.0))
    until_s = at_s + line.get("for_s", math.inf)

    def seconds(task: Task) -> float:
        return costs.seconds(task, links.plan)

    if line["kind"] != "cut" and not record.faults(number):  # it struck when the UE had nothing more to do
        return charged_s + timeline.round_s
    if line["kind"] == "cut" and not needs_link(whole, ue, at_s, timeline):
        return charged_s + timeline.round_s
    if line["kind"] == "cut" and until_s < noticed:
        return charged_s + stalled_s(whole, ue, at_s, until_s, seconds, waits)
    return charged_s + degraded(whole, ue, at_s, noticed, seconds, waits).round_s


def noticed_s(kind: str, lost_s: float, timeline: Timeline, dilation: float) -> float:
    """When a UE that is broken so at ``lost_s`` is known to be lost (emulated s from the start of the round).

    The engine tells soon of a container that ended or was paused. A link that is cut shows when its segment is late,
    and nothing comes any more between two looks.
    """
    if kind != "cut":
        return lost_s + TOLD_S / dilation
    ends_s = list(accumulate(timeline.segments_s))
    index = min(bisect(ends_s, lost_s), len(ends_s) - 1)
    length_s = timeline.segments_s[index]
    late_s = (patience_s(length_s, dilation, paced=True) + STILL_S) / dilation
    return max(lost_s, ends_s[index] - length_s + late_s)
