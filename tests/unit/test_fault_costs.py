"""What results say of faults: the round as predicted with the loss, beside the measured one, and the samples lost."""

from __future__ import annotations

import copy
import dataclasses
import io

import pytest
from rich.console import Console

from agents.schedule.task import goes_up, owner
from agents.schedule.without import contributions
from controller.judge.check import check
from controller.judge.derive import derive
from controller.judge.faults import TOLD_S
from controller.judge.record import records
from controller.predict.degraded import degraded
from controller.predict.prediction import wait_s
from controller.report.figures.series import Series
from controller.report.html import tables
from controller.report.outcome import faults_table, results_table
from controller.trial.journal import in_force, read_all
from tests import recorded
from tests.unit.test_recorded import scene

KEY = [0, 0, 0, "uplink", "ue2"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return read_all(recorded.write(tmp_path_factory.mktemp("moving"), scene("moving")))


@pytest.fixture
def broken(lines):
    """A trial in which ue2 was killed in round 2 of psl, and the round went on as predicted without it."""
    lines = copy.deepcopy(lines)
    begin = next(
        i for i, one in enumerate(lines) if (one["event"], one.get("scheme"), one.get("round")) == ("task", "psl", 2)
    )
    others = [one for one in lines[begin:] if (one["event"], one.get("scheme"), one.get("round")) != ("task", "psl", 2)]
    record = records(lines)["psl"]
    links, costs, whole = record.links(2), record.costs(2), record.schedule(2)
    uplink = next(e for e in record.predicted(2).events if list(e.key) == KEY)
    at_s = (uplink.start_s + uplink.end_s) / 2
    waits = wait_s(links.plan, costs, links.waits)
    found = degraded(whole, "ue2", at_s, at_s + TOLD_S, lambda task: costs.seconds(task, links.plan), waits)
    rows = recorded.as_predicted(found.timeline, found.schedule, costs)
    first = {"event": "injected", "scheme": "psl", "round": 2, "ue": "ue2", "kind": "kill", "task": KEY, "at_s": at_s}
    lost = {"event": "fault", "scheme": "psl", "round": 2, "ue": "ue2", "kind": "killed", "came": [], "late": []}
    lost |= {"at_s": at_s, "detected_s": at_s, "why": "ue2 stopped with exit status 137"}
    samples = {ue: [one.came, one.lost] for ue, one in contributions(whole, found.schedule).items()}
    end = next(one for one in others if (one["event"], one.get("scheme"), one.get("round")) == ("round", "psl", 2))
    end.update(samples=samples, degraded=True, until_s=at_s + TOLD_S)
    skipped = {**first, "skipped": "ue2 is already broken"}
    told = [{"event": "task", "scheme": "psl", **dataclasses.asdict(row)} for row in rows]
    return [*lines[:begin], first, skipped, lost, *told, *others], found.round_s


def test_a_fault_is_told_with_its_round_as_predicted_and_as_measured(broken):
    journal, round_s = broken
    first, second = derive(journal).schemes["psl"].faults
    assert (first.round, first.ue, first.kind, first.task) == (2, "ue2", "kill", "uplink, micro-batch 0")
    assert first.predicted_s == pytest.approx(round_s)
    assert first.measured_s == pytest.approx(round_s)
    assert first.lost == 8
    assert (second.why_not, second.predicted_s, second.lost) == ("ue2 is already broken", None, None)


def test_a_fault_of_a_round_that_was_done_again_is_told_without_its_cost(broken):
    journal, _ = broken
    begin, end = of(journal, "injected"), of(journal, "round") + 1
    restart = {"event": "restart", "scheme": "psl", "from_round": 1, "wall_s": 3.0, "why": "bs stopped"}
    done = [one for one in journal[begin:end] if one["event"] != "injected"]
    first, _ = derive(in_force([*journal[:end], restart, *done, *journal[end:]])).schemes["psl"].faults
    assert (first.ue, first.again, first.measured_s, first.predicted_s) == ("ue2", True, None, None)


def test_who_was_lost_in_a_round_that_is_done_again_is_lost_again_or_not(broken):
    journal, _ = broken
    begin, end = of(journal, "scheme", None) + 1, of(journal, "round") + 1
    restart = {"event": "restart", "scheme": "psl", "from_round": 0, "wall_s": 3.0, "why": "bs stopped"}
    again = [one for one in journal[begin:end] if one["event"] != "injected"]
    assert "was in round" not in found([*journal[:end], restart, *again, *journal[end:]])
    saved = {"event": "checkpoint", "scheme": "psl", "round": 2}
    back = {"event": "returned", "scheme": "psl", "round": 3, "ue": "ue2", "weights": "own"}
    twice = [one for one in again if one["event"] not in ("fault", "task")]
    whole = [{**one, "train_loss": 9.0} if one["event"] == "round" else one for one in twice]
    said = found([*journal[:end], restart, *whole, restart, *whole, *journal[end:]])
    assert "was done again, with a loss" not in said
    other = [{**one, "train_loss": 8.0} if one["event"] == "round" else one for one in twice]
    assert "a loss of 9 before and of 8 now" in found([*journal[:end], restart, *whole, restart, *other])
    restart = {**restart, "from_round": 2}
    assert "was not lost" not in found([*journal[:end], saved, back, restart, back, *journal[end:]])


def of(lines, event, number=2):
    return next(
        i
        for i, one in enumerate(lines)
        if (one["event"], one.get("scheme"), one.get("round")) == (event, "psl", number)
    )


def found(lines):
    """What is found, but for evaluations: their clock is that of the trial before it was changed."""
    return "\n".join(str(one) for one in check(lines).findings if "an evaluation of psl" not in one.text)


def test_a_round_that_lost_a_ue_is_accounted_for(broken):
    journal, _ = broken
    assert "ue2 was lost in round 2, and the plan has it take part" in found(journal), "in round 3"
    assert "round 2" not in found(journal).replace("lost in round 2", "")


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    return read_all(recorded.write(tmp_path_factory.mktemp("still"), scene("still")))


@pytest.mark.parametrize("label", ["sl", "sfl-v2", "epsl", "pipar", "c2p2sl"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_last_round_without_a_ue_is_accounted_for_under_any_scheme(still, label, share):
    """Of the one that was lost only what came is told: it tells nothing any more."""
    lines = copy.deepcopy(still)
    record = records(lines)[label]
    links, costs, whole = record.links(3), record.costs(3), record.planned(3)
    at_s = share * record.predicted(3).round_s
    waits = wait_s(links.plan, costs, links.waits)
    left = degraded(whole, "ue2", at_s, at_s + 0.1, lambda task: costs.seconds(task, links.plan), waits)
    came = [list(t.key) for t in left.schedule.tasks if goes_up(t.place) and owner(t.place) == "ue2"]
    rows = [one for one in recorded.as_predicted(left.timeline, left.schedule, costs, 3) if one.place != "ue2"]
    told = [{"event": "task", "scheme": label, **dataclasses.asdict(row)} for row in rows]
    told = [one for one in told if not (one["ue"] == "ue2" and one["place"] in ("ue2/down", "air/down"))]
    fault = {"event": "fault", "scheme": label, "round": 3, "ue": "ue2", "kind": "killed", "came": came, "late": []}
    end = next(one for one in lines if (one["event"], one.get("scheme"), one.get("round")) == ("round", label, 3))
    samples = {ue: [one.came, one.lost] for ue, one in contributions(whole, left.schedule).items()}
    end.update(samples=samples, degraded=True, until_s=at_s + 0.1)
    mine = [
        i for i, one in enumerate(lines) if (one["event"], one.get("scheme"), one.get("round")) == ("task", label, 3)
    ]
    journal = [
        *lines[: mine[0]],
        {**fault, "at_s": at_s, "detected_s": at_s + 0.1, "why": ""},
        *told,
        *lines[mine[-1] + 1 :],
    ]
    assert [str(one) for one in check(journal).findings if f"an evaluation of {label}" not in one.text] == []


def test_samples_that_were_lost_unsaid_are_found(broken):
    journal, _ = broken
    journal[of(journal, "round")]["samples"]["ue2"] = [8, 0]
    assert "of the samples of ue2 0 came and 8 were lost, and 8 came and 0 were lost at its end" in found(journal)


def test_a_loss_that_is_not_said_is_found(broken):
    journal, _ = broken
    del journal[of(journal, "fault")]
    assert "round 2 of psl: downlink of ue2, turn 0, step 0, micro-batch 0 did not happen at ue2" in found(journal)
    assert "it is said to be degraded, or whole" in found(journal)


def test_who_is_back_was_lost(broken):
    journal, _ = broken
    begin = of(journal, "round_begins", 3)
    back = {"event": "returned", "scheme": "psl", "round": 3, "ue": "ue2", "weights": "own"}
    assert found([*journal[:begin], back, *journal[begin:]]) == ""
    assert "ue1 is back in round 3 of psl, and was not lost" in found(
        [*journal[:begin], {**back, "ue": "ue1"}, *journal[begin:]]
    )


def test_the_table_shows_faults_where_there_are_some(broken, lines):
    def text(table):
        console = Console(file=io.StringIO(), width=150)
        console.print(table)
        return console.file.getvalue()

    results = derive(broken[0])
    shown = text(faults_table(results))
    assert "uplink, micro-batch 0" in shown and "+0.0%" in shown and "not done: ue2 is already broken" in shown
    assert "at task" in text(results_table(results))
    series = [Series("psl", "run", "psl", results.schemes["psl"])]
    assert [row[5] for row in tables.faults(series).rows][1] == "not done: ue2 is already broken"
    assert "at task" not in text(results_table(derive(lines)))
