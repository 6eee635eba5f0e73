"""Messages survive the wire; what is not expected is dropped, counted or named, and never ends the thread.

Who has no key of the trial gets nowhere, and who has one is taken for nobody else.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress

import msgpack
import pytest
import torch
import zmq

from agents.schedule.task import BS, Activations, Gradients, Key, Schedule, Step, Task, down, up
from agents.wire.air import Air, AirError
from agents.wire.frames import PIECE_BYTES, FrameError, check, decode, encode, layout, pack, seal, unpack
from agents.wire.inbox import Expected
from agents.wire.keys import CONTROLLER, Keyring, connecting, new_keyrings
from agents.wire.outbox import Outbox
from tests.unit.loopback import World, free_port, job, samples, world


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 2), ()])
def test_tensors_come_back_bit_for_bit(dtype, shape):
    sent = torch.arange(60).reshape(3, 4, 5).to(dtype) if shape == (3, 4, 5) else torch.ones(shape, dtype=dtype)
    header, (got,) = decode([bytes(f) for f in encode({"kind": "uplink"}, [sent])])
    assert header == {"kind": "uplink"}
    assert got.dtype == dtype
    assert torch.equal(got, sent)


def test_tensors_that_share_memory_or_order_oddly_are_sent_as_they_look():
    strange = torch.arange(12.0).reshape(3, 4).t()[1:]
    assert torch.equal(decode([bytes(f) for f in encode({}, [strange])])[1][0], strange)


def frames(shapes: object, *data: bytes) -> list[bytes]:
    """A message that claims these shapes."""
    return [msgpack.packb([{}, shapes]), *data]


@pytest.mark.parametrize(
    "message",
    [
        [b"\xc1"],
        [b""],
        [msgpack.packb([1, []])],
        frames([["float32", [5]]], b"123"),
        frames([["object", []]], b"x"),
        frames([["float32", [1 << 40]]], b""),
        frames([["float32", [-1]]], b"1234"),
        frames([["float32", [1] * 100]], b"1234"),
        frames([["float32", [1]]], b"1234", b"1234"),
        frames([["float32", [1]]]),
    ],
)
def test_damaged_messages_are_refused(message):
    with pytest.raises(FrameError):
        decode(message)


def test_a_claimed_shape_without_its_bytes_gives_no_memory_at_all():
    """Not even memory that nobody has written to."""
    with pytest.raises(FrameError):
        decode(frames([["float32", [1000, 1000]]], b""))


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        ([torch.ones(2, 3)], True),
        ([torch.ones(3, 2)], False),
        ([torch.ones(2, 3, dtype=torch.float64)], False),
        ([torch.ones(2, 3), torch.ones(1)], False),
        ([], False),
    ],
)
def test_types_and_shapes_are_held_against_what_is_expected(found, fits):
    sealed = unpack(pack({}, seal(found)))[1]
    if fits:
        check(sealed, layout([torch.zeros(2, 3)]))
    else:
        with pytest.raises(FrameError, match="instead of float32 2×3"):
            check(sealed, layout([torch.zeros(2, 3)]))


ONE = layout([torch.zeros(5)])


def key(kind: str, m: int = 0, ue: str = "ue1") -> Key:
    return Key(0, 0, m, kind, ue)


def schedule(uplinks: int = 3, downlinks: int = 0, needs: tuple[Key, ...] = ()) -> Schedule:
    """Transfers of one UE; what goes down needs these."""
    ups = [Task(key("uplink", m), up("ue1"), Activations(1, 5, labels=False)) for m in range(uplinks)]
    downs = [Task(key("downlink", m), down("ue1"), Gradients(1, 5), needs) for m in range(downlinks)]
    served = [Task(need, BS, Step("bs", 1, 2)) for need in needs if need.ue == BS]
    return Schedule((*ups, *served, *downs))


class Link:
    """A station and a device on loopback, in round 1 of a scheme."""

    def __init__(self) -> None:
        self.port, self.broadcast = free_port(), free_port()
        self.keys = new_keyrings(["ue1", "ue2"])
        self.station = self.opened()
        self.device = Air.device(self.keys["ue1"], "127.0.0.1", self.port, self.broadcast, 1 << 20)
        self.station.open("psl", ["ue1"])
        self.device.open("psl", [BS])
        self.device.greet("psl")
        self.station.await_greetings(["ue1"], 5)

    def opened(self, most_bytes: int = 1 << 20) -> Air:
        return Air.station(self.keys[BS], "127.0.0.1", self.port, self.broadcast, most_bytes)

    def begin(self, what: Schedule, number: int = 1) -> None:
        for name, air in ((BS, self.station), ("ue1", self.device)):
            incoming = {t.key: Expected(t.agent, ONE) for t in what.tasks if name in what.receivers(t)}
            air.begin(number, incoming, Outbox(what, name, segment=0))

    def send(self, m: int, tensor: torch.Tensor | None = None) -> None:
        self.device.offer([], {key("uplink", m): seal([torch.full((5,), float(m)) if tensor is None else tensor])})

    @contextmanager
    def peer(self, keys: Keyring | None, says: str, port: int | None = None):
        """A socket at the station with these keys or none, that says it is called so."""
        context = zmq.Context.instance()
        made = connecting(context, keys, BS) if keys else context.socket(zmq.DEALER)
        made.setsockopt(zmq.IDENTITY, says.encode())
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.RECONNECT_IVL, -1)
        made.connect(f"tcp://127.0.0.1:{port or self.port}")
        yield made
        made.close()


@contextmanager
def counted(port: int):
    """A port that leads to another one, and how many bytes came back from there, piece by piece."""
    came: list[int] = []

    def pump(source: socket.socket, sink: socket.socket, lengths: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                lengths.append(len(data))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def lead() -> None:
        inside, outside = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
        with inside, outside:
            back = threading.Thread(target=pump, args=(outside, inside, came))
            back.start()
            pump(inside, outside, [])
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lead)
        thread.start()
        yield listener.getsockname()[1], came
        thread.join()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.station.close()
    made.device.close()


def await_key(air: Air, wanted: Key, timeout_s: float = 5.0):
    return air.wait(lambda arrivals: arrivals.get(wanted), timeout_s)


def test_messages_arrive_in_order_and_are_stamped_on_arrival(link):
    link.begin(schedule(3))
    for m in range(3):
        link.send(m)
    await_key(link.station, key("uplink", 2))
    after = time.monotonic_ns()
    arrivals = link.station.arrivals
    assert [a.key.micro_batch for a in arrivals] == [0, 1, 2]
    assert all(a.sent_ns <= a.arrived_ns <= after for a in arrivals)
    assert arrivals[1].tensors()[0].tolist() == [1.0] * 5


def test_a_transfer_leaves_in_its_turn_and_when_all_that_it_needs_is_done(link):
    link.begin(schedule(2, downlinks=1, needs=(key("uplink", 0), key("uplink", 1), key("bs_backward", ue=BS))))
    link.station.offer([], {key("downlink"): seal([torch.ones(5)])})
    link.send(1)  # the second of its link, before the first
    with pytest.raises(AirError, match="nothing came"):
        await_key(link.station, key("uplink", 1), 0.2)
    link.send(0)
    await_key(link.station, key("uplink", 1))
    with pytest.raises(AirError, match="nothing came"):
        await_key(link.device, key("downlink"), 0.2)
    link.station.offer([key("bs_backward", ue=BS)])
    assert await_key(link.device, key("downlink")).arrived_ns > link.station.arrivals[-1].arrived_ns


@pytest.mark.parametrize("length", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 20 * PIECE_BYTES + 7])
def test_a_tensor_of_many_frames_comes_as_it_was(link, length):
    sent = torch.arange(length, dtype=torch.int64).to(torch.uint8)
    link.station.begin(
        1, {key("uplink"): Expected("ue1", layout([sent, sent[:3]]))}, Outbox(schedule(1), BS, segment=0)
    )
    link.device.begin(1, {}, Outbox(schedule(1), "ue1", segment=0))
    link.device.offer([], {key("uplink"): seal([sent, sent[:3]])})
    first, second = await_key(link.station, key("uplink")).tensors()
    assert torch.equal(first, sent) and torch.equal(second, sent[:3])


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: [*f, f[-1]], lambda f: [*f[:-1], bytes(f[-1])[:-1]]])
def test_a_tensor_of_which_a_piece_is_missing_is_none(change):
    message = [bytes(frame) for frame in encode({}, [torch.ones(PIECE_BYTES, dtype=torch.float32)])]
    assert len(message) == 5 and all(len(frame) <= PIECE_BYTES for frame in message)
    with pytest.raises(FrameError):
        unpack(change(message))


def test_a_station_opens_again_where_it_listened(link):
    link.station.close()
    link.station = link.opened(1 << 21)
    link.station.open("sl", ["ue1"])
    link.device.open("sl", [BS])
    link.device.greet("sl")
    link.station.await_greetings(["ue1"], 5)


def test_what_is_sent_to_nobody_is_counted_and_keeps_nobody_else_waiting(link):
    both = [Task(key("downlink", ue=ue), down(ue), Gradients(1, 5)) for ue in ("ue9", "ue1")]
    link.station.begin(1, {}, Outbox(Schedule(tuple(both)), BS, segment=0))
    link.device.begin(1, {both[1].key: Expected(BS, layout([torch.ones(5)]))}, Outbox(Schedule(()), "ue1", segment=0))
    link.station.offer([], {one.key: seal([torch.ones(5)]) for one in both})
    assert await_key(link.device, both[1].key)
    assert link.station.dropped == {"to nobody": 1}


def test_nothing_of_a_peer_that_was_lost_counts_until_it_joins_again(link):
    assert link.station.lose("ue1") == []
    link.device.greet("psl")
    link.station.await_greetings(["ue1"], 0)  # who is lost is not waited for
    until = time.monotonic() + 5
    while link.station.dropped.get("lost", 0) < 2:  # over both ports; one of its first greeting may be late as well
        assert time.monotonic() < until
        time.sleep(0.001)
    link.station.join("ue1")
    link.device.greet("psl")
    link.station.await_greetings(["ue1"], 5)


def test_what_a_peer_sends_and_nobody_waits_for_is_named_with_what_is(link):
    link.begin(schedule(1))
    link.device.begin(1, {}, Outbox(schedule(2), "ue1", segment=0))  # thinks of another schedule
    link.send(0)
    await_key(link.station, key("uplink", 0))
    link.send(1)
    with pytest.raises(AirError, match=r"ue1 sent uplink of ue1, .*micro-batch 1; expected of it: nothing any more"):
        await_key(link.station, key("uplink", 1))


def test_another_shape_than_the_schedule_says_is_named(link):
    link.begin(schedule(1))
    link.send(0, torch.ones(7))
    with pytest.raises(AirError, match=r"ue1 sent uplink of ue1.* with float32 7 instead of float32 5"):
        await_key(link.station, key("uplink"))


def test_an_error_does_not_end_the_thread(link):
    link.begin(schedule(1))
    link.send(0, torch.ones(7))
    with pytest.raises(AirError):
        await_key(link.station, key("uplink"))
    link.station.open("psl", ["ue1"])
    link.device.open("psl", [BS])
    link.begin(schedule(1))
    link.send(0)
    assert await_key(link.station, key("uplink"))


def old(scheme: str, number: int, *tensors: torch.Tensor) -> list[bytes]:
    header = {"scheme": scheme, "round": number, "key": list(key("uplink")), "sent_ns": 1}
    return [bytes(frame) for frame in pack(header, seal(tensors))]


def test_what_is_of_an_earlier_round_or_scheme_is_dropped_and_counted(link):
    link.begin(schedule(1), number=3)
    for sent, (scheme, number) in enumerate((("psl", 2), ("sl", 3), ("psl", 3)), 1):
        link.device.open(scheme, [BS])
        link.device.begin(number, {}, Outbox(schedule(1), "ue1", segment=0))
        link.send(0)
        while sum(link.station.dropped.values()) + len(link.station.arrivals) < sent:
            time.sleep(0.001)
    assert await_key(link.station, key("uplink")).tensors()[0].tolist() == [0.0] * 5
    assert link.station.dropped == {"of an earlier round": 1, "of another scheme": 1}


def test_what_comes_before_its_round_has_begun_here_is_kept(link):
    link.device.begin(1, {}, Outbox(schedule(1), "ue1", segment=0))
    link.send(0)
    time.sleep(0.1)
    link.station.begin(1, {key("uplink"): Expected("ue1", ONE)}, Outbox(schedule(1), BS, segment=0))
    assert await_key(link.station, key("uplink"))


LIES = [
    old("psl", 1, torch.ones(5)),
    old("psl", 7, torch.ones(5)),
    [b"\xc1\xff", b"x" * 100],
    frames([["float32", [1 << 50]]], b""),
    [*old("psl", 1), b"no tensor was announced"],
    [b"x" * (1 << 16)],
    [msgpack.packb([[]] * 1000)],
    [b""] * 50,
]  # fmt: skip


def test_who_has_no_part_in_a_scheme_is_dropped_whatever_it_says(link):
    link.begin(schedule(2))
    link.send(0)
    with link.peer(link.keys["ue2"], says="ue1") as other:
        for number in range(1000):
            other.send_multipart(LIES[number % len(LIES)])
        while link.station.dropped.get("stranger", 0) < 1000:
            time.sleep(0.001)
        other.send(b"x" * (2 << 20))  # larger than anything that is expected: it is cut off
    link.send(1)
    assert await_key(link.station, key("uplink", 1)).tensors()[0].tolist() == [1.0] * 5
    assert set(link.station.dropped) == {"stranger"}


def test_nobody_takes_the_place_of_a_ue_that_is_there(link):
    link.begin(schedule(1, downlinks=1))
    with link.peer(link.keys["ue2"], says="ue1") as impostor:
        impostor.send(b"")
        impostor.send_multipart(old("psl", 1, torch.full((5,), 66.0)))
        while not link.station.dropped:
            time.sleep(0.001)
        link.send(0)
        assert await_key(link.station, key("uplink")).tensors()[0].tolist() == [0.0] * 5
        link.station.offer([], {key("downlink"): seal([torch.ones(5)])})
        assert await_key(link.device, key("downlink"))
        assert not impostor.poll(0)


def test_a_ue_of_which_one_connection_is_late_has_not_greeted(link):
    link.station.join("ue1")  # it is to greet anew
    hello = pack({"kind": "hello", "scheme": "psl", "round": 0, "sent_ns": 0})
    with link.peer(link.keys["ue1"], "ue1") as first, link.peer(link.keys["ue1"], "ue1", link.broadcast) as second:
        first.send_multipart(hello)
        with pytest.raises(AirError, match="ue1 cannot reach"):
            link.station.await_greetings(["ue1"], 0.5)
        second.send_multipart(hello)
        link.station.await_greetings(["ue1"], 5)


def test_nobody_takes_the_place_of_a_ue_before_it_is_there():
    link = Link()
    link.device.close()
    with link.peer(link.keys["ue2"], says="ue1") as impostor:
        impostor.send(b"")
        link.device = Air.device(link.keys["ue1"], "127.0.0.1", link.port, link.broadcast, 1 << 20)
        link.device.open("psl", [BS])
        link.station.open("psl", ["ue1"])
        link.device.greet("psl")
        link.station.await_greetings(["ue1"], 5)
        link.begin(schedule(0, downlinks=1))
        link.station.offer([], {key("downlink"): seal([torch.ones(5)])})
        assert await_key(link.device, key("downlink"))
    link.station.close()
    link.device.close()


def test_a_ue_that_comes_back_has_its_place_again_while_its_old_connection_lasts(link):
    old_one = link.device
    link.device = Air.device(link.keys["ue1"], "127.0.0.1", link.port, link.broadcast, 1 << 20)
    link.station.open("c2p2sl", ["ue1"])
    link.device.open("c2p2sl", [BS])
    link.device.greet("c2p2sl")
    link.station.await_greetings(["ue1"], 5)
    link.begin(schedule(1, downlinks=1))
    link.send(0)
    assert await_key(link.station, key("uplink"))
    link.station.offer([], {key("downlink"): seal([torch.ones(5)])})
    assert await_key(link.device, key("downlink"))
    old_one.close()


@pytest.mark.parametrize(
    ("knows", "most"),
    [
        ("nothing", 64),  # a greeting, which both sides send at once
        ("no key of the trial", 64),
        ("the key of the base station", 64 + 2 + 168),  # and a WELCOME, that only who knows its key can ask for
    ],
)
def test_who_has_no_key_of_the_trial_gets_no_byte_but_of_a_handshake(link, knows, most):
    other = new_keyrings(["ue1"])["ue1"]
    keys = {"nothing": None, "no key of the trial": other}.get(knows, Keyring(other.own, link.keys["ue1"].peers))
    link.begin(schedule(1))
    with counted(link.port) as (port, came), link.peer(keys, "ue1", port) as stranger:
        stranger.send_multipart(old("psl", 1, torch.full((5,), 66.0)))
        stranger.poll(300)
    link.send(0)
    assert await_key(link.station, key("uplink")).tensors()[0].tolist() == [0.0] * 5
    assert 0 < sum(came) <= most and not link.station.dropped


def test_the_controller_has_no_business_on_the_air(link):
    keys = Keyring(link.keys[CONTROLLER].own, link.keys["ue1"].peers)
    with link.peer(keys, "ue1") as socket:
        socket.send(b"hello")
        socket.poll(100)
    assert not link.station.dropped


def test_secrets_are_not_shown():
    ring = new_keyrings(["ue1"])["ue1"]
    assert ring.own.secret not in repr(ring) and Keyring.from_bytes(ring.to_bytes()) == ring


def test_a_round_among_strangers_ends_with_the_right_weights():
    asked = job("c2p2sl", 2, 4, batches=(6, 5))
    shards = {ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}
    ends = []
    for disturbed in (False, True):
        with world({**shards, "ue9": samples(20, 9)}) as agents:
            agents.ues.pop("ue9").close()
            agents.configure(asked)
            stop = threading.Event()
            thread = threading.Thread(target=_shout, args=(agents, stop))
            if disturbed:
                thread.start()
            for number in (1, 2):
                agents.round(number)
            if disturbed:
                stop.set()
                thread.join()
                assert agents.bs.air.dropped["stranger"] > 0
            ends.append([w for agent in ("bs", *agents.ues) for w in agents.half(agent).weights()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def _shout(agents: World, stop: threading.Event) -> None:
    """Up to 1 000 messages from one that has a key and no part in the scheme, and from one that has no key."""
    context = zmq.Context.instance()
    shouting = [connecting(context, agents.keys["ue9"], BS), context.socket(zmq.DEALER)]
    for made in shouting:
        made.connect(f"tcp://127.0.0.1:{agents.port}")
    for number in range(1000):
        if stop.is_set() and number > 100:
            break
        for made in shouting:
            with suppress(zmq.Again):  # who is not let in has nobody to send to
                made.send_multipart(LIES[number % len(LIES)], zmq.NOBLOCK)
        time.sleep(0.0005)
    for made in shouting:
        made.close(linger=0)
