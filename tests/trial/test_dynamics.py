"""Links and devices that change while a trial runs, on real containers."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from agents.plan import Plan, UePlan
from testbed.deploy import find
from testbed.links import read_links
from testbed.tuning import Tuner
from tests.trial.conftest import SMALL, TRIAL, call, command

pytestmark = pytest.mark.docker

ROUNDS = 5
MOVING = """
name: small
seed: 3
training: {{batch: 32, rounds: {rounds}}}
radio: {{access: dedicated}}
base_station: {{clock_ghz: 4, flops_per_cycle: 1.5}}
ues:
  - {{name: ue1, uplink_mbps: 10, downlink_mbps: 20, flops_per_cycle: 1.5}}
  - {{name: ue2, uplink_mbps: 10, downlink_mbps: 20, flops_per_cycle: 1.5}}
dynamics: {{trace: trace.csv}}
schemes: [{{scheme: psl, cut: 2}}]
"""


def write(folder, lines, rounds=ROUNDS):
    """A topology of links that follow a trace, beside the trace."""
    (folder / "moving.yaml").write_text(MOVING.format(rounds=rounds))
    (folder / "trace.csv").write_text("time,ue,uplink,downlink,compute\n" + "".join(f"{line}\n" for line in lines))
    return str(folder / "moving.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which both uplinks have half their rate, and a device half its speed, from round 3 on."""
    folder = tmp_path_factory.mktemp("moving")
    planned = json.loads(call("plan", write(folder, ["0,ue1,10,,"]), "--scheme", "psl", "--json").stdout)
    in_round_2_s = 1.5 * planned["predicted"]["round_s"]
    half = [f"{in_round_2_s},ue1,5,,0.9", f"{in_round_2_s},ue2,5,,"]
    done = call("run", write(folder, half), "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (folder / "out" / "events.jsonl").read_text().splitlines()]
    return json.loads((folder / "out" / "results.json").read_text())["schemes"]["psl"], events


def test_measured_rounds_follow_the_prediction_of_each(run):
    rounds = run[0]["rounds"]
    predicted = [r["predicted_s"] for r in rounds]
    assert predicted[0] == predicted[1] < predicted[2] == predicted[4]
    assert predicted[2] > 1.3 * predicted[1]
    for one in rounds[1:]:
        assert one["round_s"] > 0.97 * one["predicted_s"], "a busy machine makes a round longer, never shorter"
    errors = sorted(one["round_s"] / one["predicted_s"] - 1.0 for one in rounds[1:])
    assert run[0]["summary"]["round_error"] == pytest.approx((errors[1] + errors[2]) / 2, abs=1e-9)


def test_uplinks_take_twice_as_long_from_round_3_on(run):
    uplinks = [r for r in run[1] if (r.get("task"), r.get("ue")) == ("uplink", "ue2")]
    took = {r["round"]: r["end_s"] - r["start_s"] for r in uplinks}
    at_half_s = uplinks[0]["bytes"] * 8 / 5e6
    assert min(took[3], took[4], took[5]) > 0.98 * at_half_s
    assert min(took[1], took[2]) < 0.9 * at_half_s


def test_each_change_is_an_event(run):
    found = {(e["round"], e["task"], e["ue"]): e for e in run[1] if e["event"] == "change"}
    assert set(found) == {(3, "link_change", "ue1"), (3, "link_change", "ue2"), (3, "compute_change", "ue1")}
    assert found[3, "link_change", "ue1"]["uplink_bps"] == 5e6
    assert found[3, "compute_change", "ue1"]["flops"] == pytest.approx(0.9e9)


def test_links_set_changes_a_link_by_hand_while_a_trial_runs(tmp_path, engine):
    topology = write(tmp_path, ["9999,ue1,1,,"], rounds=30)
    trial = subprocess.Popen(command("run", topology, "--out", str(tmp_path / "out")), stderr=subprocess.PIPE)
    events = tmp_path / "out" / "events.jsonl"
    _until(trial, lambda: events.exists() and '"round": 3' in events.read_text())
    done = call("links", "set", TRIAL, "ue1", "--uplink-mbps", "2.5", "--json")
    deployment = find(engine, TRIAL)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["ue"], row["direction"]) == ("ue1", "up")
    assert row["set_bps"] == pytest.approx(row["planned_bps"], rel=1e-3)
    assert deployment and next(r["planned_bps"] for r in read_links(engine, deployment)) == row["planned_bps"]
    _, errors = trial.communicate(timeout=200)
    assert trial.returncode == 0, errors
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    uplinks = [r for r in rows if (r.get("task"), r.get("ue")) == ("uplink", "ue1")]
    took = {r["round"]: r["end_s"] - r["start_s"] for r in uplinks}
    assert took[30] > 0.98 * uplinks[0]["bytes"] * 8 / 2.5e6
    plan = Plan.from_json(json.loads((tmp_path / "out" / "psl" / "plan.json").read_text()))
    assert plan.ues["ue1"].uplink_bps == 10e6, "the trial goes on by its plan"


def test_links_set_says_what_is_wrong(engine):
    assert call("up", str(SMALL)).returncode == 0
    for arguments, error in (
        (["ue9", "--uplink-mbps", "5"], "UE: small has no ue9 (hint: its UEs are ue1, ue2)"),
        (["ue1"], "--uplink-mbps: or --downlink-mbps is needed (hint: give the payload rate in Mbit/s)"),
        (["ue1", "--uplink-mbps", "-3"], "--uplink-mbps: -3 cannot be shaped"),
    ):
        done = call("links", "set", TRIAL, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(error)


def test_a_tuner_leaves_no_process_behind(engine):
    assert call("up", str(SMALL)).returncode == 0
    deployment = find(engine, TRIAL)

    def plan(uplink_bps):
        return Plan("small", "psl", "uniform", 2, 1, 2.0, {"ue1": UePlan(16, 0.01, 0.01, uplink_bps, 2e7)})

    with Tuner(engine, deployment) as tuner:
        assert tuner.follow(plan(1e7), plan(1e7), ["ue1"]) == []
        (row,) = tuner.follow(plan(1e7), plan(3e7), ["ue1"])
        assert row["set_bps"] == pytest.approx(1.5e7, rel=1e-3)
        begin = time.monotonic()
        tuner.follow(plan(3e7), plan(2e7), ["ue1"])
        print(f"one link: {1e3 * (time.monotonic() - begin):.1f} ms")
        assert len(_processes(engine, deployment)) == 2
    _until(None, lambda: len(_processes(engine, deployment)) == 1)


def _processes(engine, deployment):
    return engine.client.api.top(deployment.shaper.name)["Processes"]


def _until(trial, condition):
    end = time.monotonic() + 120
    while not condition():
        assert trial is None or trial.poll() is None, trial.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
