"""The base station: the rest of the model, and what it does of each task at its processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from agents.device import compute_exactly
from agents.evaluation import Evaluator, Part
from agents.executor import Done, Executor
from agents.halves import Weights as Tensors
from agents.halves import average, to_inputs
from agents.heap import trim
from agents.job import CONFIGURE_S, Job
from agents.meter import Meter, Metrics
from agents.models.build import units_of
from agents.samples.shard import Order, Samples
from agents.schedule.footprint import MOST_EVALUATED
from agents.schedule.pieces import at_once
from agents.schedule.task import (
    BROADCAST_PLACE,
    BS,
    MEAN,
    Average,
    Compute,
    Give,
    Key,
    Step,
    Take,
    Task,
    Weights,
)
from agents.schedule.vocabulary import replica
from agents.state import Given, Kept
from agents.trainer import Passed, Source, Trainer, check_sizes, layout_of, needed
from agents.wire.air import Air
from agents.wire.frames import Layout, layout
from agents.wire.inbox import Arrival

OpenAir = Callable[[int], Air]


class Bs:
    """The base station: its part of the model (one, or a replica per UE), the loss, and the test set.

    ``open_air`` gives its end of the air, which takes no frame longer than that many bytes. ``own`` loads training
    samples of its own, for schemes that leave all data with it.
    """

    trainer: Trainer

    def __init__(
        self,
        test: Samples,
        metrics: Metrics,
        open_air: OpenAir,
        device: str,
        own: Callable[[], Samples] | None = None,
    ) -> None:
        self.meter = Meter(BS, metrics)
        self.device = device
        compute_exactly(device)
        self._open_air = open_air
        self._air: Air | None = None
        self._evaluator = Evaluator(test, device)
        self._load_own = own
        self._executor = Executor(BS, self.meter, self._perform)

    def open(self, label: str, ues: Sequence[str], most_bytes: int) -> None:
        """Listens for the UEs of a scheme that begins."""
        if self._air is None or self._air.most_bytes < most_bytes:
            self.close()
            self._air = self._open_air(most_bytes)
        self._air.open(label, ues)

    def configure(self, job: Job) -> None:
        """Takes up a scheme with fresh weights, and waits until every UE has reported over the air."""
        self._job = job
        torch.set_num_threads(job.bs_threads)
        with suppress(AttributeError):
            del self.trainer  # before the memory for another one is needed
        trim()
        self.trainer = Trainer(job, self.device, job.bs_threads)
        rows = job.footprint.evaluated_rows() if job.footprint else MOST_EVALUATED
        self._evaluator.take_model(self.trainer.whole, rows)
        self._take_own()
        self._mean: Tensors = []
        self.meter.begin_scheme(job.trial, job.label, job.plan.time_dilation, job.delay_s)
        self._take_up(job)
        self.air.await_greetings(list(job.plan.ues), CONFIGURE_S)

    def change(self, job: Job) -> None:
        """From the next round on by another plan, at other speeds."""
        self.meter.metrics.plan_info.remove(*_plan_info(self._job))
        self._job = job
        self._take_up(job)

    def _take_up(self, job: Job) -> None:
        """Has the parts of the model that a plan asks for, and has run each size of theirs once."""
        check_sizes(job.schedule(1), self.trainer.whole, self.trainer.shapes, self.air.most_bytes)
        mine = _tasks(job)
        self.trainer.take(mine)
        self.trainer.warm_up(mine, at_once(job.schedule(1), BS))
        self.meter.metrics.plan_info.labels(*_plan_info(job)).set(1)

    @property
    def job(self) -> Job:
        """What the BS does."""
        return self._job

    @property
    def air(self) -> Air:
        """The air, once open."""
        assert self._air is not None
        return self._air

    def begin_round(self, number: int) -> None:
        """Takes up a round."""
        if self._executor.pruned:
            self.trainer.abandon()
        self._executor.begin(self._job, number, self.air, self._layout)

    def segment(self, index: int, start_ns: int) -> None:
        """Everything that the BS does in a segment of the round."""
        self.meter.begin_segment(first=index == 0)
        self._executor.run(index, start_ns)

    def lose(self, ue: str) -> list[Key]:
        """Listens to a UE no more; what of it has come in this round."""
        return self.air.lose(ue)

    def prune(self, ue: str, came: Sequence[Key]) -> list[Key]:
        """Goes on with the round without a UE; see ``Executor.lose``."""
        return self._executor.lose(ue, came)

    def join(self, ue: str) -> None:
        """Listens to a UE again that was lost."""
        self.air.join(ue)

    def looks(self) -> tuple[bool, int, list[str]]:
        """How the round goes here; see ``Executor.looks``."""
        return self._executor.looks()

    def evaluate(
        self, parts: Mapping[str, Sequence[Part]], averaged: bool, images: int | None = None
    ) -> tuple[dict[str, float], float | None]:
        """Test accuracy of each UE's parts with the BS's, or of the BS's alone; outside emulated time, on all cores.

        Each on so many test ``images``, the next UE's from where the one before ended; on all unless that is given.
        With ``averaged`` also that of the mean of all UEs' parts, on all.
        """
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        try:
            return self._evaluate(parts, averaged, images)
        finally:
            torch.set_num_threads(self._job.bs_threads)

    def _evaluate(
        self, parts: Mapping[str, Sequence[Part]], averaged: bool, images: int | None
    ) -> tuple[dict[str, float], float | None]:
        found = {
            ue: self._evaluator.accuracy([*own, *self._own_parts(ue)], i, images)
            for i, (ue, own) in enumerate(parts.items())
        }
        if not parts:
            own = self._own_parts(BS)
            ends = own[0].first if own else len(self.trainer.shapes) - 1
            front = [Part(0, ends, self._averaged_units(0, ends))] if ends else []
            found = {BS: self._evaluator.accuracy([*front, *own])}
        mean = None
        if averaged and len(parts) > 1:
            shares = [self._job.shares[ue] for ue in parts]
            first = next(iter(parts))
            means = [
                Part(same[0].first, same[0].last, average([list(part.weights) for part in same], shares))
                for same in zip(*parts.values(), strict=True)
            ]
            mean = self._evaluator.accuracy([*means, *self._own_parts(first)])
        metric = self.meter.metrics.accuracy.labels(self._job.trial, self._job.label)
        metric.set(sum(found.values()) / len(found))
        return found, mean

    def state(self) -> Kept:
        """All that the next round follows from, between two rounds."""
        kept = Kept()
        kept.put_parts(self.trainer)
        kept.put("mean", self._mean)
        if self._job.plan.bs_batch:
            kept.put_order("order", self._own_order)
        kept.put_random(self.device)
        return kept

    def restore(self, given: Given) -> None:
        """Goes on where ``state`` was taken, under the plan in force. StateError for what is no state of this BS."""
        models = {BS, *map(replica, self._job.plan.ues)}
        given.take_parts(self.trainer, models, needed(_tasks(self._job)))
        whole = layout(list(self.trainer.whole.state_dict().values()))
        self._mean = [value.clone() for value in given.take("mean", whole[: given.count("mean")])]
        if self._job.plan.bs_batch:
            given.take_order("order", self._own_order)
        given.take_random(self.device)
        given.end()

    def _layout(self, task: Task) -> Layout:
        return layout_of(task, self.trainer.whole, self.trainer.shapes)

    def close(self) -> None:
        """Leaves the air."""
        if self._air is not None:
            self._air.close()
            self._air = None

    def _perform(self, task: Task, arrivals: Sequence[Arrival]) -> Done:
        match task.work:
            case Compute(backward=False) as work:
                one_piece = task.key in self._executor.at_once
                made = self.trainer.forward(task.key, work, self._sources(arrivals), self._job.shares, one_piece)
                if made.loss_sum is not None:
                    self.meter.lost(made.loss_sum, work.samples)
            case Compute() as work:
                gradients, of = [one.tensors()[0] for one in arrivals], [one.key.ue for one in arrivals]
                made = self.trainer.backward(task.key, work, gradients, of)
            case Average() as work:
                return self._averaged(task, work, arrivals)
            case Give(model=model) as work:
                given = self._averaged_last() if model == MEAN else self.trainer.give(work)
                carried = self._executor.carried[task.key]
                return Done({one.key: given[: self._count(one)] for one in carried})
            case Take() as work:
                if arrivals:
                    self.trainer.receive(work, [arrival.tensors() for arrival in arrivals])
                else:
                    self.trainer.receive(replace(work, samples=(1,)), [self._averaged_units(work.first, work.last)])
                made = Passed()
            case Step() as work:
                self.trainer.step(work, self._executor.scale(task.key))
                made = Passed()
            case _:
                made = Passed()
        self.trainer.settle_device()
        return Done({one.key: self._carries(one, made) for one in self._executor.carried.get(task.key, ())})

    def _sources(self, arrivals: Sequence[Arrival]) -> list[Source]:
        """What UEs sent, in their order; without any a batch of the BS's own data."""
        if not arrivals:
            index = torch.from_numpy(self._own_order.take(self._job.plan.bs_batch))
            return [Source(BS, self._own_images[index], self._own_labels[index])]
        return [Source(arrival.key.ue, *arrival.tensors()) for arrival in arrivals]

    def _carries(self, transfer: Task, made: Passed) -> Sequence[torch.Tensor]:
        if transfer.place == BROADCAST_PLACE:
            assert made.shared is not None
            return [made.shared]
        return [made.rows[transfer.key.ue]]

    def _averaged(self, task: Task, work: Average, arrivals: Sequence[Arrival]) -> Done:
        """Averages the members' models, and the replicas, unit by unit; the UEs' part first, which is waited for.

        Without members it is what was averaged last.
        """
        if not work.members:
            mean = self._averaged_last()
            return Done({one.key: mean[: self._count(one)] for one in self._executor.carried.get(task.key, ())})
        wholes = [arrival.tensors() for arrival in arrivals]
        replicas = [self.trainer.of(replica(ue)) for ue in work.members] if work.replicas else []
        for front, own in zip(wholes, replicas, strict=False):
            front += [value for _, half in own for value in half.state()]
        leaving = {one.key: self._count(one) for one in self._executor.carried.get(task.key, ())}
        most = max(leaving.values(), default=len(wholes[0]))
        mean = average([whole[:most] for whole in wholes], work.samples)
        self._mean = mean

        def rest() -> None:
            whole = mean + average([one[most:] for one in wholes], work.samples)
            self._mean = whole
            for _, half in (found for own in replicas for found in own):
                half.load(whole[len(whole) - len(half.state()) :])
            self.trainer.settle_device()

        return Done({key: mean[:count] for key, count in leaving.items()}, rest if replicas else None)

    def _averaged_last(self) -> Tensors:
        """The newest weights that were averaged here, from the first unit on; before any were, those that all drew."""
        return self._mean or list(self.trainer.drawn().state_dict().values())

    def _averaged_units(self, first: int, last: int) -> Tensors:
        """Of those weights the ones of units ``first + 1`` … ``last``."""
        before, until = (len(units_of(self.trainer.whole, 0, unit).state_dict()) for unit in (first, last))
        return self._averaged_last()[before:until]

    def _count(self, transfer: Task) -> int:
        """How many tensors the weights of a transfer are."""
        assert isinstance(transfer.work, Weights)
        return len(self._layout(transfer))

    def _own_parts(self, ue: str) -> list[Part]:
        """The BS's own parts of the model that a UE trains with."""
        mine = self.trainer.of(replica(ue)) or self.trainer.of(BS)
        return [Part(first, last, half.state()) for (_, first, last), half in mine]

    def _take_own(self) -> None:
        if self._job.plan.bs_batch and self._load_own:
            own = self._load_own()
            self._own_images, self._own_labels = to_inputs(torch.from_numpy(own.images)), torch.from_numpy(own.labels)
            self._own_order = Order(len(own), (self._job.seed, 3))


def _tasks(job: Job) -> list[Task]:
    """What the BS does in a round, at all of its processors."""
    schedule = job.schedule(1)
    return [task for place in schedule.processors(BS) for task in schedule.at[place]]


def _plan_info(job: Job) -> tuple[str, ...]:
    """The labels of the plan in force."""
    return job.trial, job.label, job.plan.planner, str(job.plan.cut), str(job.plan.micro_batches)
