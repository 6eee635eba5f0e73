"""Messages that have been tampered with, thrown at each socket by peers with a key and without, for tests and benches.

What is asked: no exception anywhere but those that are documented, nothing on stderr, bounded memory, and a peer that
behaves is served as before.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack
import torch
import zmq
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from agents.exposition import Exporter, Families
from agents.host_counters import memory_bytes
from agents.schedule.task import BS, Activations, Gradients, Key, Schedule, Task, down, up
from agents.wire.air import Air, AirError
from agents.wire.frames import NOTHING, layout, pack, seal
from agents.wire.inbox import Expected
from agents.wire.keys import CONTROLLER, Door, Keyring, connecting, new_keyrings
from agents.wire.mgmt import AgentsFailed, AgentSilent, ControlClient, ControlServer
from agents.wire.outbox import Outbox
from controller.trial.scrape import parse
from testbed.monitor.api import DIRECT
from tests.unit.loopback import free_port

HOST = "127.0.0.1"
AT_ONCE, SOME = 10, 2000
MOST_BYTES = 1 << 20
MORE_BYTES = 100 << 20
"""What the memory of the process, which holds both ends, may grow by."""
Frames = list[bytes]
UP, OTHERS_UP = (Key(0, 0, 0, "uplink", ue) for ue in ("ue1", "ue2"))
DOWN = Key(0, 0, 0, "downlink", "ue1")
SENT = re.compile("(ue2|bs) (sent|cannot be reached)|nothing came")
"""What an end of the air may say of messages that nobody waits for."""
FIVE = torch.ones(5)


@dataclass(frozen=True)
class Target:
    """A socket: messages that it takes, how tampered ones are thrown at it, and whether it still serves a peer."""

    valid: Sequence[Frames]
    throw: Callable[[Sequence[Frames]], None]
    serve: Callable[[], None]


def fuzz(name: str, count: int) -> int:
    """Throws so many messages at a socket, which then must serve a peer; by how many bytes memory grew.

    AssertionError, or whatever was raised in any thread.
    """
    raised: list[BaseException | None] = []
    hook, threading.excepthook = threading.excepthook, lambda found: raised.append(found.exc_value)
    try:
        with TARGETS[name]() as target:
            target.serve()
            before = memory_bytes()
            for number in range(max(1, count // SOME)):
                _throw(target, min(count, SOME), number)
            target.serve()
            grown = memory_bytes() - before
    finally:
        threading.excepthook = hook
        assert not raised, raised
    assert grown <= MORE_BYTES, f"memory grew by {grown / 1e6:.0f} MB"
    return int(grown)


def _throw(target: Target, count: int, number: int) -> None:
    """So many messages at a time: Hypothesis remembers all that it has tried."""

    @seed(number)
    @settings(max_examples=count // AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(mutated(target.valid), min_size=AT_ONCE, max_size=AT_ONCE))
    def throw(messages: list[Frames]) -> None:
        target.throw(messages)

    throw()


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)
_position = st.floats(0, 1, exclude_max=True)


@st.composite
def mutated(draw: Any, messages: Sequence[Frames]) -> Frames:
    """One of these messages, tampered with up to three times."""
    frames = list(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(1, 3))):
        number = int(draw(_position) * len(frames))
        frames = draw(st.sampled_from(_MUTATIONS))(draw, frames, number)
    return frames or [b""]


def _flip(draw: Any, frames: Frames, number: int) -> Frames:
    frame = bytearray(frames[number] or b"\0")
    frame[int(draw(_position) * len(frame))] ^= draw(st.integers(1, 255))
    return [*frames[:number], bytes(frame), *frames[number + 1 :]]


def _cut(draw: Any, frames: Frames, number: int) -> Frames:
    frame = frames[number]
    return [*frames[:number], frame[: int(draw(_position) * len(frame))], *frames[number + 1 :]]


def _grow(draw: Any, frames: Frames, number: int) -> Frames:
    more = draw(st.binary(max_size=50)) * draw(st.sampled_from([1, 1000]))
    return [*frames[:number], frames[number] + more, *frames[number + 1 :]]


def _leave_out(draw: Any, frames: Frames, number: int) -> Frames:
    return [*frames[:number], *frames[number + 1 :]] or [b""]


def _repeat(draw: Any, frames: Frames, number: int) -> Frames:
    return [*frames[:number], *[frames[number]] * draw(st.sampled_from([2, 300])), *frames[number + 1 :]]


def _tell_else(draw: Any, frames: Frames, number: int) -> Frames:
    """Another value in the header, or another shape of a tensor."""
    try:
        header, shapes = msgpack.unpackb(frames[0])
        header[draw(st.sampled_from(sorted(header)))] = draw(_anything)
        shapes = draw(st.sampled_from([shapes, [["float32", [1 << 62]]]]) | _anything)
        return [msgpack.packb([header, shapes]), *frames[1:]]
    except Exception:  # it has been tampered with already
        return frames


_MUTATIONS = (_flip, _cut, _grow, _leave_out, _repeat, _tell_else, _tell_else)


def _plain(header: Mapping[str, object], *tensors: torch.Tensor) -> Frames:
    return [bytes(frame) for frame in pack(header, seal(tensors))]


@contextmanager
def _mgmt(known: bool) -> Iterator[Target]:
    """An agent's control server, and one who has the controller's key, or none."""
    port, keys = free_port(), new_keyrings(["ue1"])
    server = ControlServer(keys["ue1"], HOST, port)
    threading.Thread(target=server.serve, args=(lambda request, _: (request, []),), daemon=True).start()
    client = ControlClient(keys[CONTROLLER], {"ue1": HOST}, port)

    def serve() -> None:
        assert client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 30)["ue1"][0]["verb"] == "hello"

    valid = [_plain({"verb": "segment", "segment": 1, "id": 1}), _plain({"verb": "restore", "id": 2}, FIVE, FIVE)]
    with _peer(keys[CONTROLLER] if known else None, "ue1", port) as peer:
        yield Target(valid, _sender(peer, wait=known), serve)
    client.close()


@contextmanager
def _station(second: bool, known: bool) -> Iterator[Target]:
    """A base station, a UE that behaves, and another of its trial that does not, or somebody without a key."""
    ports, keys = (free_port(), free_port()), new_keyrings(["ue1", "ue2"])
    station = Air.station(keys[BS], HOST, *ports, MOST_BYTES)
    device = Air.device(keys["ue1"], HOST, *ports, MOST_BYTES)
    rounds = _Rounds(station, device, ["ue1", "ue2"])
    with _peer(keys["ue2"] if known else None, BS, ports[second]) as peer:
        yield Target(_transfers(OTHERS_UP), _sender(peer, wait=known), rounds.serve)
    rounds.close()


@contextmanager
def _device() -> Iterator[Target]:
    """A UE, whose base station has the right key and does not behave."""
    ports, keys = (free_port(), free_port()), new_keyrings(["ue1"])
    door = Door(keys[BS], ["ue1"])
    sockets = [door.socket(zmq.ROUTER) for _ in ports]
    for made, port in zip(sockets, ports, strict=True):
        made.bind(f"tcp://{HOST}:{port}")
    device = Air.device(keys["ue1"], HOST, *ports, MOST_BYTES)
    routes = [made.recv_multipart()[0] for made in sockets]
    rounds = _Rounds(None, device, [])

    def throw(messages: Sequence[Frames]) -> None:
        for number, frames in enumerate(messages):
            sockets[number % 2].send_multipart([routes[number % 2], *frames])

    def serve() -> None:
        header = {"scheme": rounds.begin(), "round": 1, "key": list(DOWN), "sent_ns": 1}
        sockets[0].send_multipart([routes[0], *_plain(header, FIVE)])
        assert torch.equal(_arrived(device, DOWN), FIVE)

    yield Target(_transfers(DOWN), throw, serve)
    device.close()
    for made in sockets:
        made.close(linger=0)
    door.close()


@contextmanager
def _controller() -> Iterator[Target]:
    """The controller, one of whose agents has the right key and does not behave."""
    port, keys = free_port(), new_keyrings(["ue1"])
    door = Door(keys["ue1"], [CONTROLLER])
    agent = door.socket(zmq.ROUTER)
    agent.bind(f"tcp://{HOST}:{port}")
    client = ControlClient(keys[CONTROLLER], {"ue1": HOST}, port)
    answers: list[Frames] = []

    def answer() -> None:
        with suppress(zmq.ContextTerminated):
            while True:
                route, *frames = agent.recv_multipart()
                number = msgpack.unpackb(frames[0])[0]["id"]
                for frames in answers:
                    agent.send_multipart([route, *frames])
                agent.send_multipart([route, *_plain({"id": number, "well": True}, FIVE)])
        agent.close(linger=0)

    threading.Thread(target=answer, daemon=True).start()

    def throw(messages: Sequence[Frames]) -> None:
        for frames in messages:
            answers[:] = [frames]
            with suppress(AgentsFailed, AgentSilent):
                client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 30)
        answers.clear()

    def serve() -> None:
        for _ in range(2):  # what was left of the answers before
            with suppress(AgentsFailed):
                found = client.ask({"ue1": ({"verb": "hello"}, NOTHING)}, 30)["ue1"][0]
        assert found == {"well": True}

    said = {"id": 1, "events": [{"kind": "uplink"}], "loss_sum": 1.0}
    yield Target([_plain(said, FIVE), _plain({"id": 1, "error": "no", "waited_for": ["bs"]})], throw, serve)
    client.close()
    door.close()


@contextmanager
def _metrics() -> Iterator[Target]:
    """What a scraper reads."""
    families = Families()
    families.counter("rounds", "Rounds", ["trial"]).labels("t").inc(3)
    with Exporter(families, HOST, 0) as exporter:
        port = int(exporter.address.rpartition(":")[2])

        def serve() -> None:
            with DIRECT.open(f"http://{exporter.address}/metrics", timeout=30) as answer:
                assert parse(answer.read().decode())["testbed_rounds_total", frozenset({("trial", "t")})] == 3

        asked = [b"GET /metrics HTTP/1.1\r\n", b"Host: bs.mgmt:9100\r\n", b"Accept: */*\r\n", b"\r\n"]
        yield Target([asked], lambda messages: _raw(port, messages), serve)


@contextmanager
def _handshake() -> Iterator[Target]:
    """A base station's port, and whoever begins as a UE does, without a key."""
    ports, keys = (free_port(), free_port()), new_keyrings(["ue1"])
    station = Air.station(keys[BS], HOST, *ports, MOST_BYTES)
    device = Air.device(keys["ue1"], HOST, *ports, MOST_BYTES)
    rounds = _Rounds(station, device, ["ue1"])
    signature = b"\xff" + bytes(8) + b"\x7f"
    greeting = [signature, b"\x03\x01", b"CURVE".ljust(20, b"\0"), b"\0", bytes(31)]
    hello = [b"\x04\xc8", b"\x05HELLO", b"\x01\0", bytes(72), bytes(32), bytes(8), bytes(80)]
    yield Target([greeting, [*greeting, *hello]], lambda messages: _raw(ports[0], messages), rounds.serve)
    rounds.close()


class _Rounds:
    """A device and perhaps a station, between which something goes each way in a round."""

    def __init__(self, station: Air | None, device: Air, peers: Sequence[str]) -> None:
        self._station, self._device, self._peers, self._number = station, device, peers, 0

    def begin(self) -> str:
        """A round of a new scheme, whose name it gives. What went on before has only what it may have as an error."""
        ends = [end for end in (self._station, self._device) if end is not None]
        assert all(SENT.match(_error(end)) for end in ends if self._number)
        self._number += 1
        scheme, shape = f"s{self._number}", layout([FIVE])
        up_and_down = (Task(UP, up("ue1"), Activations(1, 5, labels=False)), Task(DOWN, down("ue1"), Gradients(1, 5)))
        self._device.open(scheme, [BS])
        self._device.begin(1, {DOWN: Expected(BS, shape)}, Outbox(Schedule(up_and_down), "ue1", segment=0))
        if self._station is not None:
            self._station.open(scheme, self._peers)
            self._device.greet(scheme)
            self._station.await_greetings(["ue1"], 30)
            expected = {UP: Expected("ue1", shape), OTHERS_UP: Expected("ue2", shape)}
            self._station.begin(1, expected, Outbox(Schedule(up_and_down), BS, segment=0))
        return scheme

    def serve(self) -> None:
        """A round."""
        self.begin()
        assert self._station is not None
        self._device.offer([], {UP: seal([FIVE])})
        assert torch.equal(_arrived(self._station, UP), FIVE)
        self._station.offer([], {DOWN: seal([FIVE])})
        assert torch.equal(_arrived(self._device, DOWN), FIVE)

    def close(self) -> None:
        """Ends both."""
        for end in (self._station, self._device):
            if end is not None:
                end.close()


def _arrived(end: Air, key: Key) -> torch.Tensor:
    (tensor,) = end.wait(lambda found: found.get(key), 30).tensors()
    return tensor


def _error(end: Air) -> str:
    try:
        end.wait(lambda _: None, 0.01)
    except AirError as error:
        return str(error)
    raise AssertionError("nothing was waited for, and came")


def _transfers(key: Key) -> list[Frames]:
    """Messages of the first round of the first scheme, and what they begin with."""
    header = {"scheme": "s1", "round": 1, "key": list(key), "sent_ns": 1}
    greeting = {"kind": "hello", "scheme": "s1", "round": 0, "sent_ns": 1}
    return [_plain(header, FIVE), _plain(header, FIVE, FIVE), _plain({**header, "round": 2}, FIVE), _plain(greeting)]


@contextmanager
def _peer(keys: Keyring | None, to: str, port: int) -> Iterator[zmq.Socket[bytes]]:
    """A socket of somebody with these keys, or none, connected to one whose key is known by that name."""
    context = zmq.Context.instance()
    made = connecting(context, keys, to) if keys else context.socket(zmq.DEALER)
    made.setsockopt(zmq.SNDTIMEO, 30_000)
    made.connect(f"tcp://{HOST}:{port}")
    yield made
    made.close(linger=0)


def _sender(peer: zmq.Socket[bytes], wait: bool) -> Callable[[Sequence[Frames]], None]:
    def throw(messages: Sequence[Frames]) -> None:
        for frames in messages:
            with suppress(*(() if wait else (zmq.Again,))):  # who is not let in has nobody to send to
                peer.send_multipart(frames, 0 if wait else zmq.NOBLOCK)

    return throw


def _raw(port: int, messages: Sequence[Frames]) -> None:
    """Each as bytes over a connection of its own, until the other side hangs up."""
    for frames in messages:
        with socket.create_connection((HOST, port), timeout=30) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                made.sendall(b"".join(frames))
                made.shutdown(socket.SHUT_WR)
                while made.recv(1 << 16):
                    pass
            except TimeoutError:
                raise
            except OSError:  # it hung up before
                continue


TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "mgmt": partial(_mgmt, True),
    "mgmt without a key": partial(_mgmt, False),
    "air": partial(_station, False, True),
    "air without a key": partial(_station, False, False),
    "broadcast": partial(_station, True, True),
    "broadcast without a key": partial(_station, True, False),
    "air at a UE": _device,
    "mgmt at the controller": _controller,
    "metrics": _metrics,
    "handshake": _handshake,
}
"""Each socket that a trial has, with peers that have a key and with others."""
