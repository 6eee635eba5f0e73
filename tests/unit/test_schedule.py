"""What schemes may write and what is refused; which order, legs and segments follow; and what always holds."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

import pytest

from agents.plan import Plan
from agents.schedule.check import checked
from agents.schedule.order import half_duplex
from agents.schedule.task import (
    BS,
    Activations,
    Compute,
    Gradients,
    Key,
    Load,
    Schedule,
    ScheduleError,
    Step,
    Task,
    down,
    up,
)
from agents.schedule.vocabulary import Round, replica
from agents.schemes import SCHEMES
from agents.schemes.joint import joint_batch, learn, send
from agents.schemes.seam import Scheme
from tests.unit import alone
from tests.unit.plans import plan

K2 = plan("own", 10, 6, micro_batches=2)


def written(write: Callable[[Round], None], asked: Plan = K2, duplex: str = "fdd", units: int = 2) -> Schedule:
    """What a scheme of this function says of a round."""
    return Scheme("own", "A user's own", write).schedule(asked, units, duplex)


def test_a_schedule_is_written_and_timed_without_torch():
    code = "import sys, agents.schemes, controller.predict.prediction; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# What is refused, and in which words


def test_tasks_that_wait_for_each_other_are_named_and_no_others():
    free, a, b, behind = (Key(0, 0, m, "ue_forward", "ue1") for m in range(4))
    work = Compute("ue1", 0, 1, 5, 5)
    tasks = (
        Task(behind, "ue3", work, (a,)),  # waits for them, and they not for it
        Task(free, "ue1", work),
        Task(a, "ue2", work, (free, b)),
        Task(b, BS, work, (a,)),
    )
    with pytest.raises(ScheduleError) as caught:
        checked(Schedule(tasks), plan("own", 5, 5, 5))
    assert sorted(str(caught.value).removeprefix("these tasks wait for each other: ").split("; ")) == [str(a), str(b)]


def test_tasks_that_their_place_does_in_another_order_wait_for_each_other():
    first, then = Key(0, 0, 0, "ue_forward", "ue1"), Key(0, 0, 1, "ue_forward", "ue1")
    work = Compute("ue1", 0, 1, 5, 5)
    schedule = Schedule((Task(then, "ue1", work, (first,)), Task(first, "ue1", work)))
    with pytest.raises(ScheduleError, match="wait for each other"):
        _ = schedule.ordered
    assert [t.key for t in dataclasses.replace(schedule, first_ready=frozenset({"ue1"})).ordered] == [first, then]


def twice(r: Round) -> None:
    joint_batch(r, r.ues)
    joint_batch(r, r.ues)


def unserved(r: Round) -> None:
    joint_batch(r, r.ues[:1])
    r.forward("ue2", 0)
    r.uplink("ue2", 0)


def unheard(r: Round) -> None:
    send(r, r.ues)
    for m in r.micro_batches(*r.ues):
        r.serve(r.ues, m)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m)


def untaught(r: Round) -> None:
    joint_batch(r, r.ues[:1])
    r.forward("ue2", 0)


def half_trained(r: Round) -> None:
    r.forward("ue1", 0)
    r.uplink("ue1", 0)
    r.serve(["ue1"], 0)
    r.downlink("ue1", 0)
    learn(r, ["ue1"])


def shortened(r: Round) -> None:
    for ue in r.ues:
        r.forward(ue, 0)
        r.uplink(ue, 0)
    r.serve(r.ues, 0)
    for ue in r.ues:
        r.downlink(ue, 0)
        r.backward(ue, 0)


def served_twice(r: Round) -> None:
    send(r, r.ues)
    for m in r.micro_batches(*r.ues):
        r.serve(r.ues, m)
        r.serve(["ue1"], m, model=replica("ue1"))
        for ue in r.having(r.ues, m):
            r.downlink(ue, m)
    learn(r, r.ues)


def without_some_rows(r: Round) -> None:
    send(r, r.ues)
    for m in r.micro_batches(*r.ues):
        r.serve(r.ues, m)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m, but=1)
    learn(r, r.ues)


def from_nothing(r: Round) -> None:
    for ue in r.ues:
        for m in r.micro_batches(ue):
            r.uplink(ue, m)


def with_strangers(r: Round) -> None:
    joint_batch(r, r.ues)
    r.plan = dataclasses.replace(r.plan, ues={**r.plan.ues, "ue9": r.plan.ues["ue1"]})
    r.begin(step=1)
    joint_batch(r, ["ue9"])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (twice, "ue_forward of ue1, turn 0, step 0, micro-batch 0 is there twice"),
        (unserved, "nobody waits for what arrives by uplink of ue2, turn 0, step 0, micro-batch 0"),
        (unheard, "nobody waits for what arrives by downlink of ue1, turn 0, step 0, micro-batch 0"),
        (untaught, "ue_forward of ue2, turn 0, step 0, micro-batch 0: these samples go forward 1 times and backward 0"),
        (half_trained, "ue_backward of ue1, turn 0, step 0, micro-batch 1: these samples go forward 0 times and back"),
        (shortened, "ue1 trains 5 samples in turn 0, step 0, and its batch has 10"),
        (served_twice, "uplink of ue1, turn 0, step 0, micro-batch 0 goes 2 times through the BS"),
        (without_some_rows, "ue_backward of ue1, turn 0, step 0, micro-batch 0: gradients of 4 samples come, of 5"),
        (from_nothing, "nobody waits for what arrives by uplink of ue1, turn 0, step 0, micro-batch 0"),
        (with_strangers, "ue_forward of ue9, turn 0, step 1, micro-batch 0 is at ue9, which is no UE of the plan"),
    ],
)
def test_what_loses_samples_or_messages_is_refused_with_the_task(write, words):
    with pytest.raises(ScheduleError) as caught:
        written(write)
    assert words in str(caught.value)
    assert caught.value.hint


def changed(schedule: Schedule, kind: str, **changes: object) -> Schedule:
    """The schedule with the first task of a kind changed."""
    first = next(i for i, task in enumerate(schedule.tasks) if task.key.kind == kind)
    tasks = list(schedule.tasks)
    tasks[first] = dataclasses.replace(tasks[first], **changes)  # type: ignore[arg-type]
    return Schedule(tuple(tasks), schedule.first_ready)


def of(schedule: Schedule, kind: str) -> Task:
    return next(task for task in schedule.tasks if task.key.kind == kind)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("uplink", lambda t: {"needs": ()}, "has nothing to send"),
        ("uplink", lambda t: {"place": "ue1"}, "is no work for ue1"),
        ("ue_forward", lambda t: {"place": up("ue1")}, "is no work for ue1/up"),
        ("uplink", lambda t: {"needs": (*t.needs, Key(9, 0, 0, "uplink", "ue1"))}, "which is not there"),
        ("bs_forward", lambda t: {"needs": t.needs[:1]}, "nobody waits for what arrives by uplink of ue2"),
        ("uplink", lambda t: {"work": dataclasses.replace(t.work, samples=3)}, "is of 8 samples, and 6 come"),
        ("ue_backward", lambda t: {"work": dataclasses.replace(t.work, samples=3)}, "these samples go"),
    ],
)
def test_a_schedule_of_whatever_making_is_checked(kind, change, words):
    good = written(lambda r: joint_batch(r, r.ues))
    with pytest.raises(ScheduleError, match=words):
        checked(changed(good, kind, **change(of(good, kind))), K2)
    assert checked(good, K2) is good


@pytest.mark.parametrize("value", [[], [0, 0, 0, "uplink"], ["0", 0, 0, "uplink", "ue1"], [0, 0, 0, 1, "ue1"], [0] * 6])
def test_what_is_no_key_is_refused(value):
    with pytest.raises(ValueError):
        Key.of(value)


def test_a_key_is_the_same_after_a_trip_over_the_wire():
    key = Key(1, 2, 3, "uplink", "ue1")
    assert Key.of(list(key)) == key


# Order, legs and segments


def tasks_of(schedule: Schedule, kind: str) -> list[Task]:
    return [task for task in schedule.tasks if task.key.kind == kind]


def test_a_worker_that_needs_what_another_one_does_is_refused():
    asked = plan("sfl", 4, 4, workers="per_ue")
    schedule = SCHEMES["sfl"].schedule(asked, 2, "fdd")
    mine, other = (t for t in schedule.tasks if t.key.kind == "bs_forward")
    crossed = [dataclasses.replace(t, needs=(*t.needs, mine.key)) if t is other else t for t in schedule.tasks]
    with pytest.raises(ScheduleError, match="done at bs/ue2, and what it needs at bs/ue1: bs_forward of ue1"):
        checked(Schedule(tuple(crossed)), asked)


@pytest.mark.parametrize(
    ("name", "places"), [("sfl", {BS}), ("pipar", {BS}), ("sfl-v2", set()), ("psl", set()), ("c2p2sl", set())]
)
def test_only_replicas_are_served_as_they_come(name, places):
    assert SCHEMES[name].schedule(plan(name, 10, 6), 2, "fdd").first_ready == places


def test_backward_follows_forward_at_the_bs_at_once_and_a_step_its_pass():
    schedule = SCHEMES["sfl"].schedule(plan("sfl", 10, 6), 2, "fdd")
    assert [(t.key.kind, t.key.ue, t.continues) for t in schedule.at[BS]][:6] == [
        *(("bs_forward", "ue1", False), ("bs_backward", "ue1", True), ("bs_step", "ue1", True)),
        *(("bs_forward", "ue2", False), ("bs_backward", "ue2", True), ("bs_step", "ue2", True)),
    ]
    assert not any(t.continues for t in tasks_of(SCHEMES["gpipe"].schedule(plan("gpipe", 10), 2, "fdd"), "bs_backward"))


def test_one_optimiser_step_for_all_micro_batches():
    schedule = SCHEMES["c2p2sl"].schedule(plan("c2p2sl", 10, 6, micro_batches=4), 2, "tdd")
    steps = [task for task in schedule.tasks if isinstance(task.work, Step)]
    assert sorted(task.place for task in steps) == ["bs", "ue1", "ue2"]
    assert all(schedule.at[task.place][-1] is task for task in steps)


def test_the_order_is_drawn_anew_for_every_round_and_step_and_is_the_same_for_everybody():
    def orders(number: int) -> list[tuple[str, ...]]:
        schedule = SCHEMES["sfl-v2"].schedule(plan("sfl-v2", 4, 4, 4, steps=2), 2, "fdd", seed=3, number=number)
        return [tuple(t.key.ue for t in tasks_of(schedule, "bs_forward") if t.key.step == step) for step in range(2)]

    found = [orders(number) for number in range(1, 20)]
    assert found == [orders(number) for number in range(1, 20)]
    assert len({order for pair in found for order in pair}) == 6
    assert any(first != second for first, second in found)


def last_uplinks(schedule: Schedule) -> set[Key]:
    return {schedule.at[up(ue)][-1].key for ue in schedule.ues}


def test_downlinks_wait_for_the_last_uplinks_under_tdd_and_for_nothing_under_fdd():
    asked = plan("c2p2sl", 10, 6, micro_batches=3)
    free, waiting = (SCHEMES["c2p2sl"].schedule(asked, 2, duplex) for duplex in ("fdd", "tdd"))
    assert free == SCHEMES["c2p2sl"].schedule(asked, 2, "fdd")
    for ue in ("ue1", "ue2"):
        first, *others = waiting.at[down(ue)]
        assert last_uplinks(waiting) <= set(first.needs)
        assert [task.needs for task in others] == [free.by_key[task.key].needs for task in others]
        assert len(free.at[down(ue)][0].needs) == 1


def test_half_duplex_adds_needs_and_nothing_else():
    free = SCHEMES["sfl"].schedule(plan("sfl", 10, 6, steps=2), 2, "fdd")
    waiting = half_duplex(free)
    assert [dataclasses.replace(t, needs=()) for t in free.tasks] == [
        dataclasses.replace(t, needs=()) for t in waiting.tasks
    ]
    assert all(set(free.by_key[t.key].needs) <= set(t.needs) for t in waiting.tasks)
    assert half_duplex(waiting) == waiting


@pytest.mark.parametrize(
    ("name", "duplex", "count"),
    [
        *(("sfl", "tdd", 4), ("sfl", "fdd", 1), ("sfl-v2", "tdd", 4), ("pipar", "tdd", 4), ("fl", "tdd", 1)),
        *(("psl", "tdd", 1), ("c2p2sl", "tdd", 1), ("epsl", "tdd", 1), ("sl", "tdd", 1), ("sl", "fdd", 1)),
        *(("cpsl", "fdd", 1), ("centralised", "tdd", 1)),
    ],
)
def test_rounds_are_cut_only_where_no_message_says_what_is_waited_for(name, duplex, count):
    scheme = SCHEMES[name]
    asked = plan(name, *((10, 6) if scheme.turns != "none" else (0, 0)), steps=3 if scheme.trains else 1, bs_batch=5)
    assert len(set(scheme.schedule(asked, 2, duplex).segment_of.values())) == count


def hurried(r: Round) -> None:
    """One forward, one backward on a UE too."""
    for m in r.micro_batches(*r.ues):
        for ue in r.having(r.ues, m):
            r.forward(ue, m)
            r.uplink(ue, m)
        r.serve(r.ues, m)
        for ue in r.having(r.ues, m):
            r.downlink(ue, m)
            r.backward(ue, m)
    for model in ("bs", *r.ues):
        r.step(model)


def test_the_air_goes_up_and_down_as_often_as_gradients_come_back():
    schedule = written(hurried, duplex="tdd")
    assert set(schedule.segment_of.values()) == {0, 1}
    order = [task.key for task in schedule.ordered]
    for ue in ("ue1", "ue2"):
        mine = [task.key for place in (up(ue), down(ue)) for task in schedule.at[place]]
        assert [key.kind for key in sorted(mine, key=order.index)] == ["uplink", "downlink"] * 2
    downs = {schedule.at[down(ue)][0].key for ue in ("ue1", "ue2")}
    for ue in ("ue1", "ue2"):  # its second forward pass begins with its uplink's leg, as everybody's does
        assert downs <= set(schedule.at[up(ue)][1].needs)
        assert downs <= set(schedule.by_key[Key(0, 0, 1, "ue_forward", ue)].needs)


def one_is_late(r: Round) -> None:
    """A batch for which the second UE gets weights first."""
    r.move_down(r.ues[1:], 0, 1, model=BS)
    hurried(r)


def test_what_a_ue_begins_with_goes_down_before_anything_goes_up_and_all_begin_together():
    """Its uplink would else have to wait for those of the others, or theirs for its own."""
    schedule = written(one_is_late, plan("psl", 5, 5), duplex="tdd")
    (came,) = tasks_of(schedule, "move_down")
    passes = tasks_of(schedule, "ue_forward")
    assert [task.key.ue for task in passes] == ["ue1", "ue2"]
    assert all(came.key in task.needs for task in passes)
    assert {schedule.segment_of[task.key] for task in passes} == {1}
    assert schedule.segment_of[came.key] == 0 and schedule.segments == 2


def told_by_another(kind: str) -> Schedule:
    """ue2 is sent something that the BS made of what ue1 had sent; a task of ue2's needs ue1's uplink besides."""

    def key(kind: str, ue: str) -> Key:
        return Key(0, 0, 0, kind, ue)

    work, values = Compute("bs", 0, 1, 5, 5), Activations(1, 5, labels=False)
    tasks = [
        Task(key("ue_forward", "ue1"), "ue1", work),
        Task(key("uplink", "ue1"), up("ue1"), values, (key("ue_forward", "ue1"),)),
        Task(key("bs_forward", "ue1"), BS, work, (key("uplink", "ue1"),)),
        Task(key("downlink", "ue2"), down("ue2"), values, (key("bs_forward", "ue1"),)),
        Task(key("ue_forward", "ue2"), "ue2", work, (key("downlink", "ue2"),)),
        Task(key("uplink", "ue2"), up("ue2"), values, (key("ue_forward", "ue2"),)),
        Task(key("bs_forward", "ue2"), BS, work, (key("uplink", "ue2"),)),
    ]
    more = key("uplink", "ue1")
    return Schedule(
        tuple(dataclasses.replace(t, needs=(*t.needs, more)) if t.key == key(kind, "ue2") else t for t in tasks)
    )


@pytest.mark.parametrize("kind", ["ue_forward", "uplink"])
def test_what_a_message_says_by_the_way_ends_no_segment_and_is_waited_for_by_nobody(kind):
    schedule = told_by_another(kind)
    assert set(schedule.segment_of.values()) == {0}
    assert alone.Round(schedule, lambda task: 1.0).run().keys() == schedule.by_key.keys()


def test_with_one_ue_nothing_is_shared_and_every_batch_follows_from_the_one_before():
    schedule = SCHEMES["sfl"].schedule(plan("sfl", 10, steps=3), 2, "tdd")
    assert not [task for task in schedule.tasks if isinstance(task.work, Load)]
    assert set(schedule.segment_of.values()) == {0}


def test_a_broadcast_is_for_whoever_needs_it_and_keeps_their_links_busy():
    asked = plan("epsl", 10, 0, 6, phi=0.5, broadcast_bps=1e6)
    schedule = SCHEMES["epsl"].schedule(asked, 2, "tdd")
    (broadcast,) = tasks_of(schedule, "broadcast")
    assert schedule.receivers(broadcast) == ("ue1", "ue3")
    assert set(schedule.occupied(broadcast)) == {"air/down", "ue1/down", "ue3/down"}
    assert [t.key.kind for t in schedule.at["ue1/down"]] == ["broadcast", "downlink"]
    work = [(t.work.samples, t.work.rows) for t in tasks_of(schedule, "bs_backward") if isinstance(t.work, Compute)]
    assert work == [(16, 16 - 3)]  # 3 rows of each UE, of 6 the half, go back as one
    assert isinstance(broadcast.work, Gradients) and broadcast.work.samples == 3
