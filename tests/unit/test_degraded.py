"""What a journal says of a round in which a UE was lost, and what results make of it."""

from __future__ import annotations

import pytest

from controller.judge.derive import derive
from controller.judge.record import records
from controller.planners.planning import plan_all
from controller.trial import journal
from controller.trial.lines import Clock, fault
from controller.trial.losses import Loss
from testbed.loading import parse
from tests import recorded

SCENE = """
name: lossy
training: {batch: 30, rounds: 5}
radio: {bandwidth_mhz: 5}
ues: [{name: ue1}, {name: ue2}, {name: ue3}]
schemes: [{scheme: c2p2sl, cut: 2, micro_batches: 2}]
"""
LOST, ROUND = "ue2", 3


@pytest.fixture
def lines(tmp_path):
    """A journal in whose third round a UE was lost after its first micro-batch had come."""
    topology = parse(SCENE, "test")
    planned = plan_all(topology)
    found = journal.read(recorded.write(tmp_path, topology))
    schedule = planned[0].schedule(ROUND)
    came = schedule.at[f"{LOST}/up"][0].key
    loss = Loss(LOST, "killed", "ue2 stopped with exit status 137", 3_000_000_000, 2_000_000_000, (came,))
    line = {"event": "fault", "scheme": "c2p2sl", **fault(ROUND, loss, Clock(1_000_000_000, 0.0, 2.0))}
    at = next(i for i, one in enumerate(found) if one["event"] == "round" and one["round"] == ROUND)
    found[at].update(degraded=True, until_s=line["detected_s"], samples={"ue1": [10, 0], LOST: [5, 5], "ue3": [10, 0]})
    gone = [one for one in found if one["event"] == "task" and one["round"] == ROUND and one["place"].startswith(LOST)]
    return [one for one in [*found[:at], line, *found[at:]] if one not in gone or one["task"] == "uplink"]


def test_times_of_a_loss_are_emulated_seconds_of_its_round(lines):
    (line,) = [one for one in lines if one["event"] == "fault"]
    assert (line["at_s"], line["detected_s"]) == (0.5, 1.0)
    before = fault(ROUND, Loss(LOST, "frozen", "fell silent", 5), None)
    assert (before["at_s"], before["detected_s"]) == (0.0, 0.0)


def test_a_degraded_round_lasts_until_the_loss_was_found_and_is_in_no_summary(lines):
    result = derive(lines).schemes["c2p2sl"]
    rounds = {row.round: row for row in result.rounds}
    assert [row.round for row in result.rounds if row.degraded] == [ROUND]
    assert rounds[ROUND].round_s == 1.0 > rounds[2].round_s
    assert result.summary.round_s.p95 < 0.9


def test_its_schedule_is_what_was_left_of_it(lines):
    record = records(lines)["c2p2sl"]
    assert {task.work.samples for task in record.schedule(ROUND).at["bs"] if task.computes} == {15, 10}
    assert len(record.schedule(ROUND).at[f"{LOST}/up"]) == 1
    assert len(record.schedule(2).at[f"{LOST}/up"]) == 2
    assert record.chain(ROUND).rows


def test_where_all_are_degraded_they_are_judged_all_the_same(lines):
    some = [one for one in lines if one.get("round", ROUND) == ROUND and one["event"] != "evaluation"]
    assert derive(some).schemes["c2p2sl"].summary.round_s.median == 1.0
