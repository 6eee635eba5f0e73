"""How long after it was handed over a message begins to arrive: hosts, the way, and the wait for a TDMA slot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agents.plan import Plan
from controller.predict.instance import Decision, Floats, Instance, link_rates
from testbed.shaping.rates import MTU, holds_back, slot_period_s, wire_rate


@dataclass(frozen=True)
class Gate:
    """The slots of links in one direction, per UE (n,).

    A slot comes every ``period_s`` and lasts ``share`` of it; 0 and 1 for a link that may always send.
    """

    period_s: Floats = field(default_factory=lambda: np.zeros(1))
    share: Floats = field(default_factory=lambda: np.ones(1))

    def of(self, rows: list[int]) -> Gate:
        """The same for some of the UEs."""
        return self if self.period_s.shape == (1,) else Gate(self.period_s[rows], self.share[rows])

    def wait_s(self, duration_s: Floats) -> Floats:
        """What a message, ``duration_s`` (n, …) long at its link's mean rate, takes longer through an idle gate.

        The first slot is one period away, and the last is left when the message ends. Messages that follow one
        another wait once; then this is exact to within a period.
        """
        if not self.period_s.any():
            return np.zeros(1)
        beyond = (...,) + (None,) * (np.ndim(duration_s) - self.period_s.ndim)
        period_s, share = self.period_s[beyond], self.share[beyond]
        length_s = np.where(np.isfinite(duration_s), duration_s, 0.0)
        before = np.ceil(length_s / np.where(period_s > 0, period_s, 1.0) - 1e-9) - 1.0  # slots used up
        last_s = length_s - np.maximum(before, 0.0) * period_s
        return np.where(period_s > 0, period_s - last_s * (1.0 - share), 0.0)


@dataclass(frozen=True)
class Latency:
    """``fixed_s`` for any message; where links are gated, more by the length of the message."""

    fixed_s: float = 0.0
    up: Gate = field(default_factory=Gate)
    down: Gate = field(default_factory=Gate)

    @property
    def gated(self) -> bool:
        """Whether any link waits for slots."""
        return bool(self.up.period_s.any() or self.down.period_s.any())

    def of(self, rows: list[int]) -> Latency:
        """The same for some of the UEs."""
        return replace(self, up=self.up.of(rows), down=self.down.of(rows))

    def under(self, plan: Plan, frame_s: float) -> Latency:
        """The same where links are not gated; else with the slots and link rates of this plan."""
        if not self.gated:
            return self
        ues = plan.ues.values()
        up = [ue.slot_up_s for ue in ues], [ue.uplink_bps for ue in ues]
        down = [ue.slot_down_s for ue in ues], [ue.downlink_bps for ue in ues]
        return replace(self, up=_gate(*up, frame_s), down=_gate(*down, frame_s))

    def up_s(self, duration_s: Floats) -> Floats:
        """What uplinks (n, …) of these durations wait."""
        return self.fixed_s + self.up.wait_s(duration_s)

    def down_s(self, duration_s: Floats) -> Floats:
        """What downlinks (n, …) of these durations wait."""
        return self.fixed_s + self.down.wait_s(duration_s)

    def to_json(self) -> dict[str, Any]:
        """The wait as plain data."""
        gates = {way: {"period_s": gate.period_s.tolist(), "share": gate.share.tolist()} for way, gate in self._gates}
        return {"fixed_s": self.fixed_s, **gates}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Latency:
        """What ``to_json`` wrote."""
        gates = (Gate(np.array(data[way]["period_s"]), np.array(data[way]["share"])) for way in ("up", "down"))
        return Latency(data["fixed_s"], *gates)

    @property
    def _gates(self) -> tuple[tuple[str, Gate], tuple[str, Gate]]:
        return ("up", self.up), ("down", self.down)


NONE = Latency()


def latency(instance: Instance, decision: Decision) -> Latency:
    """What messages wait under this decision's slots, in emulated seconds."""
    fixed_s = instance.message_s + instance.delay_s
    if not instance.gated:
        return Latency(fixed_s)
    up, down = link_rates(instance, decision)
    slots = (decision.slot_up_s, up), (decision.slot_down_s, down)
    return Latency(fixed_s, *(_gate(slot_s, rate, instance.frame_s) for slot_s, rate in slots))


def _gate(slot_s: Iterable[float], rate_bps: Iterable[float], frame_s: float) -> Gate:
    slot_s = np.array(list(slot_s))
    gated = np.array([holds_back(seconds, frame_s) for seconds in slot_s])
    period_s = [
        slot_period_s(wire_rate(bps, MTU), frame_s, MTU) if has_slots else 0.0
        for bps, has_slots in zip(rate_bps, gated, strict=True)
    ]
    return Gate(np.array(period_s), np.where(gated, slot_s / frame_s, 1.0))
