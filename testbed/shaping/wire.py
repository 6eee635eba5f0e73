"""The netlink that changes rates while data flows, written by hand: pyroute2 takes 0.5 ms for a class, this 20 µs.

Most of pyroute2's time goes into the table of 256 transmission times that a class once needed; kernels since 3.8 take
the rate alone and work in nanoseconds.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.errors import LinkError
from testbed.shaping.namespace import NOWHERE, NOWHERE_TABLE

_SET_LINK, _NEW_ROUTE, _DELETE_ROUTE, _NEW_CLASS, _GET_CLASS = 19, 24, 25, 40, 42
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _REPLACE, _DUMP, _CREATE = 1, 4, 0x100, 0x300, 0x400
_KIND, _OPTIONS, _PARMS, _GSO_MAX_SEGS, _DESTINATION, _TABLE = 1, 2, 1, 40, 1, 15
_ETHERNET = 1
_TICK_NS = 64
_AT_ONCE = 64  # so many answers fit into a socket's buffer
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_TCMSG = struct.Struct("=BxxxiIII")  # family, interface, handle, parent, info
_SPEC = struct.Struct("=BBHhHI")  # tc_ratespec: cell_log, link layer, overhead, cell_align, mpu, bytes/s
_HTB = struct.Struct("=12s12sIIIII")  # tc_htb_opt: rate, ceil, buffer, cbuffer, quantum, level, prio
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, interface, flags, change
# rtmsg: IPv4, a whole address, table in an attribute, static, unreachable
_ROUTE = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 0, 4, 0, 7, 0)


@dataclass(frozen=True)
class Bucket:
    """A class's token bucket: its handle and its parent's, rate (bytes/s), burst and quantum (bytes), priority."""

    handle: int
    parent: int
    rate: int
    burst: float
    quantum: int
    priority: int


def open_wire() -> socket.socket:
    """A netlink socket in the network namespace that this thread is in; it stays there."""
    wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    wire.bind((0, 0))
    wire.settimeout(5.0)
    return wire


def change(wire: socket.socket, index: int, buckets: list[Bucket]) -> None:
    """Changes classes of an interface that are there, many with one system call. LinkError when the kernel refuses."""
    _do(wire, [_message(_NEW_CLASS, _REQUEST | _ACK, _changed(index, bucket)) for bucket in buckets])


def limit_packets(wire: socket.socket, index: int, frames: int) -> None:
    """``namespace.limit_packets``, by this way."""
    segments = _LINK.pack(0, 0, index, 0, 0) + _attribute(_GSO_MAX_SEGS, struct.pack("=I", frames))
    goal, table = socket.inet_aton(NOWHERE), struct.pack("=I", NOWHERE_TABLE)
    route = _ROUTE + _attribute(_DESTINATION, goal) + _attribute(_TABLE, table)
    _do(
        wire,
        [
            _message(_SET_LINK, _REQUEST | _ACK, segments),
            _message(_NEW_ROUTE, _REQUEST | _ACK | _CREATE | _REPLACE, route),
            _message(_DELETE_ROUTE, _REQUEST | _ACK, route),
        ],
    )


def rates(wire: socket.socket, index: int) -> dict[int, int]:
    """Bytes/s of every HTB class of an interface by its handle, as the kernel has it."""
    wire.send(_message(_GET_CLASS, _REQUEST | _DUMP, _TCMSG.pack(0, index, 0, 0, 0)))
    found: dict[int, int] = {}
    while True:
        for kind, body in _answers(wire):
            if kind == _DONE:
                return found
            attributes = dict(_attributes(body[_TCMSG.size :]))
            if attributes.get(_KIND) == b"htb\0":
                parameters = dict(_attributes(attributes[_OPTIONS]))[_PARMS]
                found[_TCMSG.unpack_from(body)[2]] = _SPEC.unpack_from(parameters)[5]


def _do(wire: socket.socket, messages: list[bytes]) -> None:
    for start in range(0, len(messages), _AT_ONCE):
        some = messages[start : start + _AT_ONCE]
        wire.send(b"".join(some))
        left = len(some)
        while left:
            left -= sum(1 for _ in _answers(wire))


def _changed(index: int, bucket: Bucket) -> bytes:
    spec = _SPEC.pack(0, _ETHERNET, 0, 0, 0, bucket.rate)
    ticks = round(bucket.burst / bucket.rate * 1e9 / _TICK_NS)
    parameters = _HTB.pack(spec, spec, ticks, ticks, bucket.quantum, 0, bucket.priority)
    head = _TCMSG.pack(0, index, bucket.handle, bucket.parent, 0)
    return head + _attribute(_KIND, b"htb\0") + _attribute(_OPTIONS, _attribute(_PARMS, parameters))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _answers(wire: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Type and body of every message in one datagram. LinkError for one that says no."""
    data = wire.recv(1 << 16)
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        body = data[_HEADER.size : length]
        if kind == _ERROR and (number := -struct.unpack_from("=i", body)[0]):
            raise LinkError(f"the kernel refuses: {os.strerror(number)}", "set the links anew: testbed down, then up")
        yield kind, body
        data = data[(length + 3) & ~3 :]
