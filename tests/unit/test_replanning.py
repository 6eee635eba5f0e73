"""Plans that are made anew between rounds: never predicted longer than those that stay, and told by the journal."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise

import pytest

from agents.schedule.task import Give
from controller.judge.derive import scheme_result
from controller.judge.record import records
from controller.planners import replanning
from controller.planners.planning import plan_all
from controller.planners.replanning import Course
from controller.predict.channel import moment
from testbed.loading import digest, parse
from tests import recorded

HEAD = """
name: anew
training: {batch: 36, rounds: 5}
radio: {bandwidth_mhz: 5}
dynamics: {shadowing_db: 6, compute_jitter: 0.3}
base_station: {clock_ghz: 4, flops_per_cycle: 1.5}
ues:
  - {name: ue1, distance_m: 250, flops_per_cycle: 1.5}
  - {name: ue2, distance_m: 260, flops_per_cycle: 1.5}
  - {name: ue3, distance_m: 270, flops_per_cycle: 1.5}
  - {name: ue4, distance_m: 280, flops_per_cycle: 1.5}
  - {name: ue5, distance_m: 290, flops_per_cycle: 1.5}
  - {name: ue6, distance_m: 300, flops_per_cycle: 1.5}
"""
SCHEMES = {
    "c2p2sl": "{scheme: c2p2sl, planner: makespan}",
    "psl": "{scheme: psl, planner: ao}",
    "sl": "{scheme: sl, planner: makespan}",
    "cpsl": "{scheme: cpsl, cluster_size: 3, planner: cpsl, cut: 2, local_epochs: 20, "
    "gibbs: {iterations: 100, chains: 2}}",
    "pipar": "{scheme: pipar, planner: pipar, sync_every: batch}",
}


def scene(scheme: str, replan: str = "{every: 1}"):
    """A topology, and the first plan of this scheme."""
    topology = parse(f"{HEAD}\nreplan: {replan}\nschemes: [{SCHEMES.get(scheme, scheme)}]", "test")
    return topology, plan_all(topology)[0]


def steps(topology, planned, rounds=5):
    """The steps of a course whose rounds take as long as predicted."""
    course, clock_s, found = Course(topology, planned), 0.0, []
    for number in range(1, rounds + 1):
        found.append(course.step(number, clock_s))
        clock_s += found[-1].predicted_s
    return found


def still(topology):
    """The topology whose plans stay."""
    return topology.model_copy(update={"replan": None})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rounds_are_not_longer_than_under_the_first_plan(scheme):
    topology, planned = scene(scheme)
    anew, stays = steps(topology, planned), steps(still(topology), planned)
    together_s, stays_s = (sum(step.predicted_s for step in found) for found in (anew, stays))
    assert together_s <= stays_s * (1 + 1e-9)
    if not any(step.planned.plan.moving for step in anew):
        assert all(a.predicted_s <= b.predicted_s * (1 + 1e-9) for a, b in zip(anew, stays, strict=True))
    if scheme != "pipar":
        assert any(not step.kept for step in anew) and together_s < stays_s


def test_cpsl_deals_its_clusters_anew_and_keeps_its_cut():
    topology, planned = scene("cpsl")
    found = steps(topology, planned)
    assert len({tuple(step.planned.plan.clusters.items()) for step in found}) > 1
    assert {step.planned.plan.cut for step in found} == {planned.plan.cut}


def test_who_comes_first_in_a_new_order_is_given_the_weights_that_others_got():
    topology, planned = scene("cpsl")
    found = steps(topology, planned)
    for before, step in pairwise(found):
        first = step.planned.scheme.groups(step.planned.plan.clusters)[0]
        had = before.planned.schedule(1).holders
        given = {t.key.ue for t in step.planned.schedule(1).tasks if t.key.kind == "move_down"}
        assert given == set(first) - set(had)
    assert any(t.key.kind == "move_down" for step in found for t in step.planned.schedule(1).tasks)


def test_weights_that_are_moved_take_their_own_time_of_the_air_and_no_more():
    """One UE that gets them begins later by that, and keeps nobody waiting for longer."""
    topology, planned = scene("cpsl")
    clock_s, moves = 0.0, 0
    for number, step in enumerate(steps(topology, planned), 1):
        there = replace(step.planned, plan=replace(step.planned.plan, moving=None))
        longer_s = step.predicted_s - moment(topology, there, number, clock_s).timeline.round_s
        moves_s = [e.end_s - e.start_s for e in step.now.timeline.events if e.key.kind == "move_down"]
        assert longer_s <= max(moves_s, default=0.0) + 1e-9
        clock_s, moves = clock_s + step.predicted_s, moves + len(moves_s)
    assert moves


@pytest.mark.parametrize(("every", "anew"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [1, 5])])
def test_every_so_many_rounds(every, anew):
    found = steps(*scene("c2p2sl", f"{{every: {every}}}"))
    assert [number for number, step in enumerate(found, 1) if step.gained_s is not None] == anew


def test_only_when_rates_have_changed():
    topology, planned = scene("c2p2sl", "{when: rates}")
    jitter = topology.dynamics.model_copy(update={"shadowing_db": 0.0})
    found = steps(topology.model_copy(update={"dynamics": jitter}), planned)
    assert [step.gained_s is not None for step in found] == [True, *[False] * 4]
    assert all(step.gained_s is not None for step in steps(topology, planned))


def test_a_plan_that_is_kept_keeps_its_slots_and_batches():
    found = steps(*scene("c2p2sl", "{every: 3}"))
    one, same = found[0].now.plan, found[1].now.plan
    assert [(u.batch, u.slot_up_s) for u in one.ues.values()] == [(u.batch, u.slot_up_s) for u in same.ues.values()]
    assert [u.uplink_bps for u in one.ues.values()] != [u.uplink_bps for u in same.ues.values()]


def test_the_planners_time_is_part_of_the_round_if_it_is_charged(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(replanning.time, "perf_counter", lambda: 0.25 * next(ticks))
    free, charged = (scene("c2p2sl", f"{{charge: {charge}}}") for charge in ("false", "true"))
    without, with_it = (Course(*one).step(1, 0.0) for one in (free, charged))
    assert without.planner_s == with_it.planner_s == 0.25
    assert with_it.predicted_s == pytest.approx(without.predicted_s + 0.25)
    busy_s = [step.predicted_s * (1 - step.predicted_bubble_rate) for step in (without, with_it)]
    assert busy_s[0] == pytest.approx(busy_s[1])


def test_an_entry_keeps_its_plan_if_it_says_so_and_one_that_cannot_is_named():
    topology, planned = scene("{scheme: c2p2sl, planner: makespan, replan: false}, psl, fl, {scheme: sl, cut: 2}")
    assert all(step.gained_s is None for step in steps(topology, planned, 2))
    told = {p.label: [w for w in p.warnings if "anew" in w] for p in plan_all(topology)}
    assert told["c2p2sl"] == told["psl"] == []
    assert told["fl"] == ["not planned anew between rounds: nothing of fl is planned anew between rounds"]
    assert "sl leaves nothing to decide" in told["sl"][0]


def test_what_is_up_stays_up_when_plans_are_made_anew():
    topology, _ = scene("c2p2sl")
    assert digest(topology) == digest(still(topology))


@pytest.mark.parametrize("charge", ["false", "true"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_results_of_rounds_under_several_plans_follow_from_the_journal(scheme, charge):
    topology, planned = scene(scheme, f"{{charge: {charge}}}")
    lines = [{"event": event, "scheme": scheme, **line} for event, line in recorded.scheme(topology, planned, 0.0, 5)]
    (record,) = records(lines).values()
    found = scheme_result(record)
    for number, row in enumerate(found.rounds, 1):
        predicted = record.predicted(number)
        assert predicted is not None
        assert predicted.round_s + row.charged_s == pytest.approx(row.predicted_s, abs=1e-9)
    assert found.summary.round_error == pytest.approx(0.0, abs=1e-9)
    assert found.summary.bubble_rate_error == pytest.approx(0.0, abs=1e-9)
    assert max(abs(error) for error in found.fidelity.link_errors.values()) < 1e-6
    assert max(map(abs, found.fidelity.explained.model_dump().values())) < 1e-9
    assert [one.round for one in found.replanned] == [1, 2, 3, 4, 5]
    assert [one.plan for one in found.replanned] == [line["plan"] for line in lines if line["event"] == "plan"]
    assert all(one.planner_s > 0 for one in found.replanned)
    assert all((r.charged_s > 0) == (charge == "true") for r in found.rounds)


def test_a_change_of_the_cut_is_in_the_round_that_it_begins():
    topology, planned = scene("{scheme: c2p2sl}")
    course = Course(topology, planned)
    course.step(1, 0.0)
    other = replace(planned, plan=replace(planned.plan, cut=3), decision=replace(planned.decision, cut=3))
    moved = course._moved(other, 2, planned.plan, ())
    gives = [task for task in moved.schedule(2).tasks if isinstance(task.work, Give)]
    assert len(gives) == (1 if planned.plan.cut < 3 else 6)
    assert asdict(moved.plan)["moving"]["cuts"] == dict.fromkeys(planned.plan.ues, planned.plan.cut)
