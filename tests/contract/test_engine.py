"""What is asked of a real Docker engine: its events, its states, and that it is left as it was found."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import docker.errors
import pytest

from testbed.container import LABEL, ContainerSpec, ContainerState
from testbed.deploy import SHAPER_IMAGE
from testbed.engine import Engine
from testbed.errors import EngineError, NameTakenError
from testbed.events import AGENT, ContainerEvent, EventStream

pytestmark = pytest.mark.docker
SLEEP = ("python3", "-c", "import time; time.sleep(600)")
LISTEN = (
    "import json, sys; d = json.load(sys.stdin); print('a warning', file=sys.stderr); "
    "json.dump([d, 'x' * 200_000], sys.stdout); sys.exit(d['status'])"
)


@pytest.fixture
def engine() -> Engine:
    return Engine.connect()


@pytest.fixture
def trial(engine: Engine) -> Iterator[str]:
    """A name that no trial has; nothing of it, and of its guest, is there afterwards."""
    name = f"engine-{uuid.uuid4().hex[:8]}"
    yield name
    engine.remove(**{LABEL: f"{name}-guest"})
    engine.remove(**{LABEL: name})


def spec(trial: str, agent: str = "ue1", command: tuple[str, ...] = SLEEP, memory: int = 64 << 20) -> ContainerSpec:
    labels = {LABEL: trial, AGENT: agent}
    return ContainerSpec(f"testbed-{trial}-{agent}", SHAPER_IMAGE, labels, command=command, memory_bytes=memory)


def start(engine: Engine, made: ContainerSpec) -> str:
    engine.create(made)
    engine.start(made.name)
    return made.name


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def collect(stream: EventStream, last: str) -> list[ContainerEvent]:
    """Events until one of this action."""
    events: list[ContainerEvent] = []

    def done() -> bool:
        events.extend(stream.take())
        return any(event.action == last for event in events)

    until(done)
    return events


def test_events_of_a_trial_and_of_no_other_are_told(engine: Engine, trial: str) -> None:
    start(engine, spec(trial, "ue2"))
    with engine.watch(trial) as stream:
        name = start(engine, spec(trial))
        engine.exec_json(name, ["python3", "-c", LISTEN], {"status": 0})
        engine.client.api.pause(name)
        assert engine.inspect(name).condition == "is paused"
        engine.client.api.unpause(name)
        with pytest.raises(EngineError):
            engine.run_once(spec(f"{trial}-other", "other", ("false",)))
        engine.client.api.kill(name)
        events = collect(stream, "die")
    assert {(e.container, e.agent) for e in events} == {(name, "ue1")}
    assert [e.action for e in events] == ["create", "start", "pause", "unpause", "kill", "die"]
    assert [e.exit_code for e in events] == [None] * 5 + [137]
    assert all(abs(e.at - time.time()) < 60 for e in events)


def test_a_container_that_is_paused_and_then_killed_gives_both(engine: Engine, trial: str) -> None:
    name = start(engine, spec(trial))
    with engine.watch(trial) as stream:
        engine.client.api.pause(name)
        engine.client.api.remove_container(name, force=True)
        events = collect(stream, "die")
    assert [e.action for e in events if e.action in ("pause", "die")] == ["pause", "die"]
    assert [e.exit_code for e in events if e.action == "die"] == [137]


def test_closing_ends_the_thread_though_no_event_ever_came(engine: Engine, trial: str) -> None:
    before = threading.active_count()
    stream = engine.watch(trial)
    assert threading.active_count() == before + 1
    time.sleep(0.2)
    begin = time.monotonic()
    stream.close()
    assert time.monotonic() - begin < 5
    assert threading.active_count() == before
    assert stream.take() == []


def test_a_container_that_is_killed_for_memory_says_so(engine: Engine, trial: str) -> None:
    states: list[ContainerState] = []
    for agent, command in (("ue1", "b = b'x' * (1 << 30)"), ("ue2", "raise SystemExit(3)")):
        name = start(engine, spec(trial, agent, ("python3", "-c", command), 32 << 20))
        until(lambda name=name: engine.inspect(name).status == "exited")  # type: ignore[misc]
        states.append(engine.inspect(name))
    assert [s.oom_killed for s in states] == [True, False]
    assert states[0].condition == "stopped with exit status 137, out of memory"
    assert states[1].condition == "stopped with exit status 3"


def test_what_a_command_prints_comes_whole(engine: Engine, trial: str) -> None:
    name = start(engine, spec(trial))
    status, (document, rest) = engine.exec_json(name, ["python3", "-c", LISTEN], {"status": 7})
    assert (status, document, len(rest)) == (7, {"status": 7}, 200_000)
    with pytest.raises(EngineError, match="ValueError: no"):
        engine.exec_json(name, ["python3", "-c", "raise ValueError('no')"], {})


def test_a_name_is_given_once(engine: Engine, trial: str) -> None:
    engine.create(spec(trial))
    with pytest.raises(NameTakenError):
        engine.create(spec(trial))


def test_what_is_run_once_does_not_remove_another_of_its_name(engine: Engine, trial: str) -> None:
    name = start(engine, spec(trial))
    with pytest.raises(NameTakenError):
        engine.run_once(spec(trial))
    assert engine.inspect(name).status == "running"


def test_what_is_run_once_may_not_take_for_ever(engine: Engine, trial: str) -> None:
    with pytest.raises(EngineError, match=r"time\.sleep\(600\) did not end in .* within 1 s"):
        engine.run_once(spec(trial), timeout_s=1)
    assert engine.containers(**{LABEL: trial}) == []


def test_what_is_run_once_is_removed_when_an_interrupt_comes_as_it_is_made(
    engine: Engine, trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = engine.create

    def interrupted(made: ContainerSpec) -> None:
        create(made)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.run_once(spec(trial))
    assert engine.containers(**{LABEL: trial}) == []


def test_what_cannot_be_removed_does_not_keep_the_rest(engine: Engine, trial: str) -> None:
    """A network that a container of somebody else is connected to."""
    net, volume = f"testbed-{trial}-air", f"testbed-{trial}-data"
    engine.create_network(net, {LABEL: trial}, internal=True)
    engine.create_volume(volume, {LABEL: trial})
    start(engine, spec(trial))
    start(engine, replace(spec(f"{trial}-guest"), networks={net: "guest"}))
    with pytest.raises(EngineError, match=f"cannot remove network {net} .*active endpoints") as left:
        engine.remove(**{LABEL: trial})
    disconnect = f"docker network disconnect -f {net} testbed-{trial}-guest-ue1"
    assert left.value.hint == f"type: {disconnect}; then: testbed down {trial}"
    assert engine.containers(**{LABEL: trial}) == []
    with pytest.raises(docker.errors.NotFound):
        engine.client.volumes.get(volume)
    engine.client.api.disconnect_container_from_network(f"testbed-{trial}-guest-ue1", net, force=True)
    assert engine.remove(**{LABEL: trial}) == 1


def test_what_is_busy_for_a_while_is_removed_when_it_is_not(
    engine: Engine, trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that somebody else's container leaves only when it has been found to be in use."""
    net, guest = f"testbed-{trial}-air", f"testbed-{trial}-guest-ue1"
    engine.create_network(net, {LABEL: trial}, internal=True)
    start(engine, replace(spec(f"{trial}-guest"), networks={net: "guest"}))
    remove, tried = engine.client.api.remove_network, []

    def leaves_late(network: str) -> None:
        tried.append(network)
        try:
            remove(network)
        finally:
            engine.client.api.disconnect_container_from_network(guest, net, force=True)

    monkeypatch.setattr(engine.client.api, "remove_network", leaves_late)
    assert engine.remove(**{LABEL: trial}) == 1
    assert len(tried) == 2 and engine.labelled(**{LABEL: trial}) == []


def test_two_removals_at_once_both_end_well(engine: Engine, trial: str) -> None:
    for agent in ("ue1", "ue2", "ue3"):
        start(engine, spec(trial, agent))
    failures: list[Exception] = []

    def remove() -> None:
        try:
            engine.remove(**{LABEL: trial})
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert engine.containers(**{LABEL: trial}) == []
