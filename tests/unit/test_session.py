"""The controller's conversation: who is to blame when agents fail, and who is not listened to."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import zmq

from agents.wire.frames import NOTHING, pack
from agents.wire.keys import CONTROLLER, KeyPair, Keyring, connecting, new_keyrings
from agents.wire.mgmt import AgentsFailed, ControlClient, ControlServer, Failure
from controller.trial.memory import Memory
from controller.trial.session import Session, _blamed
from testbed.errors import GoneError, TrialError
from testbed.events import ContainerEvent
from tests.unit.loopback import free_port


@pytest.mark.parametrize(
    ("failures", "silent", "words"),
    [
        (
            {"bs": Failure("AirError: bs waited for uplink of ue2", ("ue2",)), "ue1": Failure("AirError", ("bs",))},
            ["ue2"],
            "ue2: fell silent (AirError: bs waited for uplink of ue2)",
        ),
        (
            {"ue1": Failure("ValueError: nonsense"), "bs": Failure("AirError: bs waited", ("ue1",))},
            [],
            "ue1: ValueError: nonsense",
        ),
        ({"bs": Failure("RuntimeError: out of paper")}, ["ue1"], "bs: RuntimeError: out of paper"),
    ],
)  # fmt: skip
def test_the_culprit_is_named_and_not_its_victims(failures, silent, words):
    assert str(_blamed(AgentsFailed(failures, silent))).startswith(words)


def test_what_is_no_request_is_dropped_and_the_next_one_is_answered():
    port, keys = free_port(), new_keyrings(["ue1", "ue2"])
    server = ControlServer(keys["ue1"], "127.0.0.1", port, {"alive"}, lambda request, _: ({}, []))
    serving = threading.Thread(
        target=server.serve, args=(lambda request, _: ({"verb": request["verb"]}, []),), daemon=True
    )
    serving.start()
    client = ControlClient(keys[CONTROLLER], {"ue1": "127.0.0.1"}, port)
    client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 5)
    other = connecting(zmq.Context.instance(), keys[CONTROLLER], "ue1")
    other.connect(f"tcp://127.0.0.1:{port}")
    said = [("verb", "hello")], [("id", "one"), ("verb", "hello")], [("id", 1e300), ("verb", "hello")]
    wrong = [*map(dict, said), {"id": 1, "verb": ["alive"]}]
    for message in ([b""], [b"\xc1"], [b"x"] * 9, *map(pack, wrong)):
        other.send_multipart(message)
    while server.dropped < 7:
        time.sleep(0.001)
    assert client.ask({"ue1": ({"verb": "again"}, NOTHING)}, 5)["ue1"][0]["verb"] == "again"
    assert not other.poll(50), "what is no request gets no answer"
    other.close(linger=0)
    client.close()


def test_nobody_but_the_controller_is_answered():
    port, keys = free_port(), new_keyrings(["ue1", "ue2"])
    server = ControlServer(keys["ue1"], "127.0.0.1", port)
    asked: list[str] = []

    def handle(request, _):
        asked.append(request["verb"])
        return {}, []

    threading.Thread(target=server.serve, args=(handle,), daemon=True).start()
    context = zmq.Context()
    others = [context.socket(zmq.DEALER)]
    for name in ("bs", "ue2", "another controller"):
        own = keys[name].own if name in keys else KeyPair.new()
        others.append(connecting(context, Keyring(own, keys[CONTROLLER].peers), "ue1"))
    for other in others:
        other.connect(f"tcp://127.0.0.1:{port}")
        other.send_multipart(pack({"verb": "open", "id": 1}))
    client = ControlClient(keys[CONTROLLER], {"ue1": "127.0.0.1"}, port)
    for _ in range(10):
        client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 5)
    assert set(asked) == {"hello"} and not server.dropped
    assert not any(other.poll(20) for other in others)
    client.close()
    context.destroy(linger=0)


class Told(list[ContainerEvent]):
    """Events that have come."""

    def take(self) -> list[ContainerEvent]:
        taken, self[:] = list(self), []
        return taken

    def close(self) -> None:
        pass


def session(told: list[tuple[str, int | None]], oom_killed: bool | None) -> Session:
    """A session with one UE that nobody answers for, and of which the engine tells these things."""

    def inspect(container: str) -> SimpleNamespace:
        if oom_killed is None:
            raise GoneError("gone")
        return SimpleNamespace(oom_killed=oom_killed)

    events = Told(ContainerEvent("testbed-t-ue1", "ue1", action, code, 0.0) for action, code in told)
    keys = new_keyrings(["ue1"])[CONTROLLER].to_bytes()
    engine = SimpleNamespace(watch=lambda trial: events, inspect=inspect, read_from_volume=lambda *_: keys)
    deployment = SimpleNamespace(trial="t", agents={"ue1": None}, addresses=lambda network: {"ue1": "127.0.0.1"})
    return Session(engine, deployment, {"ue1": Memory(280e6, 294_000_000, "lower training.batch, or cut earlier")})


@pytest.mark.parametrize(
    ("verb", "told", "oom_killed"),
    [
        ("hello", [("oom", None), ("die", 137)], True),
        ("configure", [("die", 137), ("oom", None)], False),
        ("configure", [("die", 137)], True),
        ("segment", [("oom", None)], None),
    ],
)
def test_an_agent_that_is_killed_for_memory_is_said_to_be(verb, told, oom_killed):
    with session(told, oom_killed) as talk, pytest.raises(TrialError) as failed:
        talk._request({"verb": verb}, 5)
    words = "ue1 ran out of its memory (limit 294 MB, predicted 280 MB) (hint: lower training.batch, or cut earlier)"
    assert str(failed.value) == words


@pytest.mark.parametrize("oom_killed", [False, None])
def test_an_agent_that_is_killed_otherwise_is_not(oom_killed):
    told = [("die", 137)]
    with session(told, oom_killed) as talk, pytest.raises(TrialError, match="ue1 stopped with exit status 137"):
        talk.await_ready(5)
