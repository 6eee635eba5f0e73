"""The UE loop: forward passes, uplinks, downlinks and backward passes of one device."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from agents.data import Samples, batches
from agents.halves import UeHalf, Weights, to_inputs
from agents.meter import Meter, Metrics
from agents.models import build, split
from agents.pace import Pacer, sleep_until
from agents.plan import AIR_PORT, Job, micro_batch_sizes
from agents.scheme import SCHEMES, turns
from agents.wire.air import Air, AirError, Arrival

Positions = npt.NDArray[np.int64]


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
        names = list(plan.ues)
        self.turns = turns(self.row, names)
        self.sizes = micro_batch_sizes(plan.ues[self.name].batch, plan.micro_batches)
        self._batches: Iterator[Positions] = batches(
            len(self._labels), plan.ues[self.name].batch, (job.seed, 2, names.index(self.name))
        )
        self.meter.begin_scheme(job.trial, job.label, plan.time_dilation)
        self._warm_up()
        self._connect(job.bs_address)
        self.air.send("bs", {"kind": "hello", "label": job.label, "round": 0, "turn": 0})

    @property
    def air(self) -> Air:
        """The air, once configured."""
        assert self._air is not None
        return self._air

    def round(self, number: int, start_ns: int) -> None:
        """Everything this UE does in one round, which starts at ``start_ns`` of the monotonic clock."""
        self.meter.begin_round()
        sleep_until(start_ns)
        self._pacer.start_round(start_ns)
        handed = self.row.ue_weights == "handed" and len(self.job.plan.ues) > 1
        for turn, members in enumerate(self.turns):
            if self.name not in members:
                continue
            ready_ns = self._take_over() if handed and turn > 0 else start_ns
            self._train(number, turn, ready_ns)
            if handed:
                header = {"kind": "weights", "round": number, "turn": turn, "micro_batch": 0}
                self.air.send("bs", header, self.half.weights())
        if handed and self.name in self.turns[0]:
            self._take_over()

    def weights(self) -> Weights:
        """This UE's half, for evaluation."""
        return self.half.weights()

    def _train(self, number: int, turn: int, ready_ns: int) -> None:
        positions = next(self._batches)
        parts = np.split(positions, np.cumsum(self.sizes)[:-1])
        outputs = [self._forward(number, turn, m, part, ready_ns) for m, part in enumerate(parts) if len(part)]
        for m, output in enumerate(outputs):
            self._backward(turn, m, output, last=m == len(outputs) - 1)

    def _forward(self, number: int, turn: int, m: int, part: Positions, ready_ns: int) -> torch.Tensor:
        index = torch.from_numpy(part)
        duration_s = self._duration(self.job.ue_forward_s_per_sample[self.name], len(part))
        output, span = self._pacer.run(lambda: self.half.forward(self._images[index]), ready_ns, duration_s)
        self.meter.computed("ue_forward", span, m, turn)
        header = {"kind": "uplink", "round": number, "turn": turn, "micro_batch": m}
        self.air.send("bs", header, [output, self._labels[index]])
        return output

    def _backward(self, turn: int, m: int, output: torch.Tensor, last: bool) -> None:
        arrival = self._expect("downlink")
        self.meter.received("downlink", self.name, arrival.header, arrival.bytes, arrival.arrived_ns)

        def work() -> None:
            self.half.backward(output, arrival.tensors()[0])
            if last:
                self.half.step()

        duration_s = self._duration(self.job.ue_backward_s_per_sample[self.name], len(output))
        _, span = self._pacer.run(work, arrival.arrived_ns, duration_s)
        self.meter.computed("ue_backward", span, m, turn)

    def _take_over(self) -> int:
        """Takes over the weights that are handed to this UE; when they were here (monotonic ns)."""
        arrival = self._expect("weights")
        self.meter.received("weights_down", self.name, arrival.header, arrival.bytes, arrival.arrived_ns)
        self.half.load(arrival.tensors())
        return arrival.arrived_ns

    def _expect(self, kind: str) -> Arrival:
        arrival = self.air.receive(self.job.deadline_s)
        if arrival.header["kind"] != kind:
            raise AirError(f"{self.name} waited for {kind} and got {arrival.header['kind']}")
        return arrival

    def _duration(self, s_per_sample: float, samples: int) -> float | None:
        return s_per_sample * samples * self.job.plan.time_dilation if self.job.paced else None

    def _fresh_half(self) -> torch.nn.Sequential:
        job = self.job
        return split(build(job.model, job.dataset_info, job.norm, job.seed), job.plan.cut)[0]

    def _warm_up(self) -> None:
        half = UeHalf(copy.deepcopy(self.half.model), self.job.lr, 0.0)
        for size in sorted(set(self.sizes) - {0}):
            output = half.forward(self._images[:size])
            half.backward(output, torch.zeros_like(output))

    def _connect(self, address: str) -> None:
        if self._air is not None and self._air_address == address:
            self._air.clear()
            return
        if self._air is not None:
            self._air.close()
        self._air = Air.device(self.name, address, AIR_PORT)
        self._air_address = address
