"""Metrics as text, cheaply, and a server that answers a scraper with it.

A scrape of 100 UEs under 12 schemes is thousands of samples every second, in a process that emulates: what does not
change of a sample's line is kept, and nothing is compressed, as scrapers are on the same host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

PATH = "/metrics"
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

# A second series for each counter, that says when its process began.
disable_created_metrics()  # type: ignore[no-untyped-call]


_Beginnings = dict[Sequence[str], str]
"""The line of a sample until its value, by the values of its labels."""


class Families:
    """Counters and gauges that are exported together; their names begin with ``testbed_``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.families: list[Counter | Gauge] = []

    def counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        """A new counter; ``_total`` comes by itself."""
        found = Counter(f"testbed_{name}", text, labels, registry=self.registry)
        self.families.append(found)
        return found

    def gauge(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        """A new gauge."""
        found = Gauge(f"testbed_{name}", text, labels, registry=self.registry)
        self.families.append(found)
        return found


class Exposition:
    """Families in Prometheus' text format, as ``prometheus_client.generate_latest`` writes them, far more cheaply.

    The library has no way to its values but by new objects for each, every time: so this looks at how it keeps them.
    """

    def __init__(self, families: Sequence[Counter | Gauge]) -> None:
        self._families = [(family, _head(family), full_name(family), _Beginnings()) for family in families]

    def text(self) -> str:
        """Each family with its help and type, and its samples."""
        return "".join(line for family in self._families for line in self._lines(*family))

    def _lines(self, family: Counter | Gauge, head: str, name: str, known: _Beginnings) -> Iterator[str]:
        yield head
        with family._lock:
            children: list[tuple[Sequence[str], Any]] = list(family._metrics.items())
        for values, child in children:
            beginning = known.get(values)
            if beginning is None:
                labels = zip(family._labelnames, values, strict=True)
                told = ",".join(f'{label}="{value.translate(_ESCAPED)}"' for label, value in labels)
                beginning = known[values] = f"{name}{{{told}}} "
            yield f"{beginning}{child._value.get()!r}\n"


def full_name(family: Counter | Gauge) -> str:
    """What its samples are called."""
    return f"{family._name}_total" if isinstance(family, Counter) else family._name


def _head(family: Counter | Gauge) -> str:
    name = full_name(family)
    return f"# HELP {name} {family._documentation}\n# TYPE {name} {family._type}\n"


class Exporter:
    """Answers ``GET /metrics`` from a thread of its own, until it is closed. Used as a context manager.

    ``address``: where it listens, as host:port. OSError when that cannot be had; port 0 is any that is free.
    """

    def __init__(self, families: Families, host: str, port: int) -> None:
        self._exposition = Exposition(families.families)
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
        del format, args
