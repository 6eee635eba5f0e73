"""What happens to the containers of a trial, as the engine tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from testbed.errors import EngineError

AGENT = "io.testbed.agent"
ACTIONS = ("create", "start", "die", "oom", "kill", "pause", "unpause", "stop", "restart", "destroy")
"""What a stream tells of; commands run in a container and health checks are left out."""
CLOSING_S, AGAIN_S = 10.0, 0.2
"""What a thread may take to end, and how long a stream that broke off is left alone."""


@dataclass(frozen=True)
class ContainerEvent:
    """Something that happened to a container.

    ``agent``: the name of the agent in it, or ``shaper``; empty for others. ``exit_code`` is known of ``die`` only
    (137 after a kill). ``at``: seconds since 1970 by the engine's clock.
    """

    container: str
    agent: str
    action: str
    exit_code: int | None
    at: float

    @staticmethod
    def of(told: Mapping[str, Any]) -> ContainerEvent:
        """The event in a JSON object of the engine's stream."""
        attributes = told["Actor"]["Attributes"]
        code = attributes.get("exitCode")
        return ContainerEvent(
            container=attributes["name"],
            agent=attributes.get(AGENT, ""),
            action=told["Action"],
            exit_code=None if code is None else int(code),
            at=told["timeNano"] / 1e9,
        )


class EventStream:
    """Events that a thread collects, from ``Engine.watch`` until this is closed."""

    def __init__(
        self,
        told: Callable[[float], Iterable[Mapping[str, Any]]],
        since_s: float,
        ended: Callable[[], Iterable[ContainerEvent]] = tuple,
        hang_up: Callable[[Any], None] = lambda stream: None,
    ) -> None:
        """``told``: the engine's stream from a time on by its clock, read in the thread; again where it breaks off.

        ``ended``: what a stream that broke off may have left out. ``hang_up`` ends a stream, also while it is waited
        for.
        """
        self._told, self._since_s, self._ended, self._hang_up = told, since_s, ended, hang_up
        self._stream = told(since_s)
        self._events: SimpleQueue[ContainerEvent] = SimpleQueue()
        self._closed, self._why = threading.Event(), ""
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
        self._thread.start()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream and its thread. EngineError when the thread does not end."""
        self._closed.set()
        if self._thread.is_alive():
            self._hang_up(self._stream)
            self._thread.join(CLOSING_S)
        if self._thread.is_alive():
            raise EngineError("the engine's stream of events does not end", "end this process")

    def take(self) -> list[ContainerEvent]:
        """What has come since the last call, oldest first; does not wait.

        EngineError when all has been taken and nothing more can come, since the engine is away.
        """
        broken = not self._thread.is_alive() and not self._closed.is_set()
        taken: list[ContainerEvent] = []
        while True:
            try:
                taken.append(self._events.get_nowait())
            except Empty:
                break
        if broken and not taken:
            raise EngineError(f"the engine tells of no more events: {self._why}", "see its log")
        return taken

    def _listen(self) -> None:
        try:
            while True:
                self._read()
                if self._closed.wait(AGAIN_S):
                    return
                self._stream = self._told(self._since_s)
                if self._closed.is_set():  # whoever closed this has hung up the one before
                    return self._hang_up(self._stream)
                for event in self._ended():
                    self._events.put(event)
        except EngineError as error:
            self._why = error.message

    def _read(self) -> None:
        """The events of one stream, until it ends or breaks off."""
        with suppress(Exception):  # of the HTTP library, whatever it makes of a closed socket
            for told in self._stream:
                event = ContainerEvent.of(told)
                if event.at > self._since_s:  # else it was told before the stream broke off
                    self._since_s = event.at
                    self._events.put(event)
