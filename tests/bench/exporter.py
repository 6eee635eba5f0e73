"""What it costs to be scraped once a second, with 100 UEs and 12 schemes: the base station, and the controller."""

from __future__ import annotations

import subprocess
import sys
import time

from agents.exposition import Exporter, Families
from agents.meter import Metrics
from controller.trial.exporter import ControllerMetrics
from tests.bench.number import Number, at_most

UES, SCHEMES, SCRAPES = 100, 12, 30
SCRAPER = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
for _ in range(int(sys.argv[2])):
    connection.request("GET", "/metrics")
    size = len(connection.getresponse().read())
print(size)
"""


def numbers() -> list[Number]:
    """The share of a core of each, and what a scrape holds."""
    found = []
    for name, families in (("base station", _bs()), ("controller", _controller())):
        share, size = cost(families)
        found += [
            at_most(f"exporter of the {name}, {UES} UEs and {SCHEMES} schemes at 1 s", 1, 100 * share, "% of a core"),
            at_most(f"a scrape of the {name}", 1, size / 1e6, "MB"),
        ]
    return found


def cost(families: Families) -> tuple[float, int]:
    """CPU seconds of this process in one scrape, and the bytes that it was."""
    with Exporter(families, "127.0.0.1", 0) as exporter:
        command = [sys.executable, "-c", SCRAPER, exporter.address]
        subprocess.run([*command, "3"], check=True, capture_output=True)
        begin_s = time.process_time()
        done = subprocess.run([*command, str(SCRAPES)], check=True, capture_output=True)
        return (time.process_time() - begin_s) / SCRAPES, int(done.stdout)


def _bs() -> Families:
    """All that a base station counts."""
    metrics = Metrics()
    for scheme in map("scheme{}".format, range(SCHEMES)):
        labels = "trial", scheme
        for total in (metrics.bs_busy, metrics.bs_idle, metrics.rounds, metrics.round_seconds, metrics.bs_bubble):
            total.labels(*labels).inc(1 / 3)
        for ue in map("ue{}".format, range(1, UES + 1)):
            metrics.link_bytes.labels(*labels, ue, "up").inc(1e6 / 7)
            metrics.goodput.labels(*labels, ue, "up").set(1e6 / 7)
    return metrics


def _controller() -> Families:
    """All that the controller exports."""
    metrics = ControllerMetrics("trial")
    for scheme in map("scheme{}".format, range(SCHEMES)):
        labels = "trial", scheme
        for gauge in (metrics.predicted_s, metrics.predicted_bubble, metrics.emulated_s, metrics.round):
            gauge.labels(*labels).set(1 / 3)
        for ue in map("ue{}".format, range(1, UES + 1)):
            for direction in ("up", "down"):
                metrics.planned_bps.labels(*labels, ue, direction).set(1e6 / 7)
    return metrics
