"""Rates that change while data flows: sockets kept open into the agents' namespaces, and classes changed in place."""

from __future__ import annotations

from testbed.shaping.actions import check, naming
from testbed.shaping.backends import backend
from testbed.shaping.model import Egress, LinkPlan, Setting
from testbed.shaping.namespace import entered, interface, netlink
from testbed.shaping.wire import Line, open_wire


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
                self._open[key] = Line(open_wire(), link)
        return self._open[key]


def tune(before: LinkPlan, after: LinkPlan, lines: Lines) -> list[Setting]:
    """Brings links to a plan that differs in rates only; what the kernel has then, for the flows that changed.

    Raises LinkError, which names the flow, as ``set_links`` does.
    """
    settings: list[Setting] = []
    for old, new in zip(before.egresses, after.egresses, strict=True):
        changed = [flow for was, flow in zip(old.flows, new.flows, strict=True) if flow != was]
        if not changed:
            continue
        with naming(new):
            found = backend(after.backend).tune(lines.to(new), old, new)
        settings += [Setting(flow.name, flow.rate_bps, found.get(flow.name, 0.0)) for flow in changed]
    check(settings)
    return settings
