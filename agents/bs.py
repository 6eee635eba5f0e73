"""The BS loop: gathers micro-batches, runs one forward one backward, scatters gradients."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch

from agents.data import Samples
from agents.halves import BsHalf, UeHalf, Weights, to_inputs
from agents.meter import Meter, Metrics
from agents.models import build, split
from agents.pace import Pacer, sleep_until
from agents.plan import Job, micro_batch_sizes
from agents.scheme import SCHEMES, turns
from agents.wire.air import Air, AirError, Arrival

_EVALUATION_BATCH = 250


class Bs:
    """The base station: the rest of the model, the loss, and the test set."""

    def __init__(self, test: Samples, metrics: Metrics, air: Air, device: str) -> None:
        self.meter = Meter("bs", metrics)
        self.air, self.device = air, device
        self._test_images = to_inputs(torch.from_numpy(test.images))
        self._test_labels = torch.from_numpy(test.labels).long()
        self._pacer = Pacer()

    def configure(self, job: Job) -> None:
        """Takes up a scheme with fresh weights, and waits until every UE has reported over the air."""
        self.job, plan = job, job.plan
        self.air.forget_uplinks()
        self.row = SCHEMES[plan.scheme]
        whole = build(job.model, job.dataset_info, job.norm, job.seed)
        self.ue_architecture, rest = split(whole, plan.cut)
        self.half = BsHalf(rest, job.lr, job.momentum, self.device)
        self.turns = turns(self.row, list(plan.ues))
        self.sizes = {ue: micro_batch_sizes(p.batch, plan.micro_batches) for ue, p in plan.ues.items()}
        self.train_loss = 0.0
        self._inbox: dict[tuple[int, int], dict[str, Arrival]] = {}
        self.meter.begin_scheme(job.trial, job.label, plan.time_dilation)
        info = (job.trial, job.label, plan.planner, str(plan.cut), str(plan.micro_batches))
        self.meter.metrics.plan_info.labels(*info).set(1)
        self._warm_up()
        self._await_hellos()

    def round(self, number: int, start_ns: int) -> None:
        """One round: every turn's micro-batches, one optimiser step per turn, hand-overs."""
        self.meter.begin_round()
        self._inbox, self.train_loss = {}, 0.0
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        for turn, members in enumerate(self.turns):
            self._train(number, turn, members)
            if self.row.ue_weights == "handed" and len(self.sizes) > 1:
                self._hand_over(number, turn)
        self.meter.metrics.train_loss.labels(self.job.trial, self.job.label).set(self.train_loss)

    def evaluate(self, halves: Sequence[Weights]) -> list[float]:
        """Test accuracy of each UE half joined to this BS's half; outside emulated time."""
        accuracies = []
        for weights in halves:
            ue_half = UeHalf(copy.deepcopy(self.ue_architecture), 0.0, 0.0)
            ue_half.load(weights)
            accuracies.append(self._accuracy(ue_half.model))
        mean = sum(accuracies) / len(accuracies)
        self.meter.metrics.accuracy.labels(self.job.trial, self.job.label).set(mean)
        return accuracies

    def _train(self, number: int, turn: int, members: Sequence[str]) -> None:
        samples = sum(self.job.plan.ues[ue].batch for ue in members)
        uplinks = sum(1 for ue in members for size in self.sizes[ue] if size)
        hold_for = uplinks if self.job.duplex == "tdd" else 0
        steps = [m for m in range(self.job.plan.micro_batches) if any(self.sizes[ue][m] for ue in members)]
        for m in steps:
            arrivals = self._gather(turn, m, [ue for ue in members if self.sizes[ue][m]])
            gradients = self._compute(arrivals, m, turn, samples, last=m == steps[-1])
            header = {"kind": "downlink", "round": number, "turn": turn, "micro_batch": m, "hold_for": hold_for}
            for arrival, gradient in zip(arrivals, gradients, strict=True):
                self.air.send(arrival.peer, header, [gradient])

    def _compute(self, arrivals: Sequence[Arrival], m: int, turn: int, samples: int, last: bool) -> list[torch.Tensor]:
        """Forward and backward pass of one micro-batch of all its UEs; gradients at the cut, one per UE."""
        sizes = [self.sizes[a.peer][m] for a in arrivals]

        def forward() -> tuple[torch.Tensor, torch.Tensor]:
            parts = [arrival.tensors() for arrival in arrivals]
            return self.half.forward([p[0] for p in parts], [p[1] for p in parts], samples)

        def backward() -> list[torch.Tensor]:
            gradients = self.half.backward(joined, loss, sizes)
            if last:
                self.half.step()
            return gradients

        ready_ns = max(arrival.arrived_ns for arrival in arrivals)
        duration_s = self._duration(self.job.bs_forward_s_per_sample, sum(sizes))
        (joined, loss), span = self._pacer.run(forward, ready_ns, duration_s)
        self.meter.computed("bs_forward", span, m, turn)
        duration_s = self._duration(self.job.bs_backward_s_per_sample, sum(sizes))
        gradients, span = self._pacer.run(backward, ready_ns, duration_s)
        self.meter.computed("bs_backward", span, m, turn)
        self.train_loss += loss.item() * samples / self.job.plan.batch
        return gradients

    def _gather(self, turn: int, m: int, members: Sequence[str]) -> list[Arrival]:
        """The m-th micro-batches of these UEs, in UE order, once all have arrived."""
        box = self._inbox.setdefault((turn, m), {})
        while any(ue not in box for ue in members):
            self._receive("uplink")
        return [box[ue] for ue in members]

    def _receive(self, kind: str) -> Arrival:
        arrival = self.air.receive(self.job.deadline_s)
        header = arrival.header
        if header["kind"] != kind:
            raise AirError(f"the bs waited for {kind} and got {header['kind']} from {arrival.peer}")
        task = "uplink" if kind == "uplink" else "weights_up"
        self.meter.received(task, arrival.peer, header, arrival.bytes, arrival.arrived_ns)
        if kind == "uplink":
            self._inbox.setdefault((header["turn"], header["micro_batch"]), {})[arrival.peer] = arrival
        return arrival

    def _hand_over(self, number: int, turn: int) -> None:
        """Passes the weights of the UE whose turn ends on to the UE whose turn is next."""
        arrival = self._receive("weights")
        heir = self.turns[(turn + 1) % len(self.turns)][0]
        self.air.send(heir, {"kind": "weights", "round": number, "turn": turn, "micro_batch": 0}, arrival.tensors())

    def _await_hellos(self) -> None:
        missing, deadline = (set(self.job.plan.ues), time.monotonic() + self.job.deadline_s)
        while missing:
            try:
                arrival = self.air.receive(max(0.0, deadline - time.monotonic()))
            except AirError:
                raise AirError(f"{', '.join(sorted(missing))} cannot reach the bs over the air") from None
            if (arrival.header["kind"], arrival.header.get("label")) == ("hello", self.job.label):
                missing.discard(arrival.peer)

    def _duration(self, s_per_sample: float, samples: int) -> float | None:
        return s_per_sample * samples * self.job.plan.time_dilation if self.job.paced else None

    def _accuracy(self, ue_half: torch.nn.Sequential) -> float:
        self.half.model.eval()
        ue_half.eval()
        with torch.inference_mode():
            correct = 0
            for images, labels in zip(
                torch.split(self._test_images, _EVALUATION_BATCH),
                torch.split(self._test_labels, _EVALUATION_BATCH),
                strict=True,
            ):
                scores = self.half.model(ue_half(images).to(self.device)).cpu()
                correct += int((scores.argmax(1) == labels).sum())
        self.half.model.train()
        return correct / len(self._test_labels)

    def _warm_up(self) -> None:
        half = BsHalf(copy.deepcopy(self.half.model), self.job.lr, 0.0, self.device)
        totals = {sum(sizes[m] for sizes in self.sizes.values()) for m in range(self.job.plan.micro_batches)}
        for total in sorted(totals - {0}):
            with torch.no_grad():
                activations = self.ue_architecture(self._test_images[:1]).repeat_interleave(total, 0)
            joined, loss = half.forward([activations], [self._test_labels[:1].expand(total)], total)
            half.backward(joined, loss, [total])
