"""Which passes are one piece of work for the host, and that they are paced and reported as they should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schedule.pieces import Group, at_once, groups, pieces
from agents.schedule.task import BS, Compute, Schedule, is_link, owner
from agents.schedule.vocabulary import Round
from agents.schemes import SCHEMES
from agents.schemes.joint import send
from tests.unit.loopback import costs, job, samples, world
from tests.unit.plans import any_plan, plan


def pieces_at(schedule: Schedule, place: str) -> list[Group]:
    """The pieces of work of a processor."""
    return [piece for group in groups(schedule.at.get(place, ())) for piece in pieces(schedule, group)]


def kinds(piece: Group) -> list[str]:
    """What is done in a piece of work."""
    return [task.key.kind for task in piece]


@pytest.mark.parametrize(
    ("name", "place", "first"),
    [
        ("psl", BS, ["bs_forward", "bs_backward", "bs_step"]),
        ("sfl", BS, ["bs_forward", "bs_backward", "bs_step"]),
        ("sfl", "bs/ue1", ["bs_forward", "bs_backward", "bs_step"]),
        ("epsl", BS, ["bs_forward", "bs_backward", "bs_step"]),
        ("gpipe", BS, ["bs_forward"]),
        ("fl", "ue1", ["ue_forward", "ue_backward", "ue_step"]),
        ("psl", "ue1", ["ue_forward"]),
    ],
)
def test_a_pass_that_ends_in_the_loss_is_one_piece_of_work_with_its_way_back(name, place, first):
    workers = "per_ue" if "/" in place else "one"
    schedule = SCHEMES[name].schedule(plan(name, 10, 6, phi=0.5, workers=workers), 2, "fdd")
    assert kinds(pieces_at(schedule, place)[0]) == first
    assert bool(at_once(schedule, owner(place))) == ("backward" in " ".join(first))


def test_the_head_of_a_ushape_ue_is_one_piece_and_its_middle_is_not():
    schedule = SCHEMES["ushape"].schedule(plan("ushape", 10, 6, units=3, head_cut=2), 3, "tdd")
    assert ["head_forward", "head_backward"] in [kinds(piece) for piece in pieces_at(schedule, "ue1")]
    assert not at_once(schedule, BS)


def test_what_somebody_else_waits_for_in_between_leaves_in_between():
    r = Round(plan("own", 10), 2)
    send(r, r.ues)
    r.bs_forward(r.ues, 0)
    r.head_downlink("ue1", 0, r.units)
    r.bs_backward(r.ues, 0, at_once=True)
    r.step(BS)
    assert [kinds(piece) for piece in pieces_at(r.schedule(), BS)] == [["bs_forward"], ["bs_backward", "bs_step"]]
    assert not at_once(r.schedule(), BS)


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), duplex=st.sampled_from(["tdd", "fdd"]))
def test_every_task_is_in_one_piece_and_a_piece_waits_for_nothing_in_between(name, data, duplex):
    scheme, asked, times = data.draw(any_plan(name))
    schedule = scheme.schedule(asked, len(times.forward_flops), duplex)
    for place, tasks in schedule.at.items():
        if is_link(place):
            continue
        found = pieces_at(schedule, place)
        assert [task for piece in found for task in piece] == list(tasks)
        for piece in found:
            here = {task.key for task in piece}
            passes = [task for task in piece if isinstance(task.work, Compute)]
            for task in passes[1:]:
                assert here.union(piece[0].needs).issuperset(task.needs)
            for task in passes[:-1]:
                assert here.issuperset(one.key for one in schedule.needing(task.key))


def spans(events: list[dict[str, object]], *names: str) -> Iterator[tuple[int, int]]:
    """Start and end of the tasks of these kinds, in order."""
    return ((e["start_ns"], e["end_ns"]) for kind in names for e in events if e["task"] == kind)  # type: ignore[misc]


def test_a_forward_pass_and_its_way_back_are_paced_as_one_and_reported_as_two():
    asked = job("psl", 2, 1, batches=(8,), paced=True, costs=costs(bs_s=0.002))  # 3 units × 8 samples × 2 ms
    with world({"ue1": samples(20, 1)}) as agents:
        agents.configure(asked)
        agents.round(1)
        (start, middle), (then, end) = spans(agents.events, "bs_forward", "bs_backward")
        busy = [e for e in agents.events if str(e["task"]).startswith("bs_")]
    assert middle - start == pytest.approx(48e6, abs=2)
    assert then == middle
    assert end - start >= 144e6 - 2
    assert [e["overrun_ns"] for e in busy] == [0, 0]
