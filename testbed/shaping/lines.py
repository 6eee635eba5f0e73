"""Rates that change while data flows: sockets kept open into the agents' namespaces, and classes changed in place."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed.shaping import tree, wire
from testbed.shaping.actions import check, naming, set_links
from testbed.shaping.model import Egress, Flow, LinkPlan, Setting
from testbed.shaping.namespace import Interface, entered, interface, netlink
from testbed.shaping.rates import burst_bytes, frame_bytes, frames_per_packet, payload_rate, wire_rate


@dataclass(frozen=True)
class Line:
    """An interface, and a netlink socket in its namespace."""

    wire: socket.socket
    link: Interface


class Lines:
    """The lines of the egresses that were changed so far; closing it closes them."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], Line] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._open.values():
            line.wire.close()
        self._open.clear()

    def to(self, egress: Egress) -> Line:
        """The line of an egress, opened when it is asked for first. Raises LinkError."""
        key = (egress.pid, egress.address)
        if key not in self._open:
            with netlink(egress.pid) as ipr:
                link = interface(ipr, egress.address)
            with entered(egress.pid):
                self._open[key] = Line(wire.open_wire(), link)
        return self._open[key]


Turn = Callable[[Line, Egress, Egress], dict[str, float]]
"""Changes the flows of an egress that differ, and says what rates (bit/s) the kernel has then, by flow."""


def tune(before: LinkPlan, after: LinkPlan, lines: Lines) -> list[Setting]:
    """Brings links to a plan that differs in rates only; what the kernel has then, for the flows that changed.

    Raises LinkError, which names the flow, as ``set_links`` does.
    """
    settings: list[Setting] = []
    for old, new in zip(before.egresses, after.egresses, strict=True):
        changed = [flow for was, flow in zip(old.flows, new.flows, strict=True) if flow != was]
        if not changed:
            continue
        if turn := TURNS.get(after.backend):
            with naming(new):
                found = turn(lines.to(new), old, new)
        else:
            found = {one.flow: one.set_bps for one in set_links(LinkPlan(after.backend, (new,)))}
        settings += [Setting(flow.name, flow.rate_bps, found.get(flow.name, 0.0)) for flow in changed]
    check(settings)
    return settings


def _turn_htb(line: Line, old: Egress, new: Egress) -> dict[str, float]:
    mtu = line.link.mtu
    frames = _frames(new, mtu)
    repack = frames != _frames(old, mtu)  # every flow's burst depends on it
    if repack:
        wire.limit_packets(line.wire, line.link.index, frames)
    known = {flow.name: flow for flow in old.flows}
    numbered: Mapping[int, Flow] = tree.numbered(new)
    buckets = [
        wire.Bucket(
            tree.ROOT + number,
            tree.ROOT,
            rate := wire_rate(flow.rate_bps, mtu),
            burst_bytes(rate, mtu, frames),
            frame_bytes(mtu),
            1,
        )
        for number, flow in numbered.items()
        if repack or flow != known[flow.name]
    ]
    wire.change(line.wire, line.link.index, buckets)
    found = wire.rates(line.wire, line.link.index)
    return {
        flow.name: payload_rate(found[tree.ROOT + number], mtu)
        for number, flow in numbered.items()
        if tree.ROOT + number in found
    }


def _frames(egress: Egress, mtu: int) -> int:
    return min(frames_per_packet(wire_rate(flow.rate_bps, mtu), mtu) for flow in egress.flows)


TURNS: Mapping[str, Turn] = {"htb": _turn_htb}
"""By backend; one that is not here has its links set anew, in place too, only slower."""
