"""Models as chains of cuttable units.

Every unit ends after its activation, so that no cut falls before an in-place operation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import torch
from torch import nn

from agents.models import chains, residual
from agents.models.catalog import UNITS, DatasetInfo
from agents.own import OwnError, attribute, file_of, is_own, place_of

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

_HINT = "write: def build(info: DatasetInfo) -> nn.Sequential, see docs/own-model.md"
_SEEDING = threading.Lock()
"""Torch draws initial weights from one random state per process."""


def build(name: str, info: DatasetInfo, norm: str, seed: int, group_sizes: Sequence[int] = ()) -> nn.Sequential:
    """The whole model with weights drawn from ``seed``, one named child per unit, or per group of so many units.

    It takes images (samples, channels, height, width) and gives scores (samples, classes). Every
    agent builds the same weights and keeps its own half, so nothing need be sent. The global
    random state is left as it was.
    """
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _own(name, info) if is_own(name) else _listed(name, info, norm)
    # On CPUs pooling is several times faster with channels last; the values are the same.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _grouped(model, group_sizes) if group_sizes else model


def _grouped(model: nn.Sequential, sizes: Sequence[int]) -> nn.Sequential:
    """The same units and weights, so many of them together as one child."""
    units = iter(list(model.named_children()))
    groups = OrderedDict[str, nn.Module]()
    for size in sizes:
        members = OrderedDict(islice(units, size))
        groups["+".join(members)] = nn.Sequential(members) if size > 1 else next(iter(members.values()))
    return nn.Sequential(groups)


def _listed(name: str, info: DatasetInfo, norm: str) -> nn.Sequential:
    model = nn.Sequential()
    for unit_name, unit in zip(UNITS[name], _BUILDERS[name](info, norm), strict=True):
        model.add_module(unit_name, unit)
    return model


def _own(name: str, info: DatasetInfo) -> nn.Sequential:
    """The model that a user's function gives. OwnError with file and line when it gives none."""
    make = attribute(name)
    try:
        model = make(info)
    except Exception as error:  # whatever the user's code does
        where = place_of(error, file_of(name))
        raise OwnError(f"{where}: {type(error).__name__}: {error}", _HINT) from error
    if not isinstance(model, nn.Sequential) or len(model) < 2:
        raise OwnError(f"{name} gives {type(model).__name__}, and no nn.Sequential of two units or more", _HINT)
    return model


def check_chain(name: str, info: DatasetInfo) -> tuple[str, ...]:
    """The names of the units of a user's model, when each takes what the one before gives. OwnError names the one
    that does not, with both shapes."""
    model = build(name, info, "group", seed=0).eval()
    values, shape = torch.zeros(2, info.channels, info.height, info.width), "the samples"
    for unit_name, unit in model.named_children():
        try:
            with torch.no_grad():
                out = unit(values)
        except Exception as error:  # torch's own words tell the shape that was wanted
            given = f"{shape} of shape {_shape(values)}"
            raise OwnError(f"{name}: unit {unit_name} cannot take {given}: {error}", "units must chain") from error
        if not isinstance(out, torch.Tensor) or len(out) != len(values):
            raise OwnError(f"{name}: unit {unit_name} gives no tensor with a row per sample", "units must chain")
        values, shape = out, f"what {unit_name} gives,"
    if tuple(values.shape[1:]) != (info.classes,):
        message = f"{name}: its last unit gives {_shape(values)}, and scores are [{info.classes}]"
        raise OwnError(message, f"end with a layer of {info.classes} scores, one per class")
    return tuple(unit_name for unit_name, _ in model.named_children())


def _shape(values: torch.Tensor) -> str:
    return str(list(values.shape[1:]))


def weight_bytes(unit: nn.Module) -> int:
    """Bytes of a unit's weights and statistics."""
    return sum(value.nbytes for value in unit.state_dict().values())


def units_of(model: nn.Sequential, first: int, last: int) -> nn.Sequential:
    """Units ``first + 1`` … ``last``, the very modules of the model."""
    return nn.Sequential(OrderedDict(list(model.named_children())[first:last]))


def split(model: nn.Sequential, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The UE half (units 1…cut) and the BS half (the rest)."""
    return units_of(model, 0, cut), units_of(model, cut, len(model))
