"""Messages survive the wire, and what is not a message is refused."""

from __future__ import annotations

import time

import pytest
import torch

from agents.wire.air import Air, AirError, DuplexGate
from agents.wire.frames import FrameError, decode, encode
from tests.unit.loopback import free_port


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


@pytest.mark.parametrize(
    "frames",
    [[b"\xc1"], [b""], [b"\x92\x80\x91\x92\xa7float32\x91\x05", b"123"], [b"\x92\x80\x91\x92\xa6object\x90", b"x"]],
)
def test_damaged_messages_are_refused(frames):
    with pytest.raises(FrameError):
        decode(frames)


def test_half_duplex_holds_a_downlink_until_the_last_uplink_of_its_turn():
    gate = DuplexGate()
    down = {"kind": "downlink", "round": 1, "phase": 0, "hold_for": 2}
    gate.arrived({"kind": "uplink", "round": 1, "phase": 0})
    gate.arrived({"kind": "uplink", "round": 1, "phase": 1})
    assert not gate.open_for(down)
    gate.arrived({"kind": "uplink", "round": 1, "phase": 0})
    assert gate.open_for(down)
    assert gate.open_for({**down, "phase": 2, "hold_for": 0})


@pytest.fixture
def link():
    port, broadcast = free_port(), free_port()
    station = Air.station("127.0.0.1", port, broadcast)
    device = Air.device("ue1", "127.0.0.1", port, broadcast)
    yield station, device
    station.close()
    device.close()


def test_messages_arrive_in_order_and_are_stamped_on_arrival(link):
    station, device = link
    for m in range(3):
        device.send("bs", {"kind": "uplink", "round": 1, "phase": 0, "micro_batch": m}, [torch.ones(5)])
    time.sleep(0.2)  # the receiver is busy; the stamps must not be
    before_receiving = time.monotonic_ns()
    arrivals = [station.receive(5) for _ in range(3)]
    assert [a.header["micro_batch"] for a in arrivals] == [0, 1, 2]
    assert all(a.header["sent_ns"] <= a.arrived_ns < before_receiving - 100_000_000 for a in arrivals)
    assert arrivals[0].peer == "ue1"


def test_a_held_downlink_leaves_when_the_last_uplink_arrives(link):
    station, device = link
    device.send("bs", {"kind": "uplink", "round": 1, "phase": 0, "micro_batch": 0})
    station.receive(5)
    station.send("ue1", {"kind": "downlink", "round": 1, "phase": 0, "micro_batch": 0, "hold_for": 2})
    with pytest.raises(AirError, match="nothing came"):
        device.receive(0.2)
    device.send("bs", {"kind": "uplink", "round": 1, "phase": 0, "micro_batch": 1})
    assert device.receive(5).header["kind"] == "downlink"


def test_sending_to_nobody_is_an_error_and_not_silence(link):
    station, _ = link
    station.send("ue9", {"kind": "downlink", "round": 1, "phase": 0})
    with pytest.raises(AirError, match="ue9 cannot be reached"):
        station.receive(5)
