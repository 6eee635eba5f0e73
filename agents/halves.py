"""The two halves of a split model, trained micro-batch by micro-batch.

Free of network and clock: the loops of ``ue`` and ``bs`` call these, and so do the tests
that hold them against autograd on the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from agents.models import norm
from agents.passes import Pass, Rows, run

Weights = list[torch.Tensor]


class Half:
    """One half of the model with its own SGD; gradients add up until ``step``."""

    def __init__(self, half: nn.Sequential, lr: float, momentum: float, device: str = "cpu") -> None:
        self.model = half.to(device)
        self.device = device
        parameters = list(half.parameters())
        self._optimiser = torch.optim.SGD(parameters, lr=lr, momentum=momentum) if parameters else None
        self.zero()

    def zero(self) -> None:
        """Forgets accumulated gradients and batch statistics."""
        norm.forget(self.model)
        if self._optimiser:
            self._optimiser.zero_grad()

    def step(self) -> None:
        """One SGD step on the accumulated gradients, which are then forgotten; the batch's statistics settle."""
        norm.settle(self.model)
        if self._optimiser:
            self._optimiser.step()
        self.zero()

    def state(self) -> Weights:
        """All weights (and statistics) themselves, in a fixed order."""
        return [value.detach().cpu() for value in self.model.state_dict().values()]

    def weights(self) -> Weights:
        """Copies of all weights (and statistics), in a fixed order."""
        return [value.clone() for value in self.state()]

    def load(self, weights: Sequence[torch.Tensor]) -> None:
        """Takes over weights that ``weights`` gave."""
        state = self.model.state_dict()
        self.model.load_state_dict(dict(zip(state, weights, strict=True)))


class UeHalf(Half):
    """Units 1…cut, on a UE."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The activations (samples, …) at the cut, with their graph."""
        out: torch.Tensor = self.model(images)
        return out

    def backward(self, activations: torch.Tensor, gradient: torch.Tensor) -> None:
        """Adds the gradients that the loss's gradient at the cut causes."""
        torch.autograd.backward(activations, gradient)


class BsHalf(Half):
    """Units cut+1…L and the loss, on the BS."""

    def forward(self, rows: Rows, aggregate: str = "virtual") -> Pass:
        """The loss of these rows and their backward pass, which adds this half's gradients."""
        here = replace(
            rows,
            activations=[part.to(self.device) for part in rows.activations],
            labels=[part.to(self.device) for part in rows.labels],
        )
        return run(self.model, here, aggregate)


def average(weights: Sequence[Weights], shares: Sequence[float]) -> Weights:
    """Federated averaging: the mean of models, each weighted by its share of all samples, in the order given.

    Counters (integers) are taken from the first.
    """
    total = sum(shares)

    def mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
        if not values[0].is_floating_point():
            return values[0]
        return torch.stack([value * (share / total) for value, share in zip(values, shares, strict=True)]).sum(0)

    return [mean(values) for values in zip(*weights, strict=True)]


def to_inputs(images: torch.Tensor) -> torch.Tensor:
    """Byte images 0…255 as floats (of torch's default type) of about zero mean and unit spread."""
    return (images.to(torch.get_default_dtype()) / 255.0 - 0.5) / 0.5
