"""The cores of a host that the computations of all agents share."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.schedule.task import Task


@dataclass(frozen=True)
class Host:
    """What computations need of a host with so many ``cores``, in the seconds of the simulation.

    ``work_s``: core-seconds of a task, on as many cores at once as it has ``threads``. It ends at the earliest
    ``late_s`` after the cores are done with it.
    """

    cores: int
    work_s: Callable[[Task], float]
    late_s: Callable[[Task], float] = lambda task: 0.0
    threads: Callable[[Task], int] = lambda task: 1


@dataclass
class _Alike:
    """Computations of as many threads each: how much each of them has got, and how much it has got when it is done."""

    threads: int
    got_s: float = 0.0
    done: list[tuple[float, int]] = field(default_factory=list)


class Cores:
    """Cores that are shared fairly: each computation gets as much as any other, or as much as it can use.

    As all of one number of threads get the same, it is enough to count for each number what one has got so far.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._now_s = 0.0
        self._alike: dict[int, _Alike] = {}

    def __bool__(self) -> bool:
        """Whether anything is being computed."""
        return any(alike.done for alike in self._alike.values())

    def add(self, i: int, now_s: float, work_s: float, threads: int) -> None:
        """From now on computation ``i`` takes part, and needs so many core-seconds."""
        self._advance(now_s)
        alike = self._alike.setdefault(threads, _Alike(threads))
        heapq.heappush(alike.done, (alike.got_s + work_s, i))

    @property
    def next_s(self) -> float:
        """When the next computation is done, if none is added before."""
        return min(self._now_s + left_s for left_s, _ in self._lefts())

    def pop(self) -> tuple[int, float]:
        """The next computation that is done, and when."""
        left_s, alike = min(self._lefts(), key=lambda found: found[0])
        self._advance(self._now_s + left_s)
        alike.got_s, i = heapq.heappop(alike.done)
        return i, self._now_s

    def _lefts(self) -> list[tuple[float, _Alike]]:
        shares = self._shares()
        return [
            (max(0.0, alike.done[0][0] - alike.got_s) / shares[alike.threads], alike)
            for alike in self._alike.values()
            if alike.done
        ]

    def _advance(self, to_s: float) -> None:
        for threads, share in self._shares().items():
            self._alike[threads].got_s += share * (to_s - self._now_s)
        self._now_s = to_s

    def _shares(self) -> dict[int, float]:
        """By number of threads how many cores one computation has: what the narrower ones leave is for the wider."""
        found: dict[int, float] = {}
        cores, left = float(self._cores), sum(len(alike.done) for alike in self._alike.values())
        for threads, alike in sorted(self._alike.items()):
            if alike.done:
                found[threads] = min(float(threads), cores / left)
                cores -= found[threads] * len(alike.done)
                left -= len(alike.done)
        return found
