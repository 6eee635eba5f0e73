"""The air: training bytes between UEs and the BS, over the shaped network.

A thread of its own owns the sockets, so that arrivals are stamped when they arrive, however busy the agent computes,
and so that a transmission starts when the radio is free and not when the processor is. There are no heartbeats: one
tensor may rightly take minutes, and who is alive is known from mgmt.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import zmq

from agents.pace import sharpen_timers
from agents.schedule.task import BROADCAST_PLACE, Key, Schedule
from agents.wire.frames import NOTHING, Buffer, Sealed, pack
from agents.wire.inbox import Arrival, Expected, Inbox, Message, Unexpected
from agents.wire.keys import CONTROLLER, Door, Keyring, connecting
from agents.wire.outbox import Departure, Outbox

T = TypeVar("T")
Sockets = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]

_SOCKET_BUFFER = 4 << 20
_HELLO = "hello"
STATION = "bs"
_numbers = count()


class AirError(Exception):
    """What was awaited did not come over the air, or something else did; ``waited_for`` names who owes it."""

    def __init__(self, message: str, waited_for: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.waited_for = tuple(waited_for)


class Air:
    """One end of the air. ``Air.station`` listens (BS), ``Air.device`` connects (UE).

    What goes to all UEs at the same rate has a socket, and so a port, of its own, by which the shaper knows it. A
    station knows its peers by their keys, whatever they say of themselves.
    """

    def __init__(self, sockets: Sockets, most_bytes: int, door: Door | None = None) -> None:
        self.most_bytes = most_bytes
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._sockets, self._door = sockets, door
        self._routes: dict[tuple[zmq.Socket[bytes], str], bytes] = {}
        self._changed = threading.Condition()
        self._arrivals: dict[Key, Arrival] = {}
        self._greeted: set[tuple[str, zmq.Socket[bytes] | None]] = set()
        self._lost: set[str] = set()
        self._unreachable = 0
        self._error: str | None = None
        self._inbox = Inbox(early_bytes=2 * most_bytes)
        self._outbox: Outbox | None = None
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._open = True
        self._waking = threading.Lock()
        endpoint = f"inproc://air-{next(_numbers)}"
        self._waker, self._wakee = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._wakee.bind(endpoint)
        self._waker.connect(endpoint)
        self._thread = threading.Thread(target=self._run, name="air", daemon=True)
        self._thread.start()

    @staticmethod
    def station(keys: Keyring, address: str, port: int, broadcast_port: int, most_bytes: int) -> Air:
        """The base station's end, on its address in the air network.

        ``most_bytes``: no tensor is larger; of what comes too early, twice as much is kept for each peer.
        """
        door = Door(keys, (name for name in keys.peers if name != CONTROLLER))

        def listening(on: int) -> zmq.Socket[bytes]:
            socket = _prepared(door.socket(zmq.ROUTER))
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.bind(f"tcp://{address}:{on}")
            return socket

        return Air((listening(port), listening(broadcast_port)), most_bytes, door)

    @staticmethod
    def device(keys: Keyring, address: str, port: int, broadcast_port: int, most_bytes: int) -> Air:
        """A UE's end, connected to the base station. Its name is what the station knows its key by."""

        def connected(to: int) -> zmq.Socket[bytes]:
            socket = _prepared(connecting(zmq.Context.instance(), keys, STATION))
            socket.setsockopt(zmq.PROBE_ROUTER, 1)  # each connection begins with a message by which it is known
            socket.connect(f"tcp://{address}:{to}")
            return socket

        return Air((connected(port), connected(broadcast_port)), most_bytes)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many messages were dropped, by reason, since this end was opened."""
        sent = {"to nobody": self._unreachable} if self._unreachable else {}
        return {**self._inbox.dropped, **sent}

    def open(self, scheme: str, peers: Sequence[str]) -> None:
        """From now on messages are of this scheme, among these peers."""

        def change() -> None:
            self._inbox.open(scheme, frozenset(peers))
            self._outbox, self._error = None, None
            with self._changed:
                self._arrivals, self._greeted, self._lost = {}, set(), set()

        self._at_the_thread(change, wait=True)

    def greet(self, scheme: str) -> None:
        """Tells the station, over both of its ports, that this device is there."""

        def greeting() -> None:
            frames = pack({"kind": _HELLO, "scheme": scheme, "round": 0, "sent_ns": time.monotonic_ns()})
            for socket in self._sockets:
                socket.send_multipart(frames)

        self._at_the_thread(greeting)

    def await_greetings(self, names: Sequence[str], timeout_s: float) -> None:
        """Returns when all of these that are not lost have said hello over both ports, so that whatever is sent to them
        has a way. AirError names who has not.
        """

        def missing() -> list[str]:
            some = sorted(set(names) - self._lost)
            return [name for name in some if not self._greeted.issuperset((name, port) for port in self._sockets)]

        if self._wait(lambda: True if not missing() else None, timeout_s) is None:
            late = missing()
            raise AirError(self._error or f"{', '.join(late)} cannot reach the bs over the air", late)

    def begin(self, number: int, expected: Mapping[Key, Expected], outbox: Outbox) -> None:
        """A round begins: what will arrive in it, and what is to be sent."""

        def change() -> None:
            with self._changed:
                self._arrivals = {}
            self._outbox = outbox
            for message in self._inbox.begin(number, expected):
                self._sort(message)

        self._at_the_thread(change, wait=True)

    def lose(self, peer: str) -> list[Key]:
        """From now on nothing that this peer sends counts; which of its messages have come in this round."""
        came: list[Key] = []

        def change() -> None:
            self._inbox.lose(peer)
            with self._changed:
                self._lost.add(peer)
                came.extend(arrival.key for arrival in self._arrivals.values() if arrival.peer == peer)
                self._changed.notify_all()

        self._at_the_thread(change, wait=True)
        return came

    def join(self, peer: str) -> None:
        """A peer that was lost counts again, and is to greet anew."""

        def change() -> None:
            self._inbox.join(peer)
            with self._changed:
                self._lost.discard(peer)
                self._greeted -= {(peer, port) for port in self._sockets}

        self._at_the_thread(change, wait=True)

    def prune(self, left: Schedule, gone: Iterable[Key], take: Callable[[], None]) -> None:
        """Of the round that goes on only this is left: what is ``gone`` is not expected any more.

        ``take`` is called at the same moment, and whoever waits looks again.
        """

        def change() -> None:
            self._inbox.forget(gone)
            if self._outbox is not None:
                self._outbox.prune(left)
            with self._changed:
                take()
                self._changed.notify_all()

        self._at_the_thread(change, wait=True)

    def begin_segment(self, number: int) -> None:
        """A segment begins, and all before it are over: its transfers may leave."""

        def change() -> None:
            if self._outbox is not None:
                self._outbox.segment = number

        self._at_the_thread(change)

    def offer(self, done: Sequence[Key], made: Mapping[Key, Sealed] | None = None) -> None:
        """These tasks are done here, and have made what these transfers carry; each leaves when it may."""

        def change() -> None:
            if self._outbox is not None:
                self._outbox.done(done)
                for key, sealed in (made or {}).items():
                    self._outbox.offer(key, sealed)

        self._at_the_thread(change)

    def wait(self, look: Callable[[Mapping[Key, Arrival]], T | None], timeout_s: float) -> T:
        """What ``look`` finds in the arrivals of this round, as soon as it finds something. AirError after so long."""
        found = self._wait(lambda: look(self._arrivals), timeout_s)
        if found is None:
            raise AirError(self._error or f"nothing came over the air for {timeout_s:.0f} s")
        return found

    def fail(self, text: str) -> None:
        """Whoever waits is told so, and need not wait any longer."""
        with self._changed:
            self._error = self._error or text
            self._changed.notify_all()

    def release(self, keys: Iterable[Key]) -> None:
        """What these brought has been used, and its memory is free for others."""
        with self._changed:
            for key in keys:
                self._arrivals[key] = replace(self._arrivals[key], sealed=NOTHING)

    def missing(self, keys: Iterable[Key]) -> dict[Key, str]:
        """Which of these have not arrived, and who should have sent them."""
        return self._inbox.missing(keys)

    @property
    def arrivals(self) -> list[Arrival]:
        """All that has arrived in this round, in order."""
        with self._changed:
            return sorted(self._arrivals.values(), key=lambda arrival: arrival.arrived_ns)

    def close(self) -> None:
        """Stops the thread and drops what has not left."""

        def stop() -> None:
            self._open = False

        self._at_the_thread(stop)
        self._thread.join()
        self._waker.close(linger=0)
        if self._door is not None:
            self._door.close()

    def _wait(self, look: Callable[[], T | None], timeout_s: float) -> T | None:
        end = time.monotonic() + timeout_s
        with self._changed:
            while (found := look()) is None and self._error is None:
                left_s = end - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)
            return found

    def _at_the_thread(self, command: Callable[[], None], wait: bool = False) -> None:
        done = threading.Event()

        def and_say_so() -> None:
            try:
                command()
            finally:
                done.set()

        self._commands.put(and_say_so)
        with self._waking, contextlib.suppress(zmq.Again):  # awake already
            self._waker.send(b"", zmq.NOBLOCK)
        if wait:
            done.wait()

    def _run(self) -> None:
        sharpen_timers()
        poller = zmq.Poller()
        for socket in (*self._sockets, self._wakee):
            poller.register(socket, zmq.POLLIN)
        while self._open:
            try:
                self._turn(dict(poller.poll(self._patience_ms())))
            except Exception as error:  # no message, and no peer, ends the thread: whoever waits is told
                self.fail(f"{type(error).__name__}: {error}")
        for socket in (*self._sockets, self._wakee):
            socket.close(linger=0)

    def _turn(self, ready: Mapping[Any, int]) -> None:
        for socket in self._sockets:
            if socket in ready:
                message = self._taken(socket)
                if message is not None:
                    self._sort(message, socket)
        if self._wakee in ready:
            self._wakee.recv()
        while not self._commands.empty():
            self._commands.get()()
        if self._outbox is not None and self._open:
            for departure in self._outbox.departures(time.monotonic_ns()):
                self._put(departure)

    def _patience_ms(self) -> int | None:
        """Milliseconds until a link that a broadcast keeps busy is free."""
        at_ns = self._outbox.next_ns() if self._outbox is not None else None
        return None if at_ns is None else max(0, (at_ns - time.monotonic_ns()) // 1_000_000)

    def _taken(self, socket: zmq.Socket[bytes]) -> Message | None:
        """The message that has come; None for what a connection begins with: its peer is reached by it from now on."""
        parts = socket.recv_multipart(copy=False)
        arrived_ns = time.monotonic_ns()
        if self._door is None:
            return Message(STATION, tuple(part.buffer for part in parts), arrived_ns)
        route, *frames = parts
        peer = str(route["User-Id"])
        if len(frames) == 1 and not len(frames[0]):
            self._routes[socket, peer] = route.bytes
            return None
        return Message(peer, tuple(part.buffer for part in frames), arrived_ns)

    def _sort(self, message: Message, over: zmq.Socket[bytes] | None = None) -> None:
        try:
            found = self._inbox.sort(message)
        except Unexpected as error:
            self.fail(str(error))
            return
        if isinstance(found, Arrival):
            if self._outbox is not None:
                self._outbox.done([found.key])
            with self._changed:
                self._arrivals[found.key] = found
                self._changed.notify_all()
        elif found is not None and found.get("kind") == _HELLO:
            with self._changed:
                self._greeted.add((message.peer, over))
                self._changed.notify_all()

    def _put(self, departure: Departure) -> None:
        header = {"scheme": self._inbox.scheme, "round": self._inbox.round, "key": list(departure.task.key)}
        socket = self._sockets[1] if departure.task.place == BROADCAST_PLACE else self._sockets[0]
        for peer in departure.to:
            frames: list[Buffer] = pack({**header, "sent_ns": time.monotonic_ns()}, departure.sealed)
            try:
                socket.send_multipart([*self._route(socket, peer), *frames], copy=False)
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self._unreachable += 1  # who is not there is found by what does not come of it

    def _route(self, socket: zmq.Socket[bytes], peer: str) -> tuple[bytes, ...]:
        """What a message begins with: at a station, by which of its connections it is to leave."""
        return () if self._door is None else (self._routes.get((socket, peer), b"nobody"),)


def _prepared(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    for option in (zmq.SNDHWM, zmq.LINGER):  # what is sent is bounded by the plan, and what comes is taken at once
        socket.setsockopt(option, 0)
    for option in (zmq.SNDBUF, zmq.RCVBUF):
        socket.setsockopt(option, _SOCKET_BUFFER)
    return socket
