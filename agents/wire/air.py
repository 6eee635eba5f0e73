"""The air: training bytes between UEs and the BS, over the shaped network.

A thread of its own owns the socket, so that arrivals are stamped when they arrive, however
busy the agent computes, and so that a transmission starts when the radio is free and not
when the processor is.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import zmq

from agents.pace import sharpen_timers, sleep_until
from agents.wire.frames import Buffer, Header, decode, decode_header, encode, size

_HEARTBEAT_MS = 2000
_CLOSE = b"close"
_SOCKET_BUFFER = 4 << 20


class AirError(Exception):
    """The other end of the air fell silent or cannot be reached."""


@dataclass(frozen=True)
class Arrival:
    """A message as it came: who sent it, what, how many bytes, and when its last byte was here."""

    peer: str
    header: Header
    frames: tuple[Buffer, ...]
    arrived_ns: int

    @property
    def bytes(self) -> int:
        """Payload bytes, header included."""
        return size(self.frames)

    def tensors(self) -> list[torch.Tensor]:
        """The tensors of the message."""
        return decode(self.frames)[1]


@dataclass(frozen=True)
class _Departure:
    peer: str
    header: Header
    tensors: tuple[torch.Tensor, ...]
    broadcast: bool
    not_before_ns: int


class DuplexGate:
    """Half duplex (``tdd``): a downlink of a phase waits until all uplinks of that phase are in.

    With ``fdd`` it never waits. Messages that carry no ``hold_for`` never wait either.
    """

    def __init__(self) -> None:
        self._uplinks: dict[tuple[int, int], int] = defaultdict(int)

    def arrived(self, header: Header) -> None:
        """Counts an uplink."""
        if header["kind"] == "uplink":
            self._uplinks[header["round"], header["phase"]] += 1

    def open_for(self, header: Header) -> bool:
        """Whether this downlink may start."""
        return self._uplinks[header["round"], header["phase"]] >= int(header.get("hold_for", 0))


class Air:
    """One end of the air. ``Air.station`` listens (BS), ``Air.device`` connects (UE).

    What goes to all UEs at the same rate has a socket, and so a port, of its own, by which the shaper knows it.
    """

    def __init__(self, socket: zmq.Socket[bytes], broadcast: zmq.Socket[bytes], routed: bool) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket, self._broadcast, self._routed = socket, broadcast, routed
        self._inbox: queue.SimpleQueue[Arrival | BaseException] = queue.SimpleQueue()
        self._outbox: deque[_Departure] = deque()
        self._gate = DuplexGate()
        endpoint = f"inproc://air-{id(self)}"
        self._waker, self._wakee = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._wakee.bind(endpoint)
        self._waker.connect(endpoint)
        self._thread = threading.Thread(target=self._run, name="air", daemon=True)
        self._thread.start()

    @staticmethod
    def station(address: str, port: int, broadcast_port: int) -> Air:
        """The base station's end, on its address in the air network."""

        def listening(on: int) -> zmq.Socket[bytes]:
            socket = _prepared(zmq.Context.instance().socket(zmq.ROUTER))
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
            socket.bind(f"tcp://{address}:{on}")
            return socket

        return Air(listening(port), listening(broadcast_port), routed=True)

    @staticmethod
    def device(name: str, address: str, port: int, broadcast_port: int) -> Air:
        """A UE's end, connected to the base station."""

        def connected(to: int) -> zmq.Socket[bytes]:
            socket = _prepared(zmq.Context.instance().socket(zmq.DEALER))
            socket.setsockopt(zmq.IDENTITY, name.encode())
            socket.connect(f"tcp://{address}:{to}")
            return socket

        return Air(connected(port), connected(broadcast_port), routed=False)

    def send(
        self,
        peer: str,
        header: Header,
        tensors: Sequence[torch.Tensor] = (),
        *,
        broadcast: bool = False,
        not_before_ns: int = 0,
    ) -> None:
        """Queues a message; it leaves after those before it, when the duplex gate is open, and not before its time."""
        self._outbox.append(_Departure(peer, header, tuple(tensors), broadcast, not_before_ns))
        self._wake(b"")

    def receive(self, timeout_s: float) -> Arrival:
        """The next message in order of arrival; AirError when none comes within ``timeout_s``."""
        try:
            item = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            raise AirError(f"nothing came over the air for {timeout_s:.0f} s") from None
        if isinstance(item, BaseException):
            raise AirError(str(item)) from item
        return item

    def forget_uplinks(self) -> None:
        """Starts counting uplinks anew: a new job numbers its rounds from 1 again."""
        self._gate = DuplexGate()

    def clear(self) -> None:
        """Drops what has arrived and was not received."""
        while not self._inbox.empty():
            self._inbox.get()

    def close(self) -> None:
        """Stops the thread and drops what has not left."""
        self._wake(_CLOSE)
        self._thread.join()
        self._waker.close(linger=0)

    def _wake(self, word: bytes) -> None:
        """Wakes the thread; one that has ended has left its error in the inbox."""
        with contextlib.suppress(zmq.Again):
            self._waker.send(word, zmq.NOBLOCK)

    def _run(self) -> None:
        sharpen_timers()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._broadcast, zmq.POLLIN)
        poller.register(self._wakee, zmq.POLLIN)
        try:
            while not self._step(dict(poller.poll(self._patience_ms()))):
                pass
        except BaseException as error:  # handed to the agent's thread, which reports it
            self._inbox.put(error)
        finally:
            self._socket.close(linger=0)
            self._broadcast.close(linger=0)
            self._wakee.close(linger=0)

    def _step(self, ready: dict[Any, int]) -> bool:
        for socket in (self._socket, self._broadcast):
            if socket in ready:
                self._take(socket.recv_multipart(copy=False))
        word = self._wakee.recv() if self._wakee in ready else b""
        if word == _CLOSE:
            return True
        while self._outbox and self._gate.open_for(self._outbox[0].header) and self._patience_ms() is None:
            sleep_until(self._outbox[0].not_before_ns)
            self._put(self._outbox.popleft())
        return False

    def _patience_ms(self) -> int | None:
        """Whole milliseconds until the next message may leave; None when there is none to wait for."""
        left_ns = self._outbox[0].not_before_ns - time.monotonic_ns() if self._outbox else 0
        return left_ns // 1_000_000 if left_ns >= 1_000_000 else None

    def _take(self, parts: list[zmq.Frame]) -> None:
        arrived_ns = time.monotonic_ns()
        peer = parts.pop(0).bytes.decode() if self._routed else "bs"
        frames = tuple(part.buffer for part in parts)
        header = decode_header(frames[0])
        self._gate.arrived(header)
        self._inbox.put(Arrival(peer, header, frames, arrived_ns))

    def _put(self, departure: _Departure) -> None:
        frames = encode({**departure.header, "sent_ns": time.monotonic_ns()}, departure.tensors)
        route: list[Buffer] = [departure.peer.encode()] if self._routed else []
        try:
            (self._broadcast if departure.broadcast else self._socket).send_multipart([*route, *frames], copy=False)
        except zmq.ZMQError as error:
            raise AirError(f"{departure.peer} cannot be reached over the air: {error}") from error


def _prepared(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):  # queues are bounded by the plan, not by a count
        socket.setsockopt(option, 0)
    for option in (zmq.SNDBUF, zmq.RCVBUF):
        socket.setsockopt(option, _SOCKET_BUFFER)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 5 * _HEARTBEAT_MS)
    return socket
