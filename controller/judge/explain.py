"""Why a round took as long as it did: the chain of tasks that it waited for, link by link against the plan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.plan import Plan
from controller.judge.measured import BS_TASKS, DOWN_TASKS, UE_TASKS, UP_TASKS, Happened, after_warm_up
from controller.judge.results import Explained, Round
from controller.predict.latency import NONE, Latency

BITS = 8.0
EXACT_S = 1e-6
COMPUTE = (*UE_TASKS, *BS_TASKS)
AT_THE_BS = (*BS_TASKS, *DOWN_TASKS, "broadcast")
HEARD_BY_THE_BS = (*UP_TASKS, *BS_TASKS)


@dataclass(frozen=True)
class Links:
    """What a transfer should take: at the plan's rates, and after what it waits."""

    plan: Plan
    waits: Latency = NONE

    def on_air_s(self, row: Happened) -> float:
        """Seconds for its bytes at the planned rate."""
        ue = self.plan.ues[row.ue]
        rate_bps = {"up": ue.uplink_bps, "down": ue.downlink_bps, "shared": self.plan.broadcast_bps}[_way(row)]
        return row.bytes * BITS / rate_bps

    def slot_s(self, row: Happened) -> float:
        """Seconds until its first slot, and after its last."""
        index = list(self.plan.ues).index(row.ue)
        gate = {"up": self.waits.up, "down": self.waits.down, "shared": NONE.up}[_way(row)]
        return float(gate.of([index]).wait_s(np.array([self.on_air_s(row)]))[0])


def _way(row: Happened) -> str:
    return "up" if row.task in UP_TASKS else "down" if row.task in DOWN_TASKS else "shared"


@dataclass(frozen=True)
class Chain:
    """A round taken apart (s): what its chain of tasks should have taken, and what each cause added."""

    planned_s: float = 0.0
    compute_s: float = 0.0
    transfers_s: float = 0.0
    wake_ups_s: float = 0.0

    def with_link(
        self,
        row: Happened,
        before: Happened | None,
        after: Happened | None,
        links: Links,
    ) -> Chain:
        """The chain with one more task, between the one it waited for and the one that waited for it.

        A processor makes up for a late wake-up in its next task, so that one counts only where others saw it. A
        message waits as predicted, unless the link was busy meanwhile.
        """
        ended_s = 0.0 if before is None else before.end_s
        gap_s = max(0.0, row.start_s - ended_s)
        if row.task not in COMPUTE:
            fixed_s, slot_s = (0.0, 0.0) if gap_s <= EXACT_S else (links.waits.fixed_s, links.slot_s(row))
            own_s = links.on_air_s(row) + slot_s
            return self._plus(own_s + fixed_s, 0.0, row.end_s - ended_s - gap_s - own_s, gap_s - fixed_s)
        made_up_s = row.late_s if _same_processor(row, after) else 0.0
        inherited_s = before.late_s if before is not None and _same_processor(before, row) else 0.0
        took_s = row.end_s - made_up_s - (ended_s - inherited_s) - gap_s
        late_s = row.late_s - made_up_s
        return self._plus(took_s - late_s - row.overrun_s, row.overrun_s, 0.0, gap_s + late_s)

    def _plus(self, planned_s: float, compute_s: float, transfers_s: float, wake_ups_s: float) -> Chain:
        return Chain(
            self.planned_s + planned_s,
            self.compute_s + compute_s,
            self.transfers_s + transfers_s,
            self.wake_ups_s + wake_ups_s,
        )


def _same_processor(row: Happened, after: Happened | None) -> bool:
    return after is not None and row.task in COMPUTE and after.task in COMPUTE and row.ue == after.ue


def explain(
    plan: Plan, predicted_s: float, rounds: Sequence[Round], rows: Sequence[Happened], waits: Latency = NONE
) -> Explained:
    """The error of the typical round by cause, each as a share of the predicted round; they add up to the error.

    A round is held against its own prediction where it has one. ``waits``: what the prediction allows messages
    to wait. Typical are the rounds between the first and the third quarter by error, round 1 left out.
    """
    predicted = {r.round: r.predicted_s or predicted_s for r in rounds}
    by_error = sorted(after_warm_up(rounds), key=lambda r: r.round_s / predicted[r.round])
    quarter = (len(by_error) + 1) // 4
    typical = sorted(r.round for r in by_error[quarter : len(by_error) - quarter])
    links = Links(plan, waits)
    chains = {number: chain([row for row in rows if row.round == number], links) for number in typical}

    def mean(value: Callable[[Chain], float]) -> float:
        return sum(value(found) / predicted[number] for number, found in chains.items()) / len(chains)

    return Explained(
        compute=mean(lambda c: c.compute_s),
        transfers=mean(lambda c: c.transfers_s),
        wake_ups=mean(lambda c: c.wake_ups_s),
        unexplained=mean(lambda c: c.planned_s) - 1.0,
    )


def chain(rows: Sequence[Happened], links: Links) -> Chain:
    """From the last task of a round back, at each task to the one it waited for, until the round's start."""
    found, seen = Chain(), set[int]()
    by_end = sorted(rows, key=lambda r: r.end_s)
    row: Happened | None = by_end[-1]
    after: Happened | None = None
    while row is not None:
        seen.add(id(row))
        before = _before(row, by_end, seen)
        found = found.with_link(row, before, after, links)
        row, after = before, row
    return found


def _before(row: Happened, by_end: Sequence[Happened], seen: set[int]) -> Happened | None:
    """The task that this one waited for: the last to end before it began, of those it can have waited for."""
    any_at_all = None
    for at in range(bisect_right(by_end, row.start_s + EXACT_S, key=lambda r: r.end_s) - 1, -1, -1):
        other = by_end[at]
        if id(other) in seen:
            continue
        if row.start_s - other.end_s <= EXACT_S or _can_wait_for(row, other):
            return other
        any_at_all = any_at_all or other
    return any_at_all


def _can_wait_for(row: Happened, other: Happened) -> bool:
    if row.task in AT_THE_BS:
        return other.task in HEARD_BY_THE_BS or (other.task in DOWN_TASKS and other.ue == row.ue)
    return other.ue == row.ue
