"""The UE loop: forward passes, uplinks, downlinks and backward passes of one device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from agents.halves import BsHalf, UeHalf, Weights, to_inputs
from agents.meter import Meter, Metrics
from agents.models.build import build, split
from agents.pace import Pacer, sleep_until
from agents.passes import Pass, Rows
from agents.plan import AIR_PORT, BROADCAST_PORT, Job
from agents.privacy import privatise, privatise_weights
from agents.samples.shard import Samples, batches
from agents.scheme import AGGREGATES, SCHEMES, Phase
from agents.wire.air import Air, AirError, Arrival
from agents.wire.frames import Header

Positions = npt.NDArray[np.int64]
T = TypeVar("T")


class Ue:
    """One device: its private samples, its half of the model, its end of the air."""

    def __init__(self, name: str, samples: Samples, metrics: Metrics) -> None:
        self.name = name
        self.meter = Meter(name, metrics)
        self._images = to_inputs(torch.from_numpy(samples.images))
        self._labels = torch.from_numpy(samples.labels)
        self._pacer = Pacer()
        self._air: Air | None = None
        self._air_address = ""

    def configure(self, job: Job) -> None:
        """Takes up a scheme: fresh weights, optimiser and batch order; reports to the BS over the air."""
        self.job, plan = job, job.plan
        self.row = SCHEMES[plan.scheme]
        self.half = UeHalf(self._fresh_half(), job.lr, job.momentum)
        self._before = self.half.weights()
        self._end = BsHalf(torch.nn.Sequential(), 0.0, 0.0)
        self.phases = plan.phases(job.duplex)
        self.sizes = plan.sizes(self.name)
        number = list(plan.ues).index(self.name)
        self._batches: Iterator[Positions] = batches(
            len(self._labels), plan.ues[self.name].batch, (job.seed, 2, number)
        )
        self._noise = torch.Generator().manual_seed(job.seed * 1_000_003 + number)
        self.meter.begin_scheme(job.trial, job.label, plan.time_dilation, job.delay_s)
        self._warm_up()
        self._connect(job.bs_address)
        self.air.send("bs", {"kind": "hello", "label": job.label, "round": 0, "phase": 0})

    @property
    def air(self) -> Air:
        """The air, once configured."""
        assert self._air is not None
        return self._air

    def phase(self, number: int, index: int, start_ns: int) -> None:
        """Everything this UE does in one phase of a round, which starts at ``start_ns`` of the monotonic clock."""
        phase = self.phases[index]
        self.meter.begin_phase(first=index == 0)
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        where: Header = {"round": number, "phase": index, "turn": phase.turn}
        if self.name in phase.members:
            ready_ns = start_ns
            for step in range(phase.steps):
                train = self._train_alone if self.row.bs_model == "none" else self._train_split
                ready_ns = train({**where, "step": step}, phase, ready_ns)
            if phase.syncs:
                self.air.send("bs", {**where, "kind": "weights", "step": 0, "micro_batch": 0}, self._leaving_weights())
        if phase.syncs and self.name in phase.heirs:
            self._take_over()

    def weights(self) -> Weights:
        """This UE's half, for evaluation."""
        return self.half.weights()

    def _train_split(self, where: Header, phase: Phase, ready_ns: int) -> int:
        """One batch with the BS: all micro-batches forward and up, then down and backward; when that was done."""
        outputs = [self._forward({**where, "micro_batch": m}, part, ready_ns) for m, part in self._parts()]
        shared = self.job.plan.shared_rows(phase.members)
        for (m, output), left in zip(outputs, range(len(outputs) - 1, -1, -1), strict=True):
            ready_ns = self._backward(where["turn"], m, output, shared, last=left == 0)
        return ready_ns

    def _train_alone(self, where: Header, phase: Phase, ready_ns: int) -> int:
        """One batch with the whole model on the UE; when it was done (monotonic ns)."""
        for m, part in self._parts():
            index, turn = torch.from_numpy(part), where["turn"]
            output = self._compute(
                "ue_forward", turn, m, len(part), ready_ns, partial(self.half.forward, self._images[index])
            )
            ending = self._end.forward(Rows([output], [self._labels[index]], len(part)))
            self.meter.lost(ending.loss * len(part), len(part))
            self._compute("ue_backward", turn, m, len(part), ready_ns, partial(self._learn_alone, output, ending))
        return self._pacer.free_ns

    def _learn_alone(self, output: torch.Tensor, ending: Pass) -> None:
        self.half.backward(output, ending.backward()[0][0])
        self.half.step()

    def _parts(self) -> list[tuple[int, Positions]]:
        """The micro-batches of the next batch that hold samples, by number."""
        positions = next(self._batches)
        parts = np.split(positions, np.cumsum(self.sizes)[:-1])
        return [(m, part) for m, part in enumerate(parts) if len(part)]

    def _forward(self, where: Header, part: Positions, ready_ns: int) -> tuple[int, torch.Tensor]:
        index, m = torch.from_numpy(part), where["micro_batch"]

        def work() -> torch.Tensor:
            output = self.half.forward(self._images[index])
            return privatise(output, self.job.privacy, self._noise) if self.job.privacy else output

        output = self._compute("ue_forward", where["turn"], m, len(part), ready_ns, work)
        self.air.send("bs", {**where, "kind": "uplink"}, [output, self._labels[index]])
        return m, output

    def _backward(self, turn: int, m: int, output: torch.Tensor, shared: int, last: bool) -> int:
        kinds = ["broadcast"] * (shared > 0) + ["downlink"] * (shared < len(output))
        found = {arrival.header["kind"]: arrival for arrival in [self._expect(kinds) for _ in kinds]}
        arrivals = [found[kind] for kind in kinds]
        for kind, arrival in zip(kinds, arrivals, strict=True):
            self.meter.received(kind, self.name, arrival.header, arrival.bytes, arrival.arrived_ns)

        def work() -> None:
            gradients = [arrival.tensors()[0] for arrival in arrivals]
            if shared and AGGREGATES[self.job.plan.aggregate].weighted:
                gradients[0] = gradients[0] * self.job.shares[self.name]
            self.half.backward(output, torch.cat(gradients))
            if last:
                self.half.step()

        ready_ns = max(arrival.arrived_ns for arrival in arrivals)
        self._compute("ue_backward", turn, m, len(output), ready_ns, work)
        return self._pacer.free_ns

    def _compute(self, task: str, turn: int, m: int, samples: int, ready_ns: int, work: Callable[[], T]) -> T:
        """Runs a task on the modelled processor and counts it."""
        each_s = {"ue_forward": self.job.ue_forward_s_per_sample, "ue_backward": self.job.ue_backward_s_per_sample}
        duration_s = each_s[task][self.name] * samples * self.job.plan.time_dilation if self.job.paced else None
        result, span = self._pacer.run(work, ready_ns, duration_s)
        self.meter.computed(task, span, m, turn)
        return result

    def _leaving_weights(self) -> Weights:
        weights = self.half.weights()
        if self.job.privacy is None:
            return weights
        return privatise_weights(weights, self._before, self.job.privacy, self._noise)

    def _take_over(self) -> None:
        """Takes over the weights that go to this UE."""
        arrival = self._expect(["weights"])
        self.meter.received("weights_down", self.name, arrival.header, arrival.bytes, arrival.arrived_ns)
        self.half.load(arrival.tensors())
        self._before = self.half.weights()

    def _expect(self, kinds: Sequence[str]) -> Arrival:
        arrival = self.air.receive(self.job.deadline_s)
        if arrival.header["kind"] not in kinds:
            raise AirError(f"{self.name} waited for {' or '.join(kinds)} and got {arrival.header['kind']}")
        return arrival

    def _fresh_half(self) -> torch.nn.Sequential:
        job = self.job
        return split(build(job.model, job.dataset_info, job.norm, job.seed), job.plan.cut_of(self.name))[0]

    def _warm_up(self) -> None:
        half = UeHalf(copy.deepcopy(self.half.model), self.job.lr, 0.0)
        if not list(half.model.parameters()):
            return
        for size in sorted(set(self.sizes) - {0}):
            output = half.forward(self._images[:size])
            half.backward(output, torch.zeros_like(output))

    def _connect(self, address: str) -> None:
        if self._air is not None and self._air_address == address:
            self._air.clear()
            return
        if self._air is not None:
            self._air.close()
        self._air = Air.device(self.name, address, AIR_PORT, BROADCAST_PORT)
        self._air_address = address
