"""up, ps, links, down: on real containers, idempotent, and with nothing that agents do not need."""

from __future__ import annotations

import json
import socket

import pytest

from agents.ports import CONTROL_PORT
from controller.trial.scrape import scrape
from controller.trial.session import Session
from testbed.deploy import BS, MGMT, find
from testbed.errors import TrialError
from tests.contract.cell import may_make_namespaces, neighbour
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
    assert find(engine, TRIAL) == deployment
    for agent, metric in ((BS, "testbed_bs_busy_seconds_total"), ("ue1", "testbed_ue_busy_seconds_total")):
        names = {name for name, _ in scrape(deployment.addresses(MGMT)[agent])}
        assert metric in names
        assert "python_info" not in names, "and nothing but its own"


def test_links_show_planned_set_and_measured(deployment):
    """Set far apart, so that each is known by its goodput; how near that comes to the plan, ``make bench`` measures."""
    apart = {("ue1", "up"): 1.0, ("ue1", "down"): 4.0, ("ue2", "up"): 16.0, ("ue2", "down"): 64.0}
    rows = json.loads(call("links", TRIAL, "--json").stdout)
    assert [(r["ue"], r["direction"]) for r in rows] == list(apart)
    for ue in ("ue1", "ue2"):
        rates = ["--uplink-mbps", str(apart[ue, "up"]), "--downlink-mbps", str(apart[ue, "down"])]
        assert call("links", "set", TRIAL, ue, *rates).returncode == 0
    after = json.loads(call("links", TRIAL, "--measure", "--json").stdout)
    for row in (*rows, *after):
        assert row["set_bps"] == pytest.approx(row["planned_bps"], rel=1e-3)
    assert [(r["ue"], r["direction"]) for r in after] == list(apart)
    for row, mbps in zip(after, apart.values(), strict=True):
        assert row["planned_bps"] == pytest.approx(mbps * after[0]["planned_bps"]), "all are dilated alike"
        assert row["planned_bps"] / 2 < row["median_bps"] < row["planned_bps"] * 2


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


@pytest.mark.root
@pytest.mark.skipif(not may_make_namespaces(), reason="needs root and network namespaces")
def test_a_ue_reaches_others_only_through_its_networks(deployment, engine):
    """Not what this host can reach, and would forward to."""
    probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
    container = engine.client.containers.get(deployment.agents["ue1"].name)
    with neighbour() as beyond:
        socket.create_connection(beyond, 3).close()
        reached = [
            container.exec_run(["python3", "-c", probe, address, str(port)])[0] == 0
            for address, port in ((deployment.addresses(MGMT)[BS], CONTROL_PORT), beyond)
        ]
    assert reached == [True, False]


def test_an_agent_that_never_answers_is_named(deployment, engine):
    """It runs, as the engine sees it, and says nothing."""
    name = deployment.agents["ue2"].name
    engine.client.api.kill(name, "SIGSTOP")
    try:
        with Session(engine, deployment) as session, pytest.raises(TrialError, match=r"^ue2 did not get ready in 3 s;"):
            session.await_ready(timeout_s=3)
    finally:
        engine.client.api.kill(name, "SIGCONT")


def test_a_deployment_that_is_not_whole_is_said_to_be_so(deployment, engine):
    engine.client.api.pause(deployment.agents["ue1"].name)
    engine.client.api.remove_container(deployment.agents["ue2"].name, force=True)
    for arguments in (["links", TRIAL], ["up", str(SMALL)]):
        done = call(*arguments)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last == f"{TRIAL} is not whole: ue2 is missing; ue1 is paused (hint: type: testbed down {TRIAL})"
