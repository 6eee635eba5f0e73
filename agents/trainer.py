"""The parts of the model that one agent trains: passes and steps as the schedule says, on tensors that come and go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from agents.halves import Half
from agents.job import Job
from agents.models.build import build, units_of
from agents.passes import Rows, Tensors, leaf, parts, run
from agents.schedule.pieces import pass_of
from agents.schedule.task import Activations, Compute, Gradients, Key, Schedule, Step, Task, Weights
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
    """Models of one agent, by whose they are and which units; what went forward is kept until it has gone backward."""

    def __init__(self, job: Job, device: str) -> None:
        self._job, self._device = job, device
        self.whole = build(job.model, job.dataset_info, job.norm, job.seed, job.group_sizes)
        self.halves: dict[PartKey, Half] = {}
        self._ways_back: dict[tuple[object, ...], tuple[list[str], WayBack]] = {}

    def take(self, tasks: Iterable[Task]) -> None:
        """Makes the parts that these tasks train, with the weights that everybody drew."""
        for task in tasks:
            if isinstance(work := task.work, Compute) and _part(work) not in self.halves:
                units = units_of(copy.deepcopy(self.whole), work.first, work.last)
                self.halves[_part(work)] = Half(units, self._job.lr_of(work.model), self._job.momentum, self._device)

    def of(self, model: str) -> list[tuple[PartKey, Half]]:
        """The parts of a model, by their first unit."""
        return sorted(((key, half) for key, half in self.halves.items() if key[0] == model), key=lambda found: found[0])

    def forward(self, key: Key, work: Compute, sources: Sequence[Source], shares: Mapping[str, float]) -> Passed:
        """A pass through a part; at the last unit it ends in the loss. ``shares``: λ of those whose rows are paired."""
        half, names = self.halves[_part(work)], [source.ue for source in sources]
        values = [source.values.to(self._device) for source in sources]
        if work.last == len(self.whole):
            labels = [source.labels.to(self._device) for source in sources if source.labels is not None]
            taking_part = sum(shares[ue] for ue in names) if work.paired else 1.0
            weights = [shares[ue] / taking_part for ue in names] if work.paired else []
            made = run(
                half.model, Rows(values, labels, work.mean_over, work.paired, weights, work.first > 0), work.aggregate
            )
            self._ways_back[pass_of(key, work)] = names, lambda _: made.backward()
            return Passed(loss_sum=made.loss * work.mean_over)
        inputs = leaf(values) if work.first > 0 else torch.cat(values)
        out: torch.Tensor = half.model(inputs)

        def back(gradient: torch.Tensor) -> tuple[Tensors, None]:
            torch.autograd.backward(out, gradient)
            return parts(inputs, values) if work.first > 0 else [], None

        self._ways_back[pass_of(key, work)] = names, back
        return Passed(dict(zip(names, torch.split(out, [len(value) for value in values]), strict=True)))

    def backward(self, key: Key, work: Compute, gradients: Sequence[torch.Tensor]) -> Passed:
        """The way back of a pass, from the gradients at its end (none from the loss), which adds up this part's own."""
        names, back = self._ways_back.pop(pass_of(key, work))
        at_the_end = torch.cat([gradient.to(self._device) for gradient in gradients]) if gradients else torch.empty(0)
        found, shared = back(at_the_end)
        return Passed(dict(zip(names, found, strict=False)), shared)

    def step(self, step: Step) -> None:
        """An optimiser step of a part."""
        self.halves[step.model, step.first, step.last].step()

    def settle_device(self) -> None:
        """Returns when the device has done what it was given: what is timed must be over."""
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    def warm_up(self, tasks: Iterable[Task], inputs: Callable[[int], torch.Tensor]) -> None:
        """Runs every size of every part once on a copy: the first pass of a shape is slow.

        ``inputs`` gives so many samples of the data.
        """
        sizes = {(_part(task.work), task.work.samples) for task in tasks if isinstance(task.work, Compute)}
        for part, samples in sorted(sizes):
            spare = Half(copy.deepcopy(self.halves[part].model), self._job.lr, 0.0, self._device)
            if list(spare.model.parameters()):
                out = spare.model(self._before(part[1], inputs(samples)).to(self._device))
                torch.autograd.backward(out, torch.zeros_like(out))

    def _before(self, unit: int, samples: torch.Tensor) -> torch.Tensor:
        """What comes out of a unit of the model as it was drawn, with a gradient to come unless they are samples."""
        if not unit:
            return samples
        with torch.no_grad():
            return leaf([units_of(self.whole, 0, unit)(samples)])


def shapes_of(whole: nn.Sequential, sample: torch.Tensor) -> list[tuple[int, ...]]:
    """The shape of one sample after each unit, its own first."""
    found = [tuple(sample.shape[1:])]
    with torch.no_grad():
        for unit in copy.deepcopy(whole).eval():
            sample = unit(sample)
            found.append(tuple(sample.shape[1:]))
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
        case Weights(first=first, last=last):
            return layout(list(units_of(whole, first, last).state_dict().values()))
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


def _part(work: Compute) -> PartKey:
    return work.model, work.first, work.last
