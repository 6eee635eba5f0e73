"""Parts of a split model, each with its own optimiser; free of network and clock."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from agents.models import norm
from agents.models.build import units_of

Weights = list[torch.Tensor]
Momenta = Mapping[torch.Tensor, torch.Tensor]
"""The momentum of each parameter that has made a step."""


class Half:
    """Some units of the model with their own SGD; gradients add up until ``step``.

    ``momenta``: of those parameters that have trained in another half before.
    """

    def __init__(
        self,
        units: nn.Sequential,
        lr: float,
        momentum: float,
        device: str = "cpu",
        momenta: Momenta | None = None,
    ) -> None:
        self.model = units.to(device)
        self._twins: list[nn.Module] = []
        self.device = device
        parameters = list(units.parameters())
        self._optimiser = torch.optim.SGD(parameters, lr=lr, momentum=momentum) if parameters else None
        for parameter in parameters:
            if momenta and parameter in momenta:
                self.set_momentum(parameter, momenta[parameter])
        self.zero()

    def twins(self, count: int) -> list[nn.Module]:
        """The model, and as many more of the same weights as make it so many; their gradients are added for a step."""
        while len(self._twins) < count - 1:
            twin = copy.deepcopy(self.model)
            for parameter, own in zip(twin.parameters(), self.model.parameters(), strict=True):
                parameter.data, parameter.grad = own.data, None
            self._twins.append(twin)
        return [self.model, *self._twins[: count - 1]]

    def zero(self) -> None:
        """Forgets accumulated gradients and batch statistics."""
        norm.forget(self.model)
        if self._optimiser:
            self._optimiser.zero_grad()
        for twin in self._twins:
            twin.zero_grad()

    def step(self, scale: float = 1.0) -> None:
        """One SGD step on the accumulated gradients times ``scale``, which are then forgotten; the batch's statistics
        settle."""
        norm.settle(self.model)
        for twin in self._twins:
            _add_gradients(self.model, twin)
        if scale != 1.0:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        if self._optimiser:
            self._optimiser.step()
        self.zero()

    def state(self) -> Weights:
        """All weights (and statistics) themselves, in a fixed order."""
        return [value.detach().cpu() for value in self.model.state_dict().values()]

    def weights(self) -> Weights:
        """Copies of all weights (and statistics), in a fixed order, laid out as they travel."""
        return [value.clone(memory_format=torch.contiguous_format) for value in self.state()]

    def load(self, weights: Sequence[torch.Tensor]) -> None:
        """Takes over weights that ``weights`` gave."""
        state = self.model.state_dict()
        self.model.load_state_dict(dict(zip(state, weights, strict=True)))

    @property
    def momenta(self) -> Momenta:
        """The momentum of each parameter that has made a step."""
        state = self._optimiser.state if self._optimiser else {}
        return {p: found for p in state if (found := state[p].get("momentum_buffer")) is not None}

    def given(self, momentum: bool) -> Weights:
        """Copies of all weights (and statistics), and if so of their momentum, in a fixed order."""
        momenta = self.momenta if momentum else {}
        buffers = [momenta.get(p, torch.zeros_like(p)) for p in self.model.parameters()] if momentum else []
        return [*self.weights(), *(buffer.detach().cpu().clone() for buffer in buffers)]

    def take(self, first: int, last: int, values: Weights) -> None:
        """Its units ``first + 1`` … ``last`` are from now on what ``given`` gave of them elsewhere."""
        units = units_of(self.model, first, last)
        state = units.state_dict()
        units.load_state_dict(dict(zip(state, values, strict=False)))
        for parameter, buffer in zip(units.parameters(), values[len(state) :], strict=False):
            self.set_momentum(parameter, torch.empty_like(parameter).copy_(buffer))

    def set_momentum(self, parameter: torch.Tensor, buffer: torch.Tensor) -> None:
        """The momentum of a parameter is from now on this."""
        assert self._optimiser is not None
        self._optimiser.state[parameter]["momentum_buffer"] = buffer.detach()


def _add_gradients(model: nn.Module, twin: nn.Module) -> None:
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        if parameter.grad is None:
            parameter.grad = other.grad
        elif other.grad is not None:
            parameter.grad.add_(other.grad)


def average(weights: Sequence[Weights], shares: Sequence[float]) -> Weights:
    """Federated averaging: the mean of models, each weighted by its share of all samples, in the order given.

    Counters (integers) are taken from the first.
    """
    total = sum(shares)

    def mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
        if not values[0].is_floating_point():
            return values[0]
        found = values[0] * (shares[0] / total)
        for value, share in zip(values[1:], shares[1:], strict=True):
            found.add_(value, alpha=share / total)
        return found

    return [mean(values) for values in zip(*weights, strict=True)]


def to_inputs(images: torch.Tensor) -> torch.Tensor:
    """Byte images 0…255 as floats (of torch's default type) of about zero mean and unit spread."""
    return images.to(torch.get_default_dtype(), copy=True).div_(255.0).sub_(0.5).div_(0.5)
