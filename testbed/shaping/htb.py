"""The ``htb`` backend: a class per flow under a hierarchical token bucket. It shapes the rate, nothing else.

    7e57:      htb
    ├─ :fffe   packets without payload, and ARP: next to no bytes, hence in nobody's rate and nobody's queue
    ├─ :ffff   what matches nothing: the flow without an address (a UE's uplink), or a trickle where there is none
    └─ :0a02   a flow with an address (a BS's downlink), here 172.18.10.2: its last two bytes number the class

Nothing is remembered here: the classes that an interface has say which flows it knows.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from testbed.errors import LinkError
from testbed.shaping.model import Egress, Flow
from testbed.shaping.namespace import GSO_DEFAULT, Interface, limit_packets
from testbed.shaping.rates import burst_bytes, frame_bytes, frames_per_packet, payload_rate, wire_rate

ROOT = 0x7E57_0000
_CONTROL, _REST = 0xFFFE, 0xFFFF
_CONTROL_BPS, _TRICKLE_BPS = 1e9, 1e7
_ETH_P_ARP, _ETH_P_IP = 0x0806, 0x0800
_DESTINATION = 16  # where an IPv4 header has it
_QUEUE_PACKETS = 100_000  # never full: TCP's own buffers end first, and a link drops nothing it was not told to


def apply(ipr: Any, link: Interface, egress: Egress) -> None:
    """Makes the interface shape these flows and no others. Classes that are there change in place.

    Raises LinkError for addresses that cannot be told apart; a failing netlink call raises NetlinkError.
    """
    frames = min(frames_per_packet(wire_rate(flow.rate_bps, link.mtu), link.mtu) for flow in egress.flows)
    flows, there = numbered(egress), set(_rates(ipr, link))
    if _REST not in there or there - flows.keys() - {_CONTROL, _REST}:
        _uproot(ipr, link)
        _lay_foundation(ipr, link)
        there = {_CONTROL, _REST}
    limit_packets(ipr, link, frames)
    for number, flow in flows.items():
        if number in there:
            _put_class(ipr, link, "change-class", number, flow.rate_bps, frames)
        else:
            _add_flow(ipr, link, number, flow, frames)
    if _REST not in flows:
        _put_class(ipr, link, "change-class", _REST, _TRICKLE_BPS, 1)


def read(ipr: Any, link: Interface, egress: Egress) -> dict[str, float]:
    """The payload rate, in bit/s, that the kernel has for each flow it shapes, by the flow's name."""
    rates = _rates(ipr, link)
    return {
        flow.name: payload_rate(rates[number], link.mtu) for number, flow in numbered(egress).items() if number in rates
    }


def clear(ipr: Any, link: Interface) -> None:
    """Removes what ``apply`` made; leaves other qdiscs alone."""
    if _uproot(ipr, link):
        limit_packets(ipr, link, GSO_DEFAULT)


def _rates(ipr: Any, link: Interface) -> dict[int, int]:
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
        if number in flows or (flow.address and number in (0, _CONTROL, _REST)):
            raise LinkError(f"{flow.name}: {flow.address} cannot be told apart", "give the air one /16 network or less")
        flows[number] = flow
    return flows


def _uproot(ipr: Any, link: Interface) -> bool:
    """Whether there was anything of ours; there is not any more."""
    ours = any(found["handle"] == ROOT for found in ipr.get_qdiscs(link.index))
    if ours:
        ipr.tc("del", index=link.index, handle=ROOT, root=True)
    return ours


def _lay_foundation(ipr: Any, link: Interface) -> None:
    ipr.tc("replace", "htb", link.index, ROOT, default=_REST)
    _add_class(ipr, link, _CONTROL, _CONTROL_BPS, 1)
    _add_filter(ipr, link, 1, _CONTROL, _ETH_P_ARP, ["0x0/0x0+0"])
    for keys in _segments_without_payload():
        _add_filter(ipr, link, 2, _CONTROL, _ETH_P_IP, keys)
    _add_class(ipr, link, _REST, _TRICKLE_BPS, 1)  # last: where it stands, all of this does


def _segments_without_payload() -> list[list[str]]:
    """u32 keys that match TCP segments which end with their header, one list per header length.

    Any shorter cut, such as "below 128 bytes", would also let the last bytes of a message overtake
    those before them, which TCP takes for loss.
    """
    return [
        [f"{20 + 4 * words:#06x}/0xffff+2", "0x05/0x0f+0", "0x06/0xff+9", f"{words << 4:#04x}/0xf0+32"]
        for words in range(5, 16)
    ]


def _add_flow(ipr: Any, link: Interface, number: int, flow: Flow, frames: int) -> None:
    _add_class(ipr, link, number, flow.rate_bps, frames)
    goal = f"{int(ipaddress.IPv4Address(flow.address)):#010x}/0xffffffff+{_DESTINATION}"
    _add_filter(ipr, link, 3, number, _ETH_P_IP, [goal])


def _add_class(ipr: Any, link: Interface, number: int, rate_bps: float, frames: int) -> None:
    _put_class(ipr, link, "add-class", number, rate_bps, frames)
    # The queue that a class is born with is as long as the interface's, and Docker's have length 0.
    ipr.tc("add", "pfifo", link.index, 0, parent=ROOT + number, limit=_QUEUE_PACKETS)


def _put_class(ipr: Any, link: Interface, command: str, number: int, rate_bps: float, frames: int) -> None:
    rate = wire_rate(rate_bps, link.mtu)
    burst = burst_bytes(rate, link.mtu, frames)
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
        prio=0 if number == _CONTROL else 1,
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
