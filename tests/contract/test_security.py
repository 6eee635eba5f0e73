"""What an agent may do, and who may speak with it, asked of the containers of a real trial."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyroute2 import IPRoute

from agents.ports import AIR_PORT, BROADCAST_PORT, CONTROL_PORT, METRICS_PORT
from agents.samples.shard import TEST, Samples
from agents.wire.frames import NOTHING
from agents.wire.keys import CONTROLLER, KEYRING, Keyring, new_keyrings
from agents.wire.mgmt import AgentSilent, ControlClient
from controller.trial.session import Session
from testbed import deploy
from testbed.container import LABEL, ContainerSpec
from testbed.deploy import (
    AGENT_IMAGE,
    AGENT_USER,
    AIR,
    BS,
    MGMT,
    SHAPER_CAPABILITIES,
    Deployment,
    controller_keys,
    find,
    resource,
)
from testbed.engine import Engine
from testbed.errors import LinkError
from testbed.links import link_plan, shaper
from testbed.loading import parse
from testbed.shaping.model import to_json
from testbed.shaping.namespace import entered, netlink
from testbed.topology import Radio
from tests.contract.cell import hold, may_make_namespaces
from tests.unit.plans import plan

pytestmark = pytest.mark.docker
TRIAL = "guarded"
MEMORY = 1 << 30
SAMPLES = Samples(np.zeros((4, 1, 28, 28), np.uint8), np.zeros(4, np.uint8)).to_bytes()
FILES = {name: {TEST: SAMPLES} for name in (BS, "ue1", "ue2")}
LOOK = """
import json, os, socket
def tried(do):
    try: do(); return "done"
    except OSError as error: return error.strerror
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status").read().splitlines() if ":\\t" in line)
def listening(path, family):
    rows = [line.split() for line in open(path).read().splitlines()[1:]]
    for place, state in ((row[1], row[3]) for row in rows):
        address, port = place.split(":")
        raw = b"".join(bytes.fromhex(address)[i:i + 4][::-1] for i in range(0, len(address) // 2, 4))
        if state == "0A": yield [socket.inet_ntop(family, raw), int(port, 16)]
print(json.dumps({
    "status": status,
    "uid": os.getuid(),
    "root": tried(lambda: open("/here", "w")),
    "data": tried(lambda: open("/data/here", "w")),
    "again": tried(lambda: os.chmod("/data/keyring.json", 0o644)),
    "files": {name: [os.stat(f"/data/{name}").st_uid, oct(os.stat(f"/data/{name}").st_mode)[-3:]]
              for name in os.listdir("/data")},
    "listening": [*listening("/proc/net/tcp", socket.AF_INET), *listening("/proc/net/tcp6", socket.AF_INET6)],
}))
"""

REACH = """
import socket
try:
    socket.create_connection(("{}", {}), timeout=2).close()
    print("reached")
except OSError:
    print("not reached")
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.connect()


@pytest.fixture(scope="module")
def trial(engine: Engine) -> Iterator[Deployment]:
    """A trial that is up, its agents ready."""
    topology = parse(f"name: {TRIAL}\nues: [{{name: ue1}}, {{name: ue2}}]\n", "test")
    deploy.down(engine, TRIAL)
    try:
        made = deploy.up(engine, topology, FILES, dict.fromkeys(FILES, MEMORY), "up")
        with Session(engine, made) as session:
            session.await_ready()
        yield made
    finally:
        deploy.down(engine, TRIAL)


@contextmanager
def outside() -> Iterator[tuple[str, int]]:
    """Where somebody listens who is beyond this host: in a network namespace that it has a way to."""
    here, there, name = "198.51.100.1", "198.51.100.2", "guarded0"
    with ExitStack() as stack:
        pid = hold(stack)
        with IPRoute() as ipr:
            ipr.link("add", ifname=name, kind="veth", peer={"ifname": "eth0", "net_ns_pid": pid})
            index = ipr.link_lookup(ifname=name)[0]
            stack.callback(_unplug, name)
            ipr.addr("add", index=index, address=here, prefixlen=30)
            ipr.link("set", index=index, state="up")
        with netlink(pid) as ipr:
            index = ipr.link_lookup(ifname="eth0")[0]
            ipr.addr("add", index=index, address=there, prefixlen=30)
            ipr.link("set", index=index, state="up")
        with entered(pid):
            listener = stack.enter_context(socket.create_server((there, 0)))
        yield there, listener.getsockname()[1]


def _unplug(name: str) -> None:
    with IPRoute() as ipr:
        for index in ipr.link_lookup(ifname=name):
            ipr.link("del", index=index)


def agents(trial: Deployment) -> list[str]:
    return [state.name for state in trial.agents.values()]


def said(engine: Engine, container: str, program: str) -> str:
    """What a program prints in a container."""
    api = engine.client.api
    return str(api.exec_start(api.exec_create(container, ["python3", "-c", program])["Id"]).decode())


def look(engine: Engine, container: str) -> Any:
    return json.loads(said(engine, container, LOOK))


def test_an_agent_is_nobody_special(engine: Engine, trial: Deployment) -> None:
    for container in agents(trial):
        found = look(engine, container)
        status = found["status"]
        assert found["uid"] == AGENT_USER and set(status["Uid"].split()) == {str(AGENT_USER)}
        assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "no new privileges, and Docker's own filter"
        assert {found["root"], found["data"], found["again"]} == {"Read-only file system"}
        host = engine.client.api.inspect_container(container)["HostConfig"]
        assert host["SecurityOpt"] == ["no-new-privileges"] and not host["Privileged"]
        assert host["Memory"] == MEMORY and host["PidsLimit"] == 256


@pytest.mark.skipif(not may_make_namespaces(), reason="needs root and network namespaces")
def test_an_agent_finds_no_way_out_of_its_networks(engine: Engine, trial: Deployment) -> None:
    """Somebody beyond the host, whom a container on an ordinary network reaches."""
    visitor = f"{TRIAL}-visitor"
    sleep = ("python3", "-c", "import time; time.sleep(600)")
    try:
        engine.create_network(visitor, {LABEL: visitor}, internal=False)
        engine.create(ContainerSpec(visitor, AGENT_IMAGE, {LABEL: visitor}, command=sleep, networks={visitor: "it"}))
        engine.start(visitor)
        with outside() as (address, port):
            program = REACH.format(address, port)
            assert said(engine, visitor, program).strip() == "reached"
            for container in agents(trial):
                assert said(engine, container, program).strip() == "not reached"
    finally:
        engine.remove(**{LABEL: visitor})
    for network in (AIR, MGMT):
        assert engine.client.api.inspect_network(resource(TRIAL, network))["Internal"]


def test_each_port_is_open_on_one_network(engine: Engine, trial: Deployment) -> None:
    """Control and metrics on mgmt, the air on the air, and nothing else but Docker's own name server."""
    air, mgmt = trial.addresses(AIR), trial.addresses(MGMT)
    with Session(engine, trial) as session:
        session._request({"verb": "open", "label": "psl", "ues": ["ue1"], "most_bytes": 1}, 30, [BS])
    for agent, state in trial.agents.items():
        expected = {(mgmt[agent], CONTROL_PORT), (mgmt[agent], METRICS_PORT)}
        if agent == BS:
            expected |= {(air[agent], AIR_PORT), (air[agent], BROADCAST_PORT)}
        found = {tuple(where) for where in look(engine, state.name)["listening"] if where[0] != "127.0.0.11"}
        assert found == expected


def test_a_trial_opens_no_port_of_its_host(engine: Engine, trial: Deployment) -> None:
    for state in (*trial.agents.values(), trial.shaper):
        made = engine.client.api.inspect_container(state.name)
        assert not made["HostConfig"]["PortBindings"] and not made["HostConfig"]["PublishAllPorts"]
        assert made["HostConfig"]["NetworkMode"] != "host"
        assert not any(made["NetworkSettings"]["Ports"].values())


def test_only_an_agent_reads_its_keys_and_it_reads_no_others(engine: Engine, trial: Deployment) -> None:
    secrets = {name: _ring(engine, f"{name}-data").own.secret for name in trial.agents}
    secrets[CONTROLLER] = controller_keys(engine, TRIAL).own.secret
    assert len(set(secrets.values())) == 4
    for name, state in trial.agents.items():
        assert look(engine, state.name)["files"][KEYRING] == [AGENT_USER, "400"]
        seen = said(engine, state.name, "print(open('/data/keyring.json').read())")
        assert [owner for owner, secret in secrets.items() if secret in seen] == [name]
    told = [json.dumps(engine.client.api.inspect_container(state.name)) for state in trial.agents.values()]
    told += [engine.logs(state.name) for state in trial.agents.values()]
    told += [json.dumps(engine.client.api.volumes(filters={"label": [f"{LABEL}={TRIAL}"]}))]
    assert not [secret for secret in secrets.values() if any(secret in text for text in told)]


def test_no_container_has_the_controllers_keys(engine: Engine, trial: Deployment) -> None:
    controller_keys(engine, TRIAL)
    states = engine.containers(**{LABEL: TRIAL})
    assert {state.name for state in states} == {*agents(trial), trial.shaper.name}, "what held the volume is gone"
    mounts = [mount for state in states for mount in engine.client.api.inspect_container(state.name)["Mounts"]]
    assert sorted(mount["Name"] for mount in mounts) == sorted(resource(TRIAL, f"{name}-data") for name in FILES)
    assert not any(mount["RW"] for mount in mounts)


def test_who_has_other_keys_is_not_answered(engine: Engine, trial: Deployment) -> None:
    addresses, others = trial.addresses(MGMT), new_keyrings(["ue1", "ue2"])
    known = controller_keys(engine, TRIAL).peers
    for ring in (others[CONTROLLER], Keyring(others[CONTROLLER].own, known), _ring_of_ue(engine, known)):
        client = ControlClient(ring, addresses, CONTROL_PORT)
        with pytest.raises(AgentSilent):
            client.ask(dict.fromkeys(addresses, ({"verb": "hello"}, NOTHING)), 1.0)
        client.close()


def test_an_agent_that_was_restarted_has_its_keys(engine: Engine, trial: Deployment) -> None:
    engine.client.api.restart(trial.agents["ue1"].name, timeout=0)
    again = find(engine, TRIAL)
    assert again is not None
    with Session(engine, again) as session:
        assert set(session.await_ready()) == {BS, "ue1", "ue2"}


def test_the_shaper_has_no_powers_while_nothing_changes(trial: Deployment) -> None:
    lines = Path(f"/proc/{trial.shaper.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert sorted(SHAPER_CAPABILITIES) == ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]
    assert int(status["CapBnd"], 16) == 1 << 12 | 1 << 19 | 1 << 21
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["the host's first process", "ours"])
def test_the_shaper_enters_no_process_but_of_its_own_trial(engine: Engine, trial: Deployment, pid: int) -> None:
    now = find(engine, TRIAL)  # one that was restarted has another process
    assert now is not None
    made = link_plan(now, plan("psl", 4, 4), Radio(), "htb")
    foreign = replace(made, egresses=(replace(made.egresses[0], pid=pid),))
    with pytest.raises(LinkError, match=f"process {pid}"):
        shaper(engine, now, "set", to_json(foreign))
    assert shaper(engine, now, "set", to_json(made))["backend"] == "htb"


def test_agents_run_as_the_user_that_the_keys_are_for() -> None:
    dockerfile = Path(__file__).parents[2] / "images/agent/Dockerfile"
    assert f"USER {AGENT_USER}:{AGENT_USER}" in dockerfile.read_text()


def _ring(engine: Engine, volume: str) -> Keyring:
    return Keyring.from_bytes(engine.read_from_volume(resource(TRIAL, volume), AGENT_IMAGE, KEYRING))


def _ring_of_ue(engine: Engine, known: Any) -> Keyring:
    """What a UE that turned against the others would use: its own key, and what it can know of theirs."""
    return Keyring(_ring(engine, "ue2-data").own, known)
