"""A stream of events, however it goes and ends."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.errors import EngineError
from testbed.events import ContainerEvent, EventStream

DIED = {
    "Action": "die",
    "Actor": {"Attributes": {"name": "testbed-t-ue1", "io.testbed.agent": "ue1", "exitCode": "137"}},
    "timeNano": 1_500_000_000,
}
PAUSED = {"Action": "pause", "Actor": {"Attributes": {"name": "other"}}, "timeNano": 2_000_000_000}
END = object()


class Told:
    """A stream that gives what it is told, and waits in between."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (item := self.waiting.get()) is not END:
            if isinstance(item, Exception):
                raise item
            yield item

    def end(self) -> None:
        self.waiting.put(END)


def test_what_has_come_is_taken_once() -> None:
    told = Told()
    told.waiting.put(DIED)
    told.waiting.put(PAUSED)
    told.end()
    stream = EventStream(told, told.end)
    stream._thread.join(5)
    assert stream.take() == [
        ContainerEvent("testbed-t-ue1", "ue1", "die", 137, 1.5),
        ContainerEvent("other", "", "pause", None, 2.0),
    ]
    with pytest.raises(EngineError, match="tells of no more events: the stream has ended"):
        stream.take()


def test_closing_ends_a_thread_that_waits() -> None:
    told = Told()
    with EventStream(told, told.end) as stream:
        assert stream.take() == []
    assert not stream._thread.is_alive()
    assert stream.take() == []
    stream.close()


def test_a_stream_that_breaks_off_is_told() -> None:
    told = Told()
    told.waiting.put(OSError("connection reset"))
    with EventStream(told, told.end) as stream:
        stream._thread.join(5)
        with pytest.raises(EngineError, match="connection reset"):
            stream.take()


def test_a_thread_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.events.CLOSING_S", 0.05)
    told = Told()
    stream = EventStream(told, lambda: None)
    with pytest.raises(EngineError, match="does not end"):
        stream.close()
    told.end()
