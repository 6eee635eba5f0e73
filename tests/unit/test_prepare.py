"""What is fitted to a host before a trial: the dilation, and a prediction that is made at it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.schedule.task import BS
from controller.planners.planning import plan_all, with_messages
from controller.predict.instance import instance
from controller.predict.prediction import decision_of, typical
from controller.predict.workload import workload
from controller.trial import fit as fitting
from controller.trial import prepare as preparing
from controller.trial.demand import (
    BUBBLE_ERROR,
    ROUND_ERROR,
    SHAPED_BPS,
    Dilation,
    fewest_cores,
    keeps,
    need,
    pick_dilation,
)
from controller.trial.duration import duration, in_words
from controller.trial.fit import fit
from controller.trial.watch import silent
from testbed.compute import Calibration, Transport, UnitSpeed, two_digits
from testbed.loading import load
from testbed.topology import SchemeChoice

QUICKSTART = Path("topologies/quickstart.yaml")
DEAR = Transport(message_s=0.01, message_bytes=20_000)


def test_the_same_plan_at_another_dilation_is_predicted_with_messages_at_that_dilation():
    topology = load(QUICKSTART)
    for one in plan_all(topology, 4.0, DEAR):
        then = one.at(2.0, DEAR)
        assert one.problem.message_s == DEAR.message_s / 4 and then.problem.message_s == DEAR.message_s / 2
        assert then.plan.time_dilation == 2.0 and then.plan.ues == one.plan.ues and then.decision is one.decision
        expected = typical(then.problem, one.scheme, one.decision, topology.seed, topology.training.rounds)
        assert then.predicted.round_s == expected.round_s == then.timeline.round_s
        assert then.predicted.round_s > one.predicted.round_s
        assert then.latency.fixed_s == pytest.approx(one.latency.fixed_s * 2)
        assert one.at(4.0, DEAR) == one


def test_a_trial_is_predicted_at_the_dilation_that_it_is_run_at(monkeypatch):
    """What messages cost is known only with the dilation, and how many there are decides on the dilation."""
    topology, asked = load(QUICKSTART).model_copy(update={"schemes": (SchemeChoice(scheme="c2p2sl", cut=2),)}), []
    calibration = Calibration(tuple(UnitSpeed(unit, 0.005, 1e-6, 0.005, 1e-6) for unit in topology.units), DEAR)

    def plan_all_and_say(topology, *messages):
        asked.append(messages)
        return plan_all(topology, *messages)

    monkeypatch.setattr(preparing, "calibrate", lambda engine, topology, threads: calibration)
    monkeypatch.setattr(preparing, "deal", lambda topology, plan: SimpleNamespace(dealings=None))
    monkeypatch.setattr(preparing, "plan_all", plan_all_and_say)
    monkeypatch.setattr(fitting, "plan_all", plan_all_and_say)
    prepared = preparing.prepare(
        SimpleNamespace(info=lambda: {"NCPU": 64, "MemTotal": 24e9}, has_gpu=lambda: False, containers=lambda **_: []),
        topology,
        silent,
    )
    assert [len(messages) for messages in asked] == [0, 2]
    assert asked[1][0] != prepared.dilation, "a case in which the first guess is right shows nothing"
    problem = with_messages(instance(topology, workload(topology)), prepared.dilation, DEAR)
    for one in prepared.planned:
        again = typical(problem, one.scheme, decision_of(one.plan), topology.seed, topology.training.rounds)
        assert one.predicted.round_s == pytest.approx(again.round_s, rel=1e-12)
        assert one.problem.message_s == DEAR.message_s / prepared.dilation
        assert one.plan.time_dilation == prepared.dilation


SHARED = Path("topologies/schemes.yaml")
SPEED = Calibration(tuple(UnitSpeed(f"unit{i}", 1e-4, 1e-5, 1e-4, 2e-5) for i in range(5)), Transport())


def needed(scheme: str, calibration: Calibration = SPEED, **changed: object):
    """What one scheme of the shipped scene needs of a host whose passes take a tenth of a millisecond or more."""
    topology = load(SHARED).model_copy(update=changed)
    topology = topology.model_copy(update={"schemes": tuple(c for c in topology.schemes if c.scheme == scheme)})
    problem = instance(topology, workload(topology))
    return topology, need(topology, problem, calibration, plan_all(topology))


def test_a_task_of_microseconds_does_not_rule_the_dilation():
    topology, found = needed("ushape")
    assert [task for task in found.tasks if task.model_s < 1e-5], "the last unit alone takes a device microseconds"
    assert pick_dilation(topology, found, cores=2).value < 5


@pytest.mark.parametrize("scheme", ["ushape", "psl", "pipar"])
def test_the_dilation_is_the_least_that_keeps_the_round(scheme):
    slow = Calibration(tuple(UnitSpeed(f"unit{i}", 1e-4, 2e-4, 1e-4, 4e-4) for i in range(5)), Transport())
    topology, found = needed(scheme, slow)
    picked = pick_dilation(topology, found, cores=2)
    assert picked.value > 1
    (case,) = found.cases
    assert case.longer(2, picked.value) <= ROUND_ERROR < case.longer(2, picked.value / 1.12)


@pytest.mark.parametrize("compute", ["paced", "quota"])
def test_a_trial_needs_the_fewest_cores_that_keep_its_dilation(compute):
    ue, bs = UnitSpeed("of a UE", 1e-4, 4e-3, 1e-4, 8e-3), UnitSpeed("of the BS", 0.0, 1e-6, 0.0, 1e-6)
    topology, found = needed("psl", Calibration((ue, ue, bs, bs, bs), Transport()), compute=compute)
    many = pick_dilation(topology, found, 64).value
    fewest = fewest_cores(topology, found, 64, many)
    assert 1 < fewest < 64
    assert pick_dilation(topology, found, fewest).value == many < pick_dilation(topology, found, fewest - 1).value
    fixed = topology.model_copy(update={"time_dilation": 1.0})
    assert fewest_cores(fixed, found, 2, 1.0) == 2, "all where the host does not keep up at all"


def test_tasks_that_overrun_beside_the_chain_change_the_bubble_rate_and_so_the_dilation():
    units = [UnitSpeed(f"unit{i}", 0.0, 1e-6, 0.0, 1e-6) for i in range(2)]
    slow = Calibration((*units, *(UnitSpeed(f"unit{i}", 2e-3, 1e-4, 2e-3, 1e-4) for i in range(3))), Transport())
    topology, found = needed("c2p2sl", slow)
    (case,) = found.cases
    picked = pick_dilation(topology, found, cores=2).value
    assert keeps([case], 2, picked) and not keeps([case], 2, picked / 1.12)
    assert case.bubbles_off(2, picked) <= BUBBLE_ERROR < case.bubbles_off(2, 1.0)


def test_what_limits_the_dilation_is_named_with_its_times():
    units = [UnitSpeed(f"unit{i}", 0.0, 1e-6, 0.0, 1e-6) for i in range(4)]
    slow = Calibration((*units, UnitSpeed("unit5", 0.0, 1e-3, 0.0, 1e-2)), Transport())
    topology, found = needed("psl", slow)
    picked = pick_dilation(topology, found, cores=2)
    assert picked.agent == BS
    assert picked.limited_by is not None
    assert picked.limited_by.startswith("what bs computes under psl: 0.704 s a round here")


def test_a_host_that_keeps_up_limits_nothing():
    topology, found = needed("psl")
    assert pick_dilation(topology, found, cores=2) == Dilation(1.0)


def test_where_the_kernel_sets_the_pace_every_share_must_fit():
    slow = Calibration(tuple(UnitSpeed(f"unit{i}", 0.0, 1e-3, 0.0, 1e-3) for i in range(5)), Transport())
    topology, found = needed("psl", slow, compute="quota")
    most = max(task.host_s / task.model_s for task in found.tasks)
    assert pick_dilation(topology, found, cores=64).value == pytest.approx(most / 0.8, rel=0.1)


def test_links_that_the_host_cannot_move_at_once_dilate_time():
    narrow = replace(SPEED, transport=Transport(link_bps=1e6))
    topology, found = needed("psl", narrow)
    assert pick_dilation(topology, found, cores=2).value == two_digits(found.air / 0.8) > 1


def test_a_broadcast_is_a_copy_for_each_on_the_links():
    topology, found = needed("epsl")
    (planned,) = plan_all(topology)
    assert found.air == pytest.approx(planned.plan.broadcast_bps * len(topology.ues) / SHAPED_BPS)


def calibrations(asked: list[int]):
    """A host each of whose cores is as fast when the BS uses several of them."""
    unit = UnitSpeed("unit", 0.0, 1e-2, 0.0, 2e-2)

    def calibrate(threads: int) -> Calibration:
        asked.append(threads)
        more = {"bs_units": (unit,) * 5, "bs_threads": threads} if threads > 1 else {}
        return Calibration((UnitSpeed("unit", 0.0, 1e-6, 0.0, 1e-6),) * 2 + (unit,) * 3, **more)

    return calibrate


def test_a_base_station_that_rules_the_dilation_uses_all_cores():
    topology, asked = load(QUICKSTART), []
    topology = topology.model_copy(update={"schemes": (SchemeChoice(scheme="psl", cut=2),)})
    found = fit(topology, plan_all(topology), calibrations(asked), cores=2)
    assert asked == [1, 2] and found.bs_threads == 2
    one = topology.base_station.model_copy(update={"threads": 1})
    alone = fit(topology.model_copy(update={"base_station": one}), plan_all(topology), calibrations(asked), cores=2)
    assert alone.bs_threads == 1 and asked == [1, 2, 1]
    assert alone.dilation.value / 2 < found.dilation.value < 0.8 * alone.dilation.value  # what they share is more work


def test_how_long_a_trial_takes_follows_from_its_rounds_and_the_dilation():
    topology = load(QUICKSTART).model_copy(update={"schemes": (SchemeChoice(scheme="psl", cut=2),)})
    (planned,) = plan_all(topology)
    takes = duration(topology, [planned], 10.0, SPEED, cores=2)
    rounds_s = topology.training.rounds * planned.timeline.round_s * 10
    assert rounds_s < takes.schemes_s["psl"] < rounds_s + 15
    assert str(takes).startswith("about ") and in_words(7200) == "2.0 h" and in_words(12) == "12 s"
