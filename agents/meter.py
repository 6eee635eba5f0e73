"""Busy and idle time, transfers and losses, as events for the controller and as Prometheus metrics.

Everything here is emulated seconds: wall seconds divided by the time dilation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from agents.exposition import Exporter, Families
from agents.host_counters import memory_bytes
from agents.pace import Span
from agents.schedule.task import BROADCAST_PLACE, BS, Task
from agents.wire.inbox import Arrival

Event = dict[str, Any]


class Metrics(Families):
    """The Prometheus side of an agent."""

    def __init__(self) -> None:
        super().__init__()
        base, per_ue = ["trial", "scheme"], ["trial", "scheme", "ue"]
        self.bs_busy = self.counter("bs_busy_seconds", "BS compute time", base)
        self.bs_idle = self.counter("bs_idle_seconds", "Time in rounds in which the BS did not compute", base)
        self.bs_bubble = self.gauge("bs_bubble_ratio", "Idle share of the BS in the last round", base)
        self.round_seconds = self.gauge("round_seconds", "Duration of the last round", base)
        self.rounds = self.counter("rounds", "Rounds completed", base)
        self.ue_busy = self.counter("ue_busy_seconds", "UE compute time", per_ue)
        self.ue_idle = self.counter("ue_idle_seconds", "Time in rounds in which the UE did not compute", per_ue)
        self.link_bytes = self.counter("link_bytes", "Training bytes received", [*per_ue, "direction"])
        self.goodput = self.gauge("link_goodput_bytes_per_second", "Goodput of the last round", [*per_ue, "direction"])
        self.overruns = self.counter("cpu_overruns", "Tasks that took longer than modelled", per_ue)
        self.throttled = self.gauge(
            "agent_throttled_ratio", "Share of the last round in which its quota held an agent back", per_ue
        )
        self.waited = self.gauge(
            "agent_waited_ratio",
            "Share of the last round's CPU time, waits included, spent waiting for a core",
            per_ue,
        )
        self.memory = self.gauge(
            "agent_memory_bytes", "Resident memory of an agent after its last round", ["trial", "ue"]
        )
        self.accuracy = self.gauge("accuracy_ratio", "Test accuracy at the last evaluation", base)
        self.plan_info = self.gauge("plan_info", "The plan in force", [*base, "planner", "cut", "micro_batches"])

    def serve(self, address: str, port: int) -> None:
        """Answers ``GET /metrics`` on this address from a thread of its own."""
        Exporter(self, address, port)


@dataclass
class Transfers:
    """Bytes and airtime of one UE and direction within a round."""

    bytes: int = 0
    seconds: float = 0.0
    last_end_ns: int = 0


@dataclass
class Meter:
    """Collects what one agent did in one round.

    ``owner`` is the agent's name, used as the ``ue`` label ("bs" for the base station). Each of its ``processors``
    reports from a thread of its own, and is that share of it.
    """

    owner: str
    metrics: Metrics
    trial: str = ""
    scheme: str = ""
    dilation: float = 1.0
    delay_ns: int = 0
    events: list[Event] = field(default_factory=list)
    busy_s: float = 0.0
    transfers: dict[tuple[str, str], Transfers] = field(default_factory=dict)
    loss_sum: float = 0.0
    loss_samples: int = 0
    processors: int = 1
    cpu_ns: int = 0
    wait_ns: int = 0
    throttled_s: float = 0.0
    counted_s: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def begin_scheme(self, trial: str, scheme: str, dilation: float, delay_s: float = 0.0) -> None:
        """From now on everything is counted under these labels; ``delay_s`` is what links delay each packet by."""
        self.trial, self.scheme, self.dilation = trial, scheme, dilation
        self.delay_ns = round(delay_s * dilation * 1e9)
        self.begin_segment(first=True)
        m, labels = self.metrics, (trial, scheme)
        mine = (m.bs_busy, m.bs_idle, m.rounds) if self.owner == BS else ()
        for total in mine:
            total.labels(*labels)
        for per_ue in (m.overruns, *(() if mine else (m.ue_busy, m.ue_idle))):
            per_ue.labels(*labels, self.owner)

    def begin_segment(self, first: bool) -> None:
        """Forgets the events of the segment before, and with the first the round before; counters go on."""
        self.events = []
        if first:
            self.busy_s, self.transfers, self.loss_sum, self.loss_samples = 0.0, {}, 0.0, 0
            self.cpu_ns, self.wait_ns, self.throttled_s, self.counted_s = 0, 0, 0.0, 0.0

    def lost(self, loss_sum: float, samples: int) -> None:
        """Adds the training loss of some samples."""
        with self.lock:
            self.loss_sum += loss_sum
            self.loss_samples += samples

    def computed(self, task: Task, span: Span) -> None:
        """A task occupied a processor of this agent."""
        with self.lock:
            self.busy_s += span.seconds / self.dilation / self.processors
            self.cpu_ns += span.cpu_ns
            self.wait_ns += span.wait_ns
        cost = {key: getattr(span, key) for key in ("overrun_ns", "cpu_ns", "wait_ns", "late_ns")}
        self._event(task, task.key.ue, span.start_ns, span.end_ns, **cost)
        if span.overrun_ns:
            self.metrics.overruns.labels(self.trial, self.scheme, self.owner).inc()

    def counted(self, host: Mapping[str, float]) -> None:
        """What the counters of its host (``agents.host_counters``) grew by in a segment."""
        self.throttled_s += host.get("throttled_s", 0.0)
        self.counted_s += host["monotonic_s"]

    def received(self, task: Task, ue: str, arrival: Arrival) -> None:
        """A transfer over the link of ``ue`` ended at this agent.

        It began when its first bit could be here after it was handed to the radio, or when the previous
        transfer over the same link ended, whichever is later.
        """
        direction = "broadcast" if task.place == BROADCAST_PLACE else task.place.rpartition("/")[2]
        link = self.transfers.setdefault((ue, direction), Transfers())
        start_ns = min(max(arrival.sent_ns + self.delay_ns, link.last_end_ns), arrival.arrived_ns)
        link.bytes += arrival.bytes
        link.seconds += (arrival.arrived_ns - start_ns) / 1e9 / self.dilation
        link.last_end_ns = arrival.arrived_ns
        self._event(task, ue, start_ns, arrival.arrived_ns, bytes=arrival.bytes)

    def end_round(self, round_s: float) -> None:
        """Publishes the round; ``round_s`` is its emulated duration."""
        labels, m = (self.trial, self.scheme), self.metrics
        idle_s = round_s - self.busy_s
        if self.owner == BS:
            m.bs_busy.labels(*labels).inc(self.busy_s)
            m.bs_idle.labels(*labels).inc(max(0.0, idle_s))
            m.bs_bubble.labels(*labels).set(idle_s / round_s)
            m.round_seconds.labels(*labels).set(round_s)
            m.rounds.labels(*labels).inc()
        else:
            m.ue_busy.labels(*labels, self.owner).inc(self.busy_s)
            m.ue_idle.labels(*labels, self.owner).inc(max(0.0, idle_s))
        for (ue, direction), link in self.transfers.items():
            m.link_bytes.labels(*labels, ue, direction).inc(link.bytes)
            if link.seconds > 0:
                m.goodput.labels(*labels, ue, direction).set(link.bytes / link.seconds)
        m.throttled.labels(*labels, self.owner).set(self.throttled_s / max(1e-9, self.counted_s))
        m.waited.labels(*labels, self.owner).set(self.wait_ns / max(1, self.wait_ns + self.cpu_ns))
        m.memory.labels(self.trial, self.owner).set(memory_bytes())

    def _event(self, task: Task, ue: str, start_ns: int, end_ns: int, **more: int) -> None:
        turn, step, micro_batch, kind, _ = task.key
        where = {"task": kind, "ue": ue, "place": task.place, "micro_batch": micro_batch, "turn": turn, "step": step}
        self.events.append({**where, "start_ns": start_ns, "end_ns": end_ns, **more})
