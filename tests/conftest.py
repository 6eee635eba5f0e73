"""Tests on real kernels and containers are made again when the hypervisor took CPU time from a failing one."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from _pytest.terminal import TerminalReporter

REAL = ("contract", "trial")
TRIES = 3
STOLEN = 0.005
_again: list[str] = []


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Runs a test up to ``TRIES`` times. One that nothing disturbed fails at once, as all others do."""
    if item.path.parent.name not in REAL:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(TRIES)):
        before = _cpu_times()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        share = stolen(before, _cpu_times())
        if not left or share <= STOLEN or not any(report.failed for report in reports):
            break
        _again.append(f"{item.nodeid}: failed while the hypervisor took {share:.1%} of the CPU time")
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Says which tests were made again."""
    if _again:
        terminalreporter.section("made again")
        terminalreporter.write_line("\n".join(_again))


def stolen(before: list[int], after: list[int]) -> float:
    """The share of all CPU time between two readings that the hypervisor took."""
    passed = [late - early for early, late in zip(before, after, strict=True)]
    return passed[7] / max(1, sum(passed))


def _cpu_times() -> list[int]:
    """User, nice, system, idle, iowait, irq, softirq and steal, in ticks: the first line of /proc/stat."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
