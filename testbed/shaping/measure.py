"""Real transfers over the shaped links, timed where they arrive."""

from __future__ import annotations

import socket
import statistics
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from testbed.errors import LinkError
from testbed.shaping.model import Egress, Flow, LinkPlan, Measurement, endpoints
from testbed.shaping.namespace import entered

_WARM_UP_S = 0.3  # slow start, and the head start of an idle link, are over by then
_PATIENCE_S = 10.0
_LONGEST_S = 60.0
_WINDOWS = 50
_BUFFER = 1 << 20
# Enough data in both buffers to keep the link busy for so long while a busy host lets us wait.
_RESERVE_S = 0.1
# From Linux's socket.h; Python has no names for them. The FORCE variants may exceed net.core.*mem_max.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 32, 33, 35
_TIMESPEC = struct.Struct("ll")
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: on close drop what has not left, so that no queue outlives us


@dataclass(frozen=True)
class _Transfer:
    flow: Flow
    sender: socket.socket
    receiver: socket.socket


def measure(plan: LinkPlan, names: Sequence[str] | None, together: bool, seconds: float) -> list[Measurement]:
    """The goodput of the flows of these names (None: of all), each over ``seconds`` of bulk transfer.

    A flow with a port of its own is measured only by name: the port may be in use. One after another, or
    all ``together``. Raises LinkError, which names the flow.
    """
    if not 0 < seconds <= _LONGEST_S:
        raise LinkError(f"cannot measure for {seconds} s", f"measure for up to {_LONGEST_S:.0f} s")
    paths = [endpoints(plan, name) for name in names or [flow.name for flow in plan.flows if flow.port is None]]
    batches = [paths] if together else [[path] for path in paths]
    return [result for batch in batches for result in _measure(batch, seconds)]


def _measure(paths: Sequence[tuple[Flow, Egress, Egress]], seconds: float) -> list[Measurement]:
    with ExitStack() as stack, ThreadPoolExecutor(2 * len(paths) or 1) as threads:
        transfers = [_connect(stack, *path) for path in paths]
        for transfer in transfers:
            threads.submit(_send, transfer.sender)
        try:
            return list(threads.map(lambda transfer: _receive(transfer, seconds), transfers))
        finally:
            for transfer in transfers:
                with suppress(OSError):
                    transfer.sender.shutdown(socket.SHUT_RDWR)  # wakes its thread


def _connect(stack: ExitStack, flow: Flow, sender: Egress, receiver: Egress) -> _Transfer:
    """Sockets stay in the network namespace they were made in, wherever they are used."""
    try:
        with entered(receiver.pid):
            listener = stack.enter_context(_listener(flow, receiver.address))
        with entered(sender.pid):
            source = stack.enter_context(_source(flow))
        source.bind((sender.address, flow.port or 0))
        source.connect(listener.getsockname())
        listener.settimeout(_PATIENCE_S)
        sink = stack.enter_context(_accepted(listener, source))
        source.settimeout(None)
        sink.settimeout(_PATIENCE_S)
    except OSError as error:
        raise LinkError(f"{flow.name}: no connection: {error}", "are both containers on the air network?") from error
    except LinkError as error:
        raise LinkError(f"{flow.name}: {error.message}", error.hint) from error
    return _Transfer(flow, source, sink)


def _accepted(listener: socket.socket, source: socket.socket) -> socket.socket:
    """The connection from ``source``; an agent could have been faster to connect, and is not listened to."""
    while True:
        found, whence = listener.accept()
        if whence == source.getsockname():
            return found
        found.close()


def _source(flow: Flow) -> socket.socket:
    source = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    source.settimeout(_PATIENCE_S)
    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    source.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _reserve(flow))
    # The container's own choice may be one that paces itself; what is measured here is the link.
    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    return source


def _listener(flow: Flow, address: str) -> socket.socket:
    """Its connections inherit these options."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _reserve(flow))
    listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    # Woken every millisecond rather than by every frame, or a fast link's reader is busy with waking up.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(max(int(flow.rate_bps / 8 * 1e-3), 1), 1 << 16))
    listener.bind((address, 0))
    listener.listen()
    return listener


def _reserve(flow: Flow) -> int:
    return max(int(flow.rate_bps / 8 * _RESERVE_S), 1 << 16)


def _send(sender: socket.socket) -> None:
    chunk = bytes(_BUFFER)
    with suppress(OSError):  # the receiver has seen enough and hung up
        while True:
            sender.sendall(chunk)


def _receive(transfer: _Transfer, seconds: float) -> Measurement:
    try:
        return summary(transfer.flow, _arrivals(transfer.receiver, seconds))
    except OSError as error:
        raise LinkError(f"{transfer.flow.name}: the transfer broke off: {error}", "is the rate very low?") from error
    finally:
        transfer.receiver.close()


def summary(flow: Flow, arrivals: Sequence[tuple[int, float]]) -> Measurement:
    """The rates of a transfer whose arrivals, bytes and the time they came at in seconds, these are."""
    begin, end = arrivals[0][1], arrivals[-1][1]
    rates, received, since = [], 0, begin
    for count, at in arrivals[1:]:
        received += count
        if at - since >= (end - begin) / _WINDOWS or at == end:
            rates.append(received * 8 / (at - since))
            received, since = 0, at
    goodput = sum(count for count, _ in arrivals[1:]) * 8 / (end - begin)
    return Measurement(flow.name, flow.rate_bps, goodput, statistics.median(rates), end - begin)


def _arrivals(receiver: socket.socket, seconds: float) -> list[tuple[int, float]]:
    """From one arrival after the warm-up to the first one ``seconds`` later."""
    buffer = bytearray(_BUFFER)
    start = _arrival(receiver, buffer)[1] + _WARM_UP_S
    while (last := _arrival(receiver, buffer))[1] < start:
        pass
    arrivals = [last]
    while arrivals[-1][1] < arrivals[0][1] + seconds:
        arrivals.append(_arrival(receiver, buffer))
    return arrivals


def _arrival(receiver: socket.socket, buffer: bytearray) -> tuple[int, float]:
    """How many bytes were there, and when the last of them came: by the kernel, however late we look."""
    count, ancillary, _, _ = receiver.recvmsg_into([buffer], socket.CMSG_SPACE(_TIMESPEC.size))
    if not count:
        raise OSError("the sender hung up")
    stamps = [_TIMESPEC.unpack(data) for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS]
    # The kernel starts stamping a moment after it was asked to.
    seconds, nanoseconds = stamps[0] if stamps else (time.time(), 0)
    return count, seconds + nanoseconds / 1e9
