"""What the shaper does to the links of its host: set them, read them back, clear them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from testbed.errors import LinkError
from testbed.shaping.backends import backend
from testbed.shaping.model import Egress, LinkPlan, Setting
from testbed.shaping.namespace import NetlinkError, interface, netlink
from testbed.shaping.rates import matches


def set_links(plan: LinkPlan) -> list[Setting]:
    """Makes the interfaces shape as planned, and says what the kernel has then.

    Raises LinkError, which names the flow, when that is not possible or not what was planned.
    """
    settings = _visit(plan, apply=True)
    check(settings)
    return settings


def check(settings: list[Setting]) -> None:
    """Raises LinkError for the first flow whose rate in the kernel is not the planned one."""
    for setting in settings:
        if not matches(setting.planned_bps, setting.set_bps):
            raise LinkError(
                f"{setting.flow}: {setting.planned_bps:.0f} bit/s were planned, the kernel has {setting.set_bps:.0f}",
                "something else changes the qdiscs of this interface",
            )


def read_links(plan: LinkPlan) -> list[Setting]:
    """The payload rate that the kernel has for each flow; 0 where nothing shapes it. Raises LinkError."""
    return _visit(plan, apply=False)


def clear_links(plan: LinkPlan) -> list[str]:
    """Removes the shaping; the names of the flows that run free now.

    What is gone, such as a stopped container, needs no clearing and is left out.
    """
    chosen = backend(plan.backend)
    freed: list[str] = []
    for egress in plan.egresses:
        try:
            with naming(egress), netlink(egress.pid) as ipr:
                chosen.clear(ipr, interface(ipr, egress.address))
        except LinkError:
            continue
        freed += [flow.name for flow in egress.flows]
    return freed


def cut_links(plan: LinkPlan, flows: Collection[str]) -> None:
    """The interfaces from which these flows leave carry nothing, in neither direction; all others carry again.

    What shapes them stays as it is; only what waited to be sent is lost. Raises LinkError, as for a flow that is not in
    the plan. A container that does not run has no link to open.
    """
    if unknown := set(flows) - {flow.name for flow in plan.flows}:
        raise LinkError(f"{min(unknown)}: there is no such flow", "name flows of the plan that was set")
    for egress in plan.egresses:
        cut = any(flow.name in flows for flow in egress.flows)
        with naming(egress) if cut else suppress(LinkError, NetlinkError), netlink(egress.pid) as ipr:
            ipr.link("set", index=interface(ipr, egress.address).index, state="down" if cut else "up")


def _visit(plan: LinkPlan, apply: bool) -> list[Setting]:
    chosen = backend(plan.backend)
    settings: list[Setting] = []
    for egress in plan.egresses:
        with naming(egress), netlink(egress.pid) as ipr:
            link = interface(ipr, egress.address)
            if apply:
                chosen.apply(ipr, link, egress)
            found = chosen.read(ipr, link, egress)
        settings += [Setting(flow.name, flow.rate_bps, found.get(flow.name, 0.0)) for flow in egress.flows]
    return settings


@contextmanager
def naming(egress: Egress) -> Iterator[None]:
    """Errors name the flows they concern."""
    try:
        yield
    except LinkError as error:
        named = any(error.message.startswith(f"{flow.name}: ") for flow in egress.flows)
        raise LinkError(error.message if named else f"{egress.names}: {error.message}", error.hint) from error
    except NetlinkError as error:
        hint = "testbed doctor tells which backends this kernel has"
        raise LinkError(f"{egress.names}: the kernel refuses: {error}", hint) from error
