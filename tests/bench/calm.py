"""What the hypervisor takes of this machine disturbs a measurement as any program does: it is waited out, and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from controller.judge.results import Results

T = TypeVar("T")

QUIET = 0.005
TRIES = 6


def stolen(results: Results) -> float:
    """The largest share of the host's CPU time that the hypervisor took during the rounds of a scheme."""
    return max(one.fidelity.host.steal_share for one in results.schemes.values())


def calmest(run: Callable[[], T], share: Callable[[T], float]) -> T:
    """The first run during which next to nothing was stolen; of ``TRIES`` that all were disturbed, the least so."""
    runs = [run()]
    while share(runs[-1]) > QUIET and len(runs) < TRIES:
        print(f"again: the hypervisor took {share(runs[-1]):.1%} of the CPU time", flush=True)
        runs.append(run())
    return min(runs, key=share)
