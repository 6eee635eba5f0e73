"""up, ps, links, down: on real containers, idempotent, and with nothing that agents do not need."""

from __future__ import annotations

import json

import pytest

from controller.trial.session import Session
from testbed.deploy import BS, find
from testbed.errors import TrialError
from tests.trial.conftest import SMALL, TRIAL, call

pytestmark = pytest.mark.docker


@pytest.fixture
def deployment(engine):
    """The small topology, up."""
    done = call("up", str(SMALL))
    assert done.returncode == 0, done.stderr
    return find(engine, TRIAL)


def test_up_twice_ps_and_down_twice(deployment, leftovers, tmp_path):
    again = call("up", str(SMALL))
    assert again.returncode == 0, again.stderr
    rows = json.loads(call("ps", "--json").stdout)
    assert sorted(r["agent"] for r in rows if r["trial"] == TRIAL) == ["bs", "shaper", "ue1", "ue2"]
    assert {r["status"] for r in rows} == {"running"}

    other = tmp_path / "other.yaml"
    other.write_text(SMALL.read_text().replace("seed: 3", "seed: 4"))
    taken = call("up", str(other))
    assert taken.returncode == 1
    assert taken.stderr.splitlines()[-1] == "small is already up (hint: type: testbed down small)"
    assert len(leftovers()) > 0

    assert call("down", TRIAL).returncode == 0
    assert leftovers() == []
    assert call("down", TRIAL).returncode == 0


def test_a_run_on_what_is_up_leaves_it_up(deployment, tmp_path, engine):
    for name in ("one", "two"):
        done = call("run", str(SMALL), "--out", str(tmp_path / name), "--scheme", "psl", "--rounds", "1")
        assert done.returncode == 0, done.stderr
        scraped = json.loads((tmp_path / name / "results.json").read_text())["schemes"]["psl"]["scraped"]
        assert scraped["bs_idle_s"] == pytest.approx(scraped["events_bs_idle_s"], rel=0.01)
    assert find(engine, TRIAL) is not None


def test_links_show_planned_set_and_measured(deployment):
    rows = json.loads(call("links", TRIAL, "--measure", "--json").stdout)
    assert [(r["ue"], r["direction"]) for r in rows] == [
        ("ue1", "up"),
        ("ue1", "down"),
        ("ue2", "up"),
        ("ue2", "down"),
    ]
    for row in rows:
        assert row["set_bps"] == pytest.approx(row["planned_bps"], rel=1e-3)
        assert row["goodput_bps"] == pytest.approx(row["planned_bps"], rel=0.03)


def test_links_of_nothing_says_what_to_do():
    done = call("links", "nosuch")
    assert done.returncode == 1
    assert done.stderr.strip() == "nosuch is not up (hint: type: testbed ps, or testbed up TOPOLOGY)"


def test_agents_have_no_privileges_and_bounded_resources(deployment, engine):
    for name, state in deployment.agents.items():
        data = engine.client.api.inspect_container(state.name)
        host = data["HostConfig"]
        assert data["Config"]["User"] not in ("", "0", "root")
        assert host["ReadonlyRootfs"]
        assert host["Memory"] > 0
        assert host["PidsLimit"] > 0
        assert (host["CpuPeriod"], host["CpuQuota"] > 0) == (5000, True)
        code, output = engine.client.containers.get(state.name).exec_run("cat /proc/self/status")
        assert code == 0
        assert "CapEff:\t0000000000000000" in output.decode()
        assert [m["Name"] for m in data["Mounts"] if m["Type"] == "volume"] == [f"testbed-small-{name}-data"]


def test_a_ue_reaches_others_only_through_its_networks(deployment, engine):
    probe = "import socket; socket.create_connection((__import__('sys').argv[1], 80), 2)"
    container = engine.client.containers.get(deployment.agents["ue1"].name)
    code, _ = container.exec_run(["python3", "-c", probe, "192.0.2.1"])
    assert code != 0


def test_an_agent_that_never_answers_is_named(deployment, engine):
    name = deployment.agents["ue2"].name
    engine.client.api.pause(name)
    try:
        with Session(engine, deployment) as session, pytest.raises(TrialError, match="ue2"):
            session.await_ready(timeout_s=3)
    finally:
        engine.client.api.unpause(name)


def test_every_agent_serves_metrics_on_mgmt(deployment):
    from controller.trial.scrape import scrape

    addresses = deployment.addresses("mgmt")
    names = {name for name, _ in scrape(addresses[BS])} | {name for name, _ in scrape(addresses["ue1"])}
    assert "python_info" not in names
