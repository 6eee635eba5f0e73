"""Link rates of a deployment that change while it runs: by a trial between rounds, or by hand."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agents.plan import Plan
from testbed.conversation import Conversation
from testbed.deploy import Deployment
from testbed.engine import Engine
from testbed.errors import InputError, LinkError
from testbed.links import BROADCAST, DOWN, STANDBY_BPS, UP, rows_of, shaper
from testbed.shaping.model import FASTEST_BPS, SLOWEST_BPS

MEGA = 1e6


class Tuner:
    """Keeps a process in the shaper that has the links at hand, from the first change on until it is closed."""

    def __init__(self, engine: Engine, deployment: Deployment) -> None:
        self._engine, self._deployment = engine, deployment
        self._shaper: Conversation | None = None

    def __enter__(self) -> Tuner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shaper is not None:
            self._shaper.__exit__()
            self._shaper = None

    def rejoin(self, deployment: Deployment) -> None:
        """Leaves the links as they are; those of the deployment as it now is are at hand from the next change on."""
        self.__exit__()
        self._deployment = deployment

    def follow(self, before: Plan, after: Plan, there: Collection[str]) -> list[dict[str, Any]]:
        """Brings the links whose rates differ to those of another plan of the same UEs; what the kernel has then.

        Only those of the UEs that are ``there``.

        LinkError when it has something else.
        """
        old, new = flow_rates(before), flow_rates(after)
        mine = {flow: rate for flow, rate in new.items() if flow.partition("/")[0] in there}
        rates = {flow: rate for flow, rate in mine.items() if rate != old[flow]}
        if not rates:
            return []
        if self._shaper is None:
            command = ["python3", "-m", "testbed.shaping", "serve"]
            self._shaper = self._engine.converse(self._deployment.shaper.name, command)
        answer = self._shaper.ask({"rates": rates})
        if "error" in answer:
            raise LinkError(answer["error"], answer["hint"])
        return rows_of(answer["settings"])


def flow_rates(plan: Plan) -> dict[str, float]:
    """Wall payload rate (bit/s) of each flow under a plan, by the flow's name."""
    dilation = plan.time_dilation
    broadcast = ((BROADCAST, plan.broadcast_bps),) if plan.broadcast_bps else ()
    return {
        f"{name}/{direction}": max(rate / dilation, STANDBY_BPS)
        for name, ue in plan.ues.items()
        for direction, rate in ((UP, ue.uplink_bps), (DOWN, ue.downlink_bps), *broadcast)
    }


def set_by_hand(
    engine: Engine, deployment: Deployment, ue: str, uplink_mbps: float | None, downlink_mbps: float | None
) -> list[dict[str, Any]]:
    """Gives a UE's link other payload rates, in emulated Mbit/s; what the kernel has then, in wall bit/s.

    InputError for a UE that is not there and for a rate that cannot be shaped.
    """
    if ue not in deployment.ues:
        raise InputError("UE", f"{deployment.trial} has no {ue}", f"its UEs are {', '.join(deployment.ues)}")
    given = {UP: ("--uplink-mbps", uplink_mbps), DOWN: ("--downlink-mbps", downlink_mbps)}
    if uplink_mbps is None and downlink_mbps is None:
        raise InputError("--uplink-mbps", "or --downlink-mbps is needed", "give the payload rate in Mbit/s")
    dilation = float(shaper(engine, deployment, "read", {}).get("dilation", 1.0))
    rates = {f"{ue}/{to}": mbps * MEGA / dilation for to, (_, mbps) in given.items() if mbps is not None}
    for to, (option, mbps) in given.items():
        if mbps is not None and not SLOWEST_BPS <= rates[f"{ue}/{to}"] <= FASTEST_BPS:
            slowest, fastest = (bps * dilation / MEGA for bps in (SLOWEST_BPS, FASTEST_BPS))
            raise InputError(option, f"{mbps:g} cannot be shaped", f"rates go from {slowest:g} to {fastest:g} Mbit/s")
    return rows_of(shaper(engine, deployment, "tune", {"rates": rates})["settings"])
