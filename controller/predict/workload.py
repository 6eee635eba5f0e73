"""Model → FLOPs and bytes per unit and sample (Table II), measured from the model or given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from agents.models.catalog import DatasetInfo
from agents.schedule.footprint import Footprint
from controller.predict.footprint import footprint
from testbed.built import identity
from testbed.compute import UnitSize, together
from testbed.data import info
from testbed.kept import kept
from testbed.topology import Topology

Floats = npt.NDArray[np.float64]

KEPT_PER_OUTPUT = 4.0
"""What a unit keeps for its way back, in sizes of its output, where the model that is planned for is not built."""


@dataclass(frozen=True)
class Workload:
    """Per unit, for one sample: forward FLOPs, bytes of its output, bytes of its weights.

    Backward FLOPs are ``backward_ratio`` times the forward ones.
    """

    units: tuple[str, ...]
    forward_flops: Floats
    output_bytes: Floats
    weight_bytes: Floats
    backward_ratio: float
    label_bytes: float
    measured: Footprint | None = None

    @cached_property
    def footprint(self) -> Footprint:
        """What units take of memory: as measured, or as a block of two convolutions and norms has it for its output."""
        if self.measured is not None:
            return self.measured
        outputs = tuple(self.output_bytes.tolist())
        kept_bytes = tuple(KEPT_PER_OUTPUT * size for size in outputs)
        mixes = (False,) * len(outputs)
        return Footprint(outputs[0], tuple(self.weight_bytes.tolist()), outputs, kept_bytes, outputs, mixes)

    @property
    def cuts(self) -> range:
        """The cuts that leave at least one unit on each side (C1)."""
        return range(1, len(self.units))

    @cached_property
    def _cumulative(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.forward_flops)])

    def ue_forward_flops(self, cut: int) -> float:
        """Forward FLOPs per sample of units 1…cut."""
        return float(self._cumulative[cut])

    def bs_forward_flops(self, cut: int) -> float:
        """Forward FLOPs per sample of units cut+1…L."""
        return float(self._cumulative[-1] - self._cumulative[cut])

    def ue_total_flops(self, cut: int, head_cut: int | None = None) -> float:
        """Forward and backward FLOPs per sample on the UE: the left side of C2 for one sample."""
        head = 0.0 if head_cut is None else self.bs_forward_flops(head_cut)
        return (self.ue_forward_flops(cut) + head) * (1.0 + self.backward_ratio)

    def up_bytes(self, cut: int) -> float:
        """Bytes per sample that go up: activations and label, ``s_l + s_0``."""
        return self.down_bytes(cut) + self.label_bytes

    def down_bytes(self, cut: int) -> float:
        """Bytes per sample that come down: the gradient at the cut, ``s_l``."""
        return float(self.output_bytes[cut - 1])

    def ue_weight_bytes(self, cut: int) -> float:
        """Bytes of the UE half's weights."""
        return float(self.weight_bytes[:cut].sum())


def workload(topology: Topology) -> Workload:
    """The workload of the topology's model: as given in its profile, else measured."""
    model = topology.model
    if model.profile == "measured":
        flops, outputs, weights = measure(model.name, model.norm, info(topology.data))
    else:
        flops = np.array([u.forward_flops for u in model.profile], dtype=np.float64)
        outputs = np.array([u.output_bytes for u in model.profile], dtype=np.float64)
        weights = np.array([u.weight_bytes or 0.0 for u in model.profile], dtype=np.float64)
        if any(u.weight_bytes is None for u in model.profile) and (real := real_sizes(topology)):
            given = zip(model.profile, real, strict=True)
            weights = np.array([r.weight_bytes if u.weight_bytes is None else u.weight_bytes for u, r in given])
    label_bytes, found = float(model.label_bytes), footprint(topology)
    return Workload(topology.units, flops, outputs, weights, model.backward_ratio, label_bytes, found)


def real_sizes(topology: Topology) -> tuple[UnitSize, ...]:
    """What the model that is built has in each unit that is planned with; empty where rows stand for no units."""
    if topology.group_sizes is None:
        return ()
    _, outputs, weights = measure(topology.model.name, topology.model.norm, info(topology.data))
    sizes = [UnitSize(*row) for row in zip(outputs.tolist(), weights.tolist(), strict=True)]
    return together(sizes, topology.group_sizes)


@cache
def measure(model: str, norm: str, dataset: DatasetInfo) -> tuple[Floats, Floats, Floats]:
    """Forward FLOPs (2 per multiply-accumulate), output bytes and weight bytes of each unit.

    One sample runs through the real model, so what is counted is what will be computed. That takes seconds, so what
    it gave is kept.
    """
    of = identity(model, norm, dataset)
    return kept("profile", of, lambda: _measured(model, norm, dataset), _three_columns)


def _three_columns(found: list[list[float]]) -> tuple[Floats, Floats, Floats]:
    flops, outputs, weights = (np.array(column, np.float64) for column in zip(*found, strict=True))
    return flops, outputs, weights


def _measured(model: str, norm: str, dataset: DatasetInfo) -> list[list[float]]:
    """A row of FLOPs, output bytes and weight bytes per unit."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from agents.models.build import build, weight_bytes

    values = torch.zeros(1, dataset.channels, dataset.height, dataset.width)
    rows = []
    with torch.no_grad():
        for unit in build(model, dataset, norm, seed=0).eval():
            with FlopCounterMode(display=False) as counter:
                values = unit(values)
            rows.append([counter.get_total_flops(), values.nbytes, weight_bytes(unit)])
    return rows
