"""Model → what its units take of memory, measured on the model itself."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from agents.models.catalog import DatasetInfo
from agents.schedule.footprint import Footprint
from testbed.built import identity
from testbed.data import info
from testbed.kept import kept
from testbed.topology import Topology

if TYPE_CHECKING:
    import torch

_SAMPLES = 2  # batch norm takes no fewer


def footprint(topology: Topology) -> Footprint | None:
    """What the units that are planned with take; None where the rows of a profile stand for no units of the model."""
    sizes, model = topology.group_sizes, topology.model
    return None if sizes is None else measure(model.name, model.norm, info(topology.data)).grouped(sizes)


@cache
def measure(model: str, norm: str, dataset: DatasetInfo) -> Footprint:
    """The footprint of a model, kept as ``controller.predict.workload.measure`` keeps its FLOPs."""
    of = identity(model, norm, dataset)
    return kept("footprint", of, lambda: _measured(model, norm, dataset).to_json(), Footprint.from_json)


def _measured(model: str, norm: str, dataset: DatasetInfo) -> Footprint:
    """Two samples go forward through each unit, and all storage that autograd saves for the way back is counted once.

    Weights are not, nor is what went into the unit, which the one before keeps.
    """
    import torch

    from agents.models.build import build, weight_bytes

    values = torch.zeros(_SAMPLES, dataset.channels, dataset.height, dataset.width)
    rows: list[tuple[float, float, float, float, bool]] = []
    input_bytes = values.nbytes / _SAMPLES
    for i, unit in enumerate(build(model, dataset, norm, seed=0)):
        values, sizes = _forward(unit, values.detach().requires_grad_(i > 0))
        weights = float(weight_bytes(unit))
        mixes = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in unit.modules())
        kept_bytes, largest = sum(sizes) / _SAMPLES, max(sizes) / _SAMPLES
        rows.append((weights, values.nbytes / _SAMPLES, kept_bytes, largest, mixes))
    columns = tuple(zip(*rows, strict=True))
    return Footprint(input_bytes, *columns)


def _forward(unit: torch.nn.Module, values: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """What comes out of a unit, and the sizes of all storages that stay for its way back, with the output's own."""
    import torch

    here, alive = {}, []

    def pack(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage()
        here[storage.data_ptr()] = storage.nbytes()
        alive.append(saved)  # or its address is given to another one
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        out = unit(values)
    pack(out)
    for other in (values, *unit.parameters(), *unit.buffers()):
        here.pop(other.untyped_storage().data_ptr(), None)
    return out, list(here.values()) or [0]
