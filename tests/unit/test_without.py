"""A round without a UE that was lost in it: what is left can be done, and nothing else is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schedule.pieces import pass_of
from agents.schedule.task import BS, Average, Compute, Gradients, Load, Schedule, Step, Task, goes_up, owner
from agents.schedule.without import contributions, scales, without
from agents.schemes import SCHEMES
from controller.predict.simulate import simulate
from tests.unit.plans import any_plan, plan

WITH_UES = [name for name, scheme in SCHEMES.items() if scheme.turns != "none"]


def until_lost(draw: st.DrawFn, schedule: Schedule) -> tuple[str, list[Task]]:
    """A UE, and what all have done when it is lost: some of what could be done, in any order that is possible."""
    lost = draw(st.sampled_from(schedule.ues))
    return lost, list(schedule.ordered[: draw(st.integers(0, len(schedule.tasks)))])


def came_of(lost: str, done: list[Task]) -> list[Task]:
    """What the BS has of a UE."""
    return [task for task in done if goes_up(task.place) and owner(task.place) == lost]


@pytest.mark.parametrize("name", WITH_UES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_left_can_be_done_and_all_that_was_done_is_as_it_was(name, data):
    scheme, asked, costs = data.draw(any_plan(name))
    whole = scheme.schedule(asked, len(costs.forward_flops), data.draw(st.sampled_from(["tdd", "fdd"])))
    lost, done = until_lost(data.draw, whole)
    came = came_of(lost, done)
    left = without(whole, lost, [task.key for task in came])
    assert {task.key for task in came} <= left.by_key.keys() <= whole.by_key.keys()
    for task in done:
        if owner(task.place) != lost:
            assert left.by_key[task.key].work == task.work
    for task in left.tasks:
        assert left.by_key.keys() >= set(task.needs)
        assert left.segment_of[task.key] == whole.segment_of[task.key]
    timeline = simulate(left, lambda task: costs.seconds(task, asked))
    assert len(timeline.events) == sum(task.computes or task.transfers for task in left.tasks)


@pytest.mark.parametrize("name", WITH_UES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_others_train_whole_batches_and_every_sample_came_or_is_lost(name, data):
    scheme, asked, costs = data.draw(any_plan(name))
    whole = scheme.schedule(asked, len(costs.forward_flops), "tdd")
    lost, done = until_lost(data.draw, whole)
    left = without(whole, lost, [task.key for task in came_of(lost, done)])
    found = contributions(whole, left)
    for ue in whole.ues:
        assert found[ue].came + found[ue].lost == asked.ues[ue].batch * asked.steps
        assert ue == lost or found[ue].lost == 0
    ways = {True: {}, False: {}}
    for task in left.tasks:
        if isinstance(work := task.work, Compute) and task.agent != lost:
            ways[work.backward][pass_of(task.key, work)] = work.samples
    backward, forward = ways[True], ways[False]
    assert backward.items() <= forward.items()
    if scheme.cuts != "twice":  # where the labels are the UE's, its activations may come and its gradients not
        assert forward.keys() == backward.keys()
    stepped = {key for task in left.tasks if isinstance(task.work, Step) for key in task.needs}
    assert stepped >= {
        task.key
        for task in left.tasks
        if isinstance(task.work, Compute) and task.work.backward and lost not in (task.agent, task.work.model[3:])
    }


@pytest.mark.parametrize("name", WITH_UES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_gradients_are_scaled_to_the_samples_that_came(name, data):
    scheme, asked, costs = data.draw(any_plan(name))
    whole = scheme.schedule(asked, len(costs.forward_flops), "tdd")
    lost, done = until_lost(data.draw, whole)
    left = without(whole, lost, [task.key for task in came_of(lost, done)])
    for key, scale in scales(whole, left).items():
        assert isinstance(left.by_key[key].work, Step) and scale > 1
        assert key.ue == lost or (not scheme.replicas and scheme.cuts != "nowhere"), "each loss is a UE's own"
    assert scales(whole, whole) == {}


def test_a_joint_pass_goes_on_with_what_came_and_its_loss_is_a_mean_of_that():
    whole = SCHEMES["c2p2sl"].schedule(plan("c2p2sl", 6, 3, 3, micro_batches=3), 2, "tdd")
    uplinks = [task.key for task in whole.at["ue1/up"]]
    left = without(whole, "ue1", uplinks[:1])
    passes = [task.work.samples for task in left.at[BS] if isinstance(task.work, Compute) and not task.work.backward]
    assert passes == [2 + 1 + 1, 1 + 1, 1 + 1]
    assert set(scales(whole, left).values()) == {12 / 8}
    assert len(scales(whole, left)) == 3, "the base station's step and those of two UEs"
    found = contributions(whole, left)
    assert [(found[ue].came, found[ue].lost) for ue in ("ue1", "ue2", "ue3")] == [(2, 4), (3, 0), (3, 0)]


def test_whose_turn_is_next_gets_the_weights_that_the_lost_one_was_given():
    whole = SCHEMES["sl"].schedule(plan("sl", 4, 4, 4), 2, "tdd")
    left = without(whole, "ue2", [])
    averages = [task.work.members for task in left.at[BS] if isinstance(task.work, Average)]
    assert averages == [("ue1",), (), ("ue3",)]
    assert [task.place for task in left.tasks if isinstance(task.work, Load)] == ["ue3", "ue1"]


def test_whole_models_are_averaged_over_those_whose_models_came():
    whole = SCHEMES["pipar"].schedule(plan("pipar", 4, 4, 4, micro_batches=2), 2, "fdd")
    left = without(whole, "ue2", [task.key for task in whole.at["ue2/up"][:2]])
    (average,) = [task.work for task in left.at[BS] if isinstance(task.work, Average)]
    assert average.members == ("ue1", "ue3") and average.samples == (4, 4)
    found = contributions(whole, left)
    assert (found["ue2"].came, found["ue2"].lost) == (0, 4), "served, but in no model that is left"
    assert left.holders == ("ue1", "ue3")


def test_of_two_that_are_lost_nothing_is_left_but_what_came():
    whole = SCHEMES["psl"].schedule(plan("psl", 4, 4, 4), 2, "tdd")
    left = without(without(whole, "ue1", []), "ue3", [whole.at["ue3/up"][0].key])
    assert [task.work.samples for task in left.at[BS] if isinstance(task.work, Compute)] == [8, 8]
    assert {task.place for task in left.tasks if isinstance(task.work, Gradients)} == {"ue2/down"}
    assert left.holders == () and not left.shares_weights
