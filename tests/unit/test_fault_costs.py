"""What results say of faults: the round as predicted with the loss, beside the measured one, and the samples lost."""

from __future__ import annotations

import copy
import dataclasses
import io

import pytest
from rich.console import Console

from controller.judge.derive import derive
from controller.judge.record import records
from controller.predict.degraded import degraded
from controller.predict.prediction import wait_s
from controller.report.outcome import faults_table, results_table
from controller.trial.journal import read_all
from tests import recorded
from tests.unit.test_recorded import scene

KEY = [0, 0, 0, "uplink", "ue2"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return read_all(recorded.write(tmp_path_factory.mktemp("moving"), scene("moving")))


@pytest.fixture
def broken(lines):
    """A trial in which ue2 was killed in round 2 of psl, and the round went on as predicted without it."""
    record = records(lines)["psl"]
    links, costs, whole = record.links(2), record.costs(2), record.schedule(2)
    uplink = next(e for e in record.predicted(2).events if list(e.key) == KEY)
    at_s = (uplink.start_s + uplink.end_s) / 2
    waits = wait_s(links.plan, costs, links.waits)
    found = degraded(whole, "ue2", at_s, at_s, lambda task: costs.seconds(task, links.plan), waits)
    rows = recorded.as_predicted(found.timeline, found.schedule, costs)
    first = {"event": "injected", "scheme": "psl", "round": 2, "ue": "ue2", "kind": "kill", "task": KEY, "at_s": at_s}
    skipped = {**first, "skipped": "ue2 is already broken"}
    begin = next(
        i for i, one in enumerate(lines) if (one["event"], one.get("scheme"), one.get("round")) == ("task", "psl", 2)
    )
    others = [one for one in lines[begin:] if (one["event"], one.get("scheme"), one.get("round")) != ("task", "psl", 2)]
    told = [{"event": "task", "scheme": "psl", **dataclasses.asdict(row)} for row in rows]
    return [*copy.deepcopy(lines[:begin]), first, skipped, *told, *others], found.timeline.round_s


def test_a_fault_is_told_with_its_round_as_predicted_and_as_measured(broken):
    journal, round_s = broken
    first, second = derive(journal).schemes["psl"].faults
    assert (first.round, first.ue, first.kind, first.task) == (2, "ue2", "kill", "uplink, micro-batch 0")
    assert first.predicted_s == pytest.approx(round_s)
    assert first.measured_s == pytest.approx(round_s)
    assert first.lost == 8
    assert (second.why_not, second.predicted_s, second.lost) == ("ue2 is already broken", None, None)


def test_the_table_shows_faults_where_there_are_some(broken, lines):
    def text(table):
        console = Console(file=io.StringIO(), width=150)
        console.print(table)
        return console.file.getvalue()

    results = derive(broken[0])
    shown = text(faults_table(results))
    assert "uplink, micro-batch 0" in shown and "+0.0%" in shown and "not done: ue2 is already broken" in shown
    assert "at task" in text(results_table(results))
    assert "at task" not in text(results_table(derive(lines)))
