"""The plan: what a planner decides, as the pure data on which controller and agents agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


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
    the plan's unless the UE has its own. ``tx_power_w`` is what it sends with, where that was decided on.
    """

    batch: int
    slot_up_s: float
    slot_down_s: float
    uplink_bps: float
    downlink_bps: float
    cluster: int = 0
    cut: int | None = None
    micro_batches: int | None = None
    tx_power_w: float | None = None


@dataclass(frozen=True)
class Privacy:
    """Differential privacy at each UE: values clipped to an L2 norm ``clip``, then noise for ε (and δ, if Gaussian).

    ``method``: of the ``weights`` that leave the UE, or of the ``input``, the samples before the first unit.
    """

    method: str
    mechanism: str
    epsilon: float
    clip: float
    delta: float


@dataclass(frozen=True)
class Moving:
    """What a round begins with, as the plan before it was another one: who holds what when it starts.

    ``cuts``: the last unit that each UE holds; the BS has the rest. ``holders``: the UEs that were given the shared
    weights last, where weights are shared. ``momentum``: what changes sides takes its momentum along.
    """

    cuts: Mapping[str, int]
    holders: tuple[str, ...]
    momentum: bool

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Moving:
        """What ``asdict`` gave."""
        return Moving(data["cuts"], tuple(data["holders"]), data["momentum"])


@dataclass(frozen=True)
class Plan:
    """Scheme, cut, micro-batches, and per UE batch, slots and rates. UEs keep the topology's order.

    ``first_micro_batch``: where a UE with fewer samples than micro-batches begins. ``steps``: batches between
    two synchronisations. ``bs_batch``: samples that the BS takes from data of its own. ``phi``: the share of
    rows whose last-layer gradients are aggregated, in the way of ``aggregate``, and broadcast at
    ``broadcast_bps``. ``head_cut``: the units after it are on the UE too, where a scheme cuts twice. ``workers``: the
    BS is ``one`` processor, or one ``per_ue`` that takes part, each with its share of the speed. ``moving``: what a
    round under this plan begins with, where the round before was under another one. ``away``: UEs that were lost and
    are expected back; they have no samples.
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
    head_cut: int | None = None
    privacy: Privacy | None = None
    workers: str = "one"
    moving: Moving | None = None
    away: tuple[str, ...] = ()

    def noise(self, method: str) -> str:
        """The mechanism that adds noise by this method, where the plan says so; else empty."""
        return self.privacy.mechanism if self.privacy is not None and self.privacy.method == method else ""

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
    def batch(self) -> int:
        """Samples in one batch, over all UEs and the BS's own."""
        return sum(ue.batch for ue in self.ues.values()) + self.bs_batch

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data, without what is as usual."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        nested = {key: asdict(value) for key in ("privacy", "moving") if (value := getattr(self, key))}
        return {**plain, **nested, "ues": {n: _without_none(asdict(u)) for n, u in self.ues.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote; further keys (predictions) are left aside."""
        known = {f.name: data[f.name] for f in fields(Plan) if f.name != "ues" and f.name in data}
        if known.get("privacy"):
            known["privacy"] = Privacy(**known["privacy"])
        if known.get("moving"):
            known["moving"] = Moving.from_json(known["moving"])
        known["away"] = tuple(known.get("away", ()))
        return Plan(**known, ues={name: UePlan(**ue) for name, ue in data["ues"].items()})


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
