"""The uniform planner, the bound, and the document a plan becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.plan import Plan
from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.planning import plan_all, steps
from controller.predict.bounds import lower_bound_s
from controller.predict.instance import Decision, instance
from controller.predict.paper import constraints
from controller.predict.prediction import decision_of, predict, typical
from controller.predict.workload import workload
from testbed.errors import InputError
from testbed.loading import load, parse
from tests.unit.problems import problem

SCENE = Path("topologies/schemes.yaml")
QUICKSTART = Path("topologies/quickstart.yaml")


def test_uniform_gives_equal_batches_and_slots_that_fill_the_frame():
    decision = PLANNERS["uniform"](Request(problem(n=3, batch=20), SCHEMES["psl"])).decision
    assert decision.batch.tolist() == [7, 7, 6]
    assert decision.slot_up_s.sum() == pytest.approx(0.01)
    assert decision.micro_batches == 1


def test_a_ue_that_is_alone_on_the_air_has_the_whole_frame():
    decision = PLANNERS["uniform"](Request(problem(), SCHEMES["sl"])).decision
    assert decision.slot_up_s.tolist() == [0.01, 0.01]


def test_fixed_cut_and_k_are_kept():
    decision = PLANNERS["uniform"](Request(problem(), SCHEMES["c2p2sl"], cut=1, micro_batches=3)).decision
    assert (decision.cut, decision.micro_batches) == (1, 3)


def test_pipelining_is_never_predicted_slower_than_not_pipelining():
    request = Request(problem(), SCHEMES["c2p2sl"])
    pipelined = predict(problem(), SCHEMES["c2p2sl"], PLANNERS["uniform"](request).decision).round_s
    plain = predict(problem(), SCHEMES["psl"], PLANNERS["uniform"](Request(problem(), SCHEMES["psl"])).decision).round_s
    assert pipelined < plain


def test_c2_names_the_ue_and_the_samples():
    tight = problem(capacity_flop=np.array([1e12, 9e6]))
    with pytest.raises(InputError, match=r"C2: ue2 can hold 3 of its 10 samples at cut 1"):
        PLANNERS["uniform"](Request(tight, SCHEMES["psl"]))


def test_lower_bound_is_the_air_time_where_the_air_is_the_bottleneck():
    # 20 samples x (1000 B / 1.6 Mbit/s + 999 B / 3.2 Mbit/s)
    assert lower_bound_s(problem()) == pytest.approx(20 * (8000 / 1.6e6 + 7992 / 3.2e6))


def test_lower_bound_on_dedicated_links_balances_the_ues():
    # 5 ms + 2.4975 ms of own air per sample, 10 samples each
    assert lower_bound_s(problem(shared_air=False)) == pytest.approx(10 * (8000 / 1.6e6 + 7992 / 3.2e6), rel=1e-6)


@pytest.mark.parametrize("name", ["quickstart", "schemes", "papers/epsl", "papers/pipar-pi-half600-4g"])
def test_plans_are_documents_that_can_be_read_back(name):
    for planned in plan_all(load(Path(f"topologies/{name}.yaml"))):
        document = json.loads(json.dumps(planned.to_json()))
        assert Plan.from_json(document) == planned.plan
        assert set(document["predicted"]) == {"round_s", "bubble_rate", "bs_busy_s", "bs_idle_s", "lower_bound_s"}
        idle = set() if planned.scheme.one_model else {"bs_idle_s", "ue_idle_s"}
        assert set(document["paper"]) == {"bubble_rate", "constraints", "relaxed", *idle}
        assert document["predicted"]["round_s"] >= document["predicted"]["lower_bound_s"]


def test_c4_as_printed_holds_where_the_last_gradient_waits():
    # quickstart at k = 4: C2, C3 and C4 hold and eqs 16 to 18 say 0.375; the schedule gives 0.440
    sl, psl, c2p2sl = plan_all(load(QUICKSTART))
    assert c2p2sl.paper["constraints"] == {"C2": True, "C3": True, "C4": True, "C4_corrected": False}
    assert c2p2sl.paper["bubble_rate"] == pytest.approx(0.375, abs=5e-4)
    assert c2p2sl.predicted.bubble_rate == pytest.approx(0.440, abs=5e-4)
    assert psl.paper["constraints"]["C4_corrected"], "one micro-batch waits for no other"
    assert (sl.paper["bubble_rate"], sl.paper["constraints"]) == (None, {}), "eq. 17 is not about turns"


def test_c4_corrected_is_the_papers_with_computing():
    # per sample and UE: forward 1 ms, up 2.5 ms, down 1.25 ms, backward 2 ms; the BS takes 1.02 ms
    rates = {"rate_up": np.full(2, 6.4e6), "rate_down": np.full(2, 12.8e6)}
    slow = replace(problem(bs_flops=8.8e9), **rates)
    slots = np.full(2, 0.005)
    held = constraints(slow, Decision(1, 2, np.array([10, 10]), slots, slots))
    assert held["C4"] and not held["C4_corrected"]
    held = constraints(replace(slow, ue_flops=np.full(2, 2e9)), Decision(1, 2, np.array([10, 10]), slots, slots))
    assert held["C4"] and held["C4_corrected"]


def test_a_ue_whose_data_is_hardly_used_is_named():
    near_and_far = parse(
        "name: x\ntraining: {batch: 100}\nues: [{name: a, distance_m: 50}, {name: b, distance_m: 3000, min_batch: 2}]\n"
        "schemes: [{scheme: c2p2sl, planner: makespan, cut: 1}, psl]",
        "x.yaml",
    )
    makespan, psl = plan_all(near_and_far)
    assert makespan.warnings == (
        "less than a tenth of an equal share of 50 samples: b trains 2 (min_batch 2); "
        "raise min_batch to have their data used",
    )
    assert psl.warnings == ()


def test_plans_show_learning_rates_where_a_scheme_has_its_own():
    text = "name: x\nues: [{name: a}]\nschemes: [psl, {scheme: sl, lr: 0.1, bs_lr: 0.25, momentum: 0}]"
    psl, sl = plan_all(parse(text, "x.yaml"))
    assert {"lr", "bs_lr", "momentum"} & set(psl.to_json()) == set()
    assert {key: sl.to_json()[key] for key in ("lr", "bs_lr", "momentum")} == {"lr": 0.1, "bs_lr": 0.25, "momentum": 0}
    assert Plan.from_json(sl.to_json()) == sl.plan


def test_quickstart_pipelining_is_planned_to_save_a_fifth():
    rounds = {planned.label: planned.predicted.round_s for planned in plan_all(load(QUICKSTART))}
    assert rounds["c2p2sl"] <= 0.8 * rounds["psl"]


def test_the_timeline_of_a_plan_that_was_read_back_is_the_same():
    topology = load(SCENE)
    problem_ = instance(topology, workload(topology))
    for planned in plan_all(topology):
        scheme, again = SCHEMES[planned.plan.scheme], decision_of(planned.plan)
        rounds = topology.training.rounds
        assert typical(problem_, scheme, again, topology.seed, rounds).round_s == pytest.approx(
            planned.predicted.round_s
        )


def test_an_epoch_is_as_many_batches_as_the_training_set_holds():
    choices = {choice.key: steps(load(SCENE), choice, SCHEMES[choice.scheme]) for choice in load(SCENE).schemes}
    assert choices["psl"] == choices["sl"] == 1
    assert (choices["fl"], choices["cpsl"]) == (4, 2)
    topology = load(Path("topologies/papers/pipar-pi-4g.yaml"))
    assert {steps(topology, c, SCHEMES["pipar"]) for c in topology.schemes if c.scheme in ("fl", "sfl", "pipar")} == {6}


def test_a_model_that_is_too_big_for_a_ues_memory_is_refused_with_the_reason():
    topology = parse("name: x\nues: [{name: a, memory_mb: 4, capacity_gflop: 9}, {name: b}]\nschemes: [fl]", "x.yaml")
    with pytest.raises(InputError, match=r"ues\.0\.memory_mb: a has 4 MB and needs .* to train 5 units on 64 samples"):
        plan_all(topology)
