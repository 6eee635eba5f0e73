"""The links of a deployment: set, read back and measured through its shaper."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from agents.plan import Plan
from agents.ports import BROADCAST_PORT
from testbed.container import LABEL, ContainerSpec
from testbed.deploy import AIR, BS, SHAPER_CAPABILITIES, SHAPER_IMAGE, Deployment
from testbed.engine import Engine
from testbed.errors import InputError, LinkError
from testbed.shaping.model import Egress, Flow, LinkPlan, Medium, to_json
from testbed.shaping.rates import holds_back
from testbed.topology import Radio

UP, DOWN, BROADCAST = "up", "down", "broadcast"
STANDBY_BPS = 64e3
"""Rate of a UE to which a plan gives no slot: it trains nothing, but still reports to the BS."""


NETEM, HTB = "netem", "htb"


def link_plan(deployment: Deployment, plan: Plan, radio: Radio, backend: str) -> LinkPlan:
    """What leaves each interface under this plan, dilated: rates ÷ D, delays and frames × D.

    A UE's egress is its uplink, the BS's egress has one flow per UE, and one more for what is broadcast (each
    UE gets it at the same rate, in the whole frame). Flows are named ``ue1/up``. Of UEs that are not in the deployment
    there are none.
    """
    addresses = deployment.addresses(AIR)
    ups, downs = [], []
    for name, ue in ((name, ue) for name, ue in plan.ues.items() if name in deployment.agents):
        up = _flow(f"{name}/{UP}", None, ue.uplink_bps, ue.slot_up_s, plan, radio)
        ups.append(Egress(deployment.agents[name].pid, addresses[name], (up,)))
        downs.append(_flow(f"{name}/{DOWN}", addresses[name], ue.downlink_bps, ue.slot_down_s, plan, radio))
        if plan.broadcast_bps:
            shared = _flow(f"{name}/{BROADCAST}", addresses[name], plan.broadcast_bps, 0.0, plan, radio)
            downs.append(replace(shared, port=BROADCAST_PORT))
    return LinkPlan(backend, (Egress(deployment.agents[BS].pid, addresses[BS], tuple(downs)), *ups), plan.time_dilation)


def _flow(name: str, address: str | None, rate_bps: float, slot_s: float, plan: Plan, radio: Radio) -> Flow:
    dilation, frame_s = plan.time_dilation, radio.frame_ms / 1e3
    gated = radio.gated and holds_back(slot_s, frame_s)
    medium = Medium(
        delay_s=radio.delay_ms / 1e3 * dilation,
        jitter_s=radio.jitter_ms / 1e3 * dilation,
        loss=radio.loss,
        frame_s=frame_s * dilation if gated else 0.0,
        share=slot_s / frame_s if gated else 1.0,
    )
    return Flow(name, address, max(rate_bps / dilation, STANDBY_BPS), medium)


def set_links(engine: Engine, deployment: Deployment, plan: Plan, radio: Radio) -> list[dict[str, Any]]:
    """Shapes every link as the plan and the radio say; what the kernel says it set, per flow."""
    there = shaper(engine, deployment, "backends", {})
    chosen = link_plan(deployment, plan, radio, NETEM if there[NETEM] else HTB)
    return rows_of(shaper(engine, deployment, "set", to_json(chosen))["settings"])


def check_kernel(engine: Engine, trial: str, radio: Radio) -> None:
    """Refuses, before anything is deployed, a radio that the engine's kernel cannot emulate. InputError."""
    key = radio.beyond_rates
    if key and not kernel_backends(engine, trial)[NETEM]:
        kernel = engine.info()["KernelVersion"]
        message = f"takes the netem qdisc (sch_netem), and this kernel, {kernel}, has none"
        hint = "use a VM that has it: make test-vm proves one, vagrant up gives one (docs/vm.md)"
        raise InputError(f"radio.{key}", message, f"{hint}; or leave {key} out")


def kernel_backends(engine: Engine, trial: str = "doctor") -> dict[str, bool]:
    """Which link backends the kernel has, tried in a container's own network namespace; the best comes first.

    The container is the ``trial``'s, and goes with what else it has.
    """
    engine.need_image(SHAPER_IMAGE)
    spec = ContainerSpec(
        name=f"testbed-backends-{uuid.uuid4().hex[:8]}",
        image=SHAPER_IMAGE,
        labels={LABEL: trial},
        command=("python3", "-m", "testbed.shaping", "backends"),
        capabilities=SHAPER_CAPABILITIES,
        tmpfs=("/tmp", "/run"),
    )
    found: dict[str, bool] = json.loads(engine.run_once(spec))
    return found


def backend_in_use(engine: Engine, deployment: Deployment) -> str | None:
    """The backend that shapes the links of a deployment now; None where nothing does."""
    found: str | None = shaper(engine, deployment, "read", {})["backend"]
    return found


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
        found = by_flow.get(f"{row['ue']}/{row['direction']}")
        if found is None:  # a broadcast, whose port the BS uses
            continue
        error = found["goodput_bps"] / row["planned_bps"] - 1.0
        rows.append({**row, "goodput_bps": found["goodput_bps"], "median_bps": found["median_bps"], "error": error})
    return rows


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
