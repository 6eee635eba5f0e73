"""The topology file: frozen models of what the user wrote, with the defaults of Table I."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat

from testbed import built, data, profile
from testbed.data import Data
from testbed.dynamics import Dynamics
from testbed.faults import DrawnFaults, Fault
from testbed.profile import UnitProfile
from testbed.replanning import Replan
from testbed.section import Decibels, OwnName, Section


class Model(Section):
    """The network to train, and where its costs come from. One of one's own is ``mine.py:build``."""

    name: (
        Literal["vgg5", "lenet12", "resnet18", "resnet101", "vgg16", "mobilenet_v3_small", "mobilenet_v3_large"]
        | OwnName
    ) = "vgg5"
    norm: Literal["group", "batch"] = "group"
    profile: Literal["measured"] | tuple[UnitProfile, ...] = "measured"
    backward_ratio: PositiveFloat = 2.0
    label_bytes: int = Field(default=1, ge=1)


CURVE_POINTS = 4


class Training(Section):
    """Samples per batch over all UEs, rounds, SGD, and when to evaluate.

    ``evaluate_every`` counts rounds (by default a quarter of them, or 1 with a ``target_accuracy``, at which a
    scheme stops).
    """

    batch: int = Field(default=128, ge=1)
    rounds: int = Field(default=10, ge=1)
    lr: PositiveFloat = 0.05
    momentum: float = Field(default=0.9, ge=0, lt=1)
    evaluate_every: int | None = Field(default=None, ge=1)
    target_accuracy: float | None = Field(default=None, gt=0, le=1)

    def every(self, rounds: int) -> int:
        """Every how many of so many rounds a scheme is evaluated."""
        return self.evaluate_every or (1 if self.target_accuracy else max(1, rounds // CURVE_POINTS))


NETWORKS = {"4g": (10.0, 25.0), "4g+": (20.0, 40.0), "wifi": (50.0, 50.0)}
"""Uplink and downlink in Mbit/s of the PiPar paper's networks (section V-A)."""


class Radio(Section):
    """The radio; defaults of Table I. ``fdma`` deals subcarriers, ``network`` names rates of ``dedicated`` links.

    ``power_budget_w``: what all UEs that are on the air together may send with (``fdma``); by default each its own.

    Delay, jitter and loss are each direction's own.
    """

    access: Literal["tdma", "fdma", "dedicated"] = "tdma"
    duplex: Literal["tdd", "fdd"] = "tdd"
    slots: Literal["average", "gated"] = "average"
    frame_ms: PositiveFloat = 10.0
    bandwidth_mhz: PositiveFloat = 100.0
    subcarrier_mhz: PositiveFloat = 1.0
    network: Literal["4g", "4g+", "wifi"] | None = None
    carrier_ghz: PositiveFloat = 3.5
    antenna_gain_db: Decibels = 10.0
    noise_dbm_per_hz: Decibels = -174.0
    power_budget_w: PositiveFloat | None = None
    delay_ms: float = Field(default=0.0, ge=0, le=10_000)
    jitter_ms: float = Field(default=0.0, ge=0, le=10_000)
    loss: float = Field(default=0.0, ge=0, lt=1)

    @property
    def gated(self) -> bool:
        """Whether UEs send in slots of a frame, where slots are shorter than it."""
        return self.slots == "gated" and self.access != "dedicated"

    @property
    def beyond_rates(self) -> str | None:
        """The first key that asks of the links more than rates, which takes a kernel with netem; or None."""
        asked = {"slots": self.gated, "delay_ms": self.delay_ms, "jitter_ms": self.jitter_ms, "loss": self.loss}
        return next((key for key, value in asked.items() if value), None)

    @property
    def subcarriers(self) -> int | None:
        """Whole subcarriers in the band under ``fdma``, else None."""
        return int(self.bandwidth_mhz / self.subcarrier_mhz * (1 + 1e-9)) if self.access == "fdma" else None


class BaseStation(Section):
    """The base station; defaults of Table I. Every pass takes ``pass_ms`` besides what its FLOPs take.

    ``threads``: host cores that it computes with at once; ``auto`` is one, or all that the host has where its computing
    is what keeps the trial slow.
    ``workers``: it is ``one`` processor, or has one for each UE with a BS model of its own, of an equal share of the
    speed (PiPar's server). ``memory_mb`` bounds its container, and what plans may ask of it.
    """

    clock_ghz: PositiveFloat = 80.0
    flops_per_cycle: PositiveFloat = 32.0
    pass_ms: float = Field(default=0.0, ge=0, le=10_000)
    tx_power_dbm: Decibels = 46.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    workers: Literal["one", "per_ue"] = "one"
    memory_mb: PositiveFloat | None = None


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class Ue(Section):
    """One device: where it is (or its SNR instead), how loud, how fast, and what it can hold (c_i of C2, memory).

    Every pass takes ``pass_ms`` besides what its FLOPs take.
    """

    name: Name
    distance_m: PositiveFloat = 120.0
    tx_power_dbm: Decibels = 20.0
    clock_ghz: PositiveFloat = 1.2
    flops_per_cycle: PositiveFloat = 16.0
    pass_ms: float = Field(default=0.0, ge=0, le=10_000)
    capacity_gflop: PositiveFloat = 1.5
    memory_mb: PositiveFloat | None = None
    min_batch: int = Field(default=1, ge=0)
    uplink_mbps: PositiveFloat | None = None
    downlink_mbps: PositiveFloat | None = None
    snr_db: Decibels | None = None


Interval = tuple[float, float]


def _as_interval(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _ordered(value: Interval) -> Interval:
    if value[0] > value[1]:
        raise ValueError(f"the interval must go upwards, not from {value[0]:g} to {value[1]:g}")
    return value


Range = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_as_interval), AfterValidator(_ordered)]
AnyRange = Annotated[tuple[Decibels, Decibels], BeforeValidator(_as_interval), AfterValidator(_ordered)]


# In the order in which they are drawn: a new one goes to the end, so that a seed keeps what it drew
_DRAWN = ("distance_m", "tx_power_dbm", "clock_ghz", "capacity_gflop", "uplink_mbps", "downlink_mbps", "snr_db")


class UeGroup(Section):
    """Several UEs whose properties are drawn evenly from ``[low, high]`` with the topology's seed."""

    count: int = Field(ge=1, le=10000)
    distance_m: Range = (100.0, 500.0)
    tx_power_dbm: AnyRange = (13.0, 23.0)
    clock_ghz: Range = (1.0, 2.0)
    flops_per_cycle: PositiveFloat = 16.0
    pass_ms: float = Field(default=0.0, ge=0, le=10_000)
    capacity_gflop: Range = (1.0, 2.0)
    memory_mb: PositiveFloat | None = None
    min_batch: int = Field(default=1, ge=0)
    uplink_mbps: Range | None = None
    downlink_mbps: Range | None = None
    snr_db: AnyRange | None = None

    def draw(self, seed: int) -> tuple[Ue, ...]:
        """The UEs ue1 … ueN, each property drawn independently."""
        rng = np.random.default_rng([seed, 0])

        def sample(interval: Interval | None) -> list[float | None]:
            if interval is None:
                return [None] * self.count
            return [float(x) for x in rng.uniform(*interval, size=self.count)]

        drawn = {key: sample(getattr(self, key)) for key in _DRAWN}
        common = {key: getattr(self, key) for key in ("flops_per_cycle", "pass_ms", "min_batch", "memory_mb")}
        return tuple(
            Ue(name=f"ue{i + 1}", **common, **{key: values[i] for key, values in drawn.items()})  # type: ignore[arg-type]
            for i in range(self.count)
        )


CLUSTER_SIZE = 5
"""UEs in a cluster unless a scheme says otherwise (CPSL paper, Table II)."""


class Gibbs(Section):
    """Gibbs sampling of clusters (CPSL paper, Alg. 4; the defaults are its Table II's, but for the chains).

    ``iterations`` are G, ``smooth_s`` is the smooth factor δ of eq. 35. Of several ``chains``, each with a δ ten times
    that of the one before, the best is taken.
    """

    iterations: int = Field(default=1000, ge=1)
    smooth_s: PositiveFloat = 1e-4
    chains: int = Field(default=4, ge=1)


class Saa(Section):
    """The choice of the cut by sample averages (CPSL paper, Alg. 2).

    ``samples`` are J draws of speeds and SNRs, each clustered with so many ``iterations``. They vary as the topology's
    ``dynamics`` say unless ``compute_jitter`` and ``shadowing_db`` are given; where nothing varies, one sample is all.
    """

    samples: int = Field(default=10, ge=1)
    iterations: int = Field(default=150, ge=1)
    compute_jitter: float | None = Field(default=None, ge=0, le=0.5)
    shadowing_db: float | None = Field(default=None, ge=0, le=30)

    def over(self, dynamics: Dynamics) -> Saa:
        """The same with the deviations of these dynamics where it gives none."""
        jitter = dynamics.compute_jitter if self.compute_jitter is None else self.compute_jitter
        shadowing = dynamics.shadowing_db if self.shadowing_db is None else self.shadowing_db
        return self.model_copy(update={"compute_jitter": jitter, "shadowing_db": shadowing})


class Privacy(Section):
    """Differential privacy at each UE: values clipped to an L2 norm, then noise for ε (and δ, if Gaussian).

    ``method``: of the change of the ``weights`` before they leave (classic), or of the ``input``, the samples before
    the first unit (PixelDP).
    """

    method: Literal["weights", "input"] = "weights"
    mechanism: Literal["gaussian", "laplace"] = "gaussian"
    epsilon: PositiveFloat
    clip: PositiveFloat = 1.0
    delta: float = Field(default=1e-5, gt=0, lt=1)


class SchemeChoice(Section):
    """A scheme to run: who plans it, under which label, and what of the plan is fixed.

    ``phi`` and ``aggregate`` are for schemes that aggregate last-layer gradients: the share φ of rows, and the
    reading of EPSL. ``cluster_size`` is for those that take turns by clusters. For those that synchronise,
    ``local_epochs`` is how much a UE trains in between, and ``sync_every`` whether that counts batches or
    passes over the data. ``in_flight`` makes every micro-batch a whole batch (PiPar). ``head_cut`` is for those that
    cut the model twice: the units after it are on the UE as well. ``lemma`` and ``p3`` are for planner ao: which
    extremum Lemma 1 takes, and how batches become integers. ``n_rule`` is for planner pipar: N by search, or by eq. 14
    alone. ``reading`` (of the latency equations), ``gibbs`` and ``saa`` are for planner cpsl. ``lr`` and ``momentum``
    are over those of ``training``, ``bs_lr`` is the BS's half's (by default the same). With ``replan: false`` the plan
    stays though the topology has a ``replan`` section; with ``true`` it is an error if it must. A scheme of one's own
    is ``mine.py:name``.
    """

    scheme: str
    planner: str | None = None
    label: Name | None = None
    cut: int | None = Field(default=None, ge=1)
    head_cut: int | None = Field(default=None, ge=2)
    micro_batches: int | None = Field(default=None, ge=1)
    lemma: Literal["corrected", "printed"] = "corrected"
    p3: Literal["relaxed", "milp"] = "relaxed"
    n_rule: Literal["search", "eq14"] = "search"
    rounds: int | None = Field(default=None, ge=1)
    phi: float = Field(default=0.5, ge=0, le=1)
    aggregate: Literal["virtual", "own", "cut"] = "virtual"
    cluster_size: int = Field(default=CLUSTER_SIZE, ge=1)
    reading: Literal["printed", "corrected"] = "corrected"
    gibbs: Gibbs = Gibbs()
    saa: Saa = Saa()
    local_epochs: int = Field(default=1, ge=1)
    sync_every: Literal["batch", "epoch"] | None = None
    in_flight: bool = False
    privacy: Privacy | None = None
    lr: PositiveFloat | None = None
    bs_lr: PositiveFloat | None = None
    momentum: float | None = Field(default=None, ge=0, lt=1)
    replan: bool | None = None

    @property
    def sgd(self) -> dict[str, float]:
        """What it says of SGD, over ``training``."""
        given = {"lr": self.lr, "bs_lr": self.bs_lr, "momentum": self.momentum}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def key(self) -> str:
        """The name of this row in results: the label, or the scheme's own name."""
        return self.label or self.scheme.rpartition(":")[2].replace("_", "-")


def _as_choices(value: Any) -> Any:
    return [{"scheme": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


class Topology(Section):
    """A whole topology file. ``ues`` is a list once drawn.

    There is a checkpoint after every so many rounds (``checkpoint_every``), from which a trial goes on when its BS or
    its controller has died: with ``auto`` about every minute on the wall clock, with 0 never.
    """

    name: Name
    seed: int = Field(default=7, ge=0)
    time_dilation: Literal["auto"] | Annotated[float, Field(ge=1)] = "auto"
    compute: Literal["paced", "quota"] = "paced"
    model: Model = Model()
    data: Data = Data()
    training: Training = Training()
    radio: Radio = Radio()
    base_station: BaseStation = BaseStation()
    dynamics: Dynamics = Dynamics()
    replan: Replan | None = None
    faults: tuple[Fault, ...] | DrawnFaults = ()
    checkpoint_every: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    ues: tuple[Ue, ...]
    schemes: Annotated[tuple[SchemeChoice, ...], BeforeValidator(_as_choices)] = Field(
        (SchemeChoice(scheme="psl"), SchemeChoice(scheme="c2p2sl")), min_length=1
    )

    @property
    def rounds(self) -> dict[str, int]:
        """How many rounds each scheme has, by label."""
        return {choice.key: choice.rounds or self.training.rounds for choice in self.schemes}

    @property
    def built_units(self) -> tuple[str, ...]:
        """Names of the units of the model that is trained. OwnError when it is the user's and does not chain."""
        return built.units(self.model.name, data.info(self.data))

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units that are planned with: those of the profile when one is given."""
        rows = self.model.profile
        return self.built_units if rows == "measured" else tuple(row.unit for row in rows)

    @property
    def group_sizes(self) -> tuple[int, ...] | None:
        """How many units of the model each unit that is planned with stands for; None where that is not said."""
        rows, names = self.model.profile, self.built_units
        return (1,) * len(names) if rows == "measured" else profile.group_sizes(rows, names)
