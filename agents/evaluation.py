"""Test accuracy of a model put together from its parts, outside emulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from agents.halves import to_inputs
from agents.models.build import units_of
from agents.samples.shard import Samples


@dataclass(frozen=True)
class Part:
    """Weights of units ``first + 1`` … ``last``."""

    first: int
    last: int
    weights: Sequence[torch.Tensor]


class Evaluator:
    """The test set, and the architecture of the whole model."""

    def __init__(self, test: Samples, device: str) -> None:
        self._images = to_inputs(torch.from_numpy(test.images))
        self._labels = torch.from_numpy(test.labels).long()
        self._device = device
        self.take_model(nn.Sequential(), 1)

    def take_model(self, model: nn.Sequential, rows: int) -> None:
        """The model of the scheme that begins, whose weights are free to be written over; so many images at a time."""
        self._model, self._rows = model, rows

    def accuracy(self, parts: Sequence[Part], share: int = 0, images: int | None = None) -> float:
        """The share of test images that a model of these parts gets right: of all, or of a ``share`` of so many."""
        model = self._model.eval()
        for part in parts:
            units = units_of(model, part.first, part.last)
            units.load_state_dict(dict(zip(units.state_dict(), part.weights, strict=True)))
        model.to(self._device)
        count = len(self._labels) if images is None else images
        chosen = torch.arange(share * count, (share + 1) * count) % len(self._labels)
        with torch.inference_mode():
            correct = sum(
                int((model(self._images[some].to(self._device)).argmax(1).cpu() == self._labels[some]).sum())
                for some in torch.split(chosen, self._rows)
            )
        return correct / count
