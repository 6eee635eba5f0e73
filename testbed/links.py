"""The links of a deployment: set, read back and measured through its shaper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.plan import Plan
from testbed.deploy import AIR, BS, Deployment
from testbed.engine import Engine
from testbed.errors import LinkError
from testbed.shaping.model import Egress, Flow, LinkPlan, to_json

UP, DOWN = "up", "down"
STANDBY_BPS = 64e3
"""Rate of a UE to which a plan gives no slot: it trains nothing, but still reports to the BS."""


def link_plan(
    deployment: Deployment, rates: Mapping[str, tuple[float, float]], dilation: float, backend: str = "htb"
) -> LinkPlan:
    """Wall payload rates (up, down; bit/s) per UE → what leaves each interface.

    A UE's egress is its uplink, the BS's egress has one flow per UE. Flows are named ``ue1/up``.
    """
    addresses = deployment.addresses(AIR)
    ups = [
        Egress(deployment.agents[ue].pid, addresses[ue], (Flow(f"{ue}/{UP}", None, up_bps),))
        for ue, (up_bps, _) in rates.items()
    ]
    downs = tuple(Flow(f"{ue}/{DOWN}", addresses[ue], down_bps) for ue, (_, down_bps) in rates.items())
    return LinkPlan(backend, (Egress(deployment.agents[BS].pid, addresses[BS], downs), *ups), dilation)


def set_links(engine: Engine, deployment: Deployment, plan: Plan) -> list[dict[str, Any]]:
    """Shapes every link to its rate in the plan, dilated; what the kernel says it set, per flow."""
    dilation = plan.time_dilation
    rates = {
        name: (max(ue.uplink_bps / dilation, STANDBY_BPS), max(ue.downlink_bps / dilation, STANDBY_BPS))
        for name, ue in plan.ues.items()
    }
    return rows_of(shaper(engine, deployment, "set", to_json(link_plan(deployment, rates, dilation)))["settings"])


def read_links(engine: Engine, deployment: Deployment) -> list[dict[str, Any]]:
    """Per UE and direction the planned rate and the one that the kernel has now (wall bit/s)."""
    return rows_of(shaper(engine, deployment, "read", {})["settings"])


def measure_links(engine: Engine, deployment: Deployment, seconds: float = 1.0) -> list[dict[str, Any]]:
    """``read_links`` with the goodput of real traffic beside it, one link at a time.

    ``median_bps`` is the median over fiftieths of the transfer: right where ``goodput_bps`` is low
    means that the host stalled, not that the link is wrong.
    """
    measured = shaper(engine, deployment, "measure", {"seconds": seconds})["measurements"]
    by_flow = {m["flow"]: m for m in measured}
    rows = []
    for row in read_links(engine, deployment):
        found = by_flow[f"{row['ue']}/{row['direction']}"]
        error = found["goodput_bps"] / row["planned_bps"] - 1.0
        rows.append({**row, "goodput_bps": found["goodput_bps"], "median_bps": found["median_bps"], "error": error})
    return rows


def backends(engine: Engine, deployment: Deployment) -> dict[str, bool]:
    """Which link backends the kernel under this deployment has."""
    found: dict[str, bool] = shaper(engine, deployment, "backends", {})
    return found


def shaper(engine: Engine, deployment: Deployment, action: str, document: Any) -> Any:
    """The shaper's answer to one action, by a process that ends with it. LinkError."""
    command = ["python3", "-m", "testbed.shaping", action]
    status, answer = engine.exec_json(deployment.shaper.name, command, document)
    if status:
        raise LinkError(answer["error"], answer["hint"])
    return answer


def rows_of(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per flow, with UE and direction taken from its name; up before down, UE by UE."""
    rows = []
    for setting in settings:
        ue, _, direction = setting["flow"].rpartition("/")
        rows.append({"ue": ue, "direction": direction, **{k: v for k, v in setting.items() if k != "flow"}})
    order = list(dict.fromkeys(row["ue"] for row in rows))
    return sorted(rows, key=lambda row: (order.index(row["ue"]), row["direction"] != UP))
