"""What agents counted on their hosts, segment by segment → how loaded the hosts were while rounds ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controller.judge.measured import Happened
from controller.judge.results import HostLoad

Counters = Mapping[str, Mapping[str, float | str]]
"""Per agent what its counters grew by in one segment (``agents.host_counters``), and its ``kernel``."""

SUMMED = ("cpu_s", "idle_s", "steal_s", "own_s")


def host_load(segments: Sequence[Counters], computed: Sequence[Happened] = ()) -> HostLoad:
    """The load of the busiest host over these segments, the most throttled agent, and the largest jump of a clock.

    ``computed``: the computations of these segments, for how long they waited.
    """
    waited_s, used_s = sum(row.wait_s for row in computed), sum(row.cpu_s for row in computed)
    loads = [_load([_of_host(segment, kernel) for segment in segments]) for kernel in sorted(_kernels(segments))]
    busy, others, steal = max(loads, default=(0.0, 0.0, 0.0))
    return HostLoad(
        busy_share=busy,
        others_share=others,
        steal_share=steal,
        throttled_share=max(_throttled(segments), default=0.0),
        waited_share=waited_s / max(1e-9, waited_s + used_s),
        clock_jump_s=max((abs(jump) for segment in segments for jump in _jumps(segment)), default=0.0),
    )


def _kernels(segments: Iterable[Counters]) -> set[str]:
    return {str(counted.get("kernel", "")) for segment in segments for counted in segment.values()}


def _of_host(segment: Counters, kernel: str) -> Mapping[str, float]:
    """One segment on one host: as its longest-working agent counted, with the CPU time of all its agents."""
    mine = [counted for counted in segment.values() if counted.get("kernel", "") == kernel and "cpu_s" in counted]
    if not mine:
        return dict.fromkeys(SUMMED, 0.0)
    longest = max(mine, key=lambda counted: float(counted["monotonic_s"]))
    own_s = sum(float(counted["own_s"]) for counted in mine)
    return {**{key: float(longest[key]) for key in SUMMED}, "own_s": own_s}


def _load(segments: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """Shares of all cores' time: in use, in use by others than agents, and taken by the hypervisor."""
    total = {key: sum(segment[key] for segment in segments) for key in SUMMED}
    if total["cpu_s"] <= 0:
        return 0.0, 0.0, 0.0
    busy, steal = 1.0 - total["idle_s"] / total["cpu_s"], total["steal_s"] / total["cpu_s"]
    return busy, max(0.0, busy - steal - total["own_s"] / total["cpu_s"]), steal


def _throttled(segments: Sequence[Counters]) -> list[float]:
    """Per agent the share of its time in which its quota held it back."""
    agents = {agent for segment in segments for agent, counted in segment.items() if "throttled_s" in counted}
    return [
        sum(float(segment[agent]["throttled_s"]) for segment in segments if agent in segment)
        / max(1e-9, sum(float(segment[agent]["monotonic_s"]) for segment in segments if agent in segment))
        for agent in agents
    ]


def _jumps(segment: Counters) -> list[float]:
    """How far wall clock and monotonic clock went apart during the segment (s), as each agent counted."""
    return [float(s["realtime_s"]) - float(s["monotonic_s"]) for s in segment.values() if "realtime_s" in s]
