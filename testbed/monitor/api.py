"""What a running Prometheus says of itself and of what it has gathered, by its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from testbed.errors import TestbedError

DIRECT = build_opener(ProxyHandler({}))
"""Agents and monitors are on this host's own networks: a proxy that the environment names does not reach them."""
TIMEOUT_S = 10.0

Labels = dict[str, str]


@dataclass(frozen=True)
class Series:
    """Values of one series: (seconds since 1970, value)."""

    labels: Labels
    values: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Target:
    """Something that is scraped; ``error``: why the last scrape failed, or ''."""

    trial: str
    agent: str
    up: bool
    error: str


def answers(url: str) -> bool:
    """Whether something does, and is well."""
    try:
        with DIRECT.open(url, timeout=TIMEOUT_S):
            return True
    except (URLError, OSError):
        return False


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus at host:port. Whatever keeps it from answering is a TestbedError."""

    address: str

    def targets(self) -> list[Target]:
        """What it scrapes, or tries to."""
        found = [
            Target(
                trial=one["labels"].get("trial", ""),
                agent=one["labels"].get("agent", ""),
                up=one["health"] == "up",
                error=one["lastError"],
            )
            for one in self._ask("targets", state="active")["activeTargets"]
        ]
        return sorted(found, key=lambda one: (one.trial, one.agent))

    def alerts(self) -> list[tuple[str, Labels, str]]:
        """Alerts that fire: name, labels and summary."""
        return [
            (one["labels"]["alertname"], one["labels"], one["annotations"].get("summary", ""))
            for one in self._ask("alerts")["alerts"]
            if one["state"] == "firing"
        ]

    def query(self, expression: str, at_s: float | None = None) -> list[Series]:
        """What an expression gives at a time, or now."""
        at = {} if at_s is None else {"time": f"{at_s:.3f}"}
        found = self._ask("query", query=expression, **at)
        if found["resultType"] == "scalar":
            return [_series({}, [found["result"]])]
        return [_series(one["metric"], one.get("values") or [one["value"]]) for one in found["result"]]

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """What an expression gives in steps from one time to another."""
        times = {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        return [
            _series(one["metric"], one["values"])
            for one in self._ask("query_range", query=expression, **times)["result"]
        ]

    def _ask(self, what: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{what}?{urlencode(parameters)}"
        try:
            with DIRECT.open(url, timeout=TIMEOUT_S) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            said = json.loads(error.read() or b"{}").get("error", str(error))
            raise TestbedError(f"Prometheus: {said}", "see its own page of status") from error
        except (URLError, OSError, ValueError, KeyError) as error:
            raise TestbedError(
                f"Prometheus at {self.address} gives no answer: {error}", "type: testbed monitor status"
            ) from error


def _series(labels: Labels, values: Sequence[Sequence[Any]]) -> Series:
    return Series(labels, tuple((float(at), float(value)) for at, value in values))
