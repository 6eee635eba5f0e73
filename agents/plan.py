"""The plan and the job: the pure data on which controller and agents agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from agents.catalog import DatasetInfo


def micro_batch_sizes(batch: int, micro_batches: int) -> tuple[int, ...]:
    """Samples in each of the k micro-batches, split as ``numpy.array_split`` splits.

    The first ``batch % k`` micro-batches hold one sample more; with fewer samples than k
    the last ones are empty.
    """
    share, rest = divmod(batch, micro_batches)
    return tuple(share + 1 if m < rest else share for m in range(micro_batches))


@dataclass(frozen=True)
class UePlan:
    """What one UE is given: samples per round, slots per frame, and link rates.

    ``uplink_bps`` and ``downlink_bps`` are the payload rates the links are shaped to before
    time dilation: the radio's rate times the share of the frame.
    """

    batch: int
    slot_up_s: float
    slot_down_s: float
    uplink_bps: float
    downlink_bps: float
    cluster: int = 0


@dataclass(frozen=True)
class Plan:
    """Scheme, cut, micro-batches, and per UE batch, slots and rates. UEs keep the topology's order."""

    topology: str
    scheme: str
    planner: str
    cut: int
    micro_batches: int
    time_dilation: float
    ues: Mapping[str, UePlan]

    @property
    def batch(self) -> int:
        """Samples in one round, over all UEs."""
        return sum(ue.batch for ue in self.ues.values())

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "ues": {n: asdict(u) for n, u in self.ues.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote; further keys (predictions) are left aside."""
        known = {f.name: data[f.name] for f in fields(Plan) if f.name != "ues"}
        return Plan(**known, ues={name: UePlan(**ue) for name, ue in data["ues"].items()})


@dataclass(frozen=True)
class Job:
    """All that an agent needs to know before the first round of a scheme.

    The ``…_s_per_sample`` are emulated seconds of the modelled processors (eqs 7, 9, 10, 12,
    linear in samples); agents multiply by the time dilation themselves. With ``paced`` false
    the kernel's CPU quota alone sets the speed. ``deadline_s`` bounds, in wall seconds, every
    wait for a peer.
    """

    trial: str
    label: str
    plan: Plan
    model: str
    norm: str
    dataset: str
    dataset_info: DatasetInfo
    lr: float
    momentum: float
    seed: int
    paced: bool
    duplex: str
    ue_forward_s_per_sample: Mapping[str, float]
    ue_backward_s_per_sample: Mapping[str, float]
    bs_forward_s_per_sample: float
    bs_backward_s_per_sample: float
    deadline_s: float
    bs_address: str

    def to_json(self) -> dict[str, Any]:
        """The job as plain data, for the wire."""
        nested = {"plan": self.plan.to_json(), "dataset_info": self.dataset_info.to_json()}
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, **nested}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that ``to_json`` wrote."""
        nested = {"plan": Plan.from_json(data["plan"]), "dataset_info": DatasetInfo(**data["dataset_info"])}
        return Job(**{**data, **nested})


AIR_PORT = 5700
CONTROL_PORT = 5701
METRICS_PORT = 9100
