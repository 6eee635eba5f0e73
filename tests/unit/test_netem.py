"""netem changed in place, against a kernel that only remembers: this runs where the real one has no netem."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import LinkError
from testbed.shaping import Egress, Flow, Medium, netem
from testbed.shaping.namespace import Interface
from testbed.shaping.options import CERTAIN, Netem

LINK = Interface(7, 1500, 1)
GATED = Medium(delay_s=0.002, frame_s=0.02, share=0.25)
FLOWS = (Flow("ue1.down", "10.9.0.2", 1e7, GATED), Flow("ue2.down", "10.9.0.3", 4e6, GATED))
EGRESS = Egress(1, "10.9.0.1", FLOWS)


class Attributes(dict[str, Any]):
    """As pyroute2 gives them."""

    def get_attr(self, name: str) -> Any:
        return self.get(name)


class Kernel:
    """Remembers the netems by their parents, and counts what it is asked to change."""

    def __init__(self) -> None:
        self.netems: dict[int, Netem] = {}
        self.handles: dict[int, int] = {}
        self.changed: list[int | str] = []

    def tc(self, command: str, kind: str = "", index: int = 0, handle: int = 0, **given: Any) -> None:
        if kind == "netem":
            self.changed.append(given["parent"])
            self.handles.setdefault(given["parent"], 0x8001_0000 + 0x1_0000 * len(self.handles))
            self.netems[given["parent"]] = given["netem"]
        elif command.endswith("-class"):
            self.changed.append(command)

    def get_classes(self, index: int) -> list[Any]:
        return []

    def link(self, *_: Any, **__: Any) -> None:
        self.changed.append("link")

    def get_qdiscs(self, index: int) -> list[Any]:
        return [self._told(parent, what) for parent, what in self.netems.items()]

    def _told(self, parent: int, what: Netem) -> Attributes:
        slot = {"min_delay": what.slot_ns, "max_bytes": what.slot_bytes} if what.slot_ns else None
        options = Attributes(
            limit=what.limit,
            loss=int(what.loss * CERTAIN),
            TCA_NETEM_RATE={"rate": what.rate},
            TCA_NETEM_LATENCY64=what.delay_ns,
            TCA_NETEM_JITTER64=what.jitter_ns,
            TCA_NETEM_SLOT=slot,
        )
        return Attributes(handle=self.handles[parent], parent=parent, TCA_KIND="netem", TCA_OPTIONS=options)


@pytest.fixture
def kernel() -> Kernel:
    """One that shapes EGRESS."""
    kernel = Kernel()
    netem.apply(kernel, LINK, EGRESS)
    kernel.changed.clear()
    return kernel


def test_both_netems_of_a_changed_flow_change_and_no_others(kernel: Kernel) -> None:
    wanted = Egress(1, "10.9.0.1", (Flow("ue1.down", "10.9.0.2", 5e6, GATED), FLOWS[1]))
    netem.tune(kernel, LINK, EGRESS, wanted)
    outer = 0x7E57_0002
    assert kernel.changed == [outer, kernel.handles[outer] | 1]
    assert netem.read(kernel, LINK, wanted) == pytest.approx({"ue1.down": 5e6, "ue2.down": 4e6}, rel=1e-4)


def test_a_change_of_a_wire_keeps_the_packets_limit_right() -> None:
    kernel = Kernel()
    slow, fast = (Egress(1, "10.9.0.1", (Flow("ue1.up", None, rate),)) for rate in (1e6, 1e8))
    netem.apply(kernel, LINK, slow)
    kernel.changed.clear()
    with pytest.MonkeyPatch.context() as patch:
        limits: list[int] = []
        patch.setattr("testbed.shaping.tree.limit_packets", lambda ipr, link, frames: limits.append(frames))
        netem.tune(kernel, LINK, slow, fast)
        netem.tune(kernel, LINK, fast, slow)
    assert limits == [34, 1]
    assert kernel.changed == [0x7E57_FFFF] * 2


def test_what_the_kernel_has_otherwise_is_an_error(kernel: Kernel) -> None:
    kernel.netems[0x7E57_0003] = Netem(limit=5)
    wanted = Egress(1, "10.9.0.1", (Flow("ue1.down", "10.9.0.2", 5e6, GATED), FLOWS[1]))
    with pytest.raises(LinkError, match=r"^ue2\.down: .* was set, the kernel has"):
        netem.tune(kernel, LINK, EGRESS, wanted)
