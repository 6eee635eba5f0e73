"""What links should be, and what they are found to be: plain data, importable anywhere.

Rates are *payload* rates (what a TCP connection delivers to its reader) in bit/s of wall time.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from testbed.errors import LinkError

TRIAL, TRIAL_FILE = "TESTBED_TRIAL", "/data/trial"
"""The name of a trial: in the environment of its shaper, and in a file that its agents can read and not change."""

AIR_SYSCTLS: dict[str, str] = {
    # A kernel's default is cubic or bbr. Both see congestion in the delay that shaping makes, and pace
    # themselves: 2 MB take 1.5 % too long at 500 Mbit/s. Reno, which every kernel has, leaves the rate to the
    # link (0.4 %).
    "net.ipv4.tcp_congestion_control": "reno",
    # A UE is silent while the BS computes; over a link with delay, its next transfer must not start slowly again.
    "net.ipv4.tcp_slow_start_after_idle": "0",
    # What one trial learned of a path must not colour the next.
    "net.ipv4.tcp_no_metrics_save": "1",
}
"""Sysctls that an agent's container needs for transfers to take the time that the plan says."""

SLOWEST_BPS, FASTEST_BPS = 1e3, 1e10
LONGEST_NAME = 100
LONGEST_S = 1000.0
"""What a delay, a jitter or a frame may last, in wall seconds: netem counts up to 4294 s."""


@dataclass(frozen=True)
class Medium:
    """What a link is besides its rate, in wall seconds; the default is a wire.

    Every packet takes ``delay_s`` ± up to ``jitter_s`` more, and is lost with probability ``loss``.
    With ``frame_s`` above 0 the link is a TDMA slot: in each frame of that length it sends at
    rate / ``share`` until its part of the frame, ``share``, is used up.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    frame_s: float = 0.0
    share: float = 1.0

    def __post_init__(self) -> None:
        lengths = (self.delay_s, self.jitter_s, self.frame_s)
        if not (all(0 <= s <= LONGEST_S for s in lengths) and 0 <= self.loss < 1 and 0 < self.share <= 1):
            hint = f"delay, jitter and frame take up to {LONGEST_S:g} s of wall time, loss is below 1, share up to 1"
            raise LinkError(f"there is no link like {self}", hint)

    @property
    def gated(self) -> bool:
        """Whether the link sends in slots; a slot as long as its frame is none."""
        return self.frame_s > 0 and self.share < 1


WIRE = Medium()


@dataclass(frozen=True)
class Flow:
    """One shaped direction of one link.

    ``name`` stands in every result and error. ``address`` is the IPv4 address that the flow's
    packets go to; None stands for everything that leaves the interface and has no flow of its own
    (a UE's uplink). With ``port`` it is what leaves from this TCP port only (a BS's broadcast). ``rate_bps`` is
    the payload rate in bit/s, under slots the mean over frames.
    """

    name: str
    address: str | None
    rate_bps: float
    medium: Medium = WIRE
    port: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_bps) and SLOWEST_BPS <= self.rate_bps <= FASTEST_BPS):
            raise LinkError(
                f"{self.name}: a rate of {self.rate_bps} bit/s cannot be shaped",
                f"rates go from {SLOWEST_BPS:g} to {FASTEST_BPS:g} bit/s; change the rate or the time dilation",
            )
        if self.address is not None:
            _check_address(self.name, self.address)


@dataclass(frozen=True)
class Egress:
    """What leaves one interface of one container.

    ``pid``: any process in the container's network namespace, as this host counts (Docker's
    ``State.Pid``). ``address``: the IPv4 address of the interface to shape.
    """

    pid: int
    address: str
    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        if not self.flows:
            raise LinkError(
                f"{self.address}: an egress without flows",
                "leave the egress out of the plan",
            )
        _check_address(self.names, self.address)
        (goal, _), times = Counter((flow.address, flow.port) for flow in self.flows).most_common(1)[0]
        if times > 1:
            raise LinkError(
                f"{self.names}: two flows go to {goal or 'everywhere'}",
                "give each its own address",
            )

    @property
    def names(self) -> str:
        """The names of the flows, for errors that concern them all."""
        return ", ".join(flow.name for flow in self.flows)


@dataclass(frozen=True)
class LinkPlan:
    """All links of one host, and the backend that shapes them.

    ``dilation``: the wall seconds per emulated second by which rates are divided here, for who wants to multiply.
    """

    backend: str
    egresses: tuple[Egress, ...]
    dilation: float = 1.0

    def __post_init__(self) -> None:
        for name, times in Counter(flow.name for flow in self.flows).most_common(1):
            if times > 1:
                raise LinkError(f"{name}: two flows have this name", "name every flow once")

    @property
    def flows(self) -> tuple[Flow, ...]:
        """All flows, egress by egress."""
        return tuple(flow for egress in self.egresses for flow in egress.flows)

    def at_rates(self, rates: Mapping[str, float]) -> LinkPlan:
        """The plan with other payload rates (bit/s) for the flows named. Raises LinkError for one it does not have."""
        if unknown := rates.keys() - {flow.name for flow in self.flows}:
            known = ", ".join(flow.name for flow in self.flows)
            raise LinkError(f"{min(unknown)}: there is no such flow", f"the plan has {known}")
        egresses = tuple(
            replace(egress, flows=tuple(replace(f, rate_bps=rates.get(f.name, f.rate_bps)) for f in egress.flows))
            for egress in self.egresses
        )
        return replace(self, egresses=egresses)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> LinkPlan:
        """The plan in a JSON object as ``to_json`` makes it. Raises LinkError when it is none."""
        try:
            _only(document, {"backend", "egresses", "dilation"})
            backend, egresses = _text(document["backend"]), tuple(map(_egress, document["egresses"]))
            return LinkPlan(backend, egresses, float(document.get("dilation", 1.0)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LinkError(f"not a link plan: {error!r}", "see testbed.shaping.model.LinkPlan") from error


@dataclass(frozen=True)
class Setting:
    """A flow's planned payload rate, and the one the kernel says it has, in bit/s."""

    flow: str
    planned_bps: float
    set_bps: float


@dataclass(frozen=True)
class Measurement:
    """What a bulk transfer of ``seconds`` got, beside the planned payload rate; all rates in bit/s.

    ``goodput_bps`` is that of the whole transfer, at its receiver. ``median_bps`` is the median of
    its fiftieths: where it is right and the goodput is not, the link is set well and the host stalled.
    """

    flow: str
    planned_bps: float
    goodput_bps: float
    median_bps: float
    seconds: float


def to_json(value: LinkPlan | Setting | Measurement) -> dict[str, Any]:
    """The value as an object that the json module can write."""
    return dataclasses.asdict(value)


def endpoints(plan: LinkPlan, name: str) -> tuple[Flow, Egress, Egress]:
    """The flow of that name, the egress it leaves from and the one at whose address it arrives.

    A flow to everywhere arrives where a flow back to its sender starts. Raises LinkError when
    the plan has no such flow or does not know the other end.
    """
    for sender in plan.egresses:
        for flow in sender.flows:
            if flow.name == name:
                return flow, sender, _receiver(plan, flow, sender)
    known = ", ".join(flow.name for flow in plan.flows)
    raise LinkError(f"{name}: there is no such flow", f"the plan has {known}")


def _receiver(plan: LinkPlan, flow: Flow, sender: Egress) -> Egress:
    for other in plan.egresses:
        reached = other.address if flow.address else sender.address
        wanted = [flow.address] if flow.address else [back.address for back in other.flows]
        if other is not sender and reached in wanted:
            return other
    raise LinkError(
        f"{flow.name}: its other end is not in the plan",
        "measure where both ends run on one host",
    )


def _egress(document: Mapping[str, Any]) -> Egress:
    _only(document, {"pid", "address", "flows"})
    pid = document["pid"]
    if type(pid) is not int or pid <= 0:
        raise ValueError(f"{pid!r} is no process")
    return Egress(pid, _text(document["address"]), tuple(map(_flow, document["flows"])))


def _flow(document: Mapping[str, Any]) -> Flow:
    _only(document, {"name", "address", "rate_bps", "medium", "port"})
    medium, port = Medium(**{key: float(value) for key, value in document["medium"].items()}), document.get("port")
    if port is not None and not (type(port) is int and 0 < port < 1 << 16):
        raise ValueError(f"{port!r} is no port")
    address = document["address"] if document["address"] is None else _text(document["address"])
    return Flow(_text(document["name"]), address, float(document["rate_bps"]), medium, port)


def _only(document: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := set(document) - keys:
        raise ValueError(f"there is no {min(unknown)}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        raise ValueError(f"{value!r} is no name")
    return value


def _check_address(who: str, address: str) -> None:
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise LinkError(f"{who}: {address!r} is not an IPv4 address", "write it as 10.9.0.2") from error
