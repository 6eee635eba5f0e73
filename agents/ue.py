"""A UE: its private samples, and what it does of each task at its processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch

from agents.executor import Done, Executor
from agents.halves import Weights as Tensors
from agents.halves import to_inputs
from agents.heap import trim
from agents.job import Job
from agents.meter import Meter, Metrics
from agents.privacy import privatise, privatise_weights
from agents.samples.shard import Order, Samples
from agents.schedule.pieces import at_once
from agents.schedule.task import BS, Activations, Compute, Give, Gradients, Key, Load, Noise, Step, Take, Task, Weights
from agents.state import Given, Kept
from agents.trainer import Passed, Source, Trainer, check_sizes, layout_of, needed
from agents.wire.air import Air
from agents.wire.frames import Layout, layout
from agents.wire.inbox import Arrival

Positions = npt.NDArray[np.int64]
OpenAir = Callable[[str, int], Air]
LoadShard = Callable[[int], Samples]


class Ue:
    """One device: its private samples, its part of the model, its end of the air.

    ``load`` gives its shard in one of the dealings of a trial, by number. ``open_air`` connects to the BS at an
    address, and takes no frame longer than that many bytes.
    """

    device = "cpu"
    trainer: Trainer

    def __init__(self, name: str, load: LoadShard, metrics: Metrics, open_air: OpenAir) -> None:
        self.name = name
        self._open_air = open_air
        self.meter = Meter(name, metrics)
        self._load, self._loaded = load, -1
        self._executor = Executor(name, self.meter, self._perform)
        self._air: Air | None = None
        self._bs_address = ""

    def configure(self, job: Job, most_bytes: int) -> None:
        """Takes up a scheme: fresh weights, optimiser and batch order; greets the BS over the air."""
        self._job = job
        with suppress(AttributeError):
            del self.trainer  # before the memory for another one is needed
        trim()
        self._take_samples(job.dealing)
        self.trainer = Trainer(job, self.device)
        self._take_up(job, most_bytes)
        number = list(job.plan.ues).index(self.name)
        self._order = Order(len(self._labels), (job.seed, 2, number))
        self._noise = torch.Generator().manual_seed(job.seed * 1_000_003 + number)
        self.meter.begin_scheme(job.trial, job.label, job.plan.time_dilation, job.delay_s)
        self._go_on_air(job, most_bytes)

    def _go_on_air(self, job: Job, most_bytes: int) -> None:
        """Reaches the BS over the air, by a new connection where the one that is there will not do."""
        if self._air is None or self._air.most_bytes < most_bytes or self._bs_address != job.bs_address:
            self.close()
            self._air, self._bs_address = self._open_air(job.bs_address, most_bytes), job.bs_address
        self._air.open(job.label, [BS])
        self._air.greet(job.label)

    def _take_samples(self, dealing: int) -> None:
        """The shard that is this UE's in a dealing."""
        if dealing != self._loaded:
            self._images = torch.empty(0)  # before the memory for others is needed
            samples, self._loaded = self._load(dealing), dealing
            self._images = to_inputs(torch.from_numpy(samples.images))
            self._labels = torch.from_numpy(samples.labels)

    def rejoin(self, job: Job, most_bytes: int, drawn: int) -> bool:
        """Comes back after it was lost; whether it still has its weights, momentum and batch order.

        What it had begun is forgotten. Who has to begin again has ``drawn`` so many samples before.
        """
        kept = hasattr(self, "trainer") and self._job.label == job.label
        most_bytes = max(most_bytes, self._air.most_bytes if self._air is not None else 0)
        self.close()  # with what waits there
        if not kept:
            self.configure(job, most_bytes)
            self.skip(drawn)
            return False
        self.trainer.abandon()
        self._job = job
        self._take_up(job, most_bytes)
        self._go_on_air(job, most_bytes)
        return True

    def skip(self, drawn: int) -> None:
        """So many samples more have been drawn already, and noise for them."""
        self._order.take(drawn)
        self._noise.manual_seed(self._noise.initial_seed() + drawn)  # the same noise twice could be taken off

    def change(self, job: Job) -> None:
        """From the next round on by another plan, at other speeds."""
        self._job = job
        self._take_up(job, self.air.most_bytes)

    def _take_up(self, job: Job, most_bytes: int) -> None:
        """Has the parts of the model that a plan asks for, and has run each size of theirs once."""
        schedule = job.schedule(1)
        check_sizes(schedule, self.trainer.whole, self.trainer.shapes, most_bytes)
        mine = schedule.at.get(self.name, ())
        self.trainer.take(mine)
        self.trainer.forget_drawn()
        self.trainer.warm_up(mine, at_once(schedule, self.name))
        self._before = self._remembered()

    @property
    def job(self) -> Job:
        """What this UE does."""
        return self._job

    @property
    def air(self) -> Air:
        """The air, once configured."""
        assert self._air is not None
        return self._air

    def begin_round(self, number: int) -> None:
        """Takes up a round."""
        self._parts: dict[tuple[int, int, int], Positions] = {}
        self._executor.begin(self._job, number, self.air, self._layout)

    def segment(self, index: int, start_ns: int) -> None:
        """Everything that this UE does in a segment of the round."""
        self.meter.begin_segment(first=index == 0)
        self._executor.run(index, start_ns)

    def prune(self, ue: str, came: Sequence[Key]) -> list[Key]:
        """Goes on with the round without another UE; see ``Executor.lose``."""
        return self._executor.lose(ue, came)

    def looks(self) -> tuple[bool, int, list[str]]:
        """How the round goes here; see ``Executor.looks``."""
        return self._executor.looks()

    def abandon(self) -> None:
        """Waits for nothing more in the round that it is in."""
        if self._air is not None:
            self._air.fail("given up")

    def _layout(self, task: Task) -> Layout:
        return layout_of(task, self.trainer.whole, self.trainer.shapes)

    def parts(self) -> list[tuple[int, int, Tensors]]:
        """First and last unit of each part of the model that is here, and its weights, for evaluation."""
        return [(first, last, half.weights()) for (_, first, last), half in self.trainer.of(self.name)]

    def state(self) -> Kept:
        """All that the next round follows from, between two rounds."""
        kept = Kept()
        kept.put_parts(self.trainer)
        kept.put_order("order", self._order)
        kept.put("noise", [self._noise.get_state()])
        kept.put("before", self._before)
        kept.put_random(self.device)
        return kept

    def restore(self, given: Given) -> None:
        """Goes on where ``state`` was taken, under the plan in force. StateError for what is no state of this UE."""
        given.take_parts(self.trainer, {self.name}, needed(self._job.schedule(1).at.get(self.name, ())))
        given.take_order("order", self._order)
        given.take_generator("noise", self._noise)
        self._before = [value.clone() for value in given.take("before", layout(self._remembered()))]
        given.take_random(self.device)
        given.end()
        self.trainer.forget_drawn()

    def close(self) -> None:
        """Leaves the air."""
        if self._air is not None:
            self._air.close()
            self._air = None

    def _perform(self, task: Task, arrivals: Sequence[Arrival]) -> Done:
        made = Passed()
        match task.work:
            case Compute(backward=False) as work:
                made = self._forward(task, work, arrivals)
            case Compute() as work:
                made = self.trainer.backward(task.key, work, [self._gradient(arrival) for arrival in arrivals])
            case Step() as work:
                self.trainer.step(work, self._executor.scale(task.key))
            case Noise():
                noisy = self._noisy_weights()
                return Done({one.key: noisy for one in self._executor.carried.get(task.key, ())})
            case Load():
                self._take_over(arrivals[0])
            case Give() as work:
                given = self.trainer.give(work)
                return Done({one.key: given for one in self._executor.carried[task.key]})
            case Take() as work:
                self.trainer.receive(work, [arrival.tensors() for arrival in arrivals])
                self._before = self._remembered()
        return Done({one.key: self._carries(one, made) for one in self._executor.carried.get(task.key, ())})

    def _forward(self, task: Task, work: Compute, arrivals: Sequence[Arrival]) -> Passed:
        index = torch.from_numpy(self._positions(task))
        values = arrivals[0].tensors()[0] if work.first else self._samples(index, work)
        source, one_piece = Source(self.name, values, self._labels[index]), task.key in self._executor.at_once
        made = self.trainer.forward(task.key, work, [source], self._job.shares, one_piece)
        if made.loss_sum is not None:
            self.meter.lost(made.loss_sum, work.samples)
        return made

    def _samples(self, index: torch.Tensor, work: Compute) -> torch.Tensor:
        """The samples of a micro-batch, with the noise that the schedule asks for."""
        values, privacy = self._images[index], self._job.plan.privacy
        return privatise(values, privacy, self._noise) if work.noise and privacy else values

    def _positions(self, task: Task) -> Positions:
        """The samples of a micro-batch; the first task of a batch takes the next batch."""
        turn, step, micro_batch, *_ = task.key
        if (turn, step, micro_batch) not in self._parts:
            sizes = self._job.plan.sizes(self.name)
            taken = np.split(self._order.take(sum(sizes)), np.cumsum(sizes)[:-1])
            self._parts.update({(turn, step, m): part for m, part in enumerate(taken)})
        return self._parts[turn, step, micro_batch]

    def _gradient(self, arrival: Arrival) -> torch.Tensor:
        """The gradients that came; of those that are everybody's, this UE's share."""
        gradient, schedule = arrival.tensors()[0], self._executor.schedule
        sent = schedule.by_key[arrival.key]
        if isinstance(sent.work, Gradients) and sent.work.weighted:
            together = sum(self._job.shares[ue] for ue in schedule.sources(sent))
            gradient = gradient * (self._job.shares[self.name] / together)
        return gradient

    def _carries(self, transfer: Task, made: Passed) -> Sequence[torch.Tensor]:
        match transfer.work:
            case Activations(labels=labels):
                own = made.rows[self.name]
                return [own, self._labels[torch.from_numpy(self._positions(transfer))]] if labels else [own]
            case Weights():
                return self._weights()
            case _:
                return [made.rows[self.name]]

    def _weights(self) -> Tensors:
        """The weights of the part that starts with the samples."""
        return next((half.weights() for (_, first, _), half in self.trainer.of(self.name) if first == 0), [])

    def _remembered(self) -> Tensors:
        """The weights as they came, where noise on their change is asked for."""
        return self._weights() if self._job.plan.noise("weights") else []

    def _noisy_weights(self) -> Tensors:
        """The weights as they leave: with noise on their change since they last came."""
        privacy = self._job.plan.privacy
        assert privacy is not None
        return privatise_weights(self._weights(), self._before, privacy, self._noise)

    def _take_over(self, arrival: Arrival) -> None:
        """Takes over the weights that go to this UE."""
        self.trainer.of(self.name)[0][1].load(arrival.tensors())
        self._before = self._remembered()
