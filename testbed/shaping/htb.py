"""The ``htb`` backend: the classes' token buckets shape the rate, and nothing else is shaped."""

from __future__ import annotations

from typing import Any

from testbed.errors import LinkError
from testbed.shaping import tree
from testbed.shaping.model import WIRE, Egress, Flow
from testbed.shaping.namespace import Interface
from testbed.shaping.rates import burst_bytes, frames_per_packet, payload_rate, wire_rate

clear = tree.clear


def apply(ipr: Any, link: Interface, egress: Egress) -> None:
    """Makes the interface shape these flows and no others. Classes that are there change in place.

    Raises LinkError for what only netem can do, and as ``tree.grow`` does.
    """
    for flow in egress.flows:
        if flow.medium != WIRE:
            raise LinkError(f"{flow.name}: htb shapes rates only", "delay, loss and slots take the netem backend")
    tree.grow(ipr, link, egress, _Branch())


def read(ipr: Any, link: Interface, egress: Egress) -> dict[str, float]:
    """The payload rate, in bit/s, that the kernel has for each flow it shapes, by the flow's name."""
    rates = tree.classes(ipr, link)
    return {
        flow.name: payload_rate(rates[number], link.mtu)
        for number, flow in tree.numbered(egress).items()
        if number in rates
    }


def tune(ipr: Any, link: Interface, old: Egress, new: Egress) -> None:
    """Brings an interface that shapes ``old`` to ``new``, which differs in rates only, in place."""
    tree.retune(ipr, link, old, new, _Branch())


class _Branch:
    def frames(self, flow: Flow, link: Interface) -> int:
        return frames_per_packet(wire_rate(flow.rate_bps, link.mtu), link.mtu)

    def tokens(self, flow: Flow, link: Interface, frames: int) -> tuple[int, float]:
        rate = wire_rate(flow.rate_bps, link.mtu)
        return rate, burst_bytes(rate, link.mtu, min(frames, self.frames(flow, link)))

    def queue(self, ipr: Any, link: Interface, parent: int, flow: Flow, frames: int) -> None:
        # The queue that a class is born with is as long as the interface's, and Docker's have length 0.
        ipr.tc("replace", "pfifo", link.index, 0, parent=parent, limit=tree.QUEUE_PACKETS)
