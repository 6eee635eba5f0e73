"""A round with a loss in it, as predicted: the others wait until it is noticed, and go on with what came."""

from __future__ import annotations

import pytest

from agents.schedule.without import contributions
from agents.schemes import SCHEMES
from controller.predict.degraded import degraded
from controller.predict.simulate import Timeline, simulate
from tests.unit.plans import plan

ONE_S = 1.0


def world(name: str, duplex: str = "fdd", **changes: object):
    """The round of a scheme for three UEs in which every task that takes time takes one second."""
    made = plan(name, 4, 4, 4, units=3, **changes)
    schedule = SCHEMES[name].schedule(made, 3, duplex)
    return schedule, lambda task: ONE_S if task.computes or task.transfers else 0.0


def at_once(task: object) -> float:
    return 0.0


def ends(timeline: Timeline, kind: str) -> float:
    return max(event.end_s for event in timeline.events if event.key.kind == kind)


def test_the_joint_pass_waits_until_the_loss_is_noticed():
    schedule, seconds = world("psl")
    whole = simulate(schedule, seconds)
    assert whole.round_s == 6.0
    found = degraded(schedule, "ue2", lost_s=1.5, noticed_s=5.0, seconds=seconds, wait_s=at_once)
    assert found.timeline.round_s == 9.0, "the pass of the base station begins at 5 instead of 2"
    assert contributions(schedule, found.schedule)["ue2"].lost == 4
    assert contributions(schedule, found.schedule)["ue1"].lost == 0


def test_what_came_before_counts():
    schedule, seconds = world("psl")
    found = degraded(schedule, "ue2", lost_s=2.5, noticed_s=5.0, seconds=seconds, wait_s=at_once)
    assert found.timeline.round_s == 6.0
    assert contributions(schedule, found.schedule)["ue2"].lost == 0
    assert "ue2" in {event.key.ue for event in found.timeline.events if event.key.kind == "uplink"}
    assert "ue2" not in {event.key.ue for event in found.timeline.events if event.key.kind == "downlink"}


def test_only_the_micro_batches_that_had_come_are_trained():
    schedule, seconds = world("c2p2sl", micro_batches=4)
    found = degraded(schedule, "ue2", lost_s=3.0, noticed_s=3.0, seconds=seconds, wait_s=at_once)
    assert contributions(schedule, found.schedule)["ue2"].lost == 2


@pytest.mark.parametrize("name", ["sl", "sfl", "cpsl", "pipar", "epsl", "fl", "ushape", "sfl-v2"])
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_a_loss_at_any_moment_has_a_prediction(name, duplex):
    schedule, seconds = world(name, duplex)
    whole_s = simulate(schedule, seconds).round_s
    for lost_s in (0.0, whole_s / 3, whole_s / 2, whole_s - 0.1):
        found = degraded(schedule, "ue2", lost_s, lost_s + 2.0, seconds, at_once)
        assert 0.0 < found.timeline.round_s <= whole_s + 2.0
        assert all(event.start_s >= 0.0 for event in found.timeline.events)
