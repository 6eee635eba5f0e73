"""The two halves of a split model, trained micro-batch by micro-batch.

Free of network and clock: the loops of ``ue`` and ``bs`` call these, and so do the tests
that hold them against autograd on the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from agents import norm

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

    def weights(self) -> Weights:
        """Copies of all weights (and statistics), in a fixed order."""
        return [value.detach().cpu().clone() for value in self.model.state_dict().values()]

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

    def forward(
        self, activations: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], samples: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Joins the activations of the UEs in the order given; returns them joined, and the loss.

        The loss is the *sum* of cross-entropies divided by ``samples``, the samples that this
        optimiser step will see, so that the gradients of unequal micro-batches add up exactly.
        """
        joined = torch.cat([part.detach().to(self.device) for part in activations]).requires_grad_()
        targets = torch.cat([part.to(self.device) for part in labels]).long()
        return joined, functional.cross_entropy(self.model(joined), targets, reduction="sum") / samples

    def backward(self, joined: torch.Tensor, loss: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Adds this half's gradients; returns the gradient at the cut, one part per UE."""
        torch.autograd.backward(loss)
        assert joined.grad is not None
        return [part.cpu() for part in torch.split(joined.grad, list(sizes))]


def to_inputs(images: torch.Tensor) -> torch.Tensor:
    """Byte images 0…255 as floats (of torch's default type) of about zero mean and unit spread."""
    return (images.to(torch.get_default_dtype()) / 255.0 - 0.5) / 0.5
