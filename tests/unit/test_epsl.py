"""EPSL's manager: its latency by hand, allocations against all others, power, and what φ saves."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.epsl import slowest_first, up_shares, within_budget
from controller.planners.epsl.latency import aggregated_rows, round_s, stages, up_s
from controller.predict.instance import Decision, Instance, link_rates, sending_w, up_rates
from controller.predict.prediction import predict
from testbed.errors import InputError
from tests.unit.problems import problem

epsl, EPSL = PLANNERS["epsl"], SCHEMES["epsl"]


def fdma(n: int, subcarriers: int | None, seed: int, **changes: object) -> Instance:
    """UEs that differ up to tenfold, with power of their own on 1 MHz."""
    rng = np.random.default_rng(seed)
    values = {
        "batch": 6 * n,
        "ue_flops": 1e9 * 10 ** rng.uniform(-0.5, 0.5, n),
        "rate_up": 1.6e6 * 10 ** rng.uniform(-0.5, 0.5, n),
        "rate_down": 3.2e6 * 10 ** rng.uniform(-0.5, 0.5, n),
        "subcarriers": subcarriers,
        "bandwidth_hz": 1e6,
        "tx_power_w": np.full(n, 0.1),
        **changes,
    }
    return problem(n, **values)


def test_latency_by_hand():
    # 10 samples each, half of them aggregated; each direction has half of the air
    instance = problem(n=2, batch=20)
    stage = stages(instance, 1, np.array([10, 10]), 0.5)
    server = ((20 + 5) * 3e6 + 2 * 3e6 * (5 + 2 * 5)) / 10e9  # the merged rows go forward once more
    down = 5 * 7992 / 3.2e6 + 5 * 7992 / 1.6e6
    expected = 0.010 + 10 * 8000 / 0.8e6 + server + down + 0.020
    assert round_s(stage, instance.rate_up / 2, instance.rate_down / 2) == pytest.approx(expected)


def test_rows_are_rounded_up_and_limited_by_the_least_batch():
    assert aggregated_rows(np.array([10, 7]), 0.5) == 4
    assert aggregated_rows(np.array([10, 0]), 0.3) == 3
    assert aggregated_rows(np.array([10, 10]), 0) == 0


def test_without_aggregation_the_round_is_the_timelines():
    instance = problem(n=3, batch=9, rate_up=np.array([1e6, 2e6, 3e6]))
    decision = epsl(Request(instance, EPSL)).decision
    stage = stages(instance, decision.cut, decision.batch, 0.0)
    expected = predict(instance, SCHEMES["psl"], decision).round_s
    assert round_s(stage, *link_rates(instance, decision)) == pytest.approx(expected)


def test_a_larger_share_never_makes_the_round_longer():
    def length(phi: float) -> float:
        instance = fdma(3, 12, 4)
        decision = epsl(Request(instance, EPSL, phi=phi)).decision
        stage = stages(instance, decision.cut, decision.batch, phi)
        return round_s(stage, *link_rates(instance, decision))

    rounds = [length(phi) for phi in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert rounds == sorted(rounds, reverse=True) and rounds[-1] < rounds[0]


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Instance, float, str]:
    """Any air, duplex, devices, cost of passes and messages; a share φ and a way of aggregating."""
    n, access = draw(st.integers(1, 5)), draw(st.sampled_from(["fdma", "tdma", "dedicated"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    subcarriers = n + draw(st.integers(0, 9))
    found = fdma(
        n,
        subcarriers if access == "fdma" else None,
        int(rng.integers(1000)),
        batch=int(rng.integers(n, 40)),
        duplex=draw(st.sampled_from(["tdd", "fdd"])),
        shared_air=access != "dedicated",
        message_s=0.001 * draw(st.integers(0, 1)),
        message_bytes=100.0 * draw(st.integers(0, 1)),
        delay_s=0.002 * draw(st.integers(0, 1)),
        ue_pass_s=rng.uniform(0, 0.003, n),
        bs_pass_s=float(rng.uniform(0, 0.001)),
        capacity_flop=np.where(rng.random(n) < 0.2, 1.0, 1e12) if n > 1 else np.full(n, 1e12),
        power_budget_w=draw(st.sampled_from([None, 0.15])) if access == "fdma" else None,
        tx_power_w=np.where(rng.random(n) < 0.3, np.nan, 0.1),
    )
    return found, draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])), draw(st.sampled_from(["virtual", "own", "cut"]))


@settings(max_examples=150, deadline=None)
@given(drawn())
def test_the_planners_round_is_the_predicted_one(case):
    instance, phi, aggregate = case
    if not (instance.capacity_flop > 1.0).any():
        return
    decision = epsl(Request(instance, EPSL, phi=phi, aggregate=aggregate)).decision
    stage = stages(instance, decision.cut, decision.batch, phi, aggregate)
    assert round_s(stage, *link_rates(instance, decision)) == pytest.approx(
        predict(instance, EPSL, decision).round_s, rel=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_other_allocation_is_faster(seed):
    instance, part = fdma(3, 8, seed), np.ones(3, dtype=np.bool_)
    stage = stages(instance, 1, np.array([6, 6, 6]), 0.0)
    best = min(
        up_s(stage, up_rates(instance, np.array(shares) / 8)).max()
        for shares in product(range(1, 7), repeat=3)
        if sum(shares) == 8
    )
    shares = slowest_first(8, part, lambda shares: up_s(stage, up_rates(instance, shares / 8)))
    assert shares.sum() == 8
    assert up_s(stage, up_rates(instance, shares / 8)).max() == pytest.approx(best)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10), st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_a_plan_always_is(n, spare, seed, phi):
    instance = fdma(n, n + spare, seed)
    decision = epsl(Request(instance, EPSL, phi=phi)).decision
    assert decision.batch.sum() == instance.batch and decision.phi == phi
    for slots in (decision.slot_up_s, decision.slot_down_s):
        dealt = slots / instance.frame_s * (n + spare)
        assert dealt == pytest.approx(np.round(dealt)) and dealt.min() > 0.999
        assert dealt.sum() == pytest.approx(n + spare)


def test_power_on_fewer_subcarriers_is_worth_more_than_their_share():
    instance = fdma(2, 10, 0)
    rates = up_rates(instance, np.array([0.5, 0.5]))
    snr = 2 ** (instance.rate_up / 1e6) - 1
    assert rates == pytest.approx(0.5e6 * np.log2(1 + 2 * snr))
    assert (rates > instance.rate_up / 2).all() and (rates < instance.rate_up).all()
    assert up_rates(instance, np.array([1.0, 0.0])).tolist() == pytest.approx([instance.rate_up[0], 0.0])


def test_a_given_snr_leaves_no_power_to_control():
    instance = fdma(2, 10, 0, tx_power_w=np.array([np.nan, 0.1]))
    rates = up_rates(instance, np.array([0.5, 0.5]))
    assert rates[0] == pytest.approx(instance.rate_up[0] / 2) and rates[1] > instance.rate_up[1] / 2


def test_in_time_shares_power_is_what_it_was():
    instance = fdma(2, None, 0)
    assert up_rates(instance, np.array([0.5, 0.5])).tolist() == (instance.rate_up / 2).tolist()


@pytest.mark.parametrize("budget_w", [0.3, 0.1, 0.01])
def test_a_power_budget_slows_all_to_one_finish_and_no_further(budget_w):
    instance, part = fdma(3, 9, 2, power_budget_w=budget_w), np.ones(3, dtype=np.bool_)
    stage = stages(instance, 1, np.array([6, 6, 6]), 0.0)
    share = up_shares(instance, stage, part, 9) / 9
    power_w = within_budget(instance, stage, share, budget_w)
    held, free = up_rates(instance, share, power_w), up_rates(instance, share)
    finish = up_s(stage, held)
    assert power_w.sum() <= budget_w * (1 + 1e-9) and (power_w <= 0.1).all()
    assert (held <= free * (1 + 1e-9)).all()
    assert finish.max() >= up_s(stage, free).max() * (1 - 1e-9)
    if budget_w < 0.1:
        assert finish == pytest.approx(finish.max())


def test_whoever_plans_all_together_keep_to_the_budget_and_one_that_is_alone_has_it():
    instance, slots = fdma(3, 9, 2, power_budget_w=0.15), np.full(3, 0.01 / 3)
    together = Decision(1, 1, np.array([6, 6, 6]), slots, slots)
    assert sending_w(instance, together) == pytest.approx(np.full(3, 0.05))
    of_two = sending_w(instance, Decision(1, 1, np.array([6, 6, 6]), slots, slots, cluster=np.array([0, 0, 1])))
    assert of_two == pytest.approx([0.075, 0.075, 0.1])
    alone = Decision(1, 1, np.array([6, 6, 6]), np.full(3, 0.01), np.full(3, 0.01))
    assert sending_w(instance, alone) == pytest.approx(np.full(3, 0.1))


@pytest.mark.parametrize("planner", ["ao", "makespan"])
@pytest.mark.parametrize("seed", range(4))
def test_with_powers_known_no_planner_is_slower_than_uniform(planner, seed):
    instance = fdma(3, 9, seed)
    lengths = [
        predict(instance, SCHEMES["psl"], PLANNERS[name](Request(instance, SCHEMES["psl"])).decision).round_s
        for name in (planner, "uniform")
    ]
    assert lengths[0] <= lengths[1] * (1 + 1e-9)


def test_with_all_rows_broadcast_the_downlink_is_dealt_equally():
    decision = epsl(Request(fdma(3, 9, 0), EPSL, phi=1.0)).decision
    assert decision.slot_down_s / 0.01 * 9 == pytest.approx([3, 3, 3])


@pytest.mark.parametrize("name", ["cpsl", "pipar", "fl"])
def test_schemes_without_one_joint_batch_are_refused(name):
    with pytest.raises(InputError, match=rf"schemes\.planner: epsl plans one batch .*, not {name}"):
        epsl(Request(problem(), SCHEMES[name]))
