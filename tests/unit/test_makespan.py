"""The makespan planner and its bound: what always holds, and how near to exhaustive search it comes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.capacity import room, rooms
from controller.planners.makespan.slots import Turn, best_slots, eased_slots
from controller.planners.planning import in_the_papers_terms
from controller.predict.bounds import cut_lower_bound_s, lower_bound_s
from controller.predict.instance import Decision, Instance
from controller.predict.prediction import predict, round_s
from controller.predict.timing import per_sample, split_batches
from testbed.errors import InputError
from tests.bench.planning_makespan import table1
from tests.unit.problems import problem, three_units

makespan = PLANNERS["makespan"]
KNOWN = [name for name, scheme in SCHEMES.items() if "makespan" in scheme.planners]


@st.composite
def problems(draw: st.DrawFn, most_ues: int = 6, most_samples: int = 60) -> Instance:
    """UEs that differ by up to ten times in everything; three units, so two cuts."""
    n = draw(st.integers(1, most_ues))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = int(rng.integers(n, most_samples + 1))

    def spread(middle: float) -> np.ndarray:
        return middle * 10.0 ** rng.uniform(-0.5, 0.5, n)

    return problem(
        n,
        batch,
        duplex=draw(st.sampled_from(["tdd", "fdd"])),
        shared_air=draw(st.sampled_from([True, True, False])),
        workload=three_units(),
        ue_flops=spread(1e9),
        bs_flops=10.0 ** rng.uniform(8.5, 10.5),
        rate_up=spread(1.6e6),
        rate_down=spread(3.2e6),
        capacity_flop=spread(3e6 * 3 * batch / n),
        ue_pass_s=rng.uniform(0, draw(st.sampled_from([0.0, 0.005])), n),
        bs_pass_s=draw(st.sampled_from([0.0, 0.002])),
    )


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(KNOWN))
def test_what_always_holds(instance, name):
    scheme = SCHEMES[name]
    try:
        answer = makespan(Request(instance, scheme))
    except InputError as error:
        assert "C2: the UEs can carry" in error.message
        return
    d = answer.decision
    limits = room(instance, d.cut)
    assert d.batch.sum() == instance.batch
    assert (d.batch >= limits.low).all() and (d.batch <= limits.cap).all()
    if scheme.turns == "all":
        assert d.slot_up_s.sum() <= instance.frame_s * (1 + 1e-9)
        assert d.slot_down_s.sum() <= instance.frame_s * (1 + 1e-9)
    length_s = predict(instance, scheme, d).round_s
    assert round_s(instance, scheme, d) == pytest.approx(length_s, rel=1e-9)
    assert length_s >= lower_bound_s(instance) * (1 - 1e-9)
    try:
        baseline = PLANNERS["uniform"](Request(instance, scheme)).decision
    except InputError:
        return
    assert length_s <= round_s(instance, scheme, baseline) * (1 + 1e-9)


def compositions(instance: Instance, cut: int) -> np.ndarray:
    """Every integer split of the batch within C2 and min_batch."""
    limits = room(instance, cut)
    ranges = [range(low, cap + 1) for low, cap in zip(limits.low, limits.cap, strict=True)]
    return np.array([b for b in product(*ranges) if sum(b) == instance.batch], dtype=np.int64)


def exhaustive_s(instance: Instance, cut: int, k: int) -> float:
    """The shortest round over every integer split, with slots optimised for each."""
    per = per_sample(instance, cut, instance.rate_up, instance.rate_down)
    turn = Turn(per, instance.shared_air, instance.duplex)
    batches = compositions(instance, cut)
    if not len(batches):
        return float("inf")
    samples = np.stack([split_batches(batch, k) for batch in batches])
    return float(eased_slots(turn, samples)[0].round_s.min())


@settings(max_examples=25, deadline=None)
@given(problems(most_ues=4, most_samples=12))
def test_within_half_a_percent_of_exhaustive_search(instance):
    request = Request(instance, SCHEMES["c2p2sl"])
    try:
        decision = makespan(request).decision
    except InputError:
        return
    cuts = [limits.cut for limits in rooms(request)]  # not those that exclude more UEs than others
    best_s = min(exhaustive_s(instance, cut, k) for cut in cuts for k in range(1, instance.batch + 1))
    assert round_s(instance, SCHEMES["c2p2sl"], decision) <= best_s * 1.0051


@pytest.mark.parametrize("bandwidth_mhz", [100, 150, 200])
def test_within_a_percent_of_the_bound_at_table_1_where_the_air_is_the_limit(bandwidth_mhz):
    instance = table1(16, 0, bandwidth_mhz)
    decision = makespan(Request(instance, SCHEMES["c2p2sl"])).decision
    assert round_s(instance, SCHEMES["c2p2sl"], decision) <= lower_bound_s(instance) * 1.01


@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
@pytest.mark.parametrize("seed", range(6))
def test_slots_are_as_good_as_any_on_a_grid(seed, duplex):
    rng = np.random.default_rng(seed)
    instance = problem(
        duplex=duplex,
        rate_up=rng.uniform(0.5e6, 2e6, 2),
        rate_down=rng.uniform(1e6, 4e6, 2),
        ue_flops=rng.uniform(0.1e9, 1e9, 2),
        bs_flops=10.0 ** rng.uniform(8.8, 10),
    )
    batch, k = np.array([7, 13]), int(rng.integers(1, 6))
    turn = Turn(per_sample(instance, 1, instance.rate_up, instance.rate_down), True, duplex)
    ours_s = float(min(best_slots(turn, split_batches(batch, k), ease).round_s for ease in np.linspace(0, 1, 21)))
    grid = np.linspace(0.02, 0.98, 97)
    best_s = min(
        round_s(
            instance,
            SCHEMES["c2p2sl"],
            Decision(1, k, batch, 0.01 * np.array([up, 1 - up]), 0.01 * np.array([down, 1 - down])),
        )
        for up, down in product(grid[::2], grid[::2])
    )
    assert ours_s <= best_s * 1.003


def test_fixed_cut_and_k_are_kept():
    decision = makespan(Request(problem(), SCHEMES["c2p2sl"], cut=1, micro_batches=3)).decision
    assert (decision.cut, decision.micro_batches) == (1, 3)


def test_sl_gives_the_samples_to_the_quickest_ue():
    decision = makespan(Request(problem(rate_up=np.array([1e6, 2e6])), SCHEMES["sl"])).decision
    assert decision.batch.tolist() == [1, 19]
    assert decision.slot_up_s.tolist() == [0.01, 0.01]


def test_a_ue_that_cannot_hold_its_min_batch_is_left_out_with_a_warning():
    instance = problem(capacity_flop=np.array([1e12, 9e6]), min_batch=np.array([1, 5]))
    answer = makespan(Request(instance, SCHEMES["c2p2sl"]))
    assert answer.warnings == ("ue2 is left out: C2 lets it hold 3 samples at cut 1, its min_batch is 5",)
    assert answer.decision.batch.tolist() == [20, 0]
    assert answer.decision.slot_up_s[1] == answer.decision.slot_down_s[1] == 0.0
    with np.errstate(all="raise"):
        timeline = predict(instance, SCHEMES["c2p2sl"], answer.decision)
        paper = in_the_papers_terms(instance, answer.decision, SCHEMES["c2p2sl"])
    assert np.isfinite([timeline.round_s, timeline.bubble_rate, paper["bubble_rate"]]).all()
    assert timeline.round_s >= lower_bound_s(instance)


def test_too_little_capacity_names_c2_with_numbers():
    tight = problem(capacity_flop=np.array([15e6, 21e6]))
    with pytest.raises(InputError, match=r"C2: the UEs can carry 12 of 20 samples at cut 1") as caught:
        makespan(Request(tight, SCHEMES["c2p2sl"]))
    assert "training.batch by 8" in caught.value.hint


def test_too_large_min_batches_are_refused():
    with pytest.raises(InputError, match="22 samples together"):
        makespan(Request(problem(min_batch=np.array([11, 11])), SCHEMES["psl"]))


def linear_programme_s(instance: Instance, cut: int) -> float:
    """The design's bound on shared air, as an LP solved by HiGHS."""
    per = per_sample(instance, cut, instance.rate_up, instance.rate_down)
    n, cap = instance.n, instance.batch_cap(cut)
    air = [per.uplink + per.downlink] if instance.duplex == "tdd" else [per.uplink, per.downlink]
    solution = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.vstack(
            [[np.append(a, -1.0) for a in air], np.c_[np.diag(per.ue_forward + per.ue_backward), -np.ones(n)]]
        ),
        b_ub=np.zeros(len(air) + n),
        A_eq=np.append(np.ones(n), 0.0)[None, :],
        b_eq=[instance.batch],
        bounds=[
            *zip(instance.min_batch, cap, strict=True),
            (instance.batch * (per.bs_forward + per.bs_backward), None),
        ],
    )
    return float(solution.fun) if solution.success else float("inf")


@settings(max_examples=60, deadline=None)
@given(problems(most_ues=8))
def test_bound_is_the_linear_programmes(instance):
    for cut in (1, 2):
        if instance.shared_air and (instance.batch_cap(cut) >= instance.min_batch).all():
            assert cut_lower_bound_s(instance, cut) == pytest.approx(linear_programme_s(instance, cut), rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(SCHEMES) - set(KNOWN)))
def test_schemes_it_does_not_model_are_refused(name):
    request = Request(problem(), SCHEMES[name], phi=0.5 if "phi" in SCHEMES[name].keys else 0.0, path="schemes.3")
    with pytest.raises(InputError, match=r"schemes\.3\.planner: makespan is for"):
        makespan(request)
