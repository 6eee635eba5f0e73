"""Normalisation layers, and batch statistics that micro-batches leave as one batch would."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

_GROUPS = 8


class MicroBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose running statistics move once per batch, not once per micro-batch.

    In training, a micro-batch (samples, channels, height, width) is normalised by its *own* mean
    and variance: those of the whole batch are not known before its last micro-batch. The gradient
    is therefore not that of the full batch (``group`` has no such difference). Its mean and
    variance are collected, and ``settle`` moves the running statistics by those of all collected
    micro-batches together. A pass without gradients (evaluation, warm-up) collects nothing.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.forget()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The normalised values; one value per channel is allowed, and normalises to the bias."""
        if not self.training:
            return super().forward(values)
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        # With momentum 1 the kernel leaves this very micro-batch's statistics: no second pass over it.
        out = torch.batch_norm(values, self.weight, self.bias, mean, variance, True, 1.0, self.eps, True)
        if torch.is_grad_enabled():
            self._collect(mean, variance, values.numel() // values.shape[1])
        return out

    def forget(self) -> None:
        """Drops what has been collected."""
        self._count = 0
        self._mean = self._squares = torch.zeros(())

    def settle(self) -> None:
        """Moves the running statistics by the mean and unbiased variance of all that was collected."""
        if self._count:
            self.running_mean.lerp_(self._mean, self.momentum)
            self.running_var.lerp_(self._squares / max(1, self._count - 1), self.momentum)
            self.num_batches_tracked += 1
        self.forget()

    def _collect(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Merges a micro-batch (Chan, Golub and LeVeque: sums of squares about the mean do not cancel)."""
        squares = variance * (count - 1) if count > 1 else torch.zeros_like(mean)
        total, difference = self._count + count, mean - self._mean
        squares = squares + self._squares + difference.square() * (self._count * count / total)
        self._mean, self._squares = self._mean + difference * (count / total), squares
        self._count = total


def layer(kind: str, eps: float = 1e-5, momentum: float = 0.1) -> Callable[[int], nn.Module]:
    """Makes the norm layer (``group`` or ``batch``) for so many channels.

    ``eps`` and ``momentum`` are for ``batch`` alone.
    """
    if kind == "batch":
        return partial(MicroBatchNorm2d, eps=eps, momentum=momentum)
    return lambda channels: nn.GroupNorm(min(_GROUPS, channels), channels)


def settle(model: nn.Module) -> None:
    """Ends a batch: each norm layer's running statistics move once, whatever the number of micro-batches."""
    for module in model.modules():
        if isinstance(module, MicroBatchNorm2d):
            module.settle()


def forget(model: nn.Module) -> None:
    """Drops the statistics of a batch that will not be completed."""
    for module in model.modules():
        if isinstance(module, MicroBatchNorm2d):
            module.forget()
