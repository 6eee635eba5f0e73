"""Why a round took as long as it did: the chain of tasks that it waited for, link by link against the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from agents.plan import Plan
from agents.schedule.task import BROADCAST_PLACE, Key, Schedule, down, goes_up
from controller.judge.measured import Happened, after_warm_up, by_round
from controller.judge.results import Explained, Round
from controller.predict.latency import NONE, Latency

BITS = 8.0


@dataclass(frozen=True)
class Links:
    """What a transfer should take: at the plan's rates, and after what it waits."""

    plan: Plan
    waits: Latency = NONE

    @cached_property
    def _gated(self) -> bool:
        return self.waits.gated

    def rate_bps(self, row: Happened) -> float:
        """The planned rate of its link."""
        if row.place == BROADCAST_PLACE:
            return self.plan.broadcast_bps
        ue = self.plan.ues[row.ue]
        return ue.uplink_bps if goes_up(row.place) else ue.downlink_bps

    def on_air_s(self, row: Happened) -> float:
        """Seconds for its bytes at the planned rate."""
        return row.bytes * BITS / self.rate_bps(row)

    def slot_s(self, row: Happened) -> float:
        """Seconds until its first slot, and after its last."""
        if row.place == BROADCAST_PLACE or not self._gated:
            return 0.0
        gate = self.waits.up if goes_up(row.place) else self.waits.down
        index = list(self.plan.ues).index(row.ue)
        return float(gate.of([index]).wait_s(np.array([self.on_air_s(row)]))[0])


@dataclass(frozen=True)
class Chain:
    """A round taken apart (s): what its chain of tasks should have taken, and what each cause added.

    ``rows``: the tasks of the chain as they were, the first one first.
    """

    planned_s: float = 0.0
    compute_s: float = 0.0
    transfers_s: float = 0.0
    wake_ups_s: float = 0.0
    rows: tuple[Happened, ...] = ()

    @property
    def tasks(self) -> tuple[Key, ...]:
        """Which tasks they were."""
        return tuple(row.key for row in self.rows)

    def with_link(
        self, row: Happened, before: Happened | None, after: Happened | None, links: Links, queued: bool
    ) -> Chain:
        """The chain with one more task, between the one it waited for and the one that waited for it.

        A processor makes up for a late wake-up in its next task, so that one counts only where others saw it. A
        message waits as predicted, unless it was the link that it waited for.
        """
        ended_s = 0.0 if before is None else before.end_s
        gap_s = max(0.0, row.start_s - ended_s)
        if not row.computed:
            fixed_s, slot_s = (0.0, 0.0) if queued else (links.waits.fixed_s, links.slot_s(row))
            own_s = links.on_air_s(row) + slot_s
            return self._plus(row, own_s + fixed_s, 0.0, row.end_s - ended_s - gap_s - own_s, gap_s - fixed_s)
        made_up_s = row.late_s if _same_processor(row, after) else 0.0
        inherited_s = before.late_s if before is not None and _same_processor(before, row) else 0.0
        took_s = row.end_s - made_up_s - (ended_s - inherited_s) - gap_s
        late_s = row.late_s - made_up_s
        return self._plus(row, took_s - late_s - row.overrun_s, row.overrun_s, 0.0, gap_s + late_s)

    def _plus(self, row: Happened, planned_s: float, compute_s: float, transfers_s: float, wake_ups_s: float) -> Chain:
        return Chain(
            self.planned_s + planned_s,
            self.compute_s + compute_s,
            self.transfers_s + transfers_s,
            self.wake_ups_s + wake_ups_s,
            (row, *self.rows),
        )


def _same_processor(row: Happened, after: Happened | None) -> bool:
    return after is not None and row.computed and row.place == after.place


def explain(
    links_of: Callable[[int], Links],
    schedule_of: Callable[[int], Schedule],
    predicted_s: float,
    rounds: Sequence[Round],
    rows: Sequence[Happened],
) -> Explained:
    """The error of the typical round by cause, each as a share of the predicted round; they add up to the error.

    A round is held against its own prediction where it has one. ``links_of`` and ``schedule_of`` give what a round's
    transfers should take, and its schedule. Typical are the rounds between the first and the third quarter by error,
    round 1 left out.
    """
    predicted = {r.round: r.predicted_s or predicted_s for r in rounds}
    by_error = sorted(after_warm_up(rounds), key=lambda r: r.round_s / predicted[r.round])
    quarter = (len(by_error) + 1) // 4
    typical = sorted(r.round for r in by_error[quarter : len(by_error) - quarter])
    of = by_round(rows)
    chains = {number: chain(of[number], schedule_of(number), links_of(number)) for number in typical}

    def mean(value: Callable[[Chain], float]) -> float:
        return sum(value(found) / predicted[number] for number, found in chains.items()) / len(chains)

    charged = {r.round: r.charged_s for r in rounds}
    planned = sum((found.planned_s + charged[number]) / predicted[number] for number, found in chains.items())
    return Explained(
        compute=mean(lambda c: c.compute_s),
        transfers=mean(lambda c: c.transfers_s),
        wake_ups=mean(lambda c: c.wake_ups_s),
        unexplained=planned / len(chains) - 1.0,
    )


def chain(rows: Sequence[Happened], schedule: Schedule, links: Links) -> Chain:
    """From the last task of a round back, at each task to the one it waited for, until the round's start.

    ValueError where a task waited for itself, which only rows that were changed can say.
    """
    rows = [row for row in rows if row.key in schedule.by_key]  # not what a UE did before it was lost
    measured = _Measured(rows, schedule)
    found = Chain()
    row: Happened | None = max(rows, key=lambda r: r.end_s)
    after: Happened | None = None
    passed: set[int] = set()
    while row is not None:
        if id(row) in passed:
            raise ValueError(f"{row.key} waited for itself")
        passed.add(id(row))
        before, queued = measured.waited_for(row, links)
        found = found.with_link(row, before, after, links, queued)
        row, after = before, row
    return found


class _Measured:
    """A measured round on its schedule."""

    def __init__(self, rows: Sequence[Happened], schedule: Schedule) -> None:
        self._schedule = schedule
        self._of: dict[Key, list[Happened]] = {}
        for row in rows:
            self._of.setdefault(row.key, []).append(row)
        self._segment_of = schedule.segment_of
        at: dict[str, list[Happened]] = {}
        for row in sorted(rows, key=lambda r: (r.start_s, r.end_s)):
            place = down(row.ue) if row.place == BROADCAST_PLACE else row.place  # it does not wait for itself elsewhere
            at.setdefault(place, []).append(row)
        self._before_it = {id(row): before for mine in at.values() for before, row in pairwise(mine)}

    def waited_for(self, row: Happened, links: Links) -> tuple[Happened | None, bool]:
        """Of what must have ended before this task could start, what kept it longest, and whether that was its link.

        None at the start of the round. A message waits for its own time after what it needs, but not after the one
        before it on its link.
        """
        own_s = 0.0 if row.computed else links.waits.fixed_s + links.slot_s(row)
        needs = self._schedule.by_key[row.key].needs
        needed = [*self._rows(self._timed(needs), row), *self._ended_last(self._segment_of[row.key])]
        queue = self._rows(self._timed(k for k in self._schedule.before[row.key] if k not in needs), row)
        if id(row) in self._before_it:
            queue.append(self._before_it[id(row)])
        some = [(one.end_s + own_s, one, False) for one in needed] + [(one.end_s, one, True) for one in queue]
        found = max((one for one in some if one[1] is not row), key=lambda one: one[0], default=(0.0, None, False))
        return found[1], found[2]

    def _rows(self, keys: Iterable[Key], row: Happened) -> list[Happened]:
        """The rows of these tasks; of a broadcast the one at the UE that it was for."""
        found = []
        for key in keys:
            mine = self._of.get(key, [])
            found += [one for one in mine if len(mine) == 1 or one.ue == row.ue] or mine
        return found

    def _ended_last(self, segment: int) -> list[Happened]:
        """What the segment before ended with."""
        return [self._last[segment - 1]] if segment - 1 in self._last else []

    @cached_property
    def _last(self) -> Mapping[int, Happened]:
        found: dict[int, Happened] = {}
        for key, mine in self._of.items():
            for row in mine:
                segment = self._segment_of[key]
                if segment not in found or found[segment].end_s < row.end_s:
                    found[segment] = row
        return found

    def _timed(self, keys: Iterable[Key]) -> Sequence[Key]:
        """These tasks; what takes no time stands for all that it waits for itself."""
        found: dict[Key, None] = {}
        queue = list(keys)
        while queue:
            task = self._schedule.by_key[queue.pop()]
            if task.computes or task.transfers:
                found[task.key] = None
            else:
                queue += self._schedule.before[task.key]
        return tuple(found)
