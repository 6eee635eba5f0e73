"""The planning problem as arrays: what planners decide on, and what they decide."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.plan import Privacy
from agents.schedule.costs import NOISE_FLOPS
from controller.predict.device import most_samples
from controller.predict.radio import rate_bps, share_rate_bps
from controller.predict.workload import Workload
from testbed.topology import NETWORKS, Radio, Topology

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GIGA, MEGA, MILLI = 1e9, 1e6, 1e-3


@dataclass(frozen=True)
class Instance:
    """Everything a planner may know. Arrays have one entry per UE, in the topology's order.

    ``rate_up`` and ``rate_down`` (bit/s) are what a UE gets with the whole frame to itself;
    with ``shared_air`` a slot of ``τ`` gives it ``τ / frame_s`` of that, else slots do not matter.
    With ``subcarriers`` (FDMA) slots stand for bandwidth: c of M subcarriers are a slot of ``c T / M``.
    ``bandwidth_hz`` is the band that shared rates were computed for, ``tx_power_w`` (n,) what a UE may
    send with, NaN where its SNR is given instead, ``power_budget_w`` what those may that are on the air together.
    A transfer begins ``message_s`` (emulated) after it could, and carries ``message_bytes`` besides its tensors: what
    messages cost on a host. It is on its way for ``delay_s``, and where links are ``gated`` waits for its slots.
    A pass takes ``ue_pass_s`` (n,) or ``bs_pass_s`` besides what its FLOPs take; nothing unless it is given. The BS has
    ``workers`` as a plan has them.
    With ``privacy`` each UE adds noise to its weights, or to samples of ``sample_values`` numbers.
    """

    workload: Workload
    ues: tuple[str, ...]
    ue_flops: Floats
    bs_flops: float
    rate_up: Floats
    rate_down: Floats
    capacity_flop: Floats
    min_batch: Ints
    batch: int
    frame_s: float
    shared_air: bool
    duplex: str
    memory_bytes: Floats | None = None
    subcarriers: int | None = None
    bandwidth_hz: float = 0.0
    tx_power_w: Floats | None = None
    power_budget_w: float | None = None
    message_s: float = 0.0
    message_bytes: float = 0.0
    delay_s: float = 0.0
    gated: bool = False
    ue_pass_s: Floats = field(default_factory=lambda: np.zeros(0))
    bs_pass_s: float = 0.0
    privacy: Privacy | None = None
    sample_values: int = 0
    workers: str = "one"

    def __post_init__(self) -> None:
        if not len(self.ue_pass_s):
            object.__setattr__(self, "ue_pass_s", np.zeros(self.n))

    @property
    def n(self) -> int:
        """Number of UEs."""
        return len(self.ues)

    def ue_forward_s(self, cut: int) -> Floats:
        """Seconds (n,) of each UE's forward pass to this cut, per sample, with the noise that is added to it."""
        noise = NOISE_FLOPS[self.privacy.mechanism] if self.privacy and self.privacy.method == "input" else 0.0
        found: Floats = (self.workload.ue_forward_flops(cut) + self.sample_values * noise) / self.ue_flops
        return found

    def only(self, rows: Ints) -> Instance:
        """The problem of some of the UEs."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        some: dict[str, Any] = {name: value[rows] for name, value in values.items() if isinstance(value, np.ndarray)}
        return replace(self, ues=tuple(self.ues[i] for i in rows), **some)

    @property
    def snr_up(self) -> Floats | None:
        """Uplink SNR (n,) with a UE's power spread over the band, NaN where the SNR is given for every subcarrier.

        None unless the air is shared by subcarriers: in a slot of time a UE has the whole band.
        """
        if not self.shared_air or self.subcarriers is None or self.tx_power_w is None or not self.bandwidth_hz:
            return None
        snr = np.maximum(np.expm1(np.log(2) * self.rate_up / self.bandwidth_hz), 1e-300)
        return np.where(np.isnan(self.tx_power_w), np.nan, snr)

    def batch_cap(self, cut: int, head_cut: int | None = None) -> Ints:
        """Most samples each UE can hold at this cut (C2, and its memory), with the units after ``head_cut`` too."""
        per_sample = self.workload.ue_total_flops(cut, head_cut)
        most = np.full(self.n, float(self.batch))
        if per_sample > 0:
            most = np.minimum(most, np.floor(self.capacity_flop / per_sample * (1 + 1e-12)))
        if self.memory_bytes is not None and cut > 0:
            fits = [
                most_samples(self.workload.footprint, cut, head_cut, each, self.batch) for each in self.memory_bytes
            ]
            most = np.minimum(most, np.array(fits))
        cap: Ints = np.maximum(most, 0).astype(np.int64)
        return cap


@dataclass(frozen=True)
class Decision:
    """What a planner decides: cut, micro-batches, and per UE samples and slots (s) in each direction.

    ``cluster`` (n,) numbers the UEs that take turns together, where turns are clusters; ``ue_cut`` and
    ``ue_micro_batches`` (n,) stand in for ``cut`` and ``micro_batches`` where each UE has its own. ``steps``
    is the number of batches between two synchronisations, ``phi`` the share of EPSL; a UE with
    fewer samples than micro-batches begins at ``first_micro_batch``. The units after ``head_cut`` are on the UE too.
    ``tx_power_w`` (n,) is what UEs send with where that is decided on; else all that they may.
    """

    cut: int
    micro_batches: int
    batch: Ints
    slot_up_s: Floats
    slot_down_s: Floats
    cluster: Ints | None = None
    ue_cut: Ints | None = None
    ue_micro_batches: Ints | None = None
    steps: int = 1
    phi: float = 0.0
    first_micro_batch: int = 0
    aggregate: str = "virtual"
    head_cut: int | None = None
    tx_power_w: Floats | None = None

    def cuts(self, n: int) -> Ints:
        """The cut of each UE (n,)."""
        return np.full(n, self.cut, dtype=np.int64) if self.ue_cut is None else self.ue_cut

    def counts(self, n: int) -> Ints:
        """The number of micro-batches of each UE (n,)."""
        if self.ue_micro_batches is None:
            return np.full(n, self.micro_batches, dtype=np.int64)
        return self.ue_micro_batches

    def clusters(self, ues: tuple[str, ...]) -> dict[str, int]:
        """The cluster of each UE that has samples."""
        cluster = np.zeros(len(ues), dtype=np.int64) if self.cluster is None else self.cluster
        return {ue: int(cluster[i]) for i, ue in enumerate(ues) if self.batch[i]}


def link_rates(instance: Instance, decision: Decision) -> tuple[Floats, Floats]:
    """Payload rates (bit/s) that the slots give each UE: ``r τ / T``, or ``r`` on dedicated links.

    Under FDMA a UE puts all its power on its subcarriers; the BS spreads its power over all of them.
    """
    if not instance.shared_air:
        return instance.rate_up, instance.rate_down
    share_up, share_down = decision.slot_up_s / instance.frame_s, decision.slot_down_s / instance.frame_s
    return up_rates(instance, share_up, sending_w(instance, decision)), instance.rate_down * share_down


def up_rates(instance: Instance, share: Floats, power_w: Floats | None = None) -> Floats:
    """Uplink rates (bit/s) that a ``share`` (n,) of the shared air gives, with this power or all that a UE may use."""
    plain, snr = np.asarray(instance.rate_up * share), instance.snr_up
    if snr is None:
        return plain
    if power_w is not None and instance.tx_power_w is not None:
        snr = snr * power_w / instance.tx_power_w
    dense = share_rate_bps(np.where(share > 0, share, 1.0), snr, instance.bandwidth_hz)
    return np.where(np.isnan(snr) | (share <= 0), plain, dense)


def sending_w(instance: Instance, decision: Decision) -> Floats | None:
    """What each UE sends with (W): as decided, else all that it may; None where there is no power to speak of.

    Where UEs that are on the air together would exceed ``power_budget_w``, each of them sends with less by one factor.
    UEs whose SNR is given are not in the sum; one that has the whole band is alone.
    """
    power_w = instance.tx_power_w if decision.tx_power_w is None else decision.tx_power_w
    if instance.power_budget_w is None or power_w is None:
        return power_w
    cluster = np.zeros(instance.n, dtype=np.int64) if decision.cluster is None else decision.cluster
    alone = decision.slot_up_s >= instance.frame_s * (1 - 1e-9)
    groups = [np.arange(instance.n) == i for i in np.flatnonzero(alone)]
    groups += [~alone & (cluster == one) & (decision.batch > 0) for one in np.unique(cluster)]
    found = power_w.copy()
    for group in groups:
        total_w = float(np.nansum(power_w[group]))
        if total_w > instance.power_budget_w:
            found[group] *= instance.power_budget_w / total_w
    return found


def _memory_bytes(topology: Topology) -> Floats | None:
    if all(ue.memory_mb is None for ue in topology.ues):
        return None
    return np.array([np.inf if ue.memory_mb is None else ue.memory_mb * MEGA for ue in topology.ues])


def instance(topology: Topology, workload: Workload) -> Instance:
    """The planning problem of a topology."""
    radio, bs, ues = topology.radio, topology.base_station, topology.ues
    up, down = _dedicated_rates(topology) if radio.access == "dedicated" else _shared_rates(topology)
    return Instance(
        workload=workload,
        ues=tuple(ue.name for ue in ues),
        ue_flops=np.array([ue.clock_ghz * ue.flops_per_cycle for ue in ues], dtype=np.float64) * GIGA,
        bs_flops=bs.clock_ghz * bs.flops_per_cycle * GIGA,
        rate_up=up,
        rate_down=down,
        capacity_flop=np.array([ue.capacity_gflop for ue in ues], dtype=np.float64) * GIGA,
        min_batch=np.array([ue.min_batch for ue in ues], dtype=np.int64),
        batch=topology.training.batch,
        frame_s=radio.frame_ms * MILLI,
        shared_air=radio.access != "dedicated",
        duplex=radio.duplex,
        memory_bytes=_memory_bytes(topology),
        subcarriers=radio.subcarriers,
        bandwidth_hz=band_hz(radio),
        delay_s=radio.delay_ms * MILLI,
        gated=radio.gated,
        power_budget_w=radio.power_budget_w,
        ue_pass_s=np.array([ue.pass_ms for ue in ues], dtype=np.float64) * MILLI,
        bs_pass_s=bs.pass_ms * MILLI,
        workers=bs.workers,
        tx_power_w=np.array([np.nan if u.snr_db is not None else 10 ** (u.tx_power_dbm / 10 - 3) for u in ues]),
    )


def band_hz(radio: Radio) -> float:
    """The band (Hz) that is used: under ``fdma`` as many whole subcarriers as fit."""
    if radio.subcarriers is None:
        return radio.bandwidth_mhz * MEGA
    return radio.subcarriers * radio.subcarrier_mhz * MEGA


def _dedicated_rates(topology: Topology) -> tuple[Floats, Floats]:
    """Up and down (bit/s): each UE's own, else those of the named network."""
    network = NETWORKS.get(topology.radio.network or "", (np.nan, np.nan))
    up = [network[0] if ue.uplink_mbps is None else ue.uplink_mbps for ue in topology.ues]
    down = [network[1] if ue.downlink_mbps is None else ue.downlink_mbps for ue in topology.ues]
    return np.array(up, dtype=np.float64) * MEGA, np.array(down, dtype=np.float64) * MEGA


def _shared_rates(topology: Topology) -> tuple[Floats, Floats]:
    """Up and down (bit/s) with the whole band and frame: by power and distance, or by the SNR where it is given."""
    radio, ues = topology.radio, topology.ues
    distance = np.array([ue.distance_m for ue in ues], dtype=np.float64)
    band = {
        "bandwidth_hz": band_hz(radio),
        "carrier_ghz": radio.carrier_ghz,
        "antenna_gain_db": radio.antenna_gain_db,
        "noise_dbm_per_hz": radio.noise_dbm_per_hz,
    }
    up = rate_bps(np.array([ue.tx_power_dbm for ue in ues], dtype=np.float64), distance, **band)
    down = rate_bps(topology.base_station.tx_power_dbm, distance, **band)
    snr_db = np.array([np.nan if ue.snr_db is None else ue.snr_db for ue in ues])
    given = band_hz(radio) * np.log2(1 + 10 ** (snr_db / 10))
    return np.where(np.isnan(given), up, given), np.where(np.isnan(given), down, given)
