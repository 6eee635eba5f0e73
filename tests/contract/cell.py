"""A base station and UEs on a bridge, to try links on: network namespaces, each held by a process and gone with it."""

from __future__ import annotations

import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from testbed.shaping import Egress, Flow, LinkPlan, Medium
from testbed.shaping.namespace import entered, netlink

PAYLOAD = 1448
"""Bytes of TCP in a full frame, which is what rates count."""
_TRANSFER_S, _LEAST_FRAMES = 0.2, 100
LATE = 1.03
"""The share of its time that a transfer may take; quicker ones are not waited for."""
_PATIENCE_S = 20.0
_BUFFER = 1 << 18
_ABORT = struct.pack("ii", 1, 0)


def may_make_namespaces() -> bool:
    """Whether this process may do all this."""
    if os.geteuid() != 0:
        return False
    return subprocess.run([sys.executable, "-c", _HOLD], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


_HOLD = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000):
    sys.exit(1)
print("held", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Air:
    """Pids and addresses of the namespaces, and the backend under test."""

    backend: str
    pids: dict[str, int]
    addresses: dict[str, str]

    def plan(self, up: dict[str, float], down: dict[str, float]) -> LinkPlan:
        """Links of these payload rates in bit/s."""
        downlinks = tuple(Flow(f"{ue}.down", self.addresses[ue], rate) for ue, rate in down.items())
        uplinks = [Egress(self.pids[ue], self.addresses[ue], (Flow(f"{ue}.up", None, r),)) for ue, r in up.items()]
        return LinkPlan(self.backend, (Egress(self.pids["bs"], self.addresses["bs"], downlinks), *uplinks))


def hold(stack: ExitStack) -> int:
    """The pid of a process that is in a new network namespace until the stack is unwound."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout and process.stdout.readline() == b"held\n"
    return process.pid


def _plug_in(bridge_pid: int, pid: int, name: str, address: str) -> None:
    with netlink(bridge_pid) as ipr:
        (bridge,) = ipr.link_lookup(ifname="air")
        peer = {"ifname": "eth0", "net_ns_pid": pid, "txqlen": 0}  # 0 is what Docker chooses
        ipr.link("add", ifname=name, kind="veth", txqlen=0, peer=peer)
        ipr.link("set", index=ipr.link_lookup(ifname=name)[0], master=bridge, state="up")
    with netlink(pid) as ipr:
        _put_up(ipr, "eth0", address)


def _put_up(ipr: Any, name: str, address: str) -> None:
    (index,) = ipr.link_lookup(ifname=name)
    ipr.addr("add", index=index, address=address, prefixlen=24)
    ipr.link("set", index=index, state="up")


@contextmanager
def cell(ues: Sequence[str]) -> Iterator[tuple[dict[str, int], dict[str, str]]]:
    """Pids and addresses of a base station and UEs: namespaces plugged into a bridge in one of its own."""
    with ExitStack() as stack:
        hub = hold(stack)
        with netlink(hub) as ipr:
            ipr.link("add", ifname="air", kind="bridge")
            ipr.link("set", index=ipr.link_lookup(ifname="air")[0], state="up")
        pids = {name: hold(stack) for name in ("bs", *ues)}
        addresses = {name: f"10.9.0.{number}" for number, name in enumerate(pids, 1)}
        for name, pid in pids.items():
            _plug_in(hub, pid, name, addresses[name])
        yield pids, addresses


@contextmanager
def neighbour() -> Iterator[tuple[str, int]]:
    """Where something listens on a machine next to this one: a namespace that only this host has a link to."""
    here, there = "198.51.100.1", "198.51.100.2"
    with ExitStack() as stack:
        pid = hold(stack)
        with netlink(os.getpid()) as ipr:
            ipr.link("add", ifname="neighbour", kind="veth", peer={"ifname": "eth0", "net_ns_pid": pid})
            _put_up(ipr, "neighbour", here)
        with netlink(pid) as ipr:
            _put_up(ipr, "eth0", there)
        with entered(pid):
            listener = stack.enter_context(socket.create_server((there, 0)))
        yield listener.getsockname()


def timer_s(length_s: float) -> float:
    """How late a sleep of this length ends at best: on an emulated processor some tenths of a millisecond."""
    late_s = []
    for _ in range(20):
        begin = time.perf_counter()
        time.sleep(length_s)
        late_s.append(time.perf_counter() - begin - length_s)
    return min(late_s)


def connect(air: Air, sender: str, receiver: str, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """A TCP connection: the sender's end, which may have a port of its own, and the receiver's."""
    with entered(air.pids[receiver]), socket.create_server((air.addresses[receiver], 0)) as listener:
        with entered(air.pids[sender]):
            near = socket.socket()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)  # so that its port is free at once
        near.bind((air.addresses[sender], port))
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        far.settimeout(10)
        return near, far


def one_link(air: Air, rate: float, medium: Medium) -> LinkPlan:
    """Links of one UE with this uplink, and a plain downlink of the same rate."""
    up = Egress(air.pids["ue1"], air.addresses["ue1"], (Flow("ue1.up", None, rate, medium),))
    down = Egress(air.pids["bs"], air.addresses["bs"], (Flow("ue1.down", air.addresses["ue1"], rate),))
    return LinkPlan(air.backend, (down, up))


def datagrams(air: Air, count: int) -> list[float]:
    """Sends full frames from ue1 to the base station, all at once; when each arrived, in seconds after the first
    was sent, by the kernel's clock."""
    with entered(air.pids["bs"]), socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind((air.addresses["bs"], 0))
        far.settimeout(3)
        far.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        far.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        with entered(air.pids["ue1"]), socket.socket(type=socket.SOCK_DGRAM) as near:
            near.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE
            _resolve(near, far)
            begin = time.time()
            for _ in range(count):
                near.sendto(bytes(1472), far.getsockname())
        times: list[float] = []
        with suppress(TimeoutError):
            while len(times) < count:
                data, ancillary, _, _ = far.recvmsg(2048, 64)
                if len(data) < 1472:  # one more of those that resolved the address
                    continue
                seconds, nanoseconds = struct.unpack("ll", ancillary[0][2])
                times.append(seconds + nanoseconds / 1e9 - begin)
        return times


def _resolve(near: socket.socket, far: socket.socket) -> None:
    """One datagram through, so that the next need not wait for ARP; a link may lose some."""
    for _ in range(20):
        near.sendto(b"resolves the address", far.getsockname())
        with suppress(TimeoutError):
            far.recv(100)
            return


def transfer_s(near: socket.socket, far: socket.socket, size: int) -> float:
    """Seconds until the last of ``size`` bytes is at the far end."""
    buffer = bytearray(_BUFFER)
    sender = threading.Thread(target=near.sendall, args=(bytes(size),))
    begin, left = time.monotonic(), size
    sender.start()
    while left:
        left -= far.recv_into(buffer, min(left, _BUFFER))
    end = time.monotonic()
    sender.join()
    return end - begin


@dataclass(frozen=True)
class Way:
    """From where to where something is sent, at which payload rate in bit/s; from a port of its own, if not from 0."""

    sender: str
    receiver: str
    rate_bps: float
    port: int = 0


def quickest(air: Air, *ways: Way) -> list[float]:
    """Of several transfers over each way, all ways at once: the time of the quickest, as a share of what its rate asks.

    The clock runs from before the first byte is sent until after the last has come. So what else happens on the host
    makes a transfer late and never early: no share is below 1 unless a link is too fast (or lets one frame, of a
    hundred and more, go before it is paid for). And the quickest was disturbed least: it comes soon on a quiet host.
    """
    least = [math.inf] * len(ways)
    until_s = time.monotonic() + _PATIENCE_S

    def carry(number: int, ends: tuple[socket.socket, socket.socket]) -> None:
        size = PAYLOAD * max(_LEAST_FRAMES, int(ways[number].rate_bps / 8 * _TRANSFER_S / PAYLOAD))
        ideal_s = size * 8 / ways[number].rate_bps
        while time.monotonic() < until_s and max(least) > LATE:  # whoever is done keeps the others company
            least[number] = min(least[number], transfer_s(*ends, size) / ideal_s)

    with ExitStack() as stack, ThreadPoolExecutor(len(ways)) as threads:
        ends = [connect(air, way.sender, way.receiver, way.port) for way in ways]
        for end in (end for pair in ends for end in pair):
            stack.enter_context(end)
        list(threads.map(carry, range(len(ways)), ends))
    return least


def quickest_s(near: socket.socket, far: socket.socket, size: int, enough_s: float, pause_s: float = 0.0) -> float:
    """The time of the quickest of several transfers over one connection, until one takes no more than is enough."""
    least_s, until_s = math.inf, time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s and least_s > enough_s:
        time.sleep(pause_s)
        least_s = min(least_s, transfer_s(near, far, size))
    return least_s
