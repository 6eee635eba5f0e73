"""Faults on schedules: where they strike, what is refused, and that a seed draws the same ones again."""

from __future__ import annotations

import pytest

from agents.schedule.task import Key
from controller.planners.planning import plan_all
from controller.predict.strikes import strikes_of, tasks_of
from testbed.errors import InputError
from testbed.loading import parse

TWO = """
name: t
training: {batch: 32, rounds: 10}
ues: [{name: ue1}, {name: ue2}]
schemes: [{scheme: psl, cut: 2}, {scheme: c2p2sl, cut: 2, micro_batches: 4}]
"""
CLUSTERS = """
name: t
training: {batch: 32, rounds: 10}
ues: [{name: ue1}, {name: ue2}, {name: ue3}, {name: ue4}]
schemes: [{scheme: cpsl, cut: 2, cluster_size: 2}]
"""


def struck(faults, base=TWO):
    topology = parse(f"{base}\nfaults: {faults}\n", "t.yaml")
    return strikes_of(topology, plan_all(topology))


def test_a_fault_strikes_its_task_in_every_scheme():
    found = struck("[{round: 3, ue: ue2, task: uplink, kind: cut, for_s: 2}]")
    for label in ("psl", "c2p2sl"):
        (strike,) = found[label][3]
        assert (strike.ue, strike.kind, strike.for_s) == ("ue2", "cut", 2.0)
        assert strike.key == Key(0, 0, 0, "uplink", "ue2")


def test_a_micro_batch_and_a_scheme_can_be_told():
    found = struck("[{round: 3, ue: ue2, task: uplink, micro_batch: 2, kind: kill, scheme: c2p2sl}]")
    assert found["psl"] == {}
    assert found["c2p2sl"][3][0].key == Key(0, 0, 2, "uplink", "ue2")


def test_a_fault_without_a_task_strikes_as_the_round_begins():
    assert struck("[{round: 1, ue: ue1, kind: kill}]")["psl"][1][0].key is None


def test_the_bs_is_struck_at_its_own_tasks():
    assert struck("[{round: 1, ue: bs, task: bs_backward, kind: kill}]")["psl"][1][0].key.kind == "bs_backward"


def test_a_joint_pass_is_that_of_the_ues_cluster():
    schedule = plan_all(parse(CLUSTERS, "t.yaml"))[0].schedule(1)
    turn = {task.key.turn for task in schedule.tasks if task.place == "ue4" and task.computes}
    assert {task.key.turn for task in tasks_of(schedule, "ue4") if task.key.kind == "bs_forward"} == turn
    assert len(turn) == 1


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (
            "[{round: 3, ue: ue2, kind: kill}, {round: 3, ue: ue2, task: weights_up, kind: kill}]",
            "faults.1.task: psl has no weights_up of ue2 in round 3 (hint: ue2 has ue_forward, uplink, bs_forward, "
            "bs_backward, downlink, ue_backward, or say for which scheme: scheme: psl)",
        ),
        (
            "[{round: 3, ue: ue2, task: uplink, micro_batch: 2, kind: kill}]",
            "faults.0.micro_batch: psl has no micro-batch 2 in uplink of ue2 (hint: there is 0, or say for which "
            "scheme: scheme: psl)",
        ),
        (
            "[{round: 3, ue: ue2, task: uplink, micro_batch: 4, kind: kill, scheme: c2p2sl}]",
            "faults.0.micro_batch: c2p2sl has no micro-batch 4 in uplink of ue2 (hint: there is 0, 1, 2, 3)",
        ),
        (
            "[{round: 3, ue: bs, task: uplink, kind: kill, scheme: psl}]",
            "faults.0.task: psl has no uplink of bs in round 3 (hint: bs has bs_forward, bs_backward)",
        ),
    ],
)
def test_a_task_that_is_not_there_is_refused(faults, error):
    with pytest.raises(InputError) as refused:
        struck(faults)
    assert str(refused.value) == error


def test_a_round_that_the_command_line_takes_away_is_refused():
    topology = parse(f"{TWO}\nfaults: [{{round: 3, ue: ue2, kind: kill}}]\n", "t.yaml")
    fewer = topology.model_copy(update={"training": topology.training.model_copy(update={"rounds": 2})})
    with pytest.raises(InputError, match=r"faults\.0\.round: 3 is after the last round of psl, 2"):
        strikes_of(fewer, plan_all(fewer))


def test_the_same_seed_draws_the_same_faults():
    assert struck("{rate: 0.5}") == struck("{rate: 0.5}")
    assert struck("{rate: 0.5}") != struck("{rate: 0.5}", TWO.replace("name: t", "name: t\nseed: 8"))


def test_as_many_are_drawn_as_are_asked_for():
    found = struck("{count: 13, kinds: [cut, restart], for_s: 3}")
    drawn = [strike for rounds in found.values() for strikes in rounds.values() for strike in strikes]
    assert len(drawn) == 13
    assert {strike.kind for strike in drawn} == {"cut", "restart"}
    assert all(strike.for_s == (3 if strike.kind == "cut" else None) for strike in drawn)
    assert {strike.ue for strike in drawn} == {"ue1", "ue2"}


def test_a_rate_is_the_share_of_rounds():
    assert all(len(struck("{rate: 1.0}")[label]) == 10 for label in ("psl", "c2p2sl"))
    assert 3 < len(struck("{rate: 0.5}")["psl"]) + len(struck("{rate: 0.5}")["c2p2sl"]) < 17


def test_the_bs_is_only_done_what_can_be_done_to_it():
    found = struck("{count: 20, ues: [bs]}")
    kinds = {strike.kind for rounds in found.values() for strikes in rounds.values() for strike in strikes}
    assert kinds == {"kill", "restart"}
