"""Other containers' network namespaces, their interfaces, and netlink there. The only import of pyroute2."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from testbed.errors import LinkError
from testbed.shaping.model import LONGEST_NAME, TRIAL, TRIAL_FILE

__all__ = [
    "GSO_DEFAULT",
    "NOWHERE",
    "NOWHERE_TABLE",
    "Interface",
    "NetlinkError",
    "entered",
    "interface",
    "limit_packets",
    "netlink",
    "private_interface",
]

_CLONE_NEWNET = 0x40000000
_AF_INET = 2
GSO_DEFAULT = 65535
"""How many frames the kernel puts into one packet unless told otherwise."""
NOWHERE, NOWHERE_TABLE = "192.0.2.1", 0x7E57
"""Never seen on the air: a documentation address (RFC 5737), in a routing table that nothing consults."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Interface:
    """A network interface: its index in its namespace, its MTU in bytes, its limit of frames per packet."""

    index: int
    mtu: int
    gso_max_segs: int


@contextmanager
def entered(pid: int) -> Iterator[None]:
    """This thread is in the network namespace of process ``pid`` meanwhile.

    LinkError where there is no such process, or it is none of this process' own trial.
    """
    try:
        there = _namespace(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise LinkError(f"there is no process {pid}", "its container has stopped; type: testbed ps") from error
    except PermissionError as error:
        raise LinkError(
            f"may not look into process {pid}",
            "the shaper needs SYS_PTRACE and SYS_ADMIN",
        ) from error
    try:
        with _returning():
            _check(_libc.setns(there, _CLONE_NEWNET))
            yield
    finally:
        os.close(there)


def _namespace(pid: int) -> int:
    """The network namespace of a process, opened; of one of another trial, or of none, LinkError."""
    # All of it is of this one process, whoever may have its number later.
    process = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _trial_of(process) != os.environ.get(TRIAL):
            raise LinkError(f"process {pid} is none of this trial's agents", "take pids from this trial's containers")
        return os.open("ns/net", os.O_RDONLY, dir_fd=process)
    finally:
        os.close(process)


def _trial_of(process: int) -> str | None:
    """The trial whose agent a process is, by what its container was given to read; its folder in /proc is open."""
    try:
        with open(os.open(f"root{TRIAL_FILE}", os.O_RDONLY, dir_fd=process)) as file:
            return file.read(LONGEST_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def netlink(pid: int) -> Iterator[Any]:
    """An IPRoute whose socket is in the network namespace of process ``pid``; this thread is not. Raises LinkError."""
    with entered(pid):
        ipr = IPRoute()
    with ipr:
        yield ipr


@contextmanager
def private_interface() -> Iterator[tuple[Any, Interface]]:
    """An IPRoute and a veth in a network namespace that lasts meanwhile."""
    with _returning():
        _check(_libc.unshare(_CLONE_NEWNET))
        with IPRoute() as ipr:
            ipr.link("add", ifname="probe0", kind="veth", peer="probe1")
            yield ipr, _interface(ipr, ipr.link_lookup(ifname="probe0")[0])


def interface(ipr: Any, address: str) -> Interface:
    """The interface that has this IPv4 address. Raises LinkError when none has."""
    for found in ipr.get_addr(family=_AF_INET):
        if found.get_attr("IFA_LOCAL") == address:
            return _interface(ipr, found["index"])
    raise LinkError(
        f"no interface has the address {address}",
        "is the container connected to the air network?",
    )


def limit_packets(ipr: Any, link: Interface, frames: int) -> None:
    """No packet that TCP hands to the interface from now on holds more than this many frames."""
    if link.gso_max_segs == frames:
        return
    ipr.link("set", index=link.index, gso_max_segs=frames)
    # A connected socket asks again only when its route has changed, and any change of any route counts.
    nowhere = {"dst": f"{NOWHERE}/32", "table": NOWHERE_TABLE, "type": "unreachable"}
    ipr.route("replace", **nowhere)
    ipr.route("del", **nowhere)


def _interface(ipr: Any, index: int) -> Interface:
    (link,) = ipr.get_links(index)
    return Interface(index, link.get_attr("IFLA_MTU"), link.get_attr("IFLA_GSO_MAX_SEGS"))


@contextmanager
def _returning() -> Iterator[None]:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        _check(_libc.setns(here, _CLONE_NEWNET))
        os.close(here)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise LinkError(
            f"cannot enter the network namespace: {os.strerror(number)}",
            "the shaper needs SYS_ADMIN",
        )
