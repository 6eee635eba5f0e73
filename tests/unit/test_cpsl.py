"""CPSL's manager: its latency by hand, what its allocations and clusters always are, and how near the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.cpsl import Options, cpsl, samples
from controller.planners.cpsl.clustering import (
    clusters_s,
    dealt,
    exhaustive,
    gibbs,
    gibbs_chains,
    partitions,
    random_order,
    seated,
    similar_order,
)
from controller.planners.cpsl.greedy import greedy
from controller.planners.cpsl.latency import Phases, cluster_s, phases, round_s
from controller.planners.subcarriers import equal_shares, rounded
from controller.predict.instance import Instance
from testbed.errors import InputError
from tests.bench.profiles import cpsl_draw, cpsl_phases
from tests.unit.problems import problem, workload

CPSL = SCHEMES["cpsl"]
QUICK = Options(samples=2, sample_iterations=5, iterations=30, chains=2)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Instance, int]:
    """An FDMA instance of up to 9 UEs that differ tenfold, and a cluster size that the subcarriers can serve."""
    n, size = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = problem(
        n,
        batch=int(rng.integers(n, 50)),
        ue_flops=1e9 * 10 ** rng.uniform(-0.5, 0.5, n),
        rate_up=1.6e6 * 10 ** rng.uniform(-0.5, 0.5, n),
        rate_down=3.2e6 * 10 ** rng.uniform(-0.5, 0.5, n),
        subcarriers=min(n, size) + draw(st.integers(0, 12)),
        bandwidth_hz=1e6,
    )
    return found, size


def of(instance: Instance, steps: int = 1) -> Phases:
    batch = np.full(instance.n, 2, dtype=np.int64)
    return phases(instance, 1, batch, steps, instance.subcarriers or 10)


def test_latency_by_hand():
    # 2 samples: forward 2 ms, backward 4 ms; 1000 B up, 999 B down each; weights 1000 B; half of the air each
    part = of(problem(n=2, subcarriers=10), steps=3)
    up, down, backward = 2 * 8000 / 0.8e6, 2 * 7992 / 1.6e6, 0.004
    server = 2 * 2 * 9e6 / 10e9
    starting = 8000 / 3.2e6 + 0.002 + up + server
    inner = down + backward + 0.002 + up + server
    ending = down + backward + 8000 / 0.8e6
    expected = starting + 2 * inner + ending
    assert cluster_s(part, np.array([5, 5])) == pytest.approx(expected)
    assert round_s(part, np.array([0, 0]), np.array([5, 5])) == pytest.approx(expected)


def test_a_phase_waits_for_its_slowest_ue():
    part = of(problem(n=2, subcarriers=2, rate_up=np.array([1.6e6, 0.1e6])))
    alone = replace(part, fixed=part.fixed[:, 1:], per_share=part.per_share[:, 1:], server_s=part.server_s[1:])
    extra = float(part.server_s[0])
    assert cluster_s(part, np.array([1, 1])) == pytest.approx(cluster_s(alone, np.array([1])) + extra)


@settings(max_examples=60, deadline=None)
@given(drawn(), st.sampled_from([1, 4]), st.sampled_from([1, 3]))
def test_greedy_deals_every_share_once_and_is_never_worse_than_it_began(case, steps, block):
    instance, _ = case
    part = of(instance, steps)
    if part.shares < part.n:
        return
    seats = np.ones(part.n, dtype=np.bool_)
    shares = greedy(part, seats, block)
    assert shares.sum() == part.shares and shares.min() >= 1
    assert cluster_s(part, shares) <= cluster_s(part, np.ones(part.n, dtype=np.int64))


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_never_worse_than_equal_shares_on_the_papers_draws(seed):
    part = cpsl_phases(cpsl_draw(5, 10 + seed, seed))
    equal = equal_shares(part.shares, -part.per_share[0])
    assert cluster_s(part, greedy(part, np.ones(5, dtype=np.bool_))) <= cluster_s(part, equal)


def test_equal_ues_get_equal_shares():
    # as printed, Alg. 3 finds no gain in any single subcarrier here and gives the first UE all of them
    assert greedy(of(problem(n=3, subcarriers=9)), np.ones(3, dtype=np.bool_)).tolist() == [3, 3, 3]


@settings(max_examples=40, deadline=None)
@given(drawn())
def test_what_a_plan_always_is(case):
    instance, size = case
    answer = cpsl(Request(instance, CPSL, cluster_size=size, seed=3), QUICK)
    d = answer.decision
    assert d.cluster is not None and d.batch.sum() == instance.batch
    sizes = np.bincount(d.cluster)
    assert sizes.max() <= size and sizes.max() - sizes.min() <= 1 and len(sizes) == -(-instance.n // size)
    dealt_out = d.slot_up_s / instance.frame_s * instance.subcarriers
    assert dealt_out == pytest.approx(np.round(dealt_out)) and dealt_out.min() > 0.999
    assert np.bincount(d.cluster, weights=dealt_out) == pytest.approx(instance.subcarriers)
    assert (d.slot_up_s == d.slot_down_s).all()


@settings(max_examples=25, deadline=None)
@given(drawn(), st.integers(0, 1000))
def test_the_best_never_rises_and_is_what_its_clusters_take(case, seed):
    instance, size = case
    part = of(instance)
    found = gibbs(part, size, np.random.default_rng(seed), iterations=40)
    assert (np.diff(found.trace[0]) <= 0).all()
    assert found.latency_s[0] == pytest.approx(found.trace[0, -1])
    assert round_s(part, found.cluster[0], found.shares[0]) == pytest.approx(found.latency_s[0])


def test_one_seed_gives_one_plan():
    request = Request(cpsl_draw(12, 10, 0), CPSL, cluster_size=4, seed=5)
    one, again = (cpsl(request, QUICK).decision for _ in range(2))
    assert (one.cluster == again.cluster).all() and (one.slot_up_s == again.slot_up_s).all()


@pytest.mark.parametrize("seed", range(4))
def test_gibbs_comes_within_2_percent_of_exhaustive_clustering(seed):
    part = cpsl_phases(cpsl_draw(8, 10 * (1 + seed % 3), seed))
    found = gibbs_chains(part, 4, np.random.default_rng(seed), iterations=300)
    assert found.latency_s[0] <= 1.02 * exhaustive(part, 4).latency_s[0]


def test_problems_side_by_side_are_what_they_are_alone():
    one, other = cpsl_phases(cpsl_draw(7, 12, 0)), cpsl_phases(cpsl_draw(7, 12, 1))
    both = replace(
        one,
        fixed=np.stack([one.fixed, other.fixed]),
        per_share=np.stack([one.per_share, other.per_share]),
        server_s=np.stack([one.server_s, other.server_s]),
    )
    members = seated(random_order(2, 7, np.random.default_rng(0)), 3)
    together = clusters_s(both, members)
    for i, alone in enumerate((one, other)):
        assert clusters_s(alone.stacked(), members[i : i + 1])[0] == pytest.approx(together[i])


def test_similar_ues_are_neighbours():
    order = similar_order(np.array([[1.0, 9.0, 2.0, 8.0]]))
    assert sorted(order[0, :2]) == [1, 3]
    assert dealt(of(problem(4, subcarriers=4)), seated(order, 2)).cluster[0].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("n", "sizes", "count"), [(8, [4, 4], 35), (5, [3, 2], 10), (6, [2, 2, 2], 15)])
def test_every_clustering_is_listed_once(n, sizes, count):
    found = list(partitions(tuple(range(n)), sizes))
    assert len(found) == len({frozenset(frozenset(part) for part in one) for one in found}) == count


def test_a_cut_with_less_on_the_air_is_chosen_where_the_air_is_slow():
    work = workload(
        units=("a", "b", "c"),
        forward_flops=np.array([1e6, 1e6, 1e6]),
        output_bytes=np.array([9999.0, 99.0, 40.0]),
        weight_bytes=np.array([10.0, 10.0, 10.0]),
    )
    slow = problem(4, subcarriers=4, bandwidth_hz=1e6, workload=work)
    assert cpsl(Request(slow, CPSL, cluster_size=2), QUICK).decision.cut == 2
    assert cpsl(Request(slow, CPSL, cluster_size=2, cut=1), QUICK).decision.cut == 1


def test_samples_vary_about_the_instance():
    instance = cpsl_draw(50, 30, 0)
    found = samples(instance, Options(samples=40), np.random.default_rng(0))
    mean = np.mean([one.ue_flops.mean() for one in found])
    assert mean == pytest.approx(instance.ue_flops.mean(), rel=0.05)
    assert all((one.ue_flops > 0).all() and (one.rate_up > 0).all() for one in found)
    assert found[0].rate_up.tolist() != found[1].rate_up.tolist()


def test_a_ue_that_c2_excludes_has_no_cluster_and_no_slot():
    tight = problem(3, subcarriers=6, capacity_flop=np.array([1e12, 1e12, 1.0]))
    answer = cpsl(Request(tight, CPSL, cluster_size=2), QUICK)
    assert answer.decision.cluster is not None and answer.decision.cluster[2] == -1
    assert answer.decision.slot_up_s[2] == answer.decision.batch[2] == 0
    assert "ue3 is left out" in answer.warnings[0]


def test_a_scheme_without_clusters_is_refused():
    with pytest.raises(InputError, match=r"schemes\.0\.planner: cpsl deals UEs into clusters"):
        PLANNERS["cpsl"](Request(problem(), SCHEMES["psl"], path="schemes.0"))


def test_tdma_and_dedicated_links_can_be_clustered_too():
    for changes in ({}, {"shared_air": False}):
        decision = cpsl(Request(problem(4, **changes), CPSL, cluster_size=2), QUICK).decision
        assert decision.slot_up_s.min() > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=8), st.integers(0, 5))
def test_rounding_keeps_the_sum_and_leaves_nobody_out(wanted, spare):
    total = int(np.ceil(sum(wanted))) + len(wanted) + spare
    found = rounded(np.array(wanted), np.ones(len(wanted), dtype=np.bool_), total)
    assert found.min() >= 1 and found.sum() <= total
