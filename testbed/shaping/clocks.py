"""netem qdiscs changed and read by hand-written netlink (``wire``)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from testbed.shaping.options import CERTAIN, Netem
from testbed.shaping.wire import GET_QDISC, NEW_QDISC, Queue, attribute, attributes, change, queues

_NETEM = "netem"
_RATE, _LATENCY, _JITTER, _SLOT = 6, 10, 11, 12  # of linux/pkt_sched.h: TCA_NETEM_…
_BASIC = struct.Struct("=IIIIII")  # tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
_PACE = struct.Struct("=Iiii")  # tc_netem_rate: bytes/s, packet overhead, cell size, cell overhead
_SLOTS = struct.Struct("=qqiiqq")  # tc_netem_slot: min and max delay, packets, bytes, distribution
_LONG = struct.Struct("=q")


def put(wire: socket.socket, index: int, netems: Sequence[tuple[int, Netem]]) -> None:
    """Changes netems of an interface that are there, by their parents. LinkError when the kernel refuses."""
    change(wire, index, NEW_QDISC, [Queue(_NETEM, 0, parent, packed(netem)) for parent, netem in netems])


def there(wire: socket.socket, index: int) -> dict[int, tuple[int, Netem]]:
    """Every netem of an interface by its parent, with its handle, as the kernel has it."""
    return {
        found.parent: (found.handle, unpacked(found.options))
        for found in queues(wire, index, GET_QDISC)
        if found.kind == _NETEM
    }


def packed(netem: Netem) -> bytes:
    """The options in the kernel's words. All of them, always: what a change leaves out, the kernel keeps."""
    slots = _SLOTS.pack(netem.slot_ns, netem.slot_ns, 0, netem.slot_bytes, 0, 0)
    return (
        _BASIC.pack(0, netem.limit, int(netem.loss * CERTAIN), 0, 0, 0)
        + attribute(_RATE, _PACE.pack(netem.rate, 0, 0, 0))
        + attribute(_LATENCY, _LONG.pack(netem.delay_ns))
        + attribute(_JITTER, _LONG.pack(netem.jitter_ns))
        + attribute(_SLOT, slots)
    )


def unpacked(options: bytes) -> Netem:
    """``packed`` backwards."""
    _, limit, loss, *_ = _BASIC.unpack_from(options)
    more = dict(attributes(options[_BASIC.size :]))
    slot_ns, _, _, slot_bytes, _, _ = _SLOTS.unpack(more.get(_SLOT, bytes(_SLOTS.size)))
    return Netem(
        limit=limit,
        rate=_PACE.unpack(more[_RATE])[0] if _RATE in more else 0,
        delay_ns=_LONG.unpack(more[_LATENCY])[0],
        jitter_ns=_LONG.unpack(more[_JITTER])[0],
        loss=loss / CERTAIN,
        slot_ns=slot_ns,
        slot_bytes=slot_bytes,
    )
