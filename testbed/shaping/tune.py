"""Rates that change while data flows: qdiscs and classes changed in place, through sockets that are kept open."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from testbed.shaping.actions import check, naming
from testbed.shaping.backends import backend
from testbed.shaping.model import Egress, LinkPlan, Setting
from testbed.shaping.namespace import interface, netlink


class NetlinkSockets:
    """An IPRoute in the namespace of every egress that was changed so far; closing this closes them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: dict[int, Any] = {}

    def __enter__(self) -> NetlinkSockets:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()
        self._stack.close()

    def to(self, egress: Egress) -> Any:
        """The IPRoute of an egress, opened when it is asked for first. Raises LinkError."""
        if egress.pid not in self._open:
            self._open[egress.pid] = self._stack.enter_context(netlink(egress.pid))
        return self._open[egress.pid]


def tune(before: LinkPlan, after: LinkPlan, sockets: NetlinkSockets) -> list[Setting]:
    """Brings links to a plan that differs in rates only; what the kernel has then, for the flows that changed.

    Raises LinkError, which names the flow, as ``set_links`` does.
    """
    chosen = backend(after.backend)
    settings: list[Setting] = []
    for old, new in zip(before.egresses, after.egresses, strict=True):
        changed = [flow for was, flow in zip(old.flows, new.flows, strict=True) if flow != was]
        if not changed:
            continue
        with naming(new):
            ipr = sockets.to(new)
            # Looked up each time: another process may have changed its limit of frames per packet.
            link = interface(ipr, new.address)
            chosen.tune(ipr, link, old, new)
            found = chosen.read(ipr, link, new)
        settings += [Setting(flow.name, flow.rate_bps, found.get(flow.name, 0.0)) for flow in changed]
    check(settings)
    return settings
