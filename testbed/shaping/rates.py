"""Payload rates ↔ what a qdisc is told, and how finely it has to cut: arithmetic only.

A qdisc counts Ethernet frames in bytes/s; a plan counts TCP payload in bit/s.
"""

from __future__ import annotations

import math

MTU = 1500
"""Of the container networks that links run over."""

_ETHERNET = 14
_IPV4_AND_TCP = 20 + 20 + 12  # with timestamps, which Linux sends unless told otherwise

# How long a link may run ahead of its rate, in seconds. A token bucket that waits for a timer needs slack, or
# it loses what the timer is late by; on the other hand a transfer over an idle link arrives early by all of
# it. Waking a sender and a ZeroMQ receiver makes it late by as much again, and the two cancel: 500 KB take their
# time to within 0.2 % from 1 to 200 Mbit/s (with 50 µs 0.2 ms too long, with 400 µs 0.2 ms too short).
# What remains at low rates is one frame: the last one leaves when the one before it is paid for.
_SLACK_S = 200e-6
# The share of the slack that may go into one packet of several frames. HTB lets a packet go before it is paid
# for, so one of 64 KB (the kernel's default) is 50 ms early at 10 Mbit/s; but handling frames one by one costs
# 0.8 of a core at 500 Mbit/s, and four at a time less than half of that.
_PACKET_S = 100e-6


def frame_bytes(mtu: int) -> int:
    """The largest frame of an interface, in bytes."""
    return mtu + _ETHERNET


def wire_rate(payload_bps: float, mtu: int) -> int:
    """Bytes/s of frames that carry ``payload_bps`` bit/s of TCP payload in full-sized segments."""
    return round(payload_bps / 8 * frame_bytes(mtu) / (mtu - _IPV4_AND_TCP))


def payload_rate(wire_rate: float, mtu: int) -> float:
    """Bit/s of TCP payload in ``wire_rate`` bytes/s of frames."""
    return wire_rate * 8 * (mtu - _IPV4_AND_TCP) / frame_bytes(mtu)


def matches(planned_bps: float, set_bps: float) -> bool:
    """Whether a rate read back is the planned one: within 0.01 %, and the rounding to whole bytes/s."""
    return abs(set_bps - planned_bps) <= 1e-4 * planned_bps + 8


def frames_per_packet(wire_rate: float, mtu: int, packet_s: float = _PACKET_S) -> int:
    """How many frames may pass at once, as one packet that takes ``packet_s``, at ``wire_rate`` bytes/s."""
    return max(1, int(packet_s * wire_rate / frame_bytes(mtu)))


def holds_back(slot_s: float, frame_s: float) -> bool:
    """Whether a TDMA slot makes packets wait: there is one, and it does not fill the frame."""
    return 0 < slot_s < frame_s


def slot_packets(wire_rate: float, frame_s: float, mtu: int) -> int:
    """Packets in a TDMA slot: whole ones, as many as it takes to hold a frame's bytes at ``wire_rate`` bytes/s."""
    return math.ceil(wire_rate * frame_s / frame_bytes(mtu) - 1e-6)


def slot_period_s(wire_rate: float, frame_s: float, mtu: int) -> float:
    """Seconds from slot to slot: a frame, and longer by what the last packet of a slot is too much for it."""
    return slot_packets(wire_rate, frame_s, mtu) * frame_bytes(mtu) / wire_rate


def burst_bytes(wire_rate: float, mtu: int, frames: int) -> float:
    """The token bucket that, with packets of ``frames`` frames, leaves ``wire_rate`` bytes/s its slack."""
    ahead = (frames - 1) * frame_bytes(mtu)
    return _SLACK_S * wire_rate - ahead
