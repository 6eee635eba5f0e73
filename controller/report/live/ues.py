"""The UEs of the last round: how much of it each was idle; of many the most idle and a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from controller.report.live.sketches import bar, histogram

EACH = 8
"""So many UEs are shown one by one at the most."""
MOST_IDLE = 5
BINS = 20
BAR = 30


def idle_lines(idle: Mapping[str, float], width: int, height: int) -> list[str]:
    """One line per UE where there are few and there is room for them, else three lines about all."""
    if len(idle) <= min(EACH, height):
        return _each(idle, width)
    return _all(idle, width)


def _each(idle: Mapping[str, float], width: int) -> list[str]:
    names = max(map(len, idle), default=0)
    room = min(BAR, max(0, width - names - 7))
    return [f"{name:<{names}}  {share:>4.0%}  {bar(share, room)}" for name, share in idle.items()]


def _all(idle: Mapping[str, float], width: int) -> list[str]:
    shares = sorted(idle.values())
    lines = [
        f"{len(idle)} UEs: {shares[0]:.0%} to {shares[-1]:.0%}, median {median(shares):.0%}",
        f"0% [{histogram(shares, BINS)}] 100%",
    ]
    most = sorted(idle, key=lambda name: (-idle[name], name))[:MOST_IDLE]
    return [*lines, named("most idle: ", [f"{name} {idle[name]:.0%}" for name in most], width)]


def named(before: str, items: Sequence[str], width: int) -> str:
    """As many items as a line has room for, and how many more there are."""
    line = before + ", ".join(items)
    kept = len(items)
    while len(line) > width and kept > 1:
        kept -= 1
        line = f"{before}{', '.join(items[:kept])} and {len(items) - kept} more"
    return line
