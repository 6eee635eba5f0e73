"""F_i → share of a host core; the dilation that fits the host; CFS quotas."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

T = TypeVar("T")

PERIOD_US = 5000
LEAST_QUOTA_US = 1000
UNLIMITED = -1
QUOTA_MARGIN = 4.0
TOGETHER = 10
LEAST_SHARE = 1e-3  # of a period, for a task that the model gives no time
HOST_MARGIN = 0.8
"""Share of the host's cores (and of one core for one agent) that emulated compute may fill."""


@dataclass(frozen=True)
class UnitSpeed:
    """Seconds that one host core takes for a unit: ``fixed + per_sample · samples``, each way."""

    unit: str
    forward_fixed_s: float
    forward_s: float
    backward_fixed_s: float
    backward_s: float


@dataclass(frozen=True)
class UnitSize:
    """Bytes of what a unit gives for one sample, and of its weights and statistics."""

    output_bytes: float
    weight_bytes: float


@dataclass(frozen=True)
class Transport:
    """What timers, messages and bytes cost on a host, in wall seconds (``agents.message_cost``).

    ``timer_s`` and ``jitter_s``: how late a sleep ends, typically and at worst in a hundred. ``message_s``: from
    handing a message of one frame to the radio until it is there; ``message_bytes``: what a micro-batch carries besides
    its tensors. ``link_bps``: what all links together can carry.
    """

    timer_s: float = 0.0
    jitter_s: float = 0.0
    message_s: float = 0.0
    message_bytes: float = 0.0
    link_bps: float = math.inf


@dataclass(frozen=True)
class Calibration:
    """How fast one core of a host runs each unit of a model, what its transport costs, and how large units are.

    ``bs_units``: how fast each of the ``bs_threads`` cores that the BS uses at once runs them, or its GPU, where it
    does not use one core as UEs do. ``noise_s``: host seconds for clipping a value and adding noise to it.
    """

    units: tuple[UnitSpeed, ...]
    transport: Transport = Transport()
    bs_units: tuple[UnitSpeed, ...] = ()
    bs_threads: int = 1
    noise_s: float = 0.0
    sizes: tuple[UnitSize, ...] = ()

    def forward_s(self, first: int, last: int, samples: int, *, bs: bool = False) -> float:
        """Host seconds for a forward pass through units first…last (1-based, inclusive), at a UE or at the BS."""
        return sum(u.forward_fixed_s + u.forward_s * samples for u in self._of(bs)[first - 1 : last])

    def backward_s(self, first: int, last: int, samples: int, *, bs: bool = False) -> float:
        """Host seconds for a backward pass through units first…last (1-based, inclusive), at a UE or at the BS."""
        return sum(u.backward_fixed_s + u.backward_s * samples for u in self._of(bs)[first - 1 : last])

    def _of(self, bs: bool) -> tuple[UnitSpeed, ...]:
        return self.bs_units if bs and self.bs_units else self.units

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain data; what has no bound is left out."""
        transport = {key: value for key, value in asdict(self.transport).items() if math.isfinite(value)}
        return {**asdict(self), "transport": transport}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Calibration:
        """The calibration that ``to_json`` wrote."""
        units, bs_units = (tuple(UnitSpeed(**one) for one in data[key]) for key in ("units", "bs_units"))
        sizes, transport = tuple(UnitSize(**one) for one in data["sizes"]), Transport(**data["transport"])
        return Calibration(units, transport, bs_units, data["bs_threads"], data["noise_s"], sizes)

    def grouped(self, names: Sequence[str], sizes: Sequence[int]) -> Calibration:
        """The same host for units that stand for so many of these each: their seconds add up."""
        units = (_one(name, group) for name, group in zip(names, _groups(self.units, sizes), strict=True))
        return replace(self, units=tuple(units), sizes=together(self.sizes, sizes) if self.sizes else ())


def together(units: Sequence[UnitSize], sizes: Sequence[int]) -> tuple[UnitSize, ...]:
    """So many units as one each: what the last gives, and the weights of all."""
    return tuple(UnitSize(g[-1].output_bytes, sum(u.weight_bytes for u in g)) for g in _groups(units, sizes))


def _groups(units: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        yield units[end - size : end]


def _one(name: str, group: Sequence[UnitSpeed]) -> UnitSpeed:
    seconds = ("forward_fixed_s", "forward_s", "backward_fixed_s", "backward_s")
    return UnitSpeed(name, *(sum(getattr(unit, key) for unit in group) for key in seconds))


def fit(rows: Iterable[Mapping[str, float | str]], transport: Transport = Transport()) -> Calibration:
    """The calibration that measured rows (unit, samples, forward_s, backward_s) give.

    A straight line through the smallest and the largest number of samples, raised where it
    must be to lie above no fewer than all measured points: a share that is too small costs
    overruns, one that is too large only room.
    """
    by_unit: dict[str, list[Mapping[str, float | str]]] = {}
    for row in rows:
        by_unit.setdefault(str(row["unit"]), []).append(row)
    return Calibration(tuple(_unit(name, points) for name, points in by_unit.items()), transport)


def sizes_of(rows: Iterable[Mapping[str, float | str]]) -> tuple[UnitSize, ...]:
    """The sizes that measured rows (unit, output_bytes, weight_bytes) give."""
    found = {str(row["unit"]): UnitSize(float(row["output_bytes"]), float(row["weight_bytes"])) for row in rows}
    return tuple(found.values())


def _unit(name: str, points: Sequence[Mapping[str, float | str]]) -> UnitSpeed:
    forward = _line([(float(p["samples"]), float(p["forward_s"])) for p in points])
    backward = _line([(float(p["samples"]), float(p["backward_s"])) for p in points])
    return UnitSpeed(name, *forward, *backward)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    (x0, y0), (x1, y1) = min(points), max(points)
    slope = max(0.0, (y1 - y0) / (x1 - x0)) if x1 > x0 else 0.0
    return max(0.0, *(y - slope * x for x, y in points)), slope


@dataclass(frozen=True)
class Demand:
    """A task that an agent repeats: what the host needs for it and what the model allows (s, at D = 1).

    It runs on ``threads`` cores at once, and its agent does as many such tasks at once as it has ``processors``. With
    ``together`` what holds up one of those cores holds up the others.
    """

    agent: str
    host_s: float
    model_s: float
    threads: int = 1
    processors: int = 1
    together: bool = False

    @property
    def cores(self) -> int:
        """How many cores its agent can use at once."""
        return self.threads * self.processors


def shares(demands: Iterable[Demand]) -> dict[str, float]:
    """Per agent the share of a host core it needs at D = 1: that of its tightest task."""
    found: dict[str, float] = {}
    for demand in demands:
        found[demand.agent] = max(found.get(demand.agent, 0.0), demand.host_s / demand.model_s)
    return found


def two_digits(least: float) -> float:
    """The next number of two digits that is not less; 1 at the least."""
    if least <= 1.0:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(least)) - 1)
    return round(math.ceil(least / step - 1e-9) * step, 10)


def quotas_us(demands: Collection[Demand], dilation: float) -> dict[str, int]:
    """Per agent the CFS quota per ``PERIOD_US`` with which each of its tasks can end in time.

    The kernel hands out a quota period by period, and a task that begins when the current one
    is used up has only the whole periods after it: a task of M wall seconds needs its C seconds
    of CPU in ⌊M / period⌋ of them. For long tasks that is the share C / M, and for those shorter than
    a period too, as others of their kind may follow in it. It is four times that: CPU time varies by twice with what
    else the host does, messages come and go meanwhile, and what a core has been given another core cannot use within
    the period. A quota keeps one agent from all of a core; what makes a task as slow as it should be is pacing. None
    is below what the kernel takes or above one core. An agent that computes on several cores has none: what one
    thread uses up holds back the others, four workers for most of a round.
    """
    found = {demand.agent: UNLIMITED for demand in demands if demand.cores > 1}
    for demand in (one for one in demands if found.get(one.agent) != UNLIMITED):
        length = demand.model_s * dilation * 1e6 / PERIOD_US
        periods = max(math.floor(length), min(length, 1.0), LEAST_SHARE)
        quota = round(demand.host_s * 1e6 / periods * QUOTA_MARGIN)
        found[demand.agent] = max(found.get(demand.agent, 0), _that_can_be_had(quota))
    return found


def shares_as_quotas_us(demands: Collection[Demand], dilation: float) -> dict[str, int]:
    """Per agent the CFS quota per ``PERIOD_US`` that is its share, no more: the kernel's own pace (``compute: quota``).

    Less than the kernel takes or more than one core cannot be had: such a device is too fast, or too slow.
    """
    return {agent: _that_can_be_had(round(share / dilation * PERIOD_US)) for agent, share in shares(demands).items()}


def weights(demands: Iterable[Demand]) -> dict[str, int]:
    """Per agent its weight where cores are scarce: as many as it can use at once.

    Threads are as slow as the one whose core is taken, so they have ten times that.
    """
    found: dict[str, int] = {}
    for demand in demands:
        weight = demand.cores * (TOGETHER if demand.threads > 1 else 1)
        found[demand.agent] = max(found.get(demand.agent, 1), weight)
    return found


def _that_can_be_had(quota_us: int) -> int:
    return min(max(quota_us, LEAST_QUOTA_US), PERIOD_US)


QUOTAS_US = {"paced": quotas_us, "quota": shares_as_quotas_us}
"""By the topology's ``compute``: how tasks and a dilation give each agent's quota."""
