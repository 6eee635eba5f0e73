"""An engine that is slow, breaks off, refuses and fails: what is asked of it is done once, or said not to be."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import docker
import pytest

from testbed import deploy
from testbed.container import DEPLOYMENT, LABEL, ContainerSpec
from testbed.deploy import find
from testbed.engine import Engine
from testbed.errors import AwayError, TestbedError
from testbed.loading import parse
from tests.contract.proxy import DROP, FAIL, KINDS, LOSE, REFUSE, Draw, Proxy, drawn, proxied
from tests.contract.test_deploy import up
from tests.contract.test_engine import SLEEP, spec

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif("DOCKER_HOST" in os.environ, reason="the proxy knows the engine of this machine only"),
]
Through = Callable[[Draw], AbstractContextManager[Proxy]]


@pytest.fixture
def through(tmp_path: Path) -> Through:
    """A proxy to the engine."""
    return partial(proxied, tmp_path / "docker.sock")


@pytest.fixture
def trial() -> Iterator[str]:
    """A name that no trial has; nothing of it is there afterwards."""
    name = f"flaky-{uuid.uuid4().hex[:8]}"
    yield name
    Engine.connect().remove(**{LABEL: name})


def engine_at(proxy: Proxy) -> Engine:
    return Engine(docker.DockerClient(base_url=proxy.url, timeout=30, version="1.41", max_pool_size=16))


def once(fault: str, method: str, words: str) -> Draw:
    """This fault at the first request of this method whose path has these words."""
    left = [fault]
    return lambda asked, path: left.pop() if left and asked == method and words in path else None


MAKING = [("POST", "/networks/create"), ("POST", "/containers/create"), ("POST", "/connect"), ("POST", "/start")]


@pytest.mark.parametrize("fault", [DROP, LOSE, FAIL, REFUSE])
@pytest.mark.parametrize(("method", "words"), MAKING, ids=lambda value: value.strip("/"))
def test_what_is_made_is_made_once(through: Through, trial: str, fault: str, method: str, words: str) -> None:
    """Though the answer is lost, or the engine was away when it was asked."""
    labels = {LABEL: trial, DEPLOYMENT: uuid.uuid4().hex}
    nets = {f"testbed-{trial}-{net}": f"ue1.{net}" for net in ("air", "mgmt")}
    made = ContainerSpec(f"testbed-{trial}-ue1", spec(trial).image, labels, command=SLEEP, networks=nets)
    with through(once(fault, method, words)) as proxy:
        engine = engine_at(proxy)
        for net in nets:
            engine.create_network(net, labels, internal=True)
        engine.create(made)
        engine.start(made.name)
        assert [fault for fault, _, _ in proxy.happened] == [fault]
    direct = Engine.connect()
    assert len(direct.labelled(**{LABEL: trial})) == 3
    assert set(direct.inspect(made.name).addresses) == set(nets)


def test_a_command_that_ended_before_its_start_was_answered_is_not_run_again(through: Through, trial: str) -> None:
    said = spec(trial, command=("python3", "-c", "print('once')"))
    with through(once(LOSE, "POST", "/start")) as proxy:
        assert engine_at(proxy).run_once(said) == "once\n"
        assert len(proxy.happened) == 1


@pytest.mark.parametrize("fault", [DROP, LOSE])
def test_a_container_that_has_ended_is_started_again(through: Through, trial: str, fault: str) -> None:
    made = spec(trial, command=SLEEP)
    direct = Engine.connect()
    direct.create(made)
    direct.start(made.name)
    direct.kill(made.name)
    with through(once(fault, "POST", "/start")) as proxy:
        engine_at(proxy).start(made.name)
        assert len(proxy.happened) == 1
    assert direct.inspect(made.name).status == "running"


@pytest.mark.parametrize("seed", range(4))
def test_a_deployment_comes_up_and_goes_through_a_bad_way(through: Through, seed: int) -> None:
    """Or it is said in one line that it does not, and nothing of it is left."""
    topology = parse("name: flaky\nues: [{name: ue1}, {name: ue2}]\n", "test")
    direct = Engine.connect()
    deploy.down(direct, "flaky")
    with through(drawn(seed, 0.1, KINDS)) as proxy:
        engine = engine_at(proxy)
        try:
            made = up(engine, topology)
            assert find(direct, "flaky") == made
        except TestbedError as error:
            pytest.fail(str(error))
        deploy.down(engine, "flaky")
        assert proxy.happened
    assert direct.labelled(**{LABEL: "flaky"}) == []


def test_an_engine_that_stays_away_is_said_to_be(through: Through, trial: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.patience.AWAY_S", 1.0)
    with through(lambda method, path: None) as proxy:
        engine = engine_at(proxy)
        proxy.refuse(1000)
        with pytest.raises(AwayError, match="does not answer any more"):
            engine.remove(**{LABEL: trial})


def test_events_go_on_after_the_engine_was_away(through: Through, trial: str) -> None:
    """What happened meanwhile is told, too."""
    direct = Engine.connect()
    with through(lambda method, path: None) as proxy, engine_at(proxy).watch(trial) as stream:
        proxy.refuse(1.0)
        direct.create(spec(trial))
        direct.start(f"testbed-{trial}-ue1")
        direct.client.api.kill(f"testbed-{trial}-ue1")
        seen: set[str] = set()
        while not seen >= {"create", "start", "die"}:
            seen |= {event.action for event in stream.take()}
