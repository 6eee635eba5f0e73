"""The backends by name. A new one is a module with these four functions, and a line in ``BACKENDS``."""

from __future__ import annotations

from typing import Any, Protocol

from testbed.errors import LinkError
from testbed.shaping import htb, netem
from testbed.shaping.model import Egress, Flow
from testbed.shaping.namespace import Interface, NetlinkError, private_interface
from testbed.shaping.rates import matches


class Backend(Protocol):
    """How one kind of qdisc shapes an interface. ``ipr`` is an IPRoute in the interface's namespace."""

    def apply(self, ipr: Any, link: Interface, egress: Egress) -> None:
        """Makes the interface shape these flows and no others, in place where it shapes already."""

    def read(self, ipr: Any, link: Interface, egress: Egress) -> dict[str, float]:
        """Payload bit/s by name of the flows that the kernel shapes."""

    def tune(self, ipr: Any, link: Interface, old: Egress, new: Egress) -> None:
        """Brings the interface from one to the other, which differs in rates only; other flows are not touched."""

    def clear(self, ipr: Any, link: Interface) -> None:
        """Removes what ``apply`` made, if anything."""


BACKENDS: dict[str, Backend] = {"netem": netem, "htb": htb}
"""The one that can most comes first."""


def backend(name: str) -> Backend:
    """The backend of that name. Raises LinkError."""
    if name not in BACKENDS:
        raise LinkError(f"there is no shaping backend {name!r}", f"use one of: {', '.join(BACKENDS)}")
    return BACKENDS[name]


def support() -> dict[str, bool]:
    """Which backends work on this kernel: each shapes an interface in a namespace of its own for a moment."""
    return {name: _works(candidate) for name, candidate in BACKENDS.items()}


def _works(candidate: Backend) -> bool:
    rest, flow = Flow("rest", None, 1e6), Flow("flow", "192.0.2.2", 2e6)
    egress = Egress(0, "192.0.2.1", (rest, flow))
    with private_interface() as (ipr, link):
        try:
            candidate.apply(ipr, link, egress)
            found = candidate.read(ipr, link, egress)
        except NetlinkError:
            return False
    return all(name in found and matches(planned, found[name]) for name, planned in (("rest", 1e6), ("flow", 2e6)))
