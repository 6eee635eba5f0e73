"""A stream of events, however it goes and ends."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.errors import EngineError
from testbed.events import ContainerEvent, EventStream

SINCE_S = 1.0

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


class Engine:
    """An engine that tells one thing after another, and is away when it has no more."""

    def __init__(self, *told: Told) -> None:
        self.left, self.asked, self.ended = list(told), list[float](), list[ContainerEvent]()

    def told(self, since_s: float) -> Told:
        self.asked.append(since_s)
        if not self.left:
            raise EngineError("the Docker engine does not answer any more")
        return self.left.pop(0)

    def watch(self) -> EventStream:
        return EventStream(self.told, SINCE_S, lambda: self.ended, Told.end)


def test_what_has_come_is_taken_once() -> None:
    told = Told()
    told.waiting.put(DIED)
    told.waiting.put(PAUSED)
    told.end()
    stream = Engine(told).watch()
    stream._thread.join(5)
    assert stream.take() == [
        ContainerEvent("testbed-t-ue1", "ue1", "die", 137, 1.5),
        ContainerEvent("other", "", "pause", None, 2.0),
    ]
    with pytest.raises(EngineError, match="tells of no more events: the Docker engine does not answer any more"):
        stream.take()


def test_closing_ends_a_thread_that_waits() -> None:
    with Engine(Told()).watch() as stream:
        assert stream.take() == []
    assert not stream._thread.is_alive()
    assert stream.take() == []
    stream.close()


@pytest.mark.parametrize("how", [END, OSError("connection reset")], ids=["ended", "broken"])
def test_a_stream_that_breaks_off_is_taken_up_where_it_was(how: object) -> None:
    """Nothing is told twice, and what a restarted engine does not tell is looked for."""
    first, second = Told(), Told()
    first.waiting.put(DIED)
    first.waiting.put(how)
    second.waiting.put(DIED)
    second.waiting.put(PAUSED)
    second.end()
    engine = Engine(first, second)
    engine.ended.append(ContainerEvent("testbed-t-bs", "bs", "die", 0, 1.7))
    stream = engine.watch()
    stream._thread.join(5)
    assert [(event.container, event.action) for event in stream.take()] == [
        ("testbed-t-ue1", "die"),
        ("testbed-t-bs", "die"),
        ("other", "pause"),
    ]
    assert engine.asked == [SINCE_S, 1.5, 2.0]


def test_a_thread_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.events.CLOSING_S", 0.05)
    told = Told()
    stream = EventStream(lambda since_s: told, SINCE_S)
    with pytest.raises(EngineError, match="does not end"):
        stream.close()
    told.end()
    stream._thread.join(5)
