"""Cores that computations share: when each is done, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.schedule.task import BS, Compute, Key, Schedule, Task
from controller.predict.cores import Cores, Host
from controller.predict.simulate import simulate


def done(cores: Cores) -> dict[int, float]:
    """When each computation is done, if no more come."""
    found: dict[int, float] = {}
    while cores:
        i, at_s = cores.pop()
        found[i] = at_s
    return found


def test_as_many_as_there_are_cores_do_not_disturb_each_other():
    cores = Cores(2)
    cores.add(0, 0.0, 3.0, 1)
    cores.add(1, 1.0, 1.0, 1)
    assert done(cores) == {1: 2.0, 0: 3.0}


def test_three_on_two_cores_get_two_thirds_each():
    cores = Cores(2)
    for i, work_s in enumerate((2.0, 2.0, 4.0)):
        cores.add(i, 0.0, work_s, 1)
    assert done(cores) == {0: pytest.approx(3.0), 1: pytest.approx(3.0), 2: pytest.approx(5.0)}


def test_one_with_two_threads_takes_what_others_leave():
    cores = Cores(2)
    cores.add(0, 0.0, 8.0, 2)  # alone: 2 cores
    cores.add(1, 1.0, 3.0, 1)  # then one each
    assert done(cores) == {1: 4.0, 0: pytest.approx(5.5)}


def test_one_that_can_use_two_cores_gets_no_more_than_others_when_they_are_many():
    cores = Cores(2)
    for i, threads in enumerate((2, 1, 1, 1)):
        cores.add(i, 0.0, 1.0, threads)
    assert done(cores) == dict.fromkeys(range(4), pytest.approx(2.0))


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5), st.sampled_from([1, 2, 4])), min_size=1, max_size=12),
)
def test_no_core_does_more_than_its_time_and_nothing_is_lost(count, wanted):
    cores, found, begun = Cores(count), {}, sorted(wanted)
    for i, (at_s, work_s, threads) in enumerate(begun):
        while cores and cores.next_s <= at_s:
            found.update([cores.pop()])
        cores.add(i, at_s, work_s, threads)
    found.update(done(cores))
    assert len(found) == len(wanted)
    for i, (at_s, work_s, threads) in enumerate(begun):
        assert found[i] >= at_s + work_s / min(threads, count) - 1e-9
    assert max(found.values()) >= sum(work_s for _, work_s, _ in begun) / count - 1e-9


def compute(ue: str, needs: tuple[Key, ...] = (), place: str = "") -> Task:
    return Task(Key(0, 0, 0, f"forward_{place or ue}", ue), place or ue, Compute(ue, 0, 1, 1, 1), needs)


def test_a_round_is_longer_where_the_host_is_not_done_in_time():
    ues = [compute(f"ue{i}") for i in range(3)]
    schedule = Schedule((*ues, compute("all", tuple(t.key for t in ues), BS)))
    assert simulate(schedule, lambda task: 1.0).round_s == 2.0
    free = Host(2, lambda task: 0.5)
    assert simulate(schedule, lambda task: 1.0, host=free).round_s == pytest.approx(2.0)
    slow = Host(2, lambda task: 1.0 if task.place == BS else 0.8, lambda task: 0.125)
    assert simulate(schedule, lambda task: 1.0, host=slow).round_s == pytest.approx(0.8 * 3 / 2 + 0.125 + 1.125)
