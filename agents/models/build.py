"""Models as chains of cuttable units.

Every unit ends after its activation, so that no cut falls before an in-place operation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import nn

from agents.models import chains, residual
from agents.models.catalog import UNITS, DatasetInfo

Builder = Callable[[DatasetInfo, str], list[nn.Module]]

_BUILDERS: Mapping[str, Builder] = {
    "vgg5": chains.vgg5,
    "lenet12": chains.lenet12,
    "vgg16": chains.vgg16,
    "resnet18": residual.resnet18,
    "resnet101": residual.resnet101,
    "mobilenet_v3_small": residual.mobilenet_v3_small,
    "mobilenet_v3_large": residual.mobilenet_v3_large,
}

_SEEDING = threading.Lock()
"""Torch draws initial weights from one random state per process."""


def build(name: str, info: DatasetInfo, norm: str, seed: int) -> nn.Sequential:
    """The whole model with weights drawn from ``seed``, one named child per unit.

    It takes images (samples, channels, height, width) and gives scores (samples, classes). Every
    agent builds the same weights and keeps its own half, so nothing need be sent. The global
    random state is left as it was.
    """
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        units = _BUILDERS[name](info, norm)
    model = nn.Sequential()
    for unit_name, unit in zip(UNITS[name], units, strict=True):
        model.add_module(unit_name, unit)
    # On CPUs pooling is several times faster with channels last; the values are the same.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def units_of(model: nn.Sequential, first: int, last: int) -> nn.Sequential:
    """Units ``first + 1`` … ``last``, the very modules of the model."""
    return nn.Sequential(OrderedDict(list(model.named_children())[first:last]))


def split(model: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The UE half (units 1…cut) and the BS half (the rest)."""
    return units_of(model, 0, cut), units_of(model, cut, len(model))
