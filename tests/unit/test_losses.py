"""Who is to blame when nothing comes any more: nobody while something goes on."""

from __future__ import annotations

from agents.schedule.task import BS
from controller.trial.losses import Lookout, patience_s

UES = ("ue1", "ue2", "ue3")


def look(busy: bool = False, progress: int = 5, waits_for: tuple[str, ...] = ()) -> dict[str, object]:
    return {"busy": busy, "progress": progress, "waits_for": list(waits_for)}


WAITING = {BS: look(waits_for=("ue2",)), "ue1": look(waits_for=(BS,)), "ue2": look(waits_for=(BS,))}


def test_whom_the_base_station_waits_for_is_lost_once_nothing_has_moved_between_two_looks():
    lookout = Lookout(0.0, in_segment=True)
    assert lookout.lost([*WAITING], WAITING) == {}
    assert [*lookout.lost([*WAITING], WAITING)] == ["ue2"]


def test_nobody_is_lost_while_something_is_computed_or_comes():
    lookout = Lookout(0.0, in_segment=True)
    for number in range(5):
        assert lookout.lost([*WAITING], {**WAITING, "ue1": look(progress=number)}) == {}
    for _ in range(5):
        assert lookout.lost([*WAITING], {**WAITING, BS: look(busy=True)}) == {}


def test_who_does_not_say_how_it_goes_is_lost_at_once():
    lookout = Lookout(0.0, in_segment=True)
    found = lookout.lost([*WAITING], {name: one for name, one in WAITING.items() if name != "ue1"})
    assert {ue: kind for ue, (kind, _) in found.items()} == {"ue1": "frozen"}


def test_where_the_base_station_is_done_those_are_lost_that_are_not():
    lookout = Lookout(0.0, in_segment=True)
    left = {"ue3": look(waits_for=(BS,))}
    lookout.lost([*left], left)
    assert {ue: kind for ue, (kind, _) in lookout.lost([*left], left).items()} == {"ue3": "cut"}


def test_a_base_station_has_two_looks():
    lookout = Lookout(0.0)
    left = {"ue1": look()}
    assert lookout.lost([BS, "ue1"], left) == {}
    assert [*lookout.lost([BS, "ue1"], left)] == [BS]


def test_outside_a_segment_only_who_is_silent_is_lost():
    lookout = Lookout(0.0)
    for _ in range(3):
        assert lookout.lost([*WAITING], WAITING) == {}


def test_it_is_looked_when_the_time_is_over_and_not_before():
    assert Lookout(0.0).due and not Lookout(60.0).due
    assert patience_s(2.0, 10.0, paced=True) == 35.0
    assert patience_s(2.0, 10.0, paced=False) > 200.0
