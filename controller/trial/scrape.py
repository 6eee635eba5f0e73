"""Prometheus text → numbers, straight from the agents as a Prometheus server would fetch it."""

from __future__ import annotations

from urllib.error import URLError

from prometheus_client.parser import text_string_to_metric_families

from agents.ports import METRICS_PORT
from testbed.errors import TrialError
from testbed.monitor.api import DIRECT

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(address: str, timeout_s: float = 10.0) -> Samples:
    """All samples that the agent at this mgmt address exposes."""
    try:
        with DIRECT.open(f"http://{address}:{METRICS_PORT}/metrics", timeout=timeout_s) as response:
            text = response.read().decode()
    except (URLError, OSError) as error:
        raise TrialError(f"{address} gives no metrics: {error}", "see the agent's log in the run directory") from error
    return parse(text)


def parse(text: str) -> Samples:
    """Samples by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
