"""The thread that breaks things: when, what it says of it, and that it undoes all of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from agents.schedule.task import Key, Schedule
from agents.schemes import SCHEMES
from controller.predict.simulate import Event, Timeline
from controller.predict.strikes import Strike
from controller.trial.nemesis import Nemesis, middle_s
from testbed.errors import EngineError
from tests.unit.plans import plan

UPLINK = Key(0, 0, 0, "uplink", "ue2")
TIMELINE = Timeline((Event(UPLINK, "ue2/up", 0.01, 0.03),), (0.02, 0.03))
AT_ONCE = Timeline((), (1.0,))


class World:
    """What was done, and one event for each line that was told."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, str]] = []
        self.lines: list[dict[str, Any]] = []
        self.told = threading.Condition()
        self.fails = False

    def break_(self, agent: str, kind: str) -> None:
        if self.fails:
            raise EngineError("no such container")
        self.done.append(("break", agent, kind))

    def mend(self, agent: str, kind: str) -> None:
        self.done.append(("mend", agent, kind))

    def record(self, event: str, line: Mapping[str, Any]) -> None:
        with self.told:
            self.lines.append({"event": event, **line})
            self.told.notify()

    def wait(self, count: int) -> list[dict[str, Any]]:
        with self.told:
            assert self.told.wait_for(lambda: len(self.lines) >= count, timeout=20)
        return self.lines


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def schedule() -> Schedule:
    return SCHEMES["psl"].schedule(plan("psl", 4, 4, units=3), 3, "fdd")


def nemesis(world: World, *strikes: Strike) -> Nemesis:
    return Nemesis(world, {"psl": {2: strikes}}, world.record)


def begin(one: Nemesis, schedule: Schedule, number: int = 2, dilation: float = 1.0) -> None:
    one.round_begins("psl", number, schedule, AT_ONCE, dilation)
    one.segment_begins(0)


def test_it_strikes_in_the_middle_of_the_task_of_its_segment():
    strike = Strike(2, "ue2", "kill", UPLINK)
    assert middle_s(TIMELINE, strike) == pytest.approx(0.02)
    assert middle_s(Timeline(TIMELINE.events, (0.005, 1.0)), strike, 1) == pytest.approx(0.015)
    assert middle_s(TIMELINE, Strike(2, "ue2", "kill")) == 0.0


def test_what_was_broken_is_undone_when_its_time_is_over(world, schedule):
    with nemesis(world, Strike(2, "ue2", "freeze", UPLINK, for_s=0.001)) as one:
        begin(one, schedule)
        injected, undone = world.wait(2)
    assert world.done == [("break", "ue2", "freeze"), ("mend", "ue2", "freeze")]
    assert (injected["event"], undone["event"]) == ("injected", "undone")
    assert injected["task"] == list(UPLINK) and injected["for_s"] == 0.001
    assert (injected["scheme"], injected["round"], injected["ue"], injected["kind"]) == ("psl", 2, "ue2", "freeze")
    assert injected["at"] <= undone["at"]


def test_nothing_happens_in_another_round(world, schedule):
    with nemesis(world, Strike(2, "ue2", "kill")) as one:
        begin(one, schedule, number=1)
        begin(one, schedule, number=2)
        assert [line["round"] for line in world.wait(1)] == [2]


def test_what_has_struck_does_not_strike_again_when_its_round_is_done_again(world, schedule):
    with nemesis(world, Strike(2, "ue2", "restart"), Strike(2, "ue1", "restart")) as one:
        begin(one, schedule)
        world.wait(4)
        begin(one, schedule)
    assert len(world.lines) == 4
    strikes = {"psl": {2: (Strike(2, "ue2", "restart"), Strike(2, "ue1", "restart"))}}
    with Nemesis(world, strikes, world.record, [("psl", 2, "ue2", "restart")]) as one:  # by a controller before
        begin(one, schedule)
        assert {line["ue"] for line in world.wait(6)[4:]} == {"ue1"}


def test_for_good_is_until_the_scheme_ends(world, schedule):
    with nemesis(world, Strike(2, "ue2", "cut")) as one:
        begin(one, schedule)
        world.wait(1)
        assert world.done == [("break", "ue2", "cut")]
        one.scheme_ends()
        assert world.done[-1] == ("mend", "ue2", "cut")


def test_a_trial_that_breaks_off_leaves_nothing_broken(world, schedule):
    with pytest.raises(ZeroDivisionError), nemesis(world, Strike(2, "ue2", "freeze", for_s=1000.0)) as one:
        begin(one, schedule)
        world.wait(1)
        _ = 1 / 0
    assert world.done[-1] == ("mend", "ue2", "freeze")


def test_a_restart_undoes_itself(world, schedule):
    with nemesis(world, Strike(2, "ue2", "restart")) as one:
        begin(one, schedule)
        world.wait(2)
    assert world.done == [("break", "ue2", "restart"), ("mend", "ue2", "restart")]


def test_who_is_broken_is_not_broken_again(world, schedule):
    with nemesis(world, Strike(2, "ue2", "kill"), Strike(2, "ue2", "cut")) as one:
        begin(one, schedule)
        assert world.wait(2)[1]["skipped"] == "ue2 is already broken"


def test_who_takes_no_part_is_left_alone(world, schedule):
    with nemesis(world, Strike(2, "ue9", "kill"), Strike(2, "ue2", "kill", UPLINK._replace(micro_batch=7))) as one:
        begin(one, schedule)
        skipped = [line["skipped"] for line in world.wait(2)]
    assert sorted(skipped) == [f"there is no {UPLINK._replace(micro_batch=7)} in this round", "ue9 takes no part"]
    assert world.done == []


def test_what_is_drawn_leaves_somebody(world, schedule):
    first, last = (Strike(2, ue, "kill", drawn=True) for ue in ("ue1", "ue2"))
    with nemesis(world, first, last) as one:
        begin(one, schedule)
        assert world.wait(2)[1]["skipped"] == "nobody else is left but ue2"


def test_what_cannot_be_done_is_said(world, schedule):
    world.fails = True
    with nemesis(world, Strike(2, "ue2", "kill")) as one:
        begin(one, schedule)
        (line,) = world.wait(1)
    assert line["failed"] == "no such container"
    assert world.done == []
