"""Metrics are fetched from an agent itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from controller.trial import scrape
from testbed.errors import TrialError


class Agent(BaseHTTPRequestHandler):
    """Answers as an agent does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'testbed_rounds_total{trial="t"} 3\n')

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """An agent on this host, and an environment that names a proxy which does not answer."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Agent) as server:
        monkeypatch.setattr(scrape, "METRICS_PORT", server.server_port)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_no_proxy_is_asked() -> None:
    assert scrape.scrape("127.0.0.1") == {("testbed_rounds_total", frozenset({("trial", "t")})): 3.0}


def test_an_agent_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "METRICS_PORT", 9)
    with pytest.raises(TrialError, match=r"^127\.0\.0\.1 gives no metrics: .*refused"):
        scrape.scrape("127.0.0.1")
