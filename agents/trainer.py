"""The parts of the model that one agent trains: passes and steps as the schedule says, on tensors that come and go."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from agents.device import settle
from agents.halves import Half, average
from agents.job import Job
from agents.models.build import build, units_of
from agents.models.catalog import DatasetInfo
from agents.passes import Rows, Tensors, leaf, parts, run
from agents.schedule.footprint import chunks
from agents.schedule.pieces import pass_of
from agents.schedule.task import MEAN, Activations, Compute, Give, Gradients, Key, Schedule, Step, Take, Task, Weights
from agents.wire.frames import Layout, bytes_of, layout

PartKey = tuple[str, int, int]
"""A model, and its units from after the first number to the second."""
WayBack = Callable[[torch.Tensor], tuple[Tensors, torch.Tensor | None]]


@dataclass(frozen=True)
class Source:
    """What one UE gives to a pass: samples or activations, and labels where they are known."""

    ue: str
    values: torch.Tensor
    labels: torch.Tensor | None = None


@dataclass(frozen=True)
class Passed:
    """What a pass has made: of each UE its rows at the end, or after the way back their gradients at the start.

    ``shared``: the gradient of all UEs' paired rows. ``loss_sum``: over all samples.
    """

    rows: Mapping[str, torch.Tensor] = field(default_factory=dict)
    shared: torch.Tensor | None = None
    loss_sum: float | None = None


class Trainer:
    """Models of one agent, by whose they are and which units; what went forward is kept until it has gone backward.

    Passes in chunks are shared out over so many ``threads``: each computes on a core of its own, and none waits for
    another before the end of its chunk, as torch's own do in each operation.
    """

    def __init__(self, job: Job, device: str, threads: int = 1) -> None:
        self._job, self._device = job, device
        self._threads = threads
        self.whole = build(job.model, job.dataset_info, job.norm, job.seed, job.group_sizes)
        self.shapes = shapes_of(self.whole, job.dataset_info)
        self.halves: dict[PartKey, Half] = {}
        self._ways_back: dict[tuple[object, ...], tuple[list[str], list[int], WayBack]] = {}
        self._warm: set[tuple[PartKey, int]] = set()

    def take(self, tasks: Iterable[Task]) -> None:
        """Makes the parts that these tasks train or give away: of the units that are here, with their momentum, else
        of those that everybody drew. Units of these models that are in no part are forgotten.

        What was averaged last is no part of a model: whoever gives it has it.
        """
        works = (task.work for task in tasks if isinstance(task.work, Compute | Give))
        wanted = {_part(work): None for work in works if work.model != MEAN}
        models = {model for model, *_ in wanted}
        mine = {key: half for key, half in self.halves.items() if key[0] in models}
        if set(mine) == set(wanted):
            return
        here = {(key[0], key[1] + i): unit for key, half in mine.items() for i, unit in enumerate(half.model)}
        momenta = {parameter: buffer for half in mine.values() for parameter, buffer in half.momenta.items()}
        self.halves = {key: half for key, half in self.halves.items() if key not in mine}
        missing = [n for model, first, last in wanted for n in range(first, last) if (model, n) not in here]
        whole = self.drawn() if missing and self._forgotten else self.whole
        for model, first, last in wanted:
            drawn = units_of(whole, first, last).named_children()
            units = OrderedDict(
                (name, here[model, n] if (model, n) in here else copy.deepcopy(unit))
                for n, (name, unit) in enumerate(drawn, first)
            )
            half = Half(nn.Sequential(units), self._job.lr_of(model), self._job.momentum, self._device, momenta)
            self.halves[model, first, last] = half

    def make(self, wanted: Iterable[PartKey]) -> None:
        """These parts as everybody drew them, in place of all that are here."""
        self.halves = {}
        whole = self.drawn()
        for model, first, last in wanted:
            units = copy.deepcopy(units_of(whole, first, last))
            self.halves[model, first, last] = Half(units, self._job.lr_of(model), self._job.momentum, self._device)

    @property
    def _forgotten(self) -> bool:
        return any(value.is_meta for value in self.whole.state_dict().values())

    def drawn(self) -> nn.Sequential:
        """The whole model as everybody drew it, drawn again."""
        job = self._job
        return build(job.model, job.dataset_info, job.norm, job.seed, job.group_sizes)

    def give(self, work: Give) -> Tensors:
        """A part that leaves this agent: its weights, and if so their momentum."""
        return self.halves.pop(_part(work)).given(work.momentum)

    def receive(self, work: Take, came: Sequence[Tensors]) -> None:
        """Units of a part are from now on what has come, or the mean of it."""
        parts = ((first, half) for (_, first, last), half in self.of(work.model) if first <= work.first < last)
        start, half = next(parts)
        half.take(work.first - start, work.last - start, average([list(one) for one in came], work.samples))

    def forget_drawn(self) -> None:
        """Keeps only the shapes of the whole model, when all parts are taken."""
        self.whole.to("meta")

    def of(self, model: str) -> list[tuple[PartKey, Half]]:
        """The parts of a model, by their first unit."""
        mine = [(key, half) for key, half in list(self.halves.items()) if key[0] == model]
        return sorted(mine, key=lambda found: found[0])

    def forward(
        self, key: Key, work: Compute, sources: Sequence[Source], shares: Mapping[str, float], at_once: bool = False
    ) -> Passed:
        """A pass through a part; at the last unit it ends in the loss. ``shares``: λ of those whose rows are paired.

        ``at_once``: its way back follows in the same piece of work, so that it may go there and back in chunks.
        """
        half, names = self.halves[_part(work)], [source.ue for source in sources]
        values = [source.values.to(self._device) for source in sources]
        if work.last == len(self.whole):
            labels = [source.labels.to(self._device) for source in sources if source.labels is not None]
            taking_part = sum(shares[ue] for ue in names) if work.paired else 1.0
            weights = [shares[ue] / taking_part for ue in names] if work.paired else []
            rows = Rows(values, labels, work.mean_over, work.paired, weights, work.first > 0)
            most = self._chunk_rows(work) if at_once else None
            twins = half.twins(self._threads if most is not None and most < work.samples else 1)
            made = run(twins, rows, work.aggregate, most)
            self._ways_back[pass_of(key, work)] = names, rows.sizes, lambda _: made.backward()
            return Passed(loss_sum=made.loss * work.mean_over)
        inputs, sizes = leaf(values) if work.first > 0 else torch.cat(values), [len(value) for value in values]
        out: torch.Tensor = half.model(inputs)

        def back(gradient: torch.Tensor) -> tuple[Tensors, None]:
            torch.autograd.backward(out, gradient)
            return parts(inputs, sizes) if work.first > 0 else [], None

        self._ways_back[pass_of(key, work)] = names, sizes, back
        return Passed(dict(zip(names, torch.split(out, sizes), strict=True)))

    def backward(
        self, key: Key, work: Compute, gradients: Sequence[torch.Tensor], of: Sequence[str] | None = None
    ) -> Passed:
        """The way back of a pass, from the gradients at its end (none from the loss), which adds up this part's own.

        ``of``: whose they are. Those of UEs that went forward and are not among them are nothing.
        """
        names, sizes, back = self._ways_back.pop(pass_of(key, work))
        if gradients and of is not None and len(of) < len(names):
            given = dict(zip(of, gradients, strict=True))
            nothing = [torch.zeros(size, *gradients[0].shape[1:]) for size in sizes]
            gradients = [given.get(name, zeros) for name, zeros in zip(names, nothing, strict=True)]
        at_the_end = torch.cat([gradient.to(self._device) for gradient in gradients]) if gradients else torch.empty(0)
        found, shared = back(at_the_end)
        return Passed(dict(zip(names, found, strict=False)), shared)

    def step(self, step: Step, scale: float = 1.0) -> None:
        """An optimiser step of a part, on its gradients times ``scale``."""
        self.halves[step.model, step.first, step.last].step(scale)

    def abandon(self) -> None:
        """Forgets what was begun: passes that have not gone back, and gradients of which no step was made."""
        self._ways_back.clear()
        for half in self.halves.values():
            half.zero()

    def settle_device(self) -> None:
        """Returns when the device has done what it was given: what is timed must be over."""
        settle(self._device)

    def warm_up(self, tasks: Iterable[Task], at_once: Container[Key] = ()) -> None:
        """Runs every size of every part once on a copy, unless it has: the first pass of a shape is slow.

        ``at_once``: the passes that go there and back in one piece of work.
        """
        sizes: set[tuple[PartKey, int]] = set()
        for task in tasks:
            if isinstance(work := task.work, Compute) and not work.backward:
                most = self._chunk_rows(work) if task.key in at_once else work.samples
                sizes.update((_part(work), rows) for rows in chunks(work.samples, most))
        for part, samples in sorted(sizes - self._warm):
            self._run_once(part, samples)
        self._warm |= sizes
        self.settle_device()

    def _run_once(self, part: PartKey, samples: int) -> None:
        spare = Half(copy.deepcopy(self.halves[part].model), self._job.lr, 0.0, self._device)
        if list(spare.model.parameters()):
            values = torch.zeros(samples, *self.shapes[part[1]], requires_grad=part[1] > 0)
            out = spare.model(values.to(self._device))
            torch.autograd.backward(out, torch.zeros_like(out))

    def _chunk_rows(self, work: Compute) -> int:
        """The rows of a chunk: all, where memory is that of a GPU and not of a container."""
        if self._job.footprint is None or self._device.startswith("cuda"):
            return work.samples
        return self._job.footprint.chunk_rows(work.first, work.last, work.samples, self._threads)


def shapes_of(whole: nn.Sequential, info: DatasetInfo) -> list[tuple[int, ...]]:
    """The shape of one sample after each unit, its own first."""
    sample = torch.zeros(1, info.channels, info.height, info.width)
    training = {module: module.training for module in whole.modules()}
    found = [tuple(sample.shape[1:])]
    with torch.no_grad():
        for unit in whole.eval():
            sample = unit(sample)
            found.append(tuple(sample.shape[1:]))
    for module, was in training.items():
        module.training = was
    return found


def layout_of(task: Task, whole: nn.Sequential, shapes: Sequence[tuple[int, ...]]) -> Layout:
    """Type and shape of each tensor that a transfer carries."""
    name = str(torch.get_default_dtype()).removeprefix("torch.")
    match task.work:
        case Activations(unit=unit, samples=samples, labels=labels):
            values = [(name, (samples, *shapes[unit]))]
            return [*values, ("uint8", (samples,))] if labels else values
        case Gradients(unit=unit, samples=samples):
            return [(name, (samples, *shapes[unit]))]
        case Weights(first=first, last=last, momentum=momentum):
            units = units_of(whole, first, last)
            return layout([*units.state_dict().values(), *(units.parameters() if momentum else ())])
        case _:
            raise TypeError(f"{task.key} is no transfer")


def check_sizes(schedule: Schedule, whole: nn.Sequential, shapes: Sequence[tuple[int, ...]], most_bytes: int) -> None:
    """ValueError for a tensor that is larger than the air takes, which follows from the profile in the topology."""
    for task in schedule.tasks:
        for name, shape in layout_of(task, whole, shapes) if task.transfers else ():
            size = bytes_of(name, shape)
            if size > most_bytes:
                message = f"{task.key} carries {size} bytes, far more than model.profile says (at most {most_bytes})"
                raise ValueError(message)


def needed(tasks: Iterable[Task]) -> set[PartKey]:
    """The parts that tasks compute with."""
    return {_part(task.work) for task in tasks if isinstance(task.work, Compute)}


def _part(work: Compute | Give) -> PartKey:
    return work.model, work.first, work.last
