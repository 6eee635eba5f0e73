"""Models as chains of cuttable units.

Every unit ends after its activation, so that no cut falls before an in-place operation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from agents.catalog import UNITS, DatasetInfo


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(min(8, channels), channels)


def _conv(cin: int, cout: int, norm: str, pool: bool) -> nn.Sequential:
    """A convolution with norm, ReLU and (where asked) 2 × 2 max pooling."""
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), _norm(norm, cout), nn.ReLU(), *pooling)


def _vgg5(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """VGG-5 of the PiPar paper: three convolutions (32, 64, 64), two dense layers (128, classes)."""
    features = 64 * (info.height // 4) * (info.width // 4)
    return [
        _conv(info.channels, 32, norm, pool=True),
        _conv(32, 64, norm, pool=True),
        _conv(64, 64, norm, pool=False),
        nn.Sequential(nn.Flatten(), nn.Linear(features, 128), nn.ReLU()),
        nn.Linear(128, info.classes),
    ]


_SEEDING = threading.Lock()
"""Torch draws initial weights from one random state per process."""

_BUILDERS: dict[str, Callable[[DatasetInfo, str], list[nn.Module]]] = {"vgg5": _vgg5}


def build(name: str, info: DatasetInfo, norm: str, seed: int) -> nn.Sequential:
    """The whole model with weights drawn from ``seed``, one named child per unit.

    Every agent builds the same weights and keeps its own half, so nothing need be sent.
    The global random state is left as it was.
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


def split(model: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The UE half (units 1…cut) and the BS half (the rest)."""
    units = list(model.named_children())
    return nn.Sequential(OrderedDict(units[:cut])), nn.Sequential(OrderedDict(units[cut:]))
