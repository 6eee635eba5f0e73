"""What only the controller knows of a trial, for Prometheus: predictions, plans, progress, verdicts, the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from agents.exposition import Exporter, Families
from controller.trial.watch import (
    Changed,
    ChangeKind,
    Evaluated,
    Event,
    Redone,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    TrialBegins,
    TrialEnded,
    Warned,
    Watcher,
)
from testbed.deploy import Deployment
from testbed.errors import TestbedError
from testbed.monitor.targets import found_with

LATE = 2.0
"""A round is late when it takes so many times as long as predicted."""
READ_S = 5.0
"""No longer does a trial that has ended wait for whoever reads its metrics."""


class ControllerMetrics(Families):
    """A watcher of one trial; gauges of a scheme that ended go on standing.

    Predictions and planned rates are those of the last round, as what agents export is, so that they can be compared
    under links and plans that change: the next round's come into force when it ends.
    """

    def __init__(self, trial: str) -> None:
        self._trial, self._dilation = trial, 1.0
        self._ues, self._away = frozenset[str](), frozenset[str]()
        self._under_way: RoundBegins | None = None
        super().__init__()
        alone, base, gauge = ["trial"], ["trial", "scheme"], self.gauge
        self.predicted_s = gauge("predicted_round_seconds", "Predicted duration of the last or first round", base)
        self.predicted_bubble = gauge("predicted_bubble_ratio", "Predicted idle share of the BS in that round", base)
        self.planned_bps = gauge(
            "planned_link_bytes_per_second", "Planned payload rate in that round", [*base, "ue", "direction"]
        )
        self.emulated_s = gauge("emulated_seconds", "Emulated time of the rounds completed", base)
        self.train_loss = gauge("train_loss", "Training loss of the last round", base)
        self.round = gauge("round_number", "The round under way or last", base)
        self.rounds = gauge("rounds_planned", "Rounds that a scheme is run for", base)
        self.started = gauge("round_started_timestamp_seconds", "When that round began, wall time", base)
        self.deadline = gauge(
            "round_deadline_timestamp_seconds", f"When the round under way has taken {LATE:g} times as predicted", base
        )
        self.dilation = gauge("time_dilation_ratio", "Wall seconds per emulated second", alone)
        self.changes = self.counter("changes", "Changes before rounds, by kind", [*base, "kind"])
        self.fidelity = gauge("fidelity_ok", "Verdict on a scheme that has ended: 1 yes, 0 no", base)
        self.ues = gauge("ues", "UEs that the trial should have", alone)
        self.connected = gauge("ues_connected", "UEs that it has", alone)
        self.busy = gauge("host_busy_ratio", "Share of the host's cores in use in the last round", alone)
        self.steal = gauge("host_steal_ratio", "Share of them that the hypervisor took", alone)
        self.others = gauge("host_others_ratio", "Share of them that programs other than agents used", alone)

    def serve(self) -> Exporter:
        """Serves them on a port of this host that only it can reach."""
        return Exporter(self, "127.0.0.1", 0)

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        match event:
            case TrialBegins():
                self._trial_begins(event)
            case SchemeBegins(label=label):
                self._expected(event)
                self.rounds.labels(self._trial, label).set(event.rounds)
                self.emulated_s.labels(self._trial, label).set(0.0)
                for kind in get_args(ChangeKind):
                    self.changes.labels(self._trial, label, kind)
            case Changed():
                self.changes.labels(self._trial, event.label, event.kind).inc()
            case RoundBegins():
                self._round_begins(event)
            case RoundEnded():
                self._round_ended(event)
            case Redone():
                self.emulated_s.labels(self._trial, event.label).set(event.emulated_s)
            case Evaluated():
                self.emulated_s.labels(self._trial, event.label).set(event.emulated_s)
            case SchemeEnded():
                self.fidelity.labels(self._trial, event.label).set(event.result.fidelity.ok)
            case TrialEnded(lost=lost):
                self.connected.labels(self._trial).set(len(self._ues.difference(lost, self._away)))

    def _trial_begins(self, event: TrialBegins) -> None:
        self._dilation, self._ues, self._away = event.time_dilation, frozenset(event.ues), frozenset[str]()
        self.dilation.labels(self._trial).set(event.time_dilation)
        self.ues.labels(self._trial).set(len(self._ues))
        self.connected.labels(self._trial).set(len(self._ues))

    def _round_begins(self, event: RoundBegins) -> None:
        labels = self._trial, event.label
        self._under_way, self._away = event, frozenset(event.plan.away)
        self.connected.labels(self._trial).set(len(self._ues - self._away))
        self.round.labels(*labels).set(event.number)
        self.started.labels(*labels).set(event.at)
        self.deadline.labels(*labels).set(event.at + LATE * event.predicted_s * self._dilation)

    def _expected(self, event: SchemeBegins | RoundBegins) -> None:
        labels = self._trial, event.label
        self.predicted_s.labels(*labels).set(event.predicted_s)
        self.predicted_bubble.labels(*labels).set(event.predicted_bubble_rate)
        for name, ue in event.plan.ues.items():
            self.planned_bps.labels(*labels, name, "up").set(ue.uplink_bps / 8)
            self.planned_bps.labels(*labels, name, "down").set(ue.downlink_bps / 8)

    def _round_ended(self, event: RoundEnded) -> None:
        labels = self._trial, event.label
        if self._under_way:
            self._expected(self._under_way)
        self.deadline.remove(*labels)
        self.emulated_s.labels(*labels).inc(event.row.round_s)
        self.train_loss.labels(*labels).set(event.row.train_loss)
        self.busy.labels(self._trial).set(event.host.busy_share)
        self.steal.labels(self._trial).set(event.host.steal_share)
        self.others.labels(self._trial).set(event.host.others_share)


@contextmanager
def exported(deployment: Deployment, watcher: Watcher) -> Iterator[Watcher]:
    """A watcher that passes everything on to another, and to metrics that are served meanwhile.

    Where somebody reads them, they and the agents stay until the last of them can have been read.
    """
    metrics = ControllerMetrics(deployment.trial)

    def watch(event: Event) -> None:
        metrics(event)
        watcher(event)

    with metrics.serve() as exporter, found_with(deployment, exporter.address) as why:
        if why:
            watcher(Warned(why))
        try:
            yield watch
        except TestbedError:
            exporter.await_reader(READ_S)
            raise
        exporter.await_reader(READ_S)
