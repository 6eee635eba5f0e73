"""What an agent can see of its host while it works: who uses the cores, its own throttling, the clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

Counted = dict[str, float]

PROC = Path("/proc")
CGROUP_STATS = ("cpu.stat", "cpu/cpu.stat", "cpu,cpuacct/cpu.stat")
"""Where a container finds its own CPU statistics: cgroup v2, then the two ways in which v1 is mounted."""


def read(proc: Path = PROC, cgroup: Path = Path("/sys/fs/cgroup")) -> Counted:
    """Counters as they stand, in seconds; what cannot be read is left out.

    Of the whole host, summed over its cores: ``cpu_s`` (of which) ``idle_s`` and ``steal_s``. Of this agent:
    ``own_s`` of CPU time, and ``throttled_s`` that its quota held it back. ``monotonic_s`` and ``realtime_s``
    are read together.
    """
    clocks = {"monotonic_s": time.monotonic_ns() / 1e9, "realtime_s": time.time_ns() / 1e9}
    return {**clocks, "own_s": time.process_time(), **_host(proc / "stat"), **_throttled(cgroup)}


def since(before: Mapping[str, float]) -> Counted:
    """What each counter has grown by."""
    now = read()
    return {key: now[key] - before[key] for key in before if key in now}


def memory_bytes(proc: Path = PROC) -> int:
    """Memory of this process that is in RAM; 0 where that cannot be read."""
    try:
        return int((proc / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def kernel() -> str:
    """What tells one running kernel from another, so that agents on one host are known to be."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _host(stat: Path) -> Counted:
    """The first line of ``/proc/stat``: user nice system idle iowait irq softirq steal, in ticks."""
    try:
        with stat.open() as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return {}
    if len(ticks) < 8:
        return {}
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    return {"cpu_s": sum(ticks) * tick_s, "idle_s": (ticks[3] + ticks[4]) * tick_s, "steal_s": ticks[7] * tick_s}


def _throttled(cgroup: Path) -> Counted:
    for name in CGROUP_STATS:
        try:
            words = dict(line.split() for line in (cgroup / name).read_text().splitlines())
        except (OSError, ValueError):
            continue
        if "throttled_usec" in words:
            return {"throttled_s": int(words["throttled_usec"]) / 1e6}
        if "throttled_time" in words:
            return {"throttled_s": int(words["throttled_time"]) / 1e9}
    return {}
