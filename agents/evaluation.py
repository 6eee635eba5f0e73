"""Test accuracy of UE halves joined to BS halves, outside emulated time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from agents.halves import BsHalf, UeHalf, average, to_inputs
from agents.models.build import split
from agents.passes import Rows
from agents.plan import Job
from agents.samples.shard import Samples

_BATCH = 250


class Evaluator:
    """The test set, and the architecture of the whole model."""

    def __init__(self, test: Samples, device: str) -> None:
        self._images = to_inputs(torch.from_numpy(test.images))
        self._labels = torch.from_numpy(test.labels).long()
        self._device = device
        self._model = nn.Sequential()

    def take_model(self, model: nn.Sequential) -> None:
        """The model of the scheme that begins."""
        self._model = model

    def copy_of_model(self) -> nn.Sequential:
        """The model with its first weights."""
        return copy.deepcopy(self._model)

    def front_count(self, job: Job, ue: str) -> int:
        """How many tensors the weights of this UE's half are."""
        return len(split(self._model, job.plan.cut_of(ue))[0].state_dict())

    def accuracies(
        self,
        job: Job,
        halves: Mapping[str, Sequence[torch.Tensor]],
        half_of: Callable[[str], BsHalf],
        with_average: bool,
    ) -> dict[str, float]:
        """Accuracy by UE; without any UE that of the BS's model, under ``bs``."""
        if not halves:
            return {"bs": self._accuracy(nn.Sequential(), half_of("bs"))}
        found = {ue: self._joined(job, ue, weights, half_of(ue)) for ue, weights in halves.items()}
        if with_average and len(halves) > 1:
            ue = next(iter(halves))
            shares = [job.shares[name] for name in halves]
            mean = average([list(weights) for weights in halves.values()], shares)
            found["average"] = self._joined(job, ue, mean, half_of(ue))
        return found

    def warm_up(self, job: Job, half: BsHalf, sizes: Sequence[int]) -> None:
        """Runs every size once on a copy: the first pass of a shape is slow."""
        spare = BsHalf(copy.deepcopy(half.model), job.lr, 0.0, self._device)
        if not list(spare.model.parameters()):
            return
        with torch.no_grad():
            activations = split(self._model, len(self._model) - len(half.model))[0](self._images[:1])
        for size in sizes:
            rows = Rows([activations.repeat_interleave(size, 0)], [self._labels[:1].expand(size)], size)
            spare.forward(rows).backward()

    def _joined(self, job: Job, ue: str, weights: Sequence[torch.Tensor], half: BsHalf) -> float:
        front = UeHalf(split(self.copy_of_model(), job.plan.cut_of(ue))[0], 0.0, 0.0)
        front.load(weights)
        return self._accuracy(front.model, half)

    def _accuracy(self, front: nn.Module, half: BsHalf) -> float:
        front.eval()
        half.model.eval()
        with torch.inference_mode():
            correct = 0
            for images, labels in zip(
                torch.split(self._images, _BATCH), torch.split(self._labels, _BATCH), strict=True
            ):
                scores = half.model(front(images).to(self._device)).cpu()
                correct += int((scores.argmax(1) == labels).sum())
        half.model.train()
        return correct / len(self._labels)
