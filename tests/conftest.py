"""Tests on real kernels and containers are made again when the hypervisor took CPU time from a failing one."""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol
from _pytest.terminal import TerminalReporter

from agents.host_counters import Counted, read, since

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
        before = read()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        share = stolen(since(before))
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


def stolen(seen: Counted) -> float:
    """The share of all CPU time that the hypervisor took."""
    return seen.get("steal_s", 0.0) / max(1e-9, seen.get("cpu_s", 0.0))
