"""What agents saw of their hosts, phase by phase → how loaded the hosts were while rounds ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from controller.judge.measured import Happened
from controller.judge.results import HostLoad

Sights = Mapping[str, Mapping[str, float | str]]
"""Per agent what its counters grew by in one phase (``agents.host_counters``), and its ``kernel``."""

COUNTERS = ("cpu_s", "idle_s", "steal_s", "own_s")


def host_load(phases: Sequence[Sights], computed: Sequence[Happened] = ()) -> HostLoad:
    """The load of the busiest host over these phases, the most throttled agent, and the largest jump of a clock.

    ``computed``: the computations of these phases, for how long they waited.
    """
    waited_s, used_s = sum(row.wait_s for row in computed), sum(row.cpu_s for row in computed)
    loads = [_load([_of_host(phase, kernel) for phase in phases]) for kernel in sorted(_kernels(phases))]
    busy, others, steal = max(loads, default=(0.0, 0.0, 0.0))
    return HostLoad(
        busy_share=busy,
        others_share=others,
        steal_share=steal,
        throttled_share=max(_throttled(phases), default=0.0),
        waited_share=waited_s / max(1e-9, waited_s + used_s),
        clock_jump_s=max((abs(jump) for phase in phases for jump in _jumps(phase)), default=0.0),
    )


def _kernels(phases: Iterable[Sights]) -> set[str]:
    return {str(sight.get("kernel", "")) for phase in phases for sight in phase.values()}


def _of_host(phase: Sights, kernel: str) -> Mapping[str, float]:
    """One phase on one host: as its longest witness saw it, with the CPU time of all its agents."""
    mine = [sight for sight in phase.values() if sight.get("kernel", "") == kernel and "cpu_s" in sight]
    if not mine:
        return dict.fromkeys(COUNTERS, 0.0)
    longest = max(mine, key=lambda sight: float(sight["monotonic_s"]))
    own_s = sum(float(sight["own_s"]) for sight in mine)
    return {**{key: float(longest[key]) for key in COUNTERS}, "own_s": own_s}


def _load(phases: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """Shares of all cores' time: in use, in use by others than agents, and taken by the hypervisor."""
    total = {key: sum(phase[key] for phase in phases) for key in COUNTERS}
    if total["cpu_s"] <= 0:
        return 0.0, 0.0, 0.0
    busy, steal = 1.0 - total["idle_s"] / total["cpu_s"], total["steal_s"] / total["cpu_s"]
    return busy, max(0.0, busy - steal - total["own_s"] / total["cpu_s"]), steal


def _throttled(phases: Sequence[Sights]) -> list[float]:
    """Per agent the share of its time in which its quota held it back."""
    agents = {agent for phase in phases for agent, sight in phase.items() if "throttled_s" in sight}
    return [
        sum(float(phase[agent]["throttled_s"]) for phase in phases if agent in phase)
        / max(1e-9, sum(float(phase[agent]["monotonic_s"]) for phase in phases if agent in phase))
        for agent in agents
    ]


def _jumps(phase: Sights) -> list[float]:
    """How far wall clock and monotonic clock went apart during the phase (s), as each agent saw it."""
    return [float(s["realtime_s"]) - float(s["monotonic_s"]) for s in phase.values() if "realtime_s" in s]
