"""What the faults of a trial cost: each round in which something was broken, as predicted with it and as measured."""

from __future__ import annotations

from agents.schedule.task import BS, Key, goes_up, owner
from agents.schedule.without import contributions, without
from controller.judge.record import Record
from controller.judge.results import FaultResult
from controller.predict.degraded import degraded, noticed_s
from controller.predict.prediction import wait_s
from controller.trial.journal import Line


def fault_results(record: Record) -> list[FaultResult]:
    """The faults of a scheme in the order in which they were done."""
    rounds_s = {one.round: one.round_s for one in record.rounds}
    return [_result(record, line, rounds_s.get(line["round"])) for line in record.injected]


def _result(record: Record, line: Line, measured_s: float | None) -> FaultResult:
    ue, why_not = line["ue"], line.get("skipped") or line.get("failed")
    counts = measured_s is not None and why_not is None
    return FaultResult(
        round=line["round"],
        ue=ue,
        kind=line["kind"],
        task=_words(Key.of(line["task"])) if "task" in line else None,
        at_s=line["at_s"],
        for_s=line.get("for_s"),
        predicted_s=_predicted_s(record, line) if counts and ue != BS else None,
        measured_s=measured_s if counts else None,
        lost=lost_samples(record, line["round"], ue) if counts and ue != BS else None,
        why_not=why_not,
    )


def _words(key: Key) -> str:
    return f"{key.kind}, micro-batch {key.micro_batch}"


def lost_samples(record: Record, number: int, ue: str) -> int:
    """How many samples of a UE nothing was learnt from in a round, as its tasks tell."""
    whole, there = record.schedule(number), {row.key for row in record.rows(number)}
    own = {task.key for task in whole.tasks if owner(task.place) == ue and (task.computes or task.transfers)}
    if own <= there:
        return 0
    came = [key for key in own & there if goes_up(whole.by_key[key].place)]
    found = contributions(whole, without(whole, ue, came)).get(ue)
    return found.lost if found else 0


def _predicted_s(record: Record, line: Line) -> float | None:
    """The round simulated with the loss of the UE; None where the journal does not say what work costs."""
    number, at_s = line["round"], line["at_s"]
    costs, links, timeline = record.costs(number), record.links(number), record.predicted(number)
    if costs is None or timeline is None:
        return None
    noticed = noticed_s(line["kind"], at_s, timeline, links.plan.time_dilation)
    waits = wait_s(links.plan, costs, links.waits)
    whole = record.schedule(number)
    found = degraded(whole, line["ue"], at_s, noticed, lambda task: costs.seconds(task, links.plan), waits)
    return found.timeline.round_s + float(record.ends[number].get("charged_s", 0.0))
