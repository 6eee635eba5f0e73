"""Metrics as text, cheaply, and a server that answers a scraper with it.

A scrape of 100 UEs under 12 schemes is thousands of samples every second, in a process that emulates: what does not
change of a sample's line is kept, and nothing is compressed, as scrapers are on the same host.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

PATH = "/metrics"
MOST_CONNECTIONS, MOST_LINES, MOST_LINE = 16, 64, 4096
"""Connections at a time, lines of a request's head, and bytes of each."""
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
        self._server = _Server((host, port), self._answer)
        self.address = f"{host}:{self._server.server_address[1]}"
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


class _Server(ThreadingTCPServer):
    """Keeps so many connections; of more the oldest ends, so that who asks is answered however many others are there.

    ``answer`` gives the metrics.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], answer: Callable[[], bytes]) -> None:
        super().__init__(address, _Handler)
        self.answer = answer
        self._open: deque[socket.socket] = deque()
        self._changing = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection from a thread of its own."""
        with self._changing:
            self._open.append(request)
            oldest = self._open.popleft() if len(self._open) > MOST_CONNECTIONS else None
        if oldest is not None:
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)  # its thread closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        with self._changing, suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: what a peer, or a lack of threads, did to one connection concerns no other."""


class _Handler(StreamRequestHandler):
    """Reads the heads of requests, which have no body, and answers each; a scraper keeps its connection."""

    server: _Server
    timeout = 300

    def handle(self) -> None:
        """Until the other side has no more requests, or says something else."""
        with suppress(OSError):  # it hung up
            while (request := self._line()) and self._past_the_head():
                words = request.split()
                if len(words) != 3 or words[0] != b"GET" or not words[2].startswith(b"HTTP/1."):
                    self._say("400 Bad Request")
                    return
                found = words[1].partition(b"?")[0] == PATH.encode()
                self._say("200 OK", self.server.answer()) if found else self._say("404 Not Found")
                if words[2] == b"HTTP/1.0":
                    return

    def _line(self) -> bytes:
        """The next line of a head; nothing where it ends, or is too long."""
        line = self.rfile.readline(MOST_LINE)
        return line if line.endswith(b"\n") else b""

    def _past_the_head(self) -> bool:
        return any(self._line() in (b"\r\n", b"\n") for _ in range(MOST_LINES))

    def _say(self, status: str, body: bytes = b"") -> None:
        kind = f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\nContent-Length: {len(body)}\r\n"
        self.wfile.write(f"HTTP/1.1 {status}\r\n{kind}\r\n".encode() + body)
