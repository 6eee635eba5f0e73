"""What hangs on a shaped interface, whatever the backend: a class per flow under an HTB root.

    7e57:      htb
    ├─ :fffe   packets without payload, and ARP: next to no bytes, hence in nobody's rate and nobody's queue
    ├─ :8a02   what goes to that address from a port of its own (a BS's broadcast)
    ├─ :ffff   what matches nothing: the flow without an address (a UE's uplink), or a trickle where there is none
    └─ :0a02   a flow with an address (a BS's downlink), here 172.18.10.2: its last two bytes number the class

Nothing is remembered here: the classes that an interface has say which flows it knows.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any, Protocol

from testbed.errors import LinkError
from testbed.shaping.model import Egress, Flow
from testbed.shaping.namespace import GSO_DEFAULT, Interface, limit_packets
from testbed.shaping.rates import frame_bytes

ROOT = 0x7E57_0000
_CONTROL, _REST = 0xFFFE, 0xFFFF
_CONTROL_BPS, _TRICKLE_BPS = 1e9, 1e7
_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800
_DESTINATION = 16  # where an IPv4 header has it
_SOURCE_PORT = 20  # behind an IPv4 header without options
_WITH_PORT = 0x8000  # added to the class's number
PRIORITY = 1  # of all flows; what is not in anybody's rate goes before
QUEUE_PACKETS = 100_000
"""Never full: TCP's own buffers end first, and a link drops nothing it was not told to."""


class Branch(Protocol):
    """What a backend makes of a flow: the tokens of its class, and what queues below it."""

    def frames(self, flow: Flow, link: Interface) -> int:
        """How many frames a packet of this flow may hold."""

    def tokens(self, flow: Flow, link: Interface, frames: int) -> tuple[int, float]:
        """Rate (bytes/s of frames) and burst (bytes) of the flow's class."""

    def queue(self, ipr: Any, link: Interface, parent: int, flow: Flow, frames: int) -> None:
        """Makes what hangs below the class, or changes it in place."""


def grow(ipr: Any, link: Interface, egress: Egress, branch: Branch) -> None:
    """Makes the interface shape these flows and no others. Classes that are there change in place.

    Raises LinkError for addresses that cannot be told apart; a failing netlink call raises NetlinkError.
    """
    flows, there = numbered(egress), set(classes(ipr, link))
    held = frames(egress, link, branch)
    if _REST not in there or there - flows.keys() - {_CONTROL, _REST}:
        uproot(ipr, link)
        _lay_foundation(ipr, link)
        there = set()
    limit_packets(ipr, link, held)
    for number, flow in _with_standing(egress, flows).items():
        in_packet = held if number in flows else 1  # what always stands is the same whatever the flows' rates
        _put_class(ipr, link, number, branch.tokens(flow, link, in_packet))
        branch.queue(ipr, link, ROOT + number, flow, in_packet)
        if number not in there and number not in (_CONTROL, _REST):
            goal = [f"{int(ipaddress.IPv4Address(flow.address)):#010x}/0xffffffff+{_DESTINATION}"]
            if flow.port is not None:
                goal += ["0x06/0xff+9", f"{flow.port:#06x}/0xffff+{_SOURCE_PORT}"]
            _add_filter(ipr, link, 4 if flow.port is None else 3, number, _ETH_P_IP, goal)


def retune(ipr: Any, link: Interface, before: Egress, after: Egress, branch: Branch) -> None:
    """Changes what ``grow`` made for one egress to another that differs in rates only; equal flows are left alone.

    All flows share the limit of frames per packet, so a class whose tokens follow from it changes with it. A class
    that is not there makes NetlinkError.
    """
    held_before, held = frames(before, link, branch), frames(after, link, branch)
    limit_packets(ipr, link, held)
    known = {flow.name: flow for flow in before.flows}
    for number, flow in numbered(after).items():
        was, tokens = known[flow.name], branch.tokens(flow, link, held)
        if tokens != branch.tokens(was, link, held_before):
            _put_class(ipr, link, number, tokens, "change-class")
        if flow != was:
            branch.queue(ipr, link, ROOT + number, flow, held)


def frames(egress: Egress, link: Interface, branch: Branch) -> int:
    """How many frames a packet may hold that leaves the interface: as many as every flow allows."""
    return min(branch.frames(flow, link) for flow in egress.flows)


def classes(ipr: Any, link: Interface) -> dict[int, int]:
    """The rate of every class of ours in bytes/s, by its number; empty where the interface has none."""
    return {
        found["handle"] & 0xFFFF: found.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS")["rate"]
        for found in ipr.get_classes(link.index)
        if found["handle"] & 0xFFFF_0000 == ROOT
    }


def numbered(egress: Egress) -> dict[int, Flow]:
    """The flows by the numbers of their classes. Raises LinkError for addresses that share one."""
    flows: dict[int, Flow] = {}
    for flow in egress.flows:
        number = int(ipaddress.IPv4Address(flow.address)) & 0xFFFF if flow.address else _REST
        number ^= 0 if flow.port is None else _WITH_PORT
        if number in flows or (flow.address and number in (0, _CONTROL, _REST)):
            raise LinkError(f"{flow.name}: {flow.address} cannot be told apart", "give the air one /16 network or less")
        flows[number] = flow
    return flows


def clear(ipr: Any, link: Interface) -> None:
    """Removes what ``grow`` made; leaves other qdiscs alone."""
    if uproot(ipr, link):
        limit_packets(ipr, link, GSO_DEFAULT)


def uproot(ipr: Any, link: Interface) -> bool:
    """Whether there was anything of ours; there is not any more."""
    ours = any(found["handle"] == ROOT for found in ipr.get_qdiscs(link.index))
    if ours:
        ipr.tc("del", index=link.index, handle=ROOT, root=True)
    return ours


def _with_standing(egress: Egress, flows: dict[int, Flow]) -> dict[int, Flow]:
    """The flows and the two classes that are always there.

    An acknowledgement takes as long as any packet, but no slot: its bytes are in nobody's rate.
    """
    medium = dataclasses.replace(egress.flows[0].medium, frame_s=0.0)
    control = Flow("control", None, _CONTROL_BPS, medium)
    return {_CONTROL: control, _REST: Flow("rest", None, _TRICKLE_BPS), **flows}


def _lay_foundation(ipr: Any, link: Interface) -> None:
    ipr.tc("replace", "htb", link.index, ROOT, default=_REST)
    _put_class(ipr, link, _CONTROL, (10**6, 10**4))
    _add_filter(ipr, link, 1, _CONTROL, _ETH_P_ARP, ["0x0/0x0+0"])
    for keys in _segments_without_payload():
        _add_filter(ipr, link, 2, _CONTROL, _ETH_P_IP, keys)
    _put_class(ipr, link, _REST, (10**6, 10**4))  # last: where it stands, all of this does


def _segments_without_payload() -> list[list[str]]:
    """u32 keys that match TCP segments which end with their header, one list per header length.

    Any shorter cut, such as "below 128 bytes", would also let the last bytes of a message overtake
    those before them, which TCP takes for loss.
    """
    return [
        [f"{20 + 4 * words:#06x}/0xffff+2", "0x05/0x0f+0", "0x06/0xff+9", f"{words << 4:#04x}/0xf0+32"]
        for words in range(5, 16)
    ]


def _put_class(
    ipr: Any, link: Interface, number: int, tokens: tuple[int, float], command: str = "replace-class"
) -> None:
    rate, burst = tokens
    ipr.tc(
        command,
        "htb",
        link.index,
        ROOT + number,
        parent=ROOT,
        rate=rate,  # an integer is bytes/s
        burst=burst,
        cburst=burst,
        quantum=frame_bytes(link.mtu),
        prio=0 if number == _CONTROL else PRIORITY,
    )


def _add_filter(ipr: Any, link: Interface, priority: int, number: int, protocol: int, keys: list[str]) -> None:
    ipr.tc(
        "add-filter",
        "u32",
        link.index,
        parent=ROOT,
        prio=priority,
        protocol=protocol,
        target=ROOT + number,
        keys=keys,
    )
