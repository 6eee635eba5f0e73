"""The plan and the job: the pure data on which controller and agents agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from agents.models.catalog import DatasetInfo
from agents.scheme import SCHEMES, Phase, groups, phases, shared_rows


def micro_batch_sizes(batch: int, micro_batches: int, first: int = 0) -> tuple[int, ...]:
    """Samples in each of the k micro-batches, split as ``numpy.array_split`` splits.

    The first ``batch % k`` micro-batches hold one sample more. Fewer samples than k fill micro-batches
    one by one from number ``first`` (from 0) on, or from ``k - batch`` if that is earlier; the others are
    empty.
    """
    share, rest = divmod(batch, micro_batches)
    if share == 0:
        begin = min(first, micro_batches - batch)
        return tuple(int(begin <= m < begin + batch) for m in range(micro_batches))
    return tuple(share + 1 if m < rest else share for m in range(micro_batches))


@dataclass(frozen=True)
class UePlan:
    """What one UE is given: samples per batch, slots per frame, and link rates.

    ``uplink_bps`` and ``downlink_bps`` are the payload rates the links are shaped to before
    time dilation: the radio's rate times the share of the frame. ``cut`` and ``micro_batches`` are
    the plan's unless the UE has its own.
    """

    batch: int
    slot_up_s: float
    slot_down_s: float
    uplink_bps: float
    downlink_bps: float
    cluster: int = 0
    cut: int | None = None
    micro_batches: int | None = None


@dataclass(frozen=True)
class Plan:
    """Scheme, cut, micro-batches, and per UE batch, slots and rates. UEs keep the topology's order.

    ``first_micro_batch``: where a UE with fewer samples than micro-batches begins. ``steps``: batches between
    two synchronisations. ``bs_batch``: samples that the BS takes from data of its own. ``phi``: the share of
    rows whose last-layer gradients are aggregated, in the way of ``aggregate``, and broadcast at
    ``broadcast_bps``.
    """

    topology: str
    scheme: str
    planner: str
    cut: int
    micro_batches: int
    time_dilation: float
    ues: Mapping[str, UePlan]
    first_micro_batch: int = 0
    steps: int = 1
    bs_batch: int = 0
    phi: float = 0.0
    aggregate: str = "virtual"
    broadcast_bps: float = 0.0

    def sizes(self, ue: str) -> tuple[int, ...]:
        """Samples in each micro-batch of a UE."""
        mine = self.ues[ue]
        return micro_batch_sizes(mine.batch, mine.micro_batches or self.micro_batches, self.first_micro_batch)

    def cut_of(self, ue: str) -> int:
        """Where a UE's model is cut."""
        own = self.ues[ue].cut
        return self.cut if own is None else own

    @property
    def clusters(self) -> dict[str, int]:
        """The cluster of each UE that takes part."""
        return {name: ue.cluster for name, ue in self.ues.items() if ue.batch}

    @property
    def bs_tasks(self) -> set[tuple[int, int]]:
        """Cut and samples of everything that the BS computes at once."""
        scheme = SCHEMES[self.scheme]
        if scheme.bs_model == "none":
            return set()
        found = {(self.cut, self.bs_batch)}
        for members in groups(scheme, self.clusters):
            if scheme.bs_model == "joint":
                columns = zip(*(self.sizes(ue) for ue in members), strict=True)
                found |= {(self.cut, sum(column)) for column in columns}
            else:
                found |= {(self.cut_of(ue), size) for ue in members for size in self.sizes(ue)}
        return {(cut, size) for cut, size in found if size}

    def phases(self, duplex: str) -> tuple[Phase, ...]:
        """What happens in a round."""
        return phases(SCHEMES[self.scheme], self.clusters, self.steps, duplex)

    def shared_rows(self, members: Sequence[str]) -> int:
        """Rows of each member's batch whose gradients are aggregated."""
        return shared_rows(self.phi, [self.ues[ue].batch for ue in members])

    @property
    def batch(self) -> int:
        """Samples in one batch, over all UEs and the BS's own."""
        return sum(ue.batch for ue in self.ues.values()) + self.bs_batch

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data, without what is as usual."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {**plain, "ues": {n: _without_none(asdict(u)) for n, u in self.ues.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote; further keys (predictions) are left aside."""
        known = {f.name: data[f.name] for f in fields(Plan) if f.name != "ues" and f.name in data}
        return Plan(**known, ues={name: UePlan(**ue) for name, ue in data["ues"].items()})


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True)
class Privacy:
    """Noise on what leaves a UE (PiPar, V-F): samples clipped to an L2 norm, then noise for ε (and δ)."""

    mechanism: str
    epsilon: float
    clip: float
    delta: float


@dataclass(frozen=True)
class Job:
    """All that an agent needs to know before the first round of a scheme.

    The ``…_s_per_sample`` are emulated seconds of the modelled processors (eqs 7, 9, 10, 12,
    linear in samples); agents multiply by the time dilation themselves. With ``paced`` false
    the kernel's CPU quota alone sets the speed. ``deadline_s`` bounds, in wall seconds, every
    wait for a peer. ``shares`` is each UE's share of the training data (λ_i = D_i / D). A packet is ``delay_s``
    (emulated) on its way.
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
    bs_forward_s_per_sample: Mapping[str, float]
    bs_backward_s_per_sample: Mapping[str, float]
    deadline_s: float
    bs_address: str
    shares: Mapping[str, float]
    privacy: Privacy | None = None
    delay_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The job as plain data, for the wire."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        nested = {"plan": self.plan.to_json(), "dataset_info": self.dataset_info.to_json()}
        return {**plain, **nested, "privacy": self.privacy and asdict(self.privacy)}

    def tempo(self) -> dict[str, Any]:
        """What may change between rounds: seconds per sample, the deadline, and the rate of a broadcast."""
        return {**{key: getattr(self, key) for key in _TEMPO}, "broadcast_bps": self.plan.broadcast_bps}

    def at_tempo(self, tempo: Mapping[str, Any]) -> Job:
        """The same job from now on at another ``tempo``."""
        plan = replace(self.plan, broadcast_bps=float(tempo["broadcast_bps"]))
        return replace(self, plan=plan, **{key: tempo[key] for key in _TEMPO})

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that ``to_json`` wrote."""
        nested = {"plan": Plan.from_json(data["plan"]), "dataset_info": DatasetInfo(**data["dataset_info"])}
        privacy = Privacy(**data["privacy"]) if data.get("privacy") else None
        return Job(**{**data, **nested, "privacy": privacy})


_TEMPO = (
    "ue_forward_s_per_sample",
    "ue_backward_s_per_sample",
    "bs_forward_s_per_sample",
    "bs_backward_s_per_sample",
    "deadline_s",
)

CONFIGURE_S = 120.0
"""Wall seconds for taking up a job: a model is built and run once, which is half a minute on an emulated processor."""

AIR_PORT = 5700
BROADCAST_PORT = 5702
CONTROL_PORT = 5701
METRICS_PORT = 9100
