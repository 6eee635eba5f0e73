"""What a place does when: the order in which it takes up what is ready, worked by hand."""

from __future__ import annotations

import dataclasses

import pytest

from agents.schedule.task import BS, Activations, Average, Compute, Gradients, Key, Load, Schedule, Task, down, up
from controller.predict.simulate import simulate


def key(kind: str, ue: str, micro_batch: int = 0) -> Key:
    return Key(0, 0, micro_batch, kind, ue)


def forward(ue: str, seconds: int, micro_batch: int = 0, place: str = "", **more: object) -> Task:
    """A computation whose samples say how long it takes."""
    work = Compute(ue, 0, 1, seconds, seconds)
    return Task(key("forward", ue, micro_batch), place or ue, work, **more)  # type: ignore[arg-type]


def sent(place: str, ue: str, seconds: int, *needs: Task, micro_batch: int = 0) -> Task:
    """A transfer whose samples say how long it takes."""
    work = Activations(1, seconds, labels=False)
    return Task(key("transfer", ue, micro_batch), place, work, tuple(task.key for task in needs))


def played(*tasks: Task, first_ready: tuple[str, ...] = (), wait_s: float = 0.0) -> dict[tuple[str, str, int], float]:
    """When each task starts."""
    timeline = simulate(Schedule(tasks, frozenset(first_ready)), a_second_each, lambda task: wait_s)
    return {(e.key.kind, e.key.ue, e.key.micro_batch): e.start_s for e in timeline.events}


def a_second_each(task: Task) -> float:
    """A task takes a second for each of its samples, and none for what is no pass and no transfer."""
    return float(task.work.samples) if isinstance(task.work, Compute | Activations | Gradients) else 0.0


def test_a_place_keeps_the_order_that_is_written_unless_it_takes_what_is_ready_first():
    slow, quick = forward("ue1", 5), forward("ue2", 1)
    ups = [sent(up(task.key.ue), task.key.ue, 1, task) for task in (slow, quick)]
    served = [
        dataclasses.replace(forward("bs/" + one.key.ue, 2, place=BS), needs=(one.key,)) for one in ups
    ]  # written ue1 first, whose uplink ends at 6; that of ue2 at 2
    in_order = played(slow, quick, *ups, *served)
    assert [in_order["forward", ue, 0] for ue in ("bs/ue1", "bs/ue2")] == [6.0, 8.0]
    as_they_come = played(slow, quick, *ups, *served, first_ready=(BS,))
    assert [as_they_come["forward", ue, 0] for ue in ("bs/ue1", "bs/ue2")] == [6.0, 2.0]


def test_of_two_that_are_ready_at_once_the_one_that_is_written_first_goes_first():
    same = [forward(ue, 1, place=BS) for ue in ("ue2", "ue1", "ue3")]
    assert played(*same, first_ready=(BS,)) == {
        ("forward", "ue2", 0): 0.0,
        ("forward", "ue1", 0): 1.0,
        ("forward", "ue3", 0): 2.0,
    }


@pytest.mark.parametrize("needed", [True, False])
def test_what_continues_a_task_follows_it_though_others_are_ready(needed):
    sample = forward("ue1", 1)
    came = sent(up("ue1"), "ue1", 1, sample)
    first = dataclasses.replace(forward("ue1", 2, place=BS), key=key("served", "ue1"), needs=(came.key,))
    needs = (first.key,) if needed else ()
    then = dataclasses.replace(forward("ue1", 3, place=BS), key=key("back", "ue1"), needs=needs, continues=True)
    others = [forward("ue2", 1, m, place=BS) for m in range(3)]
    found = played(sample, came, first, then, *others, first_ready=(BS,))
    assert [found["forward", "ue2", m] for m in range(3)] == [0.0, 1.0, 2.0]
    assert (found["served", "ue1", 0], found["back", "ue1", 0]) == (3.0, 5.0)


def test_others_that_are_ready_meanwhile_come_after_what_continues():
    first = forward("ue1", 2, place=BS)
    then = dataclasses.replace(forward("ue1", 3, 1, place=BS), needs=(first.key,), continues=True)
    found = played(first, then, forward("ue2", 1, place=BS), first_ready=(BS,))
    assert found == {("forward", "ue1", 0): 0.0, ("forward", "ue1", 1): 2.0, ("forward", "ue2", 0): 5.0}


def test_a_message_waits_from_when_it_is_ready_not_from_when_its_link_is_free():
    one, two = forward("ue1", 1), forward("ue1", 1, 1)
    ups = sent(up("ue1"), "ue1", 4, one), sent(up("ue1"), "ue1", 4, two, micro_batch=1)
    found = played(one, two, *ups, wait_s=3.0)
    assert [found["transfer", "ue1", m] for m in (0, 1)] == [4.0, 8.0]


def test_what_takes_no_time_is_in_no_timeline_and_keeps_its_place_in_order():
    trained = forward("ue1", 2)
    up_ = sent(up("ue1"), "ue1", 1, trained)
    mean = Task(key("average", BS), BS, Average(("ue1",), (2,), replicas=False), (up_.key,))
    down_ = Task(key("down", "ue1"), down("ue1"), Gradients(1, 1), (mean.key,))
    taken = Task(key("load", "ue1"), "ue1", Load(), (down_.key,))
    again = forward("ue1", 1, 1)
    found = played(trained, up_, mean, down_, taken, again)
    assert found == {
        ("forward", "ue1", 0): 0.0,
        ("transfer", "ue1", 0): 2.0,
        ("down", "ue1", 0): 3.0,
        ("forward", "ue1", 1): 4.0,
    }


def test_a_segment_begins_when_the_one_before_is_over():
    slow, quick = forward("ue1", 5), forward("ue2", 1)
    told_by_nobody = dataclasses.replace(forward("ue2", 1, 1), needs=(slow.key,))
    schedule = Schedule((slow, quick, told_by_nobody))
    timeline = simulate(schedule, a_second_each)
    assert timeline.segments_s == (5.0, 1.0)
    assert timeline.events[-1][:3] == (told_by_nobody.key, "ue2", 5.0)
