"""The ``htb`` backend: the classes' token buckets shape the rate, and nothing else is shaped."""

from __future__ import annotations

from typing import Any

from testbed.errors import LinkError
from testbed.shaping import buckets, tree, wire
from testbed.shaping.model import WIRE, Egress, Flow
from testbed.shaping.namespace import Interface
from testbed.shaping.rates import burst_bytes, frame_bytes, frames_per_packet, payload_rate, wire_rate
from testbed.shaping.wire import Line

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


def tune(line: Line, old: Egress, new: Egress) -> dict[str, float]:
    """Brings an interface that shapes ``old`` to ``new``, which differs in rates only, in place and quickly.

    The payload bit/s by name that the kernel has then. Raises LinkError.
    """
    mtu, index = line.link.mtu, line.link.index
    frames = _frames(new, line.link)
    repack = frames != _frames(old, line.link)  # every flow's burst depends on it
    if repack:
        wire.limit_packets(line.wire, index, frames)
    before, flows = {flow.name: flow for flow in old.flows}, tree.numbered(new)
    changed = {number: flow for number, flow in flows.items() if repack or flow != before[flow.name]}
    buckets.put(line.wire, index, [_bucket(number, flow, mtu, frames) for number, flow in changed.items()])
    found = buckets.rates(line.wire, index)
    return {
        flow.name: payload_rate(found[tree.ROOT + number], mtu)
        for number, flow in flows.items()
        if tree.ROOT + number in found
    }


def _bucket(number: int, flow: Flow, mtu: int, frames: int) -> buckets.Bucket:
    rate = wire_rate(flow.rate_bps, mtu)
    burst = burst_bytes(rate, mtu, frames)
    return buckets.Bucket(tree.ROOT + number, tree.ROOT, rate, burst, frame_bytes(mtu), tree.PRIORITY)


def _frames(egress: Egress, link: Interface) -> int:
    return tree.frames(egress, link, _Branch())


class _Branch:
    def frames(self, flow: Flow, link: Interface) -> int:
        return frames_per_packet(wire_rate(flow.rate_bps, link.mtu), link.mtu)

    def tokens(self, flow: Flow, link: Interface, frames: int) -> tuple[int, float]:
        rate = wire_rate(flow.rate_bps, link.mtu)
        return rate, burst_bytes(rate, link.mtu, min(frames, self.frames(flow, link)))

    def queue(self, ipr: Any, link: Interface, parent: int, flow: Flow, frames: int) -> None:
        # The queue that a class is born with is as long as the interface's, and Docker's have length 0.
        ipr.tc("replace", "pfifo", link.index, 0, parent=parent, limit=tree.QUEUE_PACKETS)
