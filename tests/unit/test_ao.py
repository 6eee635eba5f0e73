"""Algorithm 1: what it promises on random instances, and its parts held against other ways to compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.ao import LEVELS, Options, Search, alternate, ao, p3, p5
from controller.planners.ao.lemma import most_micro_batches
from controller.planners.ao.starts import starts
from controller.planners.capacity import even_batches, room
from controller.planners.planning import plan_all
from controller.predict.instance import Decision, Instance
from controller.predict.paper import broken, constraints, round_times
from controller.predict.prediction import round_s
from testbed.errors import InputError, SolverError
from testbed.loading import load, parse
from tests.unit.problems import problem, workload

TABLE_I = sorted(Path("topologies/papers").glob("c2p2sl-table1*.yaml"))
PIPELINED = SCHEMES["c2p2sl"]


def drawn(seed: int, n: int | None = None, **changes: object) -> Instance:
    """Four units and unequal UEs; some draws are air-bound, some UE-bound, some BS-bound, some tight in C2."""
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(1, 7))
    batch = int(rng.integers(8 * n, 40 * n))
    flops = rng.uniform(0.5e6, 5e6, 4)
    work = workload(
        units=("a", "b", "c", "d"),
        forward_flops=flops,
        output_bytes=rng.uniform(100, 2000, 4),
        weight_bytes=np.ones(4),
    )
    speed = 10 ** rng.uniform(-1, 1.5)
    values = {
        "workload": work,
        "ue_flops": rng.uniform(0.3e9, 2e9, n),
        "bs_flops": n * 10 ** rng.uniform(8.8, 10),
        "rate_up": rng.uniform(1e6, 5e6, n) * speed * n,
        "rate_down": rng.uniform(2e6, 8e6, n) * speed * n,
        "capacity_flop": 3 * flops[0] * batch / n * rng.uniform(1.05, 2.5, n),
        "min_batch": rng.integers(0, 4, n),
        "duplex": str(rng.choice(["tdd", "fdd"])),
        "shared_air": bool(rng.random() < 0.8),
        **changes,
    }
    return problem(n=n, batch=batch, **values)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["c2p2sl", "psl"]), st.sampled_from([None, 1, 3]))
def test_a_plan_keeps_what_every_plan_must_and_is_never_slower_than_uniform(seed, scheme, k):
    instance = drawn(seed)
    request = Request(instance, SCHEMES[scheme], micro_batches=k if scheme == "c2p2sl" else None)
    answer = ao(request)
    decision = answer.decision
    assert decision.batch.sum() == instance.batch
    assert (decision.batch <= instance.batch_cap(decision.cut)).all()
    assert (decision.batch >= instance.min_batch).all()
    assert decision.slot_up_s.sum() <= instance.frame_s * (1 + 1e-12)
    assert (decision.slot_up_s >= 0).all() and (decision.slot_up_s == decision.slot_down_s).all()
    assert set(answer.relaxed) == set(broken(instance, decision))
    assert decision.micro_batches == (request.micro_batches or decision.micro_batches)
    try:
        baseline = PLANNERS["uniform"](request).decision
    except InputError:
        return
    assert round_s(instance, request.scheme, decision) <= round_s(instance, request.scheme, baseline)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(LEVELS), st.sampled_from(["corrected", "printed"]))
def test_the_objective_never_rises(seed, held, extremum):
    request = Request(drawn(seed), PIPELINED)
    search = Search(request, held, Options(extremum))
    traces = [alternate(search, start) for start in starts(request, (1, 2, 3), "C3" in held)]
    assert any(traces) or "C3" in held  # with k = 1 to take, only C3 can be impossible
    for trace in filter(None, traces):
        assert all(later <= earlier for earlier, later in zip(trace.objective, trace.objective[1:], strict=False))
        if extremum == "corrected":
            assert not set(broken(request.instance, trace.decision)) & (held | {"C2"})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_c3_is_relaxed_only_where_no_batches_and_slots_at_all_meet_it(seed):
    instance = drawn(seed, shared_air=True)
    request = Request(instance, PIPELINED)
    search = Search(request, LEVELS[0], Options())
    found = any(search.split(start, None) for start in starts(request, (1, 2, 3), True))
    possible = any(_c3_can_hold(instance, cut) for cut in instance.workload.cuts)
    assert found == possible


def _c3_can_hold(instance: Instance, cut: int) -> bool:
    """By filling up the UEs with the best uplinks first; the slots in proportion make all uplinks equally long."""
    times = round_times(instance, _whole_frame(instance, cut, np.ones(instance.n, dtype=np.int64)))
    work = times.work / instance.n * instance.batch
    low, high = room(instance, 1).limits[0], room(instance, cut).limits[1]
    high = np.minimum(high, np.floor(work / times.forward)).astype(np.int64)
    if (low > high).any() or low.sum() > instance.batch or high.sum() < instance.batch:
        return False
    batch, left = low.copy(), instance.batch - int(low.sum())
    for _, i in sorted((times.up[i], i) for i in range(instance.n)):
        more = min(left, int(high[i] - low[i]))
        batch[i], left = batch[i] + more, left - more
    return bool((batch * times.up).sum() <= work)


def _whole_frame(instance: Instance, cut: int, batch: np.ndarray, k: int = 1) -> Decision:
    frame = np.full(instance.n, instance.frame_s)
    return Decision(cut, k, batch, frame, frame)


# With 130 samples each UE 1 is on the air for 1.56 s, UE 2 for 3.12 s, and the BS works 2.34 s: the printed
# η = 2.34/1.56 is above 1, so no bound at all; the corrected one is 2.34/3.12 = 3/4, so k = 4 or just below.
UNEQUAL = problem(
    batch=100, bs_flops=1e9, rate_up=np.array([2e6, 1e6]), rate_down=np.array([4e6, 2e6]),
    workload=workload(forward_flops=np.array([1e6, 3e6])),
)  # fmt: skip


def test_the_printed_lemma_breaks_c4_for_the_slower_ue_and_the_corrected_one_is_the_largest_that_holds():
    half = np.full(2, 0.005)
    at = Decision(1, 1, np.array([130, 130]), half, half)
    times = round_times(UNEQUAL, at)
    assert times.up + times.down == pytest.approx([2 * 0.77974, 2 * 1.55948], rel=1e-3)
    corrected, printed = (most_micro_batches(times, which) for which in ("corrected", "printed"))
    assert printed == np.inf
    assert not constraints(UNEQUAL, replace(at, micro_batches=64))["C4"]
    assert constraints(UNEQUAL, replace(at, micro_batches=int(corrected)))["C4"]
    assert not constraints(UNEQUAL, replace(at, micro_batches=int(corrected) + 1))["C4"]


def test_the_least_ratio_of_single_ues_breaks_c4_too_where_two_ues_are_slowest():
    crossed = replace(UNEQUAL, rate_up=np.array([4e6, 1e6]), rate_down=np.array([1e6, 4e6]))
    half = np.full(2, 0.005)
    at = Decision(1, 1, np.array([50, 50]), half, half)
    times = round_times(crossed, at)
    single = int(1 / (1 - times.work / (times.up + times.down).max()))
    assert not constraints(crossed, replace(at, micro_batches=single))["C4"]
    assert constraints(crossed, replace(at, micro_batches=int(most_micro_batches(times))))["C4"]


def test_without_a_bound_by_the_lemma_the_samples_bound_k():
    quick = problem(rate_up=np.full(2, 1e9), rate_down=np.full(2, 1e9), ue_flops=np.full(2, 1e11), bs_flops=1e9)
    assert ao(Request(quick, PIPELINED)).decision.micro_batches == 10
    assert ao(Request(quick, PIPELINED)).relaxed == ()


def test_c3_and_then_c4_are_relaxed_and_named():
    slow_air = problem(batch=64)
    answer = ao(Request(slow_air, PIPELINED))
    assert answer.relaxed == ("C3", "C4")
    assert answer.decision.micro_batches > 1
    assert ao(Request(slow_air, PIPELINED, micro_batches=1)).relaxed == ("C3",)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_rounded_batches_lie_between_the_relaxation_and_one_sample_more(seed, bounded):
    instance = drawn(seed, shared_air=True)
    given_p3 = _p3(instance, bounded)
    exact, integer, rounded = p3.relaxed(given_p3), p3.batches(given_p3, integer=True), p3.batches(given_p3)
    if exact is None:
        assert integer is None and rounded is None
        return
    assert rounded is not None
    assert rounded.sum() == given_p3.total
    assert (given_p3.low <= rounded).all() and (rounded <= given_p3.high).all()
    one = (given_p3.forward + given_p3.up).max() + (given_p3.down + given_p3.backward).max()
    if integer is not None:
        best = given_p3.objective_s(integer)
        assert given_p3.objective_s(exact) <= best * (1 + 1e-5)
        assert bounded or best <= given_p3.objective_s(rounded) * (1 + 1e-5)
    assert given_p3.objective_s(rounded) <= given_p3.objective_s(exact) + one * (1 + 1e-6)


def _p3(instance: Instance, bounded: bool) -> p3.BatchProblem:
    equal = np.full(instance.n, instance.frame_s / instance.n)
    low, high = room(instance, 1).limits
    batch = even_batches(low, high, instance.batch)
    found = Search(Request(instance, PIPELINED), frozenset(), Options()).batch_problem(
        Decision(1, 2, batch, equal, equal)
    )
    air = (batch * found.up).max() + (batch * found.down).max()
    return replace(found, air_limit_s=float(air) * 0.9 if bounded else None)


def test_the_milp_is_an_option_of_the_planner():
    instance = drawn(5, n=4, shared_air=True)
    milp = ao(Request(instance, PIPELINED), Options(integer=True)).decision
    assert milp.batch.sum() == instance.batch


def least_sum(function, low: float, high: float, steps: int = 60) -> tuple[float, float]:
    """Golden section: (argument, least value) of a convex function."""
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(steps):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = function(b)
    return (a, at_a) if at_a <= at_b else (b, at_b)


def by_bisection(q: p5.SlotProblem) -> float:
    """P5's least t1 + t2: t2 by bisection for given t1, t3 and t4, these by golden section; t4 is what t3 leaves."""
    most = float(100 * (q.up.sum() + q.down.sum() + q.forward.max() + q.backward.max()))

    def t2(t1: float, t3: float, t4: float) -> float:
        least = np.maximum(q.up / (t1 - q.forward), np.maximum(q.up / t3, q.down / t4))
        if q.up_limit_s is not None:
            least = np.maximum(least, q.up / q.up_limit_s)
        if least.sum() > 1:
            return most * (1 + least.sum())  # worse the further from feasible, so that the search finds its way
        low, high = float(q.backward.max()), most
        for _ in range(50):
            middle = (low + high) / 2
            fits = np.maximum(least, q.down / (middle - q.backward)).sum() <= 1
            low, high = (low, middle) if fits else (middle, high)
        return high

    def over_t1(t3: float, t4: float) -> float:
        return least_sum(lambda t1: t1 + t2(t1, t3, t4), float(q.forward.max()) + 1e-9, most / 10)[1]

    if q.air_limit_s is None:
        return over_t1(np.inf, np.inf)
    limit = q.air_limit_s
    return least_sum(lambda t3: over_t1(t3, limit - t3), limit * 1e-3, limit * (1 - 1e-3), 40)[1]


def slot_problem(seed: int, air: float | None, up: float | None) -> p5.SlotProblem:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    times = [rng.uniform(0.05, 1, n) for _ in range(4)]
    # the least t3 + t4 at which the frame is long enough, t3 being a share of it
    tight = least_sum(lambda s: float(np.maximum(times[1] / s, times[2] / (1 - s)).sum()), 0.01, 0.99)[1]
    return p5.SlotProblem(
        times[0], times[1], times[2], times[3], up and up * float(times[1].sum()), air and air * tight
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("up", [None, 1.1])
def test_p5_agrees_with_bisection(seed, up):
    given_p5 = slot_problem(seed, None, up)
    times = p5.least_times(given_p5)
    assert times is not None
    assert times[0] + times[1] == pytest.approx(by_bisection(given_p5), rel=1e-6)
    assert p5.least_shares(given_p5, *times).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", [1, 2])
def test_p5_agrees_with_bisection_where_c4_binds(seed):
    given_p5 = slot_problem(seed, 1.02, None)
    times = p5.least_times(given_p5)
    assert times is not None
    assert times[2] + times[3] == pytest.approx(given_p5.air_limit_s, rel=1e-6)
    assert times[0] + times[1] == pytest.approx(by_bisection(given_p5), rel=1e-6)


def test_p5_without_room_is_infeasible_and_not_an_error():
    assert p5.shares(slot_problem(0, None, 0.5)) is None


def test_a_ue_that_cannot_take_part_is_left_out_with_a_warning():
    instance = problem(n=3, capacity_flop=np.array([1e12, 9e6, 1e12]), min_batch=np.array([1, 4, 1]))
    answer = ao(Request(instance, PIPELINED))
    assert answer.decision.batch[1] == 0 and answer.decision.slot_up_s[1] == 0
    assert answer.decision.batch.sum() == 20
    assert answer.warnings == ("ue2 is left out: C2 lets it hold 3 samples at cut 1, its min_batch is 4",)


def test_too_little_capacity_is_named_with_numbers():
    tight = problem(capacity_flop=np.array([30e6, 9e6]))
    with pytest.raises(InputError, match=r"C2: the UEs can carry 13 of 20 samples at cut 1") as error:
        ao(Request(tight, PIPELINED))
    add = "add 0.021 GFLOP of capacity_gflop, or lower training.batch by 7"
    assert error.value.hint == f"7 samples are missing: {add}"


def test_a_scheme_that_takes_ues_one_by_one_is_refused_where_it_stands():
    with pytest.raises(InputError, match=r"schemes\.2\.planner: ao divides the air"):
        ao(Request(problem(), SCHEMES["sl"], path="schemes.2"))


@pytest.mark.parametrize("status", ["optimal_inaccurate", "infeasible_inaccurate", "user_limit"])
def test_a_doubtful_status_is_an_error_with_the_status(monkeypatch, status):
    monkeypatch.setattr(cp.Problem, "solve", lambda self, **options: None)
    monkeypatch.setattr(cp.Problem, "status", status)
    with pytest.raises(SolverError, match=f"P3: HIGHS ended with status {status}"):
        ao(Request(problem(), PIPELINED))


def test_a_solver_that_fails_is_an_error_with_its_words(monkeypatch):
    def fail(self: object, **options: object) -> None:
        raise cp.SolverError("Solver 'HIGHS' failed.")

    monkeypatch.setattr(cp.Problem, "solve", fail)
    with pytest.raises(SolverError, match="P3: HIGHS failed: Solver 'HIGHS' failed"):
        ao(Request(problem(), PIPELINED))


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize("key", ["forward_flops", "output_bytes"])
def test_a_profile_that_is_not_finite_is_refused_at_load(key, value):
    row = {"forward_flops": "1", "output_bytes": "1", key: value}
    unit = "{{unit: {}, forward_flops: {forward_flops}, output_bytes: {output_bytes}}}"
    text = f"name: a\nues: [{{name: ue1}}]\nmodel: {{profile: [{unit.format('a', **row)}]}}\n"
    with pytest.raises(InputError, match=rf"model\.profile\.0\.{key}"):
        parse(text, "a.yaml")


@pytest.mark.parametrize("file", TABLE_I, ids=lambda f: f.stem)
def test_table_i_is_planned_with_c3_and_c4_relaxed(file):
    found = {one.label: one for one in plan_all(load(file))}
    psl, planned = found["psl"], found["c2p2sl-ao"]
    assert planned.paper["relaxed"] == ["C3", "C4"]
    assert planned.plan.cut == 1
    assert planned.predicted.lower_bound_s <= planned.predicted.round_s <= 0.7 * psl.predicted.round_s
