"""The lower bound of a plan is one: no round of any scheme is predicted to be shorter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.planners.planning import plan_all
from controller.predict.bounds import decision_bound_s
from controller.predict.instance import Decision, Instance
from controller.predict.prediction import predict
from testbed.loading import load
from tests.unit.problems import problem, three_units


@st.composite
def decided(draw: st.DrawFn, name: str) -> tuple[Instance, Decision]:
    """UEs that differ up to tenfold, on air of any kind, with any batches, slots, and cuts of their own or one."""
    scheme, n = SCHEMES[name], draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = rng.integers(1, 12, n) * (scheme.turns != "none")

    def spread(middle: float) -> np.ndarray:
        return middle * 10.0 ** rng.uniform(-0.5, 0.5, n)

    instance = problem(
        n,
        int(batch.sum()) or 7,
        duplex=draw(st.sampled_from(["tdd", "fdd"])),
        shared_air=draw(st.booleans()),
        workload=three_units(),
        ue_flops=spread(1e9),
        bs_flops=10.0 ** rng.uniform(8, 10.5),
        rate_up=spread(1.6e6),
        rate_down=spread(3.2e6),
        ue_pass_s=spread(draw(st.sampled_from([0.0, 0.004]))),
        bs_pass_s=draw(st.sampled_from([0.0, 0.004])),
        message_s=draw(st.sampled_from([0.0, 0.002])),
        workers=draw(st.sampled_from(["one", "per_ue"])) if scheme.replicas else "one",
    )
    cuts = list(scheme.allowed_cuts(3))
    each = scheme.micro_batches == "each" or (scheme.replicas and draw(st.booleans()))
    in_turn = scheme.turns in ("one", "cluster")
    slots = [0.01 * (np.ones(n) if in_turn else rng.dirichlet(np.full(n, 3.0))) for _ in range(2)]
    return instance, Decision(
        draw(st.sampled_from(cuts)),
        draw(st.integers(1, 4)) if scheme.pipelined else 1,
        batch,
        *slots,
        cluster=np.arange(n) if in_turn else None,
        ue_cut=rng.choice(cuts, n) if each else None,
        ue_micro_batches=rng.integers(1, 5, n) if scheme.micro_batches == "each" else None,
        steps=draw(st.integers(1, 3)) if scheme.trains else 1,
        phi=draw(st.sampled_from([0.0, 0.5, 1.0])) if "phi" in scheme.keys else 0.0,
        head_cut=scheme.head_cut(3),
    )


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_round_is_shorter_than_the_bound(name, data):
    instance, decision = data.draw(decided(name))
    if decision.head_cut is not None and decision.cut >= decision.head_cut:
        return
    bound_s = decision_bound_s(instance, decision, SCHEMES[name])
    assert 0 < bound_s <= predict(instance, SCHEMES[name], decision).round_s * (1 + 1e-9)


def test_under_fl_the_bound_is_its_round_where_ues_are_alike():
    instance = problem(shared_air=False, ue_pass_s=np.full(2, 0.003))
    decision = Decision(2, 1, np.array([10, 10]), np.full(2, 0.01), np.full(2, 0.01), steps=3)
    bound_s = decision_bound_s(instance, decision, SCHEMES["fl"])
    assert bound_s == pytest.approx(predict(instance, SCHEMES["fl"], decision).round_s)


def test_a_worker_that_is_slow_is_in_the_bound():
    slow = problem(shared_air=False, duplex="fdd", workers="per_ue", bs_flops=1e7)
    decision = Decision(1, 2, np.array([10, 10]), np.full(2, 0.01), np.full(2, 0.01), ue_cut=np.array([1, 1]))
    bound_s = decision_bound_s(slow, decision, SCHEMES["pipar"])
    assert bound_s >= 10 * 9e6 / 5e6
    assert bound_s >= decision_bound_s(replace(slow, bs_pass_s=0.5), decision, SCHEMES["pipar"]) - 1.0 - 1e-9


def test_pipars_scene_is_not_far_from_its_bound():
    fl, _, pipar = plan_all(load(Path("topologies/papers/pipar-pi-wifi.yaml")))
    assert fl.lower_bound_s == pytest.approx(fl.timeline.round_s, rel=1e-6)
    assert 0.4 < pipar.lower_bound_s / pipar.timeline.round_s <= 1.0
