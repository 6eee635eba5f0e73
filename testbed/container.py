"""Containers as data: one to create, what the engine says of one, and whatever of a trial it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LABEL, DEPLOYMENT = "io.testbed.trial", "io.testbed.deployment"
"""Labels: whose something is, and, different each time, by which deployment it was made."""


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create. ``volumes``: volume name → mount point. ``networks``: network → alias in it.

    ``inputs``: volume name → mount point, and ``folders``: of this machine → mount point, where they are read-only.
    ``host_network``: it has the host's own.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    capabilities: Sequence[str] = ()
    tmpfs: Sequence[str] = ("/tmp",)
    host_pid: bool = False
    host_network: bool = False
    gpu: bool = False
    memory_bytes: int = 2 << 30
    pids: int = 256


@dataclass(frozen=True)
class ContainerState:
    """What Docker says of a container: ``addresses`` by network name, ``pid`` on its host.

    ``oom_killed``: its kernel killed a process of it for memory. ``started_at``: when it was started last.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    status: str
    exit_code: int
    oom_killed: bool
    pid: int
    addresses: Mapping[str, str]
    started_at: str = ""

    @property
    def condition(self) -> str:
        """Its status as a predicate: ``is running``, ``is paused``, ``stopped with exit status 137``, …"""
        if self.status in ("exited", "dead"):
            memory = ", out of memory" if self.oom_killed else ""
            return f"stopped with exit status {self.exit_code}{memory}"
        return "was not started" if self.status == "created" else f"is {self.status}"


@dataclass(frozen=True)
class Thing:
    """A ``container``, ``network`` or ``volume`` that carries our labels, and the trial whose it is."""

    kind: str
    id: str
    name: str
    trial: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
