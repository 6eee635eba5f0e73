"""What the monitor watches: which trials are scraped, who of them does not answer, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from testbed.container import LABEL
from testbed.engine import Engine
from testbed.monitor import targets
from testbed.monitor.api import Prometheus, Target
from testbed.monitor.monitor import NAME, PROMETHEUS, parts


def status(engine: Engine, name: str = NAME) -> dict[str, Any]:
    """As plain data: the ``containers``, the ``trials`` that Prometheus scrapes, and the ``alerts`` that fire."""
    targets.tidy({state.labels[LABEL] for state in engine.containers(**{LABEL: ""})})
    there = parts(engine, name)
    containers = [
        {"part": one.name, "status": one.state.status, "url": f"http://{one.address}", "container": one.state.name}
        for one in there.values()
    ]
    found: dict[str, Any] = {"containers": containers, "trials": [], "alerts": []}
    if PROMETHEUS in there and there[PROMETHEUS].running:
        prometheus = Prometheus(there[PROMETHEUS].address)
        found["trials"] = scraped(prometheus.targets())
        found["alerts"] = [
            {"alert": alert, "trial": labels.get("trial", ""), "summary": summary}
            for alert, labels, summary in prometheus.alerts()
        ]
    return found


def scraped(found: Sequence[Target]) -> list[dict[str, Any]]:
    """A row for each trial: how many of it are scraped, and who does not answer, with the reason."""
    return [
        {
            "trial": trial,
            "targets": len(mine),
            "answering": sum(one.up for one in mine),
            "silent": {one.agent: one.error for one in mine if not one.up},
        }
        for trial, mine in ((trial, list(group)) for trial, group in groupby(found, key=lambda one: one.trial))
    ]
