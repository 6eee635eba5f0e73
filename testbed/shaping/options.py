"""netem's options in full: pyroute2 lacks slots, and counts delays in whole microseconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_netem

CERTAIN = 2**32 - 1
"""The kernel's word for a probability of 1."""


@dataclass(frozen=True)
class Netem:
    """What a netem qdisc does: ``rate`` in bytes/s (0: any), times in ns, ``loss`` from 0 to 1.

    With ``slot_ns`` above 0 packets wait for slots that open so long after the one before was used up,
    each for packets until ``slot_bytes`` have left. ``limit`` is its queue in packets.
    """

    limit: int
    rate: int = 0
    delay_ns: int = 0
    jitter_ns: int = 0
    loss: float = 0.0
    slot_ns: int = 0
    slot_bytes: int = 0

    def put(self, ipr: Any, index: int, parent: int) -> None:
        """Makes it the qdisc at ``parent``, in place where netem is there already."""
        ipr.tc("replace", "netem", index, 0, parent=parent, netem=self)

    @staticmethod
    def of(found: Any) -> Netem:
        """What the kernel says of a netem qdisc."""
        options = found.get_attr("TCA_OPTIONS")
        rate, slot = options.get_attr("TCA_NETEM_RATE"), options.get_attr("TCA_NETEM_SLOT")
        return Netem(
            limit=options["limit"],
            rate=rate["rate"] if rate else 0,
            delay_ns=options.get_attr("TCA_NETEM_LATENCY64"),
            jitter_ns=options.get_attr("TCA_NETEM_JITTER64"),
            loss=options["loss"] / CERTAIN,
            slot_ns=slot["min_delay"] if slot else 0,
            slot_bytes=slot["max_bytes"] if slot else 0,
        )

    def same(self, other: Netem) -> bool:
        """Whether both say the same, but for the rounding of the probability."""
        mine, theirs = ({**asdict(one), "loss": 0} for one in (self, other))
        return mine == theirs and abs(self.loss - other.loss) < 1e-6


class _Options(sched_netem.options):  # type: ignore[misc]
    """``tc_netem_qopt`` and its attributes, as far as linux/pkt_sched.h goes beyond pyroute2."""

    nla_map = (
        *sched_netem.options.nla_map,
        ("TCA_NETEM_ECN", "none"),
        ("TCA_NETEM_RATE64", "uint64"),
        ("TCA_NETEM_PAD", "none"),
        ("TCA_NETEM_LATENCY64", "int64"),
        ("TCA_NETEM_JITTER64", "int64"),
        ("TCA_NETEM_SLOT", "slot"),
    )

    class slot(nla):  # type: ignore[misc]
        """``tc_netem_slot``: times in ns; 0 packets or bytes mean any number."""

        fields = (
            ("min_delay", "q"),
            ("max_delay", "q"),
            ("max_packets", "i"),
            ("max_bytes", "i"),
            ("dist_delay", "q"),
            ("dist_jitter", "q"),
        )


def _parameters(given: dict[str, Any]) -> dict[str, Any]:
    """All of them, always: what a change leaves out, the kernel keeps."""
    wanted: Netem = given["netem"]
    slot = {"min_delay": wanted.slot_ns, "max_delay": wanted.slot_ns, "max_bytes": wanted.slot_bytes}
    return {
        **dict.fromkeys(("delay", "jitter", "gap", "duplicate"), 0),
        "limit": wanted.limit,
        "loss": int(wanted.loss * CERTAIN),
        "attrs": [
            ["TCA_NETEM_RATE", {"rate": wanted.rate}],
            ["TCA_NETEM_LATENCY64", wanted.delay_ns],
            ["TCA_NETEM_JITTER64", wanted.jitter_ns],
            ["TCA_NETEM_SLOT", slot],
        ],
    }


plugins["netem"] = SimpleNamespace(options=_Options, get_parameters=_parameters, parent=sched_netem.parent)
