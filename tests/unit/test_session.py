"""The controller's conversation: who is to blame when agents fail, and who is not listened to."""

from __future__ import annotations

import threading
import time

import pytest
import zmq

from agents.wire.frames import NOTHING, pack
from agents.wire.mgmt import AgentsFailed, ControlClient, ControlServer, Failure
from controller.trial.session import _blamed
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
    port = free_port()
    server = ControlServer("127.0.0.1", port)
    serving = threading.Thread(
        target=server.serve, args=(lambda request, _: ({"verb": request["verb"]}, []),), daemon=True
    )
    serving.start()
    client = ControlClient({"ue1": "127.0.0.1"}, port)
    client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 5)
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.connect(f"tcp://127.0.0.1:{port}")
    for message in ([b""], [b"\xc1"], [b"x"] * 9, pack({"verb": "hello"}), pack({"id": "one"})):
        stranger.send_multipart(message)
    while server.dropped < 5:
        time.sleep(0.001)
    assert client.ask({"ue1": ({"verb": "again"}, NOTHING)}, 5)["ue1"][0]["verb"] == "again"
    assert not stranger.poll(50), "a stranger gets no answer"
    stranger.close(linger=0)
    client.close()
