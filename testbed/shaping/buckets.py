"""HTB classes changed and read by hand-written netlink (``wire``).

pyroute2 spends its time on the table of 256 transmission times that a class once needed; kernels since 3.8 take the
rate alone and work in nanoseconds.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.shaping.wire import GET_CLASS, NEW_CLASS, Queue, attribute, attributes, change, queues

_HTB = "htb"
_PARMS = 1
_ETHERNET = 1
_TICK_NS = 64
_SPEC = struct.Struct("=BBHhHI")  # tc_ratespec: cell_log, link layer, overhead, cell_align, mpu, bytes/s
_PARAMETERS = struct.Struct("=12s12sIIIII")  # tc_htb_opt: rate, ceil, buffer, cbuffer, quantum, level, prio


@dataclass(frozen=True)
class Bucket:
    """A class's token bucket: its handle and its parent's, rate (bytes/s), burst and quantum (bytes), priority."""

    handle: int
    parent: int
    rate: int
    burst: float
    quantum: int
    priority: int

    def queue(self) -> Queue:
        """What the kernel is told."""
        spec = _SPEC.pack(0, _ETHERNET, 0, 0, 0, self.rate)
        ticks = round(self.burst / self.rate * 1e9 / _TICK_NS)
        parameters = _PARAMETERS.pack(spec, spec, ticks, ticks, self.quantum, 0, self.priority)
        return Queue(_HTB, self.handle, self.parent, attribute(_PARMS, parameters))


def put(wire: socket.socket, index: int, buckets: Sequence[Bucket]) -> None:
    """Changes classes of an interface that are there. LinkError when the kernel refuses."""
    change(wire, index, NEW_CLASS, [bucket.queue() for bucket in buckets])


def rates(wire: socket.socket, index: int) -> dict[int, int]:
    """Bytes/s of every HTB class of an interface by its handle, as the kernel has it."""
    return {
        found.handle: _SPEC.unpack_from(dict(attributes(found.options))[_PARMS])[5]
        for found in queues(wire, index, GET_CLASS)
        if found.kind == _HTB
    }
