"""A deployment on a real engine: whole or said not to be, made by one of several at once, and never left in part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.samples.shard import TEST, Samples
from testbed import deploy
from testbed.container import DEPLOYMENT, LABEL, ContainerSpec
from testbed.deploy import AIR, MGMT, Deployment, find, resource
from testbed.engine import Engine
from testbed.errors import DeployError
from testbed.loading import parse
from testbed.topology import Topology

pytestmark = pytest.mark.docker
TRIAL = "whole"
BLANK = Samples(np.zeros((4, 1, 28, 28), np.uint8), np.zeros(4, np.uint8)).to_bytes()
SAMPLES: dict[str, dict[str, bytes]] = {name: {TEST: BLANK} for name in ("bs", "ue1", "ue2")}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """The engine, with nothing of the trial before and after."""
    engine = Engine.connect()
    deploy.down(engine, TRIAL)
    yield engine
    deploy.down(engine, TRIAL)


@pytest.fixture(scope="module")
def topology() -> Topology:
    return parse(f"name: {TRIAL}\nues: [{{name: ue1}}, {{name: ue2}}]\n", "test")


def up(engine: Engine, topology: Topology) -> Deployment:
    return deploy.up(engine, topology, SAMPLES, dict.fromkeys(SAMPLES, 1 << 30), "up")


def left(engine: Engine) -> int:
    """How many containers, networks and volumes there are of the trial."""
    return len(engine.labelled(**{LABEL: TRIAL}))


def test_what_is_up_is_found(engine: Engine, topology: Topology) -> None:
    assert find(engine, TRIAL) is None
    made = up(engine, topology)
    assert list(made.agents) == ["bs", "ue1", "ue2"] and made.ues == ("ue1", "ue2")
    assert find(engine, TRIAL) == made
    assert len({state.labels[DEPLOYMENT] for state in (*made.agents.values(), made.shaper)}) == 1
    for network in (AIR, MGMT):
        assert len(set(made.addresses(network).values())) == 3
        assert engine.client.api.inspect_network(resource(TRIAL, network))["Internal"]


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda api, name: api.remove_container(name, force=True), "ue2 is missing"),
        (lambda api, name: api.pause(name), "ue2 is paused"),
        (lambda api, name: api.kill(name), "ue2 stopped with exit status 137"),
    ],
    ids=["missing", "paused", "killed"],
)
def test_one_that_is_not_whole_is_said_to_be_so(
    engine: Engine, topology: Topology, break_it: Callable[[Any, str], None], complaint: str
) -> None:
    made = up(engine, topology)
    break_it(engine.client.api, made.agents["ue2"].name)
    with pytest.raises(DeployError, match=f"^{TRIAL} is not whole: {complaint}") as error:
        find(engine, TRIAL)
    assert error.value.hint == f"type: testbed down {TRIAL}"


def test_a_deployment_without_its_shaper_is_not_whole(engine: Engine, topology: Topology) -> None:
    engine.client.api.remove_container(up(engine, topology).shaper.name, force=True)
    with pytest.raises(DeployError, match="shaper is missing"):
        find(engine, TRIAL)


def test_one_of_two_at_once_wins_and_the_other_touches_nothing(engine: Engine, topology: Topology) -> None:
    made: list[Deployment] = []
    failed: list[Exception] = []

    def start() -> None:
        try:
            made.append(up(Engine.connect(), topology))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error) for error in failed] == [
        f"{TRIAL} is already being started (hint: wait, or type: testbed down {TRIAL})"
    ]
    assert [find(engine, TRIAL)] == made
    assert left(engine) == 4 + 2 + 4, "containers, networks and volumes of one"


def test_who_comes_later_touches_nothing_either(engine: Engine, topology: Topology) -> None:
    made = up(engine, topology)
    with pytest.raises(DeployError, match="already being started"):
        up(engine, topology)
    assert find(engine, TRIAL) == made


@pytest.mark.parametrize("agent", ["shaper", "bs", "ue2"])
@pytest.mark.parametrize("call", ["create", "start"])
def test_an_interrupt_as_a_container_is_made_leaves_nothing(
    engine: Engine, topology: Topology, monkeypatch: pytest.MonkeyPatch, call: str, agent: str
) -> None:
    """It comes when the engine has done what it was asked for, and before anybody knows."""
    real: Callable[[Any], None] = getattr(engine, call)

    def interrupted(what: ContainerSpec | str) -> None:
        real(what)
        if agent in (what if isinstance(what, str) else what.name):
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        up(engine, topology)
    assert left(engine) == 0


def test_an_agent_that_ends_at_once_is_named(
    engine: Engine, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, start = deploy._agent, engine.start

    def ending(topology: Topology, name: str, *more: Any, **named: Any) -> ContainerSpec:
        spec = agent(topology, name, *more, **named)
        return replace(spec, command=("python3", "-c", "raise SystemExit('no samples')")) if name == "ue1" else spec

    def late(name: str) -> None:
        if name == resource(TRIAL, deploy.SHAPER):
            engine.client.api.wait(resource(TRIAL, "ue1"), timeout=60)
        start(name)

    monkeypatch.setattr(deploy, "_agent", ending)
    monkeypatch.setattr(engine, "start", late)
    with pytest.raises(DeployError, match="ue1 stopped with exit status 1: no samples"):
        up(engine, topology)
    assert left(engine) == 0
