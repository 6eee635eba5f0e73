"""Topology → the scene that tables and pictures show. Nothing is planned, and nothing of the model is needed.

A link has two rates: with the whole air to itself, and with an equal share of it, which is what it has when all UEs are
on the air together and the planner is ``uniform``. Under ``dedicated`` both are the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from controller.planners.subcarriers import equal_shares
from controller.predict.instance import GIGA, Decision, Floats, Instance, instance, link_rates
from controller.predict.workload import Workload
from testbed.topology import Topology, Ue

HOST = "this machine"
NO_MODEL = Workload((), np.zeros(0), np.zeros(0), np.zeros(0), backward_ratio=1.0, label_bytes=0.0)


@dataclass(frozen=True)
class Place:
    """A UE: where it is (or its SNR; neither where its link is dedicated), its speed and memory, and its link.

    Rates are payload bit/s. ``share`` is the part of the air that ``shared_…_bps`` are for.
    """

    name: str
    host: str
    flop_per_s: float
    memory_mb: float | None
    distance_m: float | None
    snr_db: float | None
    moves: bool
    uplink_bps: float
    downlink_bps: float
    share: float
    shared_uplink_bps: float
    shared_downlink_bps: float

    @property
    def where(self) -> str:
        """Distance or SNR in words; empty where neither matters."""
        if self.snr_db is not None:
            return f"{self.snr_db:.4g} dB SNR"
        if self.distance_m is None:
            return ""
        return f"{self.distance_m:.4g} m{', moves' if self.moves else ''}"


@dataclass(frozen=True)
class Centre:
    """The base station: its speed, into how many processors that is divided, and its memory if that is bounded."""

    host: str
    flop_per_s: float
    processors: int
    memory_mb: float | None
    device: str


@dataclass(frozen=True)
class Scene:
    """All of it. ``air`` and ``model`` are in words; ``shared`` says whether UEs have the air in common."""

    name: str
    model: str
    air: str
    shared: bool
    base_station: Centre
    ues: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        """The document that ``testbed topology --json`` prints."""
        return asdict(self)


def scene(topology: Topology) -> Scene:
    """The scene of a topology."""
    bs, radio = topology.base_station, topology.radio
    problem = instance(topology, NO_MODEL)
    share = _equal_share(problem)
    shared_up, shared_down = _shared_rates(problem, share)
    places = tuple(
        Place(
            name=ue.name,
            host=HOST,
            flop_per_s=float(problem.ue_flops[i]),
            memory_mb=ue.memory_mb,
            distance_m=_distance_m(topology, ue),
            snr_db=ue.snr_db if radio.access != "dedicated" else None,
            moves=ue.name in topology.dynamics.mobility,
            uplink_bps=float(problem.rate_up[i]),
            downlink_bps=float(problem.rate_down[i]),
            share=float(share[i]),
            shared_uplink_bps=float(shared_up[i]),
            shared_downlink_bps=float(shared_down[i]),
        )
        for i, ue in enumerate(topology.ues)
    )
    processors = problem.n if bs.workers == "per_ue" else 1
    centre = Centre(HOST, problem.bs_flops, processors, bs.memory_mb, bs.device)
    model = f"{topology.model.name} on {topology.data.name}"
    return Scene(topology.name, model, _air(topology), problem.shared_air, centre, places)


def gflop(flop_per_s: float) -> str:
    """A speed in words."""
    return f"{flop_per_s / GIGA:.4g} GFLOP/s"


def mbps(bps: float) -> str:
    """A rate in Mbit/s, to three digits."""
    return f"{bps / 1e6:#.3g}".removesuffix(".") if bps < 1e9 else f"{bps / 1e6:.0f}"


def workers(bs: Centre) -> str:
    """Into how many processors the base station is divided, to be put behind its speed; empty for one."""
    return f" in {bs.processors} workers" if bs.processors > 1 else ""


def _equal_share(problem: Instance) -> Floats:
    """The part of the air (n,) of each UE when all are on it together: whole subcarriers under FDMA."""
    if not problem.shared_air:
        return np.ones(problem.n)
    if problem.subcarriers is None:
        return np.full(problem.n, 1 / problem.n)
    return equal_shares(problem.subcarriers, problem.rate_up) / problem.subcarriers


def _shared_rates(problem: Instance, share: Floats) -> tuple[Floats, Floats]:
    slots = share * problem.frame_s
    return link_rates(problem, Decision(0, 1, np.ones(problem.n, np.int64), slots, slots))


def _distance_m(topology: Topology, ue: Ue) -> float | None:
    if topology.radio.access == "dedicated" or ue.snr_db is not None:
        return None
    return ue.distance_m


def _air(topology: Topology) -> str:
    """The radio in one line."""
    radio = topology.radio
    said: list[str] = [radio.access, radio.duplex]
    if radio.access == "dedicated":
        said += [f"network {radio.network}"] if radio.network else []
    else:
        said += [f"{radio.bandwidth_mhz:.4g} MHz at {radio.carrier_ghz:.4g} GHz"]
        said += [f"{radio.subcarriers} subcarriers"] if radio.subcarriers else []
        said += [f"frames of {radio.frame_ms:.4g} ms"] if radio.access == "tdma" else []
        said += ["gated slots"] if radio.gated else []
    said += [f"delay {radio.delay_ms:.4g} ms"] if radio.delay_ms else []
    said += [f"jitter {radio.jitter_ms:.4g} ms"] if radio.jitter_ms else []
    said += [f"loss {radio.loss:.2%}"] if radio.loss else []
    return ", ".join(said)
