"""Idle times as the PiPar paper means them (section V-B2), of a round as predicted or as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.schedule.task import Key, at_the_bs, goes_down, owner


class Done(Protocol):
    """A task that was done: which, where, and from when to when (s)."""

    @property
    def key(self) -> Key: ...
    @property
    def place(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True)
class Idle:
    """Seconds of a round in which a server process waits for its device, and a device does not compute; means over UEs.

    A process serves one UE, on a processor of its own or not. It waits until it has all that its UE sends, the last
    of which are the UE half's weights ("stop epoch", Alg. 2); from then on it waits for other UEs, which is no longer
    for its own. The paper takes all devices as equal, where the two are one.
    """

    bs_idle_s: float
    ue_idle_s: float


def idle(done: Sequence[Done], round_s: float) -> Idle:
    """The idle times of a round of this length, of which these tasks were done."""
    ues = {owner(one.place) for one in done if not at_the_bs(one.place)}
    until_s, served_s, computed_s = ({ue: 0.0 for ue in ues} for _ in range(3))
    for one in done:
        ue = one.key.ue
        if ue not in until_s:
            continue
        if not goes_down(one.place):
            until_s[ue] = max(until_s[ue], one.end_s)
        if one.place == ue:
            computed_s[ue] += one.end_s - one.start_s
        elif at_the_bs(one.place):
            served_s[ue] += one.end_s - one.start_s
    n = len(until_s)
    return Idle((sum(until_s.values()) - sum(served_s.values())) / n, round_s - sum(computed_s.values()) / n)
