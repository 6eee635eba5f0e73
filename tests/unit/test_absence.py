"""Plans while UEs are away: the others take over their samples as far as they can, and who is back gets the weights."""

from __future__ import annotations

import numpy as np
import pytest

from controller.planners.planning import plan_all
from controller.planners.replanning import Course
from controller.predict.prediction import costs_of, wait_s
from controller.predict.simulate import simulate
from testbed.loading import parse

SCENE = """
name: away
training: {batch: 36, rounds: 5}
radio: {bandwidth_mhz: 5}
base_station: {clock_ghz: 4, flops_per_cycle: 1.5}
ues:
  - {name: ue1, distance_m: 250, flops_per_cycle: 1.5}
  - {name: ue2, distance_m: 260, flops_per_cycle: 1.5}
  - {name: ue3, distance_m: 270, flops_per_cycle: 1.5}
  - {name: ue4, distance_m: 280, flops_per_cycle: 1.5}
"""
SCHEMES = {
    "psl": "{scheme: psl, planner: ao}",
    "c2p2sl": "{scheme: c2p2sl, planner: makespan}",
    "uniform": "{scheme: c2p2sl}",
    "epsl": "{scheme: epsl, planner: epsl}",
    "gpipe": "{scheme: gpipe}",
    "ushape": "{scheme: ushape}",
    "sl": "{scheme: sl, planner: makespan}",
    "sfl": "{scheme: sfl}",
    "sfl-v2": "{scheme: sfl-v2}",
    "fl": "{scheme: fl, sync_every: batch}",
    "cpsl": "{scheme: cpsl, cluster_size: 2, planner: cpsl, cut: 2, gibbs: {iterations: 100, chains: 2}}",
    "pipar": "{scheme: pipar, planner: pipar, sync_every: batch}",
}
SHARING = ("sl", "sfl", "sfl-v2", "fl", "cpsl", "pipar")


def course_of(scheme: str, more: str = "", **how: object) -> Course:
    topology = parse(f"{SCENE}{more}\nschemes: [{SCHEMES[scheme]}]", "test")
    (planned,) = plan_all(topology)
    course = Course(topology, planned, **how)
    course.step(1, 0.0)
    return course


def catching_up(step) -> set[str]:
    """Who gets what the BS averaged last, before the round begins."""
    number = 9  # of any round under this plan
    return {
        task.place for task in step.planned.schedule(number).tasks if task.key.kind == "take" and task.agent != "bs"
    }


@pytest.mark.parametrize("more", ["", "dynamics: {shadowing_db: 6}"], ids=["still", "fading"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_others_go_on_with_the_whole_batch_and_everybody_comes_back(scheme, more):
    course = course_of(scheme, more)
    first = course._first.plan
    course.lose("ue2")
    step = course.step(2, 1.0)
    plan = step.now.plan
    assert plan.away == ("ue2",) and "ue2" not in plan.clusters and not step.kept
    assert plan.batch in (first.batch, first.batch - first.ues["ue2"].batch) and step.why == "without ue2"
    assert plan.cut == first.cut and [plan.cut_of(ue) for ue in plan.ues] == [first.cut_of(ue) for ue in plan.ues]
    assert plan.steps == first.steps and step.predicted_s > 0
    assert course.step(3, 2.0).planned.plan.away == ("ue2",)
    course.lose("ue1")
    assert course.step(4, 3.0).planned.plan.clusters.keys() == {"ue3", "ue4"}
    course.join("ue2")
    again = course.step(5, 4.0)
    assert again.planned.plan.clusters.keys() == {"ue2", "ue3", "ue4"} and again.why == "ue2 back"
    course.join("ue1")
    assert course.step(6, 5.0).planned.plan.clusters.keys() == first.clusters.keys()
    first_group = again.planned.scheme.groups(again.planned.plan.clusters)[0]
    late = "ue2" in first_group and scheme in SHARING
    assert ("ue2" in catching_up(again)) is late


def test_where_the_others_lack_the_memory_for_more_they_keep_their_batches():
    course = course_of("psl", fits=lambda planned: False)
    first = course._first.plan
    course.lose("ue2")
    plan = course.step(2, 1.0).planned.plan
    assert {ue: part.batch for ue, part in plan.ues.items()} == {
        ue: part.batch if ue != "ue2" else 0 for ue, part in first.ues.items()
    }
    assert plan.ues["ue2"].uplink_bps == 0.0 and plan.ues["ue1"].uplink_bps == first.ues["ue1"].uplink_bps


def test_nothing_changes_where_nobody_is_lost():
    course = course_of("c2p2sl")
    step = course.step(2, 1.0)
    assert step.kept and step.planned.plan == course._first.plan and not np.isnan(step.predicted_s)


@pytest.mark.parametrize("scheme", ["sl", "sfl", "pipar", "psl"])
def test_the_round_in_which_a_ue_is_back_is_predicted_with_what_is_sent_to_it_first(scheme):
    course = course_of(scheme)
    course.lose("ue2")
    course.step(2, 1.0)
    course.join("ue2")
    step, problem = course.step(3, 2.0), course._first.problem
    schedule = step.planned.schedule(3)
    waits = wait_s(step.now.plan, costs_of(problem), step.planned.latency)
    found = simulate(schedule, lambda task: costs_of(problem).seconds(task, step.now.plan), waits)
    assert step.predicted_s == pytest.approx(found.round_s)
