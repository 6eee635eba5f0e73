"""The BS loop: gathers micro-batches, runs one forward one backward, scatters gradients, averages weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from agents.evaluation import Evaluator
from agents.halves import BsHalf, average, to_inputs
from agents.meter import Meter, Metrics
from agents.models.build import build, split
from agents.pace import Pacer, sleep_until
from agents.passes import Pass, Rows
from agents.plan import CONFIGURE_S, Job
from agents.samples.shard import Samples, batches
from agents.scheme import AGGREGATES, SCHEMES, Phase
from agents.serving import SERVING, Served
from agents.wire.air import Air, AirError, Arrival
from agents.wire.frames import Header

T = TypeVar("T")


class Bs:
    """The base station: the rest of the model (one, or a replica per UE), the loss, and the test set.

    ``own`` loads training samples of its own, for schemes that leave all data with it.
    """

    def __init__(
        self, test: Samples, metrics: Metrics, air: Air, device: str, own: Callable[[], Samples] | None = None
    ) -> None:
        self.meter = Meter("bs", metrics)
        self.air, self.device = air, device
        self._evaluator = Evaluator(test, device)
        self._load_own = own
        self._pacer = Pacer()

    def configure(self, job: Job) -> None:
        """Takes up a scheme with fresh weights, and waits until every UE has reported over the air."""
        self.job, plan = job, job.plan
        self.air.forget_uplinks()
        self.row = SCHEMES[plan.scheme]
        self.phases = plan.phases(job.duplex)
        self.sizes = {ue: plan.sizes(ue) for ue in plan.ues}
        self.halves = self._fresh_halves()
        self._front_counts = {ue: self._evaluator.front_count(job, ue) for ue in plan.ues}
        self._take_own()
        self._inbox: dict[tuple[int, int], dict[str, Arrival]] = {}
        self.meter.begin_scheme(job.trial, job.label, plan.time_dilation, job.delay_s)
        info = (job.trial, job.label, plan.planner, str(plan.cut), str(plan.micro_batches))
        self.meter.metrics.plan_info.labels(*info).set(1)
        self._evaluator.warm_up(job, self.half, sorted({size for _, size in plan.bs_tasks}))
        self._await_hellos()

    @property
    def half(self) -> BsHalf:
        """The one BS half, or the first replica."""
        return next(iter(self.halves.values()))

    def half_of(self, ue: str) -> BsHalf:
        """The half that trains with this UE."""
        return self.halves.get(ue, self.half)

    def phase(self, number: int, index: int, start_ns: int) -> None:
        """One phase of a round: its members' batches, then their weights."""
        phase, self._inbox = self.phases[index], {}
        self._weights: dict[str, Arrival] = {}
        self.meter.begin_phase(first=index == 0)
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        where: Header = {"round": number, "phase": index, "turn": phase.turn}
        for served in SERVING[self.row.bs_model](self, phase, number):
            self._serve(where, phase, served)
        if phase.syncs:
            self._share(where, phase)
        if index == len(self.phases) - 1 and self.meter.loss_samples:
            loss = self.meter.loss_sum / self.meter.loss_samples
            self.meter.metrics.train_loss.labels(self.job.trial, self.job.label).set(loss)

    def evaluate(self, halves: Mapping[str, Sequence[torch.Tensor]]) -> dict[str, float]:
        """Test accuracy of each UE half (by the UE's name) joined to its BS half; outside emulated time.

        Under the name ``average`` the mean of all halves given, where they have one cut and never synchronise.
        """
        found = self._evaluator.accuracies(self.job, halves, self.half_of, self.row.ue_weights == "kept")
        named = [accuracy for name, accuracy in found.items() if name != "average"]
        self.meter.metrics.accuracy.labels(self.job.trial, self.job.label).set(sum(named) / len(named))
        return found

    def gather(self, step: int, m: int, members: Sequence[str]) -> list[Arrival]:
        """The m-th micro-batches of these UEs, in UE order, once all have arrived."""
        box = self._inbox.setdefault((step, m), {})
        while any(ue not in box for ue in members):
            self.receive_uplink()
        return [box[ue] for ue in members]

    def receive_uplink(self) -> Arrival:
        """The next micro-batch, whosever it is; weights that come in between are kept."""
        while (arrival := self._receive()).header["kind"] != "uplink":
            pass
        where = (arrival.header["step"], arrival.header["micro_batch"])
        self._inbox.setdefault(where, {})[arrival.peer] = arrival
        return arrival

    def own_batch(self) -> list[torch.Tensor]:
        """The next batch of the BS's own data: images and labels."""
        index = torch.from_numpy(next(self._own_batches))
        return [self._own_images[index], self._own_labels[index]]

    def _take_own(self) -> None:
        if self.job.plan.bs_batch and self._load_own:
            own = self._load_own()
            self._own_images, self._own_labels = to_inputs(torch.from_numpy(own.images)), torch.from_numpy(own.labels)
            self._own_batches = batches(len(own), self.job.plan.bs_batch, (self.job.seed, 3))

    def _serve(self, where: Header, phase: Phase, served: Served) -> None:
        """Forward and backward pass of one group of micro-batches, and the gradients on their way."""
        rows = self._rows(phase, served)
        total, merged = sum(len(part) for part in rows.labels), 0
        if rows.paired:
            merged = rows.paired * (len(rows.labels) - 1) if AGGREGATES[self.job.plan.aggregate].merges else 0
        extra = rows.paired if merged else 0
        ready_ns = max((a.arrived_ns for a in served.arrivals), default=0)
        ending: Pass = self._compute(
            "bs_forward", served, total + extra, ready_ns, where, lambda: served.half.forward(rows, self._aggregate)
        )

        def backward() -> tuple[list[torch.Tensor], torch.Tensor | None]:
            gradients = ending.backward()
            if served.last:
                served.half.step()
            return gradients

        gradients, shared = self._compute("bs_backward", served, total - merged, ready_ns, where, backward)
        self.meter.lost(ending.loss * served.samples, total)
        self._scatter(where, phase, served, gradients, shared)

    def _rows(self, phase: Phase, served: Served) -> Rows:
        parts = [arrival.tensors() for arrival in served.arrivals] or [self.own_batch()]
        paired = self.job.plan.shared_rows([a.peer for a in served.arrivals]) if self.row.aggregates else 0
        weights = [self.job.shares[arrival.peer] for arrival in served.arrivals]
        return Rows([p[0] for p in parts], [p[1] for p in parts], served.samples, paired, weights)

    def _scatter(
        self, where: Header, phase: Phase, served: Served, own: Sequence[torch.Tensor], shared: torch.Tensor | None
    ) -> None:
        """Sends each UE its gradient; a shared one first, to all, and nothing else meanwhile."""
        at_ns = 0
        header = {**where, "step": served.step, "micro_batch": served.micro_batch}
        if self.job.duplex == "tdd":
            header["hold_for"] = sum(size > 0 for ue in phase.members for size in self.sizes[ue])
        if shared is not None:
            for arrival in served.arrivals:
                self.air.send(arrival.peer, {**header, "kind": "broadcast"}, [shared], broadcast=True)
            bits = shared.numel() * shared.element_size() * 8
            at_ns = time.monotonic_ns() + round(bits / self.job.plan.broadcast_bps * self.job.plan.time_dilation * 1e9)
        for arrival, gradient in zip(served.arrivals, own, strict=False):
            if len(gradient):
                self.air.send(arrival.peer, {**header, "kind": "downlink"}, [gradient], not_before_ns=at_ns)

    def _share(self, where: Header, phase: Phase) -> None:
        """Averages the members' halves, and the replicas, unit by unit; sends the UEs' part to the heirs first."""
        while any(ue not in self._weights for ue in phase.members):
            self._receive()
        shares = [self.job.shares[ue] for ue in phase.members]
        wholes = [self._weights[ue].tensors() for ue in phase.members]
        replicas = self.row.bs_model == "replicas"
        if replicas:
            wholes = [[*front, *self.half_of(ue).state()] for ue, front in zip(phase.members, wholes, strict=True)]
        sent = max(self._front_counts[ue] for ue in phase.heirs)
        mean = average([whole[:sent] for whole in wholes], shares)
        for ue in phase.heirs:
            header = {**where, "kind": "weights", "step": 0, "micro_batch": 0}
            self.air.send(ue, header, mean[: self._front_counts[ue]])
        if replicas:  # while the air is busy
            mean += average([whole[sent:] for whole in wholes], shares)
            for half in self.halves.values():
                half.load(mean[len(mean) - len(half.state()) :])

    def _receive(self) -> Arrival:
        arrival = self.air.receive(self.job.deadline_s)
        header = arrival.header
        if header["kind"] not in ("uplink", "weights"):
            raise AirError(f"the bs waited for uplinks and got {header['kind']} from {arrival.peer}")
        task = "uplink" if header["kind"] == "uplink" else "weights_up"
        self.meter.received(task, arrival.peer, header, arrival.bytes, arrival.arrived_ns)
        if task == "weights_up":
            self._weights[arrival.peer] = arrival
        return arrival

    def _compute(self, task: str, served: Served, rows: int, ready_ns: int, where: Header, work: Callable[[], T]) -> T:
        per_sample = {
            "bs_forward": self.job.bs_forward_s_per_sample,
            "bs_backward": self.job.bs_backward_s_per_sample,
        }[task]
        who = served.arrivals[0].peer if served.arrivals else "bs"
        duration_s = per_sample[who] * rows * self.job.plan.time_dilation if self.job.paced else None
        result, span = self._pacer.run(work, ready_ns, duration_s)
        self.meter.computed(task, span, served.micro_batch, where["turn"])
        return result

    @property
    def _aggregate(self) -> str:
        return self.job.plan.aggregate

    def _fresh_halves(self) -> dict[str, BsHalf]:
        job, plan = self.job, self.job.plan
        whole = build(job.model, job.dataset_info, job.norm, job.seed)
        self._evaluator.take_model(whole)
        names = list(plan.clusters) if self.row.bs_model == "replicas" else ["bs"]
        cuts = {name: plan.cut_of(name) if name in plan.ues else plan.cut for name in names}
        return {
            name: BsHalf(split(self._evaluator.copy_of_model(), cut)[1], job.lr, job.momentum, self.device)
            for name, cut in cuts.items()
        }

    def _await_hellos(self) -> None:
        missing, deadline = set(self.job.plan.ues), time.monotonic() + CONFIGURE_S
        while missing:
            try:
                arrival = self.air.receive(max(0.0, deadline - time.monotonic()))
            except AirError:
                raise AirError(f"{', '.join(sorted(missing))} cannot reach the bs over the air") from None
            if (arrival.header["kind"], arrival.header.get("label")) == ("hello", self.job.label):
                missing.discard(arrival.peer)
