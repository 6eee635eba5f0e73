"""The ``netem`` backend: rate, delay, jitter, loss, and slots of a TDMA frame.

Below each class of the tree, whose own tokens never run out:

    average   netem: rate, delay, jitter, loss
    gated     netem: slots ── netem: the rate within a slot, delay, jitter, loss

A rate of netem's is a clock and not a bucket: a packet leaves when its last bit would, whatever a timer is late by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.errors import LinkError
from testbed.shaping import tree
from testbed.shaping.model import Egress, Flow
from testbed.shaping.namespace import Interface
from testbed.shaping.options import Netem
from testbed.shaping.rates import (
    frame_bytes,
    frames_per_packet,
    payload_rate,
    slot_packets,
    slot_period_s,
    wire_rate,
)

clear = tree.clear

Chains = dict[int, tuple[Netem, ...]]
"""Netems by the class that they hang below, outer first."""

_ENDLESS = (4_000_000_000, 1e7)  # bytes/s and bytes: more than anything below lets through
_CHILD = 1  # the only class of a netem
# netem holds a packet back until its last bit is paid for, so a message ends when it should however large the
# packets are; but large ones cost far less.
_PACKET_S = 4e-3


def apply(ipr: Any, link: Interface, egress: Egress) -> None:
    """Makes the interface shape these flows and no others, in place where it does already, and reads it back.

    Raises LinkError where the kernel has something else than what was set, and as ``tree.grow`` does.
    """
    tree.grow(ipr, link, egress, _Branch())
    _check(egress, _chains(_netems(ipr, link)), link.mtu)


def read(ipr: Any, link: Interface, egress: Egress) -> dict[str, float]:
    """The payload rate, in bit/s, that the kernel has for each flow it shapes; under slots the mean over frames."""
    return _rates(egress, _chains(_netems(ipr, link)), link.mtu)


def tune(ipr: Any, link: Interface, old: Egress, new: Egress) -> None:
    """Brings an interface that shapes ``old`` to ``new``, which differs in rates only, in place.

    What waits in a queue keeps the time it was given. Raises LinkError as ``apply`` does.
    """
    tree.retune(ipr, link, old, new, _Branch())
    _check(new, _chains(_netems(ipr, link)), link.mtu)


def chain(flow: Flow, mtu: int) -> tuple[Netem, ...]:
    """The netems that a flow's packets pass, one below the other.

    A slot lets whole packets through, as many as it takes to hold its bytes; so that the mean is right all the
    same, the next slot comes later by what the last of them is too much.
    """
    medium, rate = flow.medium, wire_rate(flow.rate_bps, mtu)
    one = Netem(
        limit=tree.QUEUE_PACKETS,
        rate=round(rate / medium.share) if medium.gated else rate,
        delay_ns=round(medium.delay_s * 1e9),
        jitter_ns=round(medium.jitter_s * 1e9),
        loss=medium.loss,
    )
    if not medium.gated:
        return (one,)
    # A slot is used up by the packet that takes the last of its bytes: one byte after the last packet but one.
    slots = Netem(
        limit=tree.QUEUE_PACKETS,
        # Any delay makes netem take packets off their socket's account. On it, TCP queues two and fills no slot.
        delay_ns=1,
        slot_ns=round(slot_period_s(rate, medium.frame_s, mtu) * 1e9),
        slot_bytes=(slot_packets(rate, medium.frame_s, mtu) - 1) * frame_bytes(mtu) + 1,
    )
    return (slots, one)


def _mean_rate(found: tuple[Netem, ...], mtu: int) -> float:
    """Bytes/s of frames that pass: ``chain`` backwards."""
    first, frame = found[0], frame_bytes(mtu)
    return (first.slot_bytes - 1 + frame) / first.slot_ns * 1e9 if first.slot_ns else first.rate


def _netems(ipr: Any, link: Interface) -> dict[int, tuple[int, Netem]]:
    """Every netem of the interface by its parent, with its handle."""
    return {
        found["parent"]: (found["handle"], Netem.of(found))
        for found in ipr.get_qdiscs(link.index)
        if found.get_attr("TCA_KIND") == "netem"
    }


def _chains(there: Mapping[int, tuple[int, Netem]]) -> Chains:
    """The netems below every class of ours, outer first, of all that an interface has by parent, with handles."""
    below: Chains = {}
    for parent, (handle, outer) in there.items():
        if parent & 0xFFFF_0000 == tree.ROOT:
            inner = there.get(handle | _CHILD)
            below[parent] = (outer, inner[1]) if inner else (outer,)
    return below


def _check(egress: Egress, below: Chains, mtu: int) -> None:
    for number, flow in tree.numbered(egress).items():
        planned, found = chain(flow, mtu), below.get(tree.ROOT + number, ())
        if len(planned) != len(found) or not all(map(Netem.same, planned, found)):
            raise LinkError(
                f"{flow.name}: {planned} was set, the kernel has {found}",
                "something else changes the qdiscs of this interface",
            )


def _rates(egress: Egress, below: Chains, mtu: int) -> dict[str, float]:
    return {
        flow.name: payload_rate(_mean_rate(below[tree.ROOT + number], mtu), mtu)
        for number, flow in tree.numbered(egress).items()
        if tree.ROOT + number in below
    }


class _Branch:
    def frames(self, flow: Flow, link: Interface) -> int:
        # A packet of several frames would be lost, or overstep its slot, as a whole.
        alone = flow.medium.loss or flow.medium.gated
        return 1 if alone else frames_per_packet(wire_rate(flow.rate_bps, link.mtu), link.mtu, _PACKET_S)

    def tokens(self, flow: Flow, link: Interface, frames: int) -> tuple[int, float]:
        return _ENDLESS

    def queue(self, ipr: Any, link: Interface, parent: int, flow: Flow, frames: int) -> None:
        wanted = chain(flow, link.mtu)
        before = _netems(ipr, link)
        handle, _ = before.get(parent, (0, None))
        if len(wanted) == 1 and handle | _CHILD in before:
            ipr.tc("del", index=link.index, parent=handle | _CHILD)
        wanted[0].put(ipr, link.index, parent)
        if len(wanted) == 2:
            handle = handle or _netems(ipr, link)[parent][0]
            wanted[1].put(ipr, link.index, handle | _CHILD)
