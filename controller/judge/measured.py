"""Events of agents → rounds, goodputs, overruns: pure functions, in emulated seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from agents.plan import Plan
from agents.schedule.task import BROADCAST_PLACE, EVERYBODY, Key, at_the_bs, down, is_link, up, workers
from controller.judge.results import Round, Spread, UeResult
from controller.predict.idle import idle

NO_PAUSE_S = 1e-6


@dataclass(frozen=True)
class Happened:
    """One task as it was: seconds from the start of its round; bytes for transfers, overrun for compute.

    ``ue`` is whom it was for; of a broadcast, the UE at which it arrived.

    ``cpu_s`` is the CPU time on the host in *wall* seconds: what the real computation cost, and ``wait_s`` how
    long it waited for a core. ``late_s`` is how late the agent woke up at the end of the task.
    """

    round: int
    task: str
    ue: str
    micro_batch: int
    turn: int
    start_s: float
    end_s: float
    place: str
    step: int = 0
    bytes: int = 0
    overrun_s: float = 0.0
    cpu_s: float = 0.0
    wait_s: float = 0.0
    late_s: float = 0.0

    @cached_property
    def key(self) -> Key:
        """Which task of the schedule it was."""
        whose = EVERYBODY if self.place == BROADCAST_PLACE else self.ue
        return Key(self.turn, self.step, self.micro_batch, self.task, whose)

    @property
    def computed(self) -> bool:
        """Whether it took a processor, not a link."""
        return not is_link(self.place)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.end_s - self.start_s


def happened(
    round_number: int, events: Iterable[Mapping[str, Any]], start_ns: int, dilation: float, begin_s: float = 0.0
) -> list[Happened]:
    """Events of a segment as agents report them (monotonic ns) on the round's own emulated clock, in order of start.

    The segment began ``begin_s`` after the round.
    """
    rows = [
        Happened(
            round=round_number,
            task=e["task"],
            ue=e["ue"],
            micro_batch=e["micro_batch"],
            turn=e["turn"],
            place=e["place"],
            step=e["step"],
            start_s=begin_s + (e["start_ns"] - start_ns) / 1e9 / dilation,
            end_s=begin_s + (e["end_ns"] - start_ns) / 1e9 / dilation,
            bytes=e.get("bytes", 0),
            overrun_s=e.get("overrun_ns", 0) / 1e9 / dilation,
            cpu_s=e.get("cpu_ns", 0) / 1e9,
            wait_s=e.get("wait_ns", 0) / 1e9,
            late_s=e.get("late_ns", 0) / 1e9 / dilation,
        )
        for e in events
    ]
    return sorted(rows, key=lambda h: (h.start_s, h.end_s))


def round_row(
    number: int,
    rows: Sequence[Happened],
    train_loss: float,
    predicted_s: float | None = None,
    predicted_bubble_rate: float | None = None,
    charged_s: float = 0.0,
    degraded: bool = False,
    until_s: float = 0.0,
) -> Round:
    """A round lasts until its last task ends, after what is charged of the planner's time; the BS is busy while it
    computes, each of its workers for its share. One in which UEs were lost lasts at least ``until_s``."""
    round_s = charged_s + max(until_s, *(row.end_s for row in rows))
    busy_s = sum(row.seconds for row in rows if at_the_bs(row.place)) / workers(row.place for row in rows)
    busy_s = min(round_s, busy_s)  # rounding must not idle below 0
    return Round(
        round=number,
        round_s=round_s,
        bubble_rate=1.0 - busy_s / round_s,
        bs_busy_s=busy_s,
        bs_idle_s=round_s - busy_s,
        train_loss=train_loss,
        degraded=degraded,
        predicted_s=predicted_s,
        predicted_bubble_rate=predicted_bubble_rate,
        charged_s=charged_s,
    )


def spread(values: Sequence[float]) -> Spread:
    """Median, 5th and 95th percentile."""
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    return Spread(median=float(median), p5=float(p5), p95=float(p95))


def after_warm_up(rounds: Sequence[Round]) -> Sequence[Round]:
    """All rounds but the first, unless it is the only one, and those in which UEs were lost, unless all were such."""
    counted = rounds[1:] or rounds
    return [row for row in counted if not row.degraded] or counted


def ue_results(plan: Plan, rows: Sequence[Happened], rounds: Sequence[Round]) -> dict[str, UeResult]:
    """Per UE: mean busy and idle seconds per round and goodput, over the rounds after the first."""
    counted = {r.round: r.round_s for r in after_warm_up(rounds)}
    mean_round_s = sum(counted.values()) / len(counted)
    at = at_places(row for row in rows if row.round in counted)
    found = {}
    for ue in plan.ues:
        busy_s = sum(row.seconds for row in at.get(ue, ())) / len(counted)
        found[ue] = UeResult(
            busy_s=busy_s,
            idle_s=mean_round_s - busy_s,
            uplink_bps=goodput_bps(at.get(up(ue), ())),
            downlink_bps=goodput_bps(at.get(down(ue), ())),
        )
    return found


def idle_shares(ues: Iterable[str], rows: Sequence[Happened], round_s: float) -> dict[str, float]:
    """The share of one round, of which these are the tasks, in which each UE did not compute."""
    busy_s = dict.fromkeys(ues, 0.0)
    for row in rows:
        if row.place in busy_s:
            busy_s[row.place] += row.seconds
    return {ue: max(0.0, 1.0 - busy / round_s) for ue, busy in busy_s.items()}


def by_round(rows: Iterable[Happened]) -> dict[int, list[Happened]]:
    """The tasks of each round."""
    found: dict[int, list[Happened]] = {}
    for row in rows:
        found.setdefault(row.round, []).append(row)
    return found


def at_places(rows: Iterable[Happened]) -> dict[str, list[Happened]]:
    """The tasks of each place, in the order in which places and tasks come."""
    found: dict[str, list[Happened]] = {}
    for row in rows:
        found.setdefault(row.place, []).append(row)
    return found


def idle_times(rows: Sequence[Happened], rounds: Sequence[Round]) -> dict[str, float]:
    """Idle times as PiPar means them (s), the mean of a round after the first."""
    of = by_round(rows)
    found = [idle(of[r.round], r.round_s) for r in after_warm_up(rounds)]
    return {key: sum(getattr(one, key) for one in found) / len(found) for key in ("bs_idle_s", "ue_idle_s")}


def goodput_bps(transfers: Sequence[Happened]) -> float | None:
    """Bits per second on the air, the median over all bytes; None without any."""
    found = speeds(transfers, lambda burst: 8.0 * burst.bytes, (0.5,))
    return found[0] if found else None


def speeds(
    transfers: Sequence[Happened], planned_s: Callable[[Happened], float], shares: Sequence[float]
) -> tuple[float, ...]:
    """How fast against its ``planned_s`` a burst was, at most, for each of these shares of all bytes; () without any.

    A burst is transfers that follow each other at once on a link: a receiver that wakes up late takes from one
    what it adds to the next. The share of a half is the median, as one that does so at the end of a burst is not a
    slow link.
    """
    bursts = [burst for burst in _bursts(transfers) if burst.seconds > 0]
    if not bursts:
        return ()
    each = np.array([planned_s(burst) / burst.seconds for burst in bursts])
    order = np.argsort(each)
    bytes_below = np.cumsum([bursts[i].bytes for i in order])
    return tuple(float(each[order[int(np.searchsorted(bytes_below, bytes_below[-1] * s))]]) for s in shares)


def _bursts(transfers: Sequence[Happened]) -> list[Happened]:
    """Transfers of one link, those without a pause between them as one."""
    found: list[list[Happened]] = []
    for row in sorted(transfers, key=lambda r: (r.round, r.start_s, r.end_s)):
        if found and found[-1][-1].round == row.round and row.start_s - found[-1][-1].end_s <= NO_PAUSE_S:
            found[-1].append(row)
        else:
            found.append([row])
    return [one[0] if len(one) == 1 else _joined(one) for one in found]


def _joined(rows: Sequence[Happened]) -> Happened:
    """Transfers that follow one another, as one."""
    return replace(rows[0], end_s=rows[-1].end_s, bytes=sum(row.bytes for row in rows))
