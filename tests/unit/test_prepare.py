"""What is fitted to a host before a trial: the dilation, and a prediction that is made at it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.planners.planning import plan_all, with_messages
from controller.predict.instance import instance
from controller.predict.prediction import decision_of, typical
from controller.predict.workload import workload
from controller.trial import prepare as preparing
from controller.trial.demand import need, pick_dilation
from controller.trial.watch import silent
from testbed.compute import Calibration, Transport, UnitSpeed
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

    monkeypatch.setattr(preparing, "calibrate", lambda engine, topology: calibration)
    monkeypatch.setattr(preparing, "deal", lambda topology, plan: None)
    monkeypatch.setattr(preparing, "plan_all", plan_all_and_say)
    prepared = preparing.prepare(SimpleNamespace(info=lambda: {"NCPU": 64}), topology, silent)
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


def needed(scheme: str):
    """What one scheme of the shipped scene needs of a host whose passes take a tenth of a millisecond or more."""
    topology = load(SHARED)
    topology = topology.model_copy(update={"schemes": tuple(c for c in topology.schemes if c.scheme == scheme)})
    problem = instance(topology, workload(topology))
    return topology, need(problem, SPEED, plan_all(topology))


def test_a_task_of_microseconds_does_not_rule_the_dilation():
    topology, found = needed("ushape")
    heads = [task for task in found.tasks if task.model_s < 1e-5]
    assert heads, "the last unit alone takes a device some microseconds"
    assert not {task for turn in found.turns for task in turn}.intersection(heads)
    assert pick_dilation(topology, found, cores=2) < 5


def test_what_small_tasks_add_to_the_round_is_kept_small():
    topology, found = needed("ushape")
    (error,) = found.errors
    assert error(1.0) > error(2.0) > error(10.0) > 0
    slow = replace(found, errors=(lambda dilation: 0.1 / dilation,))
    assert 0.1 / pick_dilation(topology, slow, cores=2) <= 0.005


def test_without_small_tasks_nothing_is_simulated():
    assert needed("psl")[1].errors == ()
