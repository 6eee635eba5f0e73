"""How links and devices change between rounds: drawn from the seed, along waypoints, by a trace."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.__main__ import handle
from agents.meter import Metrics
from agents.ue import Ue
from agents.wire.air import Air
from agents.wire.keys import new_keyrings
from controller.judge.derive import scheme_result
from controller.judge.explain import Links
from controller.judge.measured import goodput_bps
from controller.judge.record import records
from controller.judge.verdict import link_errors
from controller.planners.planning import plan_one
from controller.predict.channel import changes, draws, fastest, instance_at, moment
from controller.predict.instance import instance
from controller.predict.workload import workload
from testbed.loading import digest, load, parse
from testbed.tuning import flow_rates
from tests.unit.loopback import MOST_BYTES, costs, free_port, job, samples
from tests.unit.rows import row

HEAD = """
name: moving
training: {batch: 32, rounds: 4}
radio: {bandwidth_mhz: 5}
ues: [{name: ue1, distance_m: 100}, {name: ue2, distance_m: 300}]
schemes: [{scheme: psl, cut: 2}, {scheme: epsl, cut: 2}]
"""


def scene(dynamics: str, tmp_path=None, trace: str = ""):
    """A topology with these dynamics, and its instance as written."""
    if trace:
        (tmp_path / "trace.csv").write_text("time,ue,uplink,downlink,compute\n" + trace)
    topology = parse(f"{HEAD}\ndynamics: {dynamics}\n", "test", tmp_path or Path())
    return topology, instance(topology, workload(topology))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), number=st.integers(1, 1000), sigma=st.floats(0, 10), jitter=st.floats(0, 0.5))
def test_same_seed_same_round_same_draws(seed, number, sigma, jitter):
    topology = parse(
        f"{HEAD}\nseed: {seed}\ndynamics: {{shadowing_db: {sigma:.6f}, compute_jitter: {jitter:.6f}}}\n", "test"
    )
    fading_db, factor = draws(topology, number)
    again_db, again = draws(topology, number)
    assert (fading_db == again_db).all() and (factor == again).all()
    assert (factor > 0).all()
    if sigma > 0.001:
        assert (fading_db != draws(topology, number + 1)[0]).all()
    if jitter < 1e-7:
        assert (factor == 1).all()


def test_nothing_changes_unless_told():
    topology, base = scene("{}")
    assert instance_at(topology, base, 5, 100.0) is base
    fading, base = scene("{shadowing_db: 3}")
    assert np.array_equal(instance_at(fading, base, 2, 0.0).ue_flops, base.ue_flops)
    jitter, base = scene("{compute_jitter: 0.1}")
    assert np.allclose(instance_at(jitter, base, 2, 0.0).rate_up, base.rate_up, rtol=1e-12)


def test_spread_of_the_draws_is_what_was_asked_for():
    topology, base = scene("{shadowing_db: 4, compute_jitter: 0.1}")
    drawn = [draws(topology, number) for number in range(1, 2001)]
    assert np.std([d[0] for d in drawn]) == pytest.approx(4, rel=0.05)
    assert np.std([d[1] for d in drawn]) == pytest.approx(0.1, rel=0.05)
    assert np.mean([d[1] for d in drawn]) == pytest.approx(1, abs=0.01)
    assert (fastest(topology, base, 50).ue_flops >= max(d[1].max() for d in drawn[:1]) * base.ue_flops.min()).all()
    assert (fastest(topology, base, 50).ue_flops > base.ue_flops).all()


def test_shadowing_moves_the_snr_by_so_many_decibels():
    """At high SNR, 10 dB less cost every Hz log2(10) bit/s, up and down alike."""
    topology, base = scene("{shadowing_db: 4}")
    now, (fading_db, _) = instance_at(topology, base, 3, 0.0), draws(topology, 3)
    per_db = 5e6 * np.log2(10) / 10
    assert now.rate_up - base.rate_up == pytest.approx(fading_db * per_db, rel=0.02)
    assert now.rate_down - base.rate_down == pytest.approx(fading_db * per_db, rel=0.02)


def test_a_ue_moves_straight_from_waypoint_to_waypoint():
    topology, base = scene("{mobility: {ue1: [{at_s: 10, distance_m: 100}, {at_s: 20, distance_m: 300}]}}")
    rates = [instance_at(topology, base, 1, at_s).rate_up for at_s in (0, 10, 15, 20, 99)]
    assert rates[0][0] == pytest.approx(rates[1][0]) == pytest.approx(base.rate_up[0])
    assert rates[1][0] > rates[2][0] > rates[3][0] == rates[4][0]
    assert rates[4][0] == pytest.approx(base.rate_up[1]), "both 300 m away"
    assert all(rate[1] == pytest.approx(base.rate_up[1]) for rate in rates)


def test_a_trace_holds_from_its_time_on(tmp_path):
    lines = "1,ue1,8,,\n2,ue1,,6,10\n2,ue2,5,,\n3,ue1,4,,\n"
    topology, base = scene("{trace: trace.csv, compute_jitter: 0.2}", tmp_path, lines)
    assert instance_at(topology, base, 1, 0.99).rate_up[0] == pytest.approx(base.rate_up[0])
    assert instance_at(topology, base, 1, 1.0).rate_up[0] == 8e6
    now = instance_at(topology, base, 9, 3.5)
    assert (now.rate_up[0], now.rate_down[0], now.ue_flops[0], now.rate_up[1]) == (4e6, 6e6, 10e9, 5e6)
    assert now.rate_down[1] == pytest.approx(base.rate_down[1])
    assert fastest(topology, base, 3).ue_flops[0] >= base.ue_flops[0]


def test_the_resolved_topology_needs_its_trace_file_no_more(tmp_path):
    topology, _ = scene("{trace: trace.csv}", tmp_path, "0,ue1,8,,\n")
    (tmp_path / "trace.csv").unlink()
    (tmp_path / "resolved.yaml").write_text(topology.model_dump_json())
    again = load(tmp_path / "resolved.yaml")
    assert again == topology
    assert digest(again) == digest(parse(HEAD, "test")), "what is up stays up"


@pytest.mark.parametrize("index", [0, 1])
def test_a_round_is_predicted_with_its_own_rates(tmp_path, index):
    """Slots stay; the rates of links and of the broadcast follow, and only what changed is told."""
    topology, base = scene("{trace: trace.csv}", tmp_path, "1,ue1,8,4,\n1,ue2,,,5\n")
    planned = plan_one(topology, base, index, topology.schemes[index], 2.0)
    before, after = (moment(topology, planned, 2, clock_s) for clock_s in (0.0, 1.0))
    first, then = before.plan.ues["ue1"], after.plan.ues["ue1"]
    assert (then.slot_up_s, then.batch) == (first.slot_up_s, first.batch)
    assert then.uplink_bps == pytest.approx(8e6 * then.slot_up_s / base.frame_s)
    assert after.timeline.round_s > before.timeline.round_s
    assert after.plan.broadcast_bps == (4e6 if after.plan.phi else 0.0)
    found = list(changes(2, before, after))
    assert [(c.task, c.ue) for c in found] == [("link_change", "ue1"), ("compute_change", "ue2")]
    assert found[1].flops == 5e9
    assert flow_rates(after.plan)["ue1/up"] == pytest.approx(then.uplink_bps / 2)
    assert list(changes(3, after, after)) == []


def result(lines):
    """What follows from the lines of one scheme."""
    (record,) = records({"scheme": "psl", **line} for line in lines).values()
    return scheme_result(record)


def test_a_change_takes_no_time_of_its_round(tmp_path):
    topology, base = scene("{trace: trace.csv}", tmp_path, "1,ue1,8,4,\n")
    planned = plan_one(topology, base, 0, topology.schemes[0], 1.0)
    before, after = (moment(topology, planned, 2, clock_s) for clock_s in (0.0, 1.0))
    rows = [asdict(row(2, e.key.kind, e.key.ue, 0, e.start_s, e.end_s)) for e in after.timeline.events]
    begin = {
        "event": "scheme", "plan": planned.plan.to_json(), "predicted": asdict(planned.predicted), "units": 5,
        "duplex": "tdd", "seed": 7, "waits": planned.latency.to_json(), "target_accuracy": None,
    }  # fmt: skip
    predicted = {"predicted_s": after.timeline.round_s, "predicted_bubble_rate": after.timeline.bubble_rate}
    end = {"event": "round", "round": 2, "train_loss": 0.0, "host": [], **predicted}
    tasks = [{"event": "task", **one} for one in rows]
    told = [{"event": "change", **asdict(change)} for change in changes(2, before, after)]
    assert told
    still, changed = (result([begin, *more, *tasks, end]) for more in ([], told))
    assert still == changed
    assert changed.summary.round_error == pytest.approx(0.0, abs=1e-12)


def test_a_link_is_judged_by_the_rate_of_its_round(tmp_path):
    topology, base = scene("{trace: trace.csv}", tmp_path, "1,ue1,8,4,\n")
    planned = plan_one(topology, base, 0, topology.schemes[0], 1.0)
    plans = {n: moment(topology, planned, n, clock_s).plan for n, clock_s in ((1, 0.0), (2, 1.0))}
    rows = [
        row(n, "uplink", "ue1", 0, 0.0, 1.0, bytes=round(plan.ues["ue1"].uplink_bps / 8)) for n, plan in plans.items()
    ]
    assert goodput_bps(rows[1:]) != pytest.approx(planned.plan.ues["ue1"].uplink_bps, rel=1e-2)
    for rounds in (rows, rows[:1], rows[1:]):
        found = link_errors(lambda number: Links(plans[number]), rounds, (0.5,))
        assert found == {"ue1/up": (pytest.approx(0.0, abs=1e-5),)}


def test_a_job_changes_its_plan_and_speeds_and_nothing_else():
    one = job("psl", 2, 1, [4, 4])
    plan, slower = replace(one.plan, broadcast_bps=5e6), costs(ue_s=1e-9)
    assert asdict(one.changed(plan, slower, 77.0)) == {
        **asdict(one),
        "plan": asdict(plan),
        "costs": asdict(slower),
        "deadline_s": 77.0,
    }


def test_agents_take_up_a_change_between_rounds():
    air = partial(Air.device, new_keyrings(["ue1"])["ue1"], port=free_port(), broadcast_port=free_port())
    agent = Ue(
        "ue1", lambda _: samples(20, 0), Metrics(), lambda address, most_bytes: air(address, most_bytes=most_bytes)
    )
    agent.configure(job("epsl", 2, 1, [4, 4], {"phi": 0.5}), MOST_BYTES)
    before, slower = agent.job, costs(ue_s=2.0, bs_s=3.0)
    plan = replace(before.plan, broadcast_bps=5e6)
    told = {"verb": "change", "plan": plan.to_json(), "costs": slower.to_json(), "deadline_s": 9.0}
    handle(agent, json.loads(json.dumps(told)), [])
    assert agent.job == replace(before, plan=plan, costs=slower, deadline_s=9.0)
    agent.close()
