"""PiPar's parameter selection: its recursion against an event simulation, eq. 14, and the score of eq. 28."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.pipar import batches, by_eq_14, exhaustive, most_parallel, score, selected
from controller.planners.pipar.recursion import Stages, epoch_s, iteration_s, mini_batches, parallel_batches, profile
from controller.planners.planning import plan_all
from controller.predict.instance import Decision
from controller.predict.prediction import predict
from testbed.errors import InputError
from testbed.loading import load
from tests.bench.pipar import SCENE, search
from tests.bench.profiles import TABLE_VII, pi_devices, table_vii_request, vgg5
from tests.unit.problems import problem

PIPAR = SCHEMES["pipar"]
TASKS = ("ue_forward", "uplink", "server", "downlink", "ue_backward")


def seconds(stages: Stages, name: str, size: int) -> float:
    """How long a stage takes for a mini-batch."""
    of = {"ue_forward": stages.forward_s, "server": stages.server_s, "ue_backward": stages.backward_s}
    return of[name](size) if name in of else size * float(getattr(stages, name))


def simulated(stages: Stages, batch: int, parallel: int, ues: int = 1) -> float:
    """An iteration of equal UEs played event by event: each processor and link serves whoever came first.

    A UE's backward passes come after its forwards; the server is one queue for all UEs.
    """
    sizes = mini_batches(batch, parallel)
    free: dict[tuple[str, int], float] = {}
    forwards = sum(stages.forward_s(size) for size in sizes)
    queue = [(0.0, m, ue, 0) for ue in range(ues) for m in range(len(sizes))]
    end = 0.0
    while queue:
        ready, m, ue, task = heapq.heappop(queue)
        name = TASKS[task]
        where = "processor" if name.startswith("ue_") else name
        resource = (where, 0 if where == "server" else ue)
        start = max(ready, free.get(resource, 0.0), forwards if name == "ue_backward" else 0.0)
        done = start + seconds(stages, name, sizes[m])
        free[resource] = done
        end = max(end, done)
        if task < 4:
            heapq.heappush(queue, (done, m, ue, task + 1))
    return end


times = st.floats(0.001, 1.0)
fixed = st.sampled_from([0.0, 0.01, 0.5])
any_stages = st.builds(Stages, times, times, times, times, times, times, times, fixed, fixed)


@settings(max_examples=150, deadline=None)
@given(any_stages, st.integers(1, 12), st.integers(1, 12))
def test_the_recursion_is_what_happens(stages, batch, parallel):
    assert iteration_s(stages, batch, parallel, "fdd") == pytest.approx(simulated(stages, batch, parallel))


@settings(max_examples=60, deadline=None)
@given(any_stages, st.integers(2, 4), st.integers(1, 8))
def test_equal_ues_see_the_server_as_slowed_by_their_number(stages, ues, batch):
    slowed = replace(
        stages,
        bs_forward=ues * stages.bs_forward,
        bs_backward=ues * stages.bs_backward,
        bs_pass=ues * stages.bs_pass,
    )
    together = simulated(stages, batch, batch, ues)
    assert together <= iteration_s(slowed, batch, batch, "fdd") * (1 + 1e-9)


@given(any_stages, st.integers(1, 12), st.integers(1, 12))
def test_half_duplex_is_never_faster(stages, batch, parallel):
    fdd = iteration_s(stages, batch, parallel, "fdd")
    assert fdd <= iteration_s(stages, batch, parallel, "tdd") * (1 + 1e-12)


def test_one_mini_batch_is_the_sum_of_its_stages():
    stages = Stages(1, 2, 3, 4, 5, 6, weights_s=100)
    assert iteration_s(stages, 2, 1, "fdd") == 2 * 21
    assert epoch_s(stages, 2, 1, 3, "fdd") == 3 * 42 + 100


@pytest.mark.parametrize(("away", "expected"), [(0.5, 2), (1.0, 2), (2.5, 4), (1000.0, 10)])
def test_eq_14_fills_the_time_that_a_mini_batch_is_away(away, expected):
    assert parallel_batches(Stages(1, away, 0, 0, 0, 2), batch=10) == expected


def test_the_server_is_divided_among_replicas():
    instance = problem(n=4, shared_air=False)
    alone, four = profile(instance, 0, 1, 1), profile(instance, 0, 1, 4)
    assert four.server_s(1) == pytest.approx(4 * alone.server_s(1)) and four.uplink == alone.uplink


def test_the_device_model_that_ships_gives_the_papers_p_and_nearly_its_n():
    """Table VII: P right in at least 11 of 12 (in all of them, as it ships), N within a factor of 1.7."""
    right = 0
    for row, (cut, parallel) in TABLE_VII.items():
        request = table_vii_request(*row)
        chosen = selected(request, 0, batches(request))
        print(*row, "P, N", (chosen.cut, chosen.parallel), "of the paper", (cut, parallel))
        right += chosen.cut == cut
        assert 1 / 1.7 <= chosen.parallel / parallel <= 1.7, row
    assert right >= 11


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_with_a_worker_for_each_the_recursion_is_the_schedule(seed, n, batch, parallel, steps):
    rng = np.random.default_rng(seed)
    instance = problem(
        n,
        batch * n,
        duplex="fdd",
        shared_air=False,
        workers="per_ue",
        ue_flops=np.full(n, 1e9 * 10 ** rng.uniform(-1, 1)),
        bs_flops=n * 10 ** rng.uniform(8, 10),
        rate_up=np.full(n, 1.6e6 * 10 ** rng.uniform(-1, 1)),
        ue_pass_s=np.full(n, rng.choice([0.0, 0.02])),
        bs_pass_s=rng.choice([0.0, 0.005]),
    )
    slots, own = np.full(n, 0.01), (np.full(n, 1), np.full(n, parallel))
    decision = Decision(
        1, parallel, np.full(n, batch), slots, slots, ue_cut=own[0], ue_micro_batches=own[1], steps=steps
    )
    stages = profile(instance, 0, 1, n)
    weights_s = stages.weights_s if n > 1 else 0.0  # one alone has nobody to share with
    expected_s = epoch_s(replace(stages, weights_s=weights_s), batch, parallel, steps, "fdd")
    assert predict(instance, PIPAR, decision).round_s == pytest.approx(expected_s, rel=1e-9)


@pytest.mark.parametrize("row", TABLE_VII, ids="-".join)
def test_the_choice_scores_096(row):
    assert score(table_vii_request(*row)) >= 0.96


def test_n_is_at_most_half_the_batch_and_100():
    assert [most_parallel(batch) for batch in (1, 3, 9, 200, 500)] == [1, 1, 4, 100, 100]
    slow_air = problem(rate_up=np.full(2, 1e3), rate_down=np.full(2, 1e3), shared_air=False, duplex="fdd")
    for rule in ("search", "eq14"):
        decision = PLANNERS["pipar"](Request(slow_air, PIPAR, n_rule=rule)).decision
        assert decision.micro_batches <= 5


def test_n_rule_eq14_is_eq_14_at_the_best_cut():
    request = table_vii_request("VGG-5", "MNIST", "4g+")
    decision = PLANNERS["pipar"](replace(request, n_rule="eq14")).decision
    stages = profile(request.instance, 0, decision.cut, 4)
    assert decision.micro_batches == parallel_batches(stages, 50)


def test_a_pass_costs_what_stops_n():
    request = table_vii_request("VGG-5", "MNIST", "wifi")
    free = replace(request, instance=replace(request.instance, ue_pass_s=np.zeros(4), bs_pass_s=0.0))
    dear, cheap = (PLANNERS["pipar"](asked).decision.micro_batches for asked in (request, free))
    assert dear < cheap / 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_choice_is_between_eq_14_and_the_best(seed, n):
    rng = np.random.default_rng(seed)
    instance = problem(
        n,
        batch=10 * n,
        shared_air=False,
        duplex="fdd",
        ue_flops=1e9 * 10 ** rng.uniform(-1, 1, n),
        rate_up=1.6e6 * 10 ** rng.uniform(-1, 1, n),
    )
    request = Request(instance, PIPAR)
    batch = batches(request)
    for ue in range(n):
        best, chosen, alone = (pick(request, ue, batch).epoch_s for pick in (exhaustive, selected, by_eq_14))
        assert best <= chosen * (1 + 1e-12) and chosen <= min(best * 1.005, alone * 1.005) * (1 + 1e-9)


def test_each_ue_has_its_own_cut_and_number():
    instance = problem(
        2,
        shared_air=False,
        duplex="fdd",
        ue_flops=np.array([1e6, 1e12]),
        workload=vgg5(1, 28),
    )
    decision = PLANNERS["pipar"](Request(instance, PIPAR)).decision
    assert decision.ue_cut is not None and decision.ue_micro_batches is not None
    assert decision.ue_cut[0] < decision.ue_cut[1]
    assert decision.micro_batches == decision.ue_micro_batches.max()
    assert decision.batch.tolist() == [10, 10]


def test_what_is_fixed_is_kept_and_a_scheme_without_pipeline_has_one_mini_batch():
    instance = pi_devices(vgg5(1, 28), "4g")
    fixed = PLANNERS["pipar"](Request(instance, PIPAR, cut=3, micro_batches=7)).decision
    assert fixed.ue_cut is not None and set(fixed.ue_cut) == {3}
    assert fixed.ue_micro_batches is not None and set(fixed.ue_micro_batches) == {7}
    assert PLANNERS["pipar"](Request(instance, SCHEMES["sfl"])).decision.micro_batches == 1


def test_the_measured_search_tries_other_n_at_the_managers_cut():
    planned = plan_all(search(load(SCENE)))
    manager, others = planned[0], planned[1:]
    chosen = manager.decision.micro_batches
    assert {tuple(one.decision.cuts(4)) for one in planned} == {tuple(manager.decision.cuts(4))}
    assert {one.decision.micro_batches for one in others} >= {1, 2 * chosen}
    assert manager.timeline.round_s <= 1.005 * min(one.timeline.round_s for one in planned)


def test_a_scheme_without_replicas_is_refused():
    with pytest.raises(InputError, match=r"schemes\.2\.planner: pipar gives each UE its own cut"):
        PLANNERS["pipar"](Request(problem(), SCHEMES["psl"], path="schemes.2"))


def test_c2_is_said_when_nobody_can_hold_the_batch():
    with pytest.raises(InputError, match="C2"):
        PLANNERS["pipar"](Request(problem(capacity_flop=np.full(2, 1e6)), PIPAR))
