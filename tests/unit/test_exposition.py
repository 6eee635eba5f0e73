"""The text that a scraper gets is the library's own, and made cheaply."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from urllib.error import HTTPError

import pytest
from prometheus_client import generate_latest

from agents.exposition import MOST_CONNECTIONS, Exporter, Exposition, Families
from controller.trial.scrape import parse
from testbed.monitor.api import DIRECT


@pytest.fixture
def families() -> Families:
    """A counter, a gauge with labels that need escapes, and one without samples."""
    found = Families()
    found.counter("rounds", "Rounds", ["trial"]).labels("t").inc(3)
    gauge = found.gauge("ratio", "A share", ["trial", "ue"])
    gauge.labels("t", 'a "b"\\\n').set(0.25)
    gauge.labels("t", "ue2").set(float("inf"))
    gauge.labels("t", "ue3").set(1e-9)
    found.gauge("none", "Nothing yet", ["trial"])
    return found


def test_the_text_says_what_the_librarys_says(families: Families) -> None:
    exposition = Exposition(families.families)
    for _ in range(2):
        assert parse(exposition.text()) == parse(generate_latest(families.registry).decode())
    heads = [line for line in generate_latest(families.registry).decode().splitlines() if line.startswith("#")]
    assert [line for line in exposition.text().splitlines() if line.startswith("#")] == heads


def test_a_series_that_is_gone_is_not_told_of(families: Families) -> None:
    gauge = families.gauge("later", "Comes and goes", ["trial"])
    gauge.labels("t").set(1)
    exposition = Exposition(families.families)
    assert "testbed_later{" in exposition.text()
    gauge.remove("t")
    assert "testbed_later{" not in exposition.text()


def test_a_scraper_is_answered_until_the_exporter_is_closed(families: Families) -> None:
    with Exporter(families, "127.0.0.1", 0) as exporter:
        with DIRECT.open(f"http://{exporter.address}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert parse(answer.read().decode())["testbed_rounds_total", frozenset({("trial", "t")})] == 3
        with pytest.raises(HTTPError, match="404"):
            DIRECT.open(f"http://{exporter.address}/", timeout=10)
    with pytest.raises(OSError, match="refused"):
        DIRECT.open(f"http://{exporter.address}/metrics", timeout=10)


@pytest.mark.parametrize(
    "said",
    [b"GET /metrics", b"POST /metrics HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n", b"GET " + b"/" * (1 << 20)],
    ids=["half", "another method", "noise", "an endless path"],
)
def test_a_scraper_is_answered_among_others(families: Families, said: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """More connections than are kept, which say something else or nothing, and stay."""
    with Exporter(families, "127.0.0.1", 0) as exporter:
        host, _, port = exporter.address.partition(":")
        with ExitStack() as stack:
            for _ in range(3 * MOST_CONNECTIONS):
                other = stack.enter_context(socket.create_connection((host, int(port))))
                with suppress(OSError):  # the server may have hung up
                    other.sendall(said)
            with DIRECT.open(f"http://{exporter.address}/metrics", timeout=10) as answer:
                assert "testbed_rounds_total" in answer.read().decode()
            while sum("process_request" in thread.name for thread in threading.enumerate()) > MOST_CONNECTIONS:
                time.sleep(0.001)
    assert capfd.readouterr() == ("", "")


def test_a_connection_is_kept_for_the_next_question(families: Families) -> None:
    with Exporter(families, "127.0.0.1", 0) as exporter:
        connection = HTTPConnection(exporter.address, timeout=10)
        for path, status in (("/metrics", 200), ("/other", 404), ("/metrics?x", 200)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status and connection.sock is not None
        connection.close()


def test_who_reads_gets_what_is_at_the_end_and_who_does_not_is_not_waited_for(families: Families) -> None:
    with Exporter(families, "127.0.0.1", 0) as exporter:
        exporter.await_reader(timeout_s=60)

        def read() -> None:
            DIRECT.open(f"http://{exporter.address}/metrics", timeout=10).close()

        read()
        waiting = threading.Thread(target=exporter.await_reader, args=(60,), daemon=True)
        waiting.start()
        reads = 0
        while waiting.is_alive():
            read()
            reads += 1
        assert reads >= 2
