"""Metrics as text, cheaply, and a server that answers a scraper with it.

A scrape of 100 UEs under 12 schemes is thousands of samples every second, in a process that emulates: what does not
change of a sample's line is kept, and nothing is compressed, as scrapers are on the same host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

PATH = "/metrics"
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

# A second series for each counter, that says when its process began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Exposition:
    """The samples of a registry in Prometheus' text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, ...], str] = {}

    def text(self) -> str:
        """All families, each with its help and type, and their samples."""
        return "".join(line for family in self._registry.collect() for line in self._lines(family))

    def _lines(self, family: Metric) -> Iterator[str]:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"
        for sample in family.samples:
            yield f"{self._beginning(sample)}{sample.value!r}\n"

    def _beginning(self, sample: Sample) -> str:
        """A sample's line until its value."""
        key = (sample.name, *sample.labels.values())
        found = self._known.get(key)
        if found is None:
            labels = ",".join(f'{label}="{value.translate(_ESCAPED)}"' for label, value in sample.labels.items())
            found = self._known[key] = f"{sample.name}{{{labels}}} " if labels else f"{sample.name} "
        return found


class Exporter:
    """Answers ``GET /metrics`` from a thread of its own, until it is closed. Used as a context manager.

    ``address``: where it listens, as host:port. OSError when that cannot be had; port 0 is any that is free.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._exposition = Exposition(registry)
        self._asked, self._asking = 0, threading.Condition()
        self._server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), {"answer": self._answer}))
        self.address = f"{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def await_reader(self, timeout_s: float) -> None:
        """Where somebody has asked before, waits until he has asked twice more: for what is now, here and elsewhere."""
        with self._asking:
            enough = self._asked + 2
            if enough > 2:
                self._asking.wait_for(lambda: self._asked >= enough, timeout_s)

    def _answer(self) -> bytes:
        text = self._exposition.text().encode()
        with self._asking:
            self._asked += 1
            self._asking.notify_all()
        return text


class _Handler(BaseHTTPRequestHandler):
    answer: ClassVar[Callable[[], bytes]]
    protocol_version = "HTTP/1.1"  # a scraper keeps its connection
    timeout = 300

    def do_GET(self) -> None:
        """The metrics, at their path."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(404)
            return
        body = type(self).answer()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line a second would be in the agents' logs."""
