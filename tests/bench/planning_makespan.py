"""The makespan planner on random draws of Table I: how much it saves, how near the bound, how fast it plans."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.predict.bounds import lower_bound_s
from controller.predict.instance import Instance, instance
from controller.predict.prediction import round_s
from controller.predict.timing import per_sample
from controller.predict.workload import workload
from testbed.errors import InputError
from testbed.loading import parse
from tests.bench.number import Number, at_least, at_most

DRAWS = 20
SIZES = (4, 8, 12, 16)
BANDWIDTHS_MHZ = (100, 150, 200, 250, 300)
MIB = 2**20
# Table II: unit, forward MFLOP, output MiB, parameters in millions (4 bytes each)
TABLE_II = (
    ("conv1", 3.802, 0.250, 0.002),
    ("block1", 303.0, 0.250, 0.148),
    ("block2", 269.1, 0.125, 0.526),
    ("block3", 268.8, 0.0625, 2.100),
    ("block4", 268.6, 0.03125, 8.394),
    ("fc", 0.026, 40 / MIB, 0.005),
)


@dataclass(frozen=True)
class Draw:
    """Predicted rounds (s) of one draw."""

    n: int
    bandwidth_mhz: int
    psl_s: float
    uniform_s: float
    ao_s: float
    makespan_s: float
    bound_s: float
    air_bound: bool

    @property
    def saving(self) -> float:
        """Percent of the round of PSL with equal batches and slots."""
        return 100 * (1 - self.makespan_s / self.psl_s)

    @property
    def ao_saving(self) -> float:
        """The same of ``ao``."""
        return 100 * (1 - self.ao_s / self.psl_s)

    @property
    def in_order(self) -> bool:
        """makespan ≤ ao ≤ uniform."""
        return self.makespan_s <= self.ao_s * (1 + 1e-9) and self.ao_s <= self.uniform_s * (1 + 1e-9)

    @property
    def gap(self) -> float:
        """Percent above the bound."""
        return 100 * (self.makespan_s / self.bound_s - 1)


def numbers() -> list[Number]:
    """Savings and gaps over the draws, then time and memory of one plan as n grows."""
    found, skipped = draws()
    by_band = {band: float(np.mean([d.saving for d in found if d.bandwidth_mhz == band])) for band in BANDWIDTHS_MHZ}
    overall = float(np.mean([d.saving for d in found]))
    disordered = sum(not d.in_order for d in found)
    return [
        *(
            at_least(f"mean saving at {band} MHz", 44 if band == 100 else 0, saving, "%", 1)
            for band, saving in by_band.items()
        ),
        at_least("mean saving over 100 to 300 MHz", 50, overall, "%", 1),
        _worst_gap(found),
        at_most(
            f"of {len(found)} draws, not makespan ≤ ao ≤ uniform ({skipped} infeasible passed over)",
            0,
            disordered,
            "",
            0,
        ),
        *(number for n, limit_s in ((16, 0.3), (1000, 3.0), (10000, 60.0)) for number in plan_time(n, limit_s)),
    ]


def _worst_gap(found: list[Draw]) -> Number:
    bound = [d for d in found if d.air_bound]
    return at_most(f"worst gap, {len(bound)} air-bound of {len(found)}", 1, max(d.gap for d in bound), "%", 3)


def savings() -> str:
    """Mean percent saved against PSL by ao / makespan, per n and bandwidth: the table of docs/planning.md."""
    found, _ = draws()
    lines = ["| n | " + " | ".join(f"{band} MHz" for band in BANDWIDTHS_MHZ) + " |", "| --- " * 6 + "|"]
    for n in (*SIZES, None):
        cells = []
        for band in BANDWIDTHS_MHZ:
            here = [d for d in found if d.bandwidth_mhz == band and n in (d.n, None)]
            cells.append(f"{np.mean([d.ao_saving for d in here]):.1f} / {np.mean([d.saving for d in here]):.1f} %")
        lines.append(f"| {n or 'mean'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@cache
def draws() -> tuple[list[Draw], int]:
    """20 feasible draws of each size, each at every bandwidth, and how many infeasible ones were passed over."""
    found: list[Draw] = []
    skipped = 0
    for n in SIZES:
        seeds = _feasible(n)
        skipped += seeds[-1] + 1 - DRAWS
        found += [_draw(table1(n, seed, band), n, band) for seed in seeds for band in BANDWIDTHS_MHZ]
    return found, skipped


def _feasible(n: int) -> list[int]:
    """The first seeds at which equal batches, and so all planners, can carry the batch."""

    def seeds() -> Iterator[int]:
        seed = 0
        while True:
            try:
                PLANNERS["uniform"](Request(table1(n, seed, 100), SCHEMES["psl"]))
                yield seed
            except InputError:
                pass
            seed += 1

    source = seeds()
    return [next(source) for _ in range(DRAWS)]


def table1(n: int, seed: int, bandwidth_mhz: int, batch: int = 512, min_batch: int = 1) -> Instance:
    """Table I's radio and devices drawn from a seed, with Table II's workload."""
    units = ", ".join(
        f"{{unit: {unit}, forward_flops: {mflop * 1e6}, output_bytes: {mib * MIB}, weight_bytes: {params * 4e6}}}"
        for unit, mflop, mib, params in TABLE_II
    )
    text = f"""
name: table1
seed: {seed}
model: {{profile: [{units}]}}
training: {{batch: {batch}}}
radio: {{bandwidth_mhz: {bandwidth_mhz}}}
ues: {{count: {min(n, 1000)}, min_batch: {min_batch}}}
"""
    topology = parse(text, "bench")
    return _repeated(instance(topology, workload(topology)), n)


def _repeated(problem: Instance, n: int) -> Instance:
    """More UEs than the data set allows: further draws of the same radio."""
    if n == problem.n:
        return problem
    rows = np.arange(n) % problem.n
    jitter = np.random.default_rng(0).uniform(0.9, 1.1, n)
    per_ue = ("ue_flops", "rate_up", "rate_down", "capacity_flop")
    values = {**vars(problem), **{key: getattr(problem, key)[rows] * jitter for key in per_ue}}
    return Instance(**{**values, "ues": tuple(f"ue{i + 1}" for i in range(n)), "min_batch": problem.min_batch[rows]})


def _draw(problem: Instance, n: int, bandwidth_mhz: int) -> Draw:
    def length(scheme: str, planner: str) -> tuple[float, int]:
        decision = PLANNERS[planner](Request(problem, SCHEMES[scheme])).decision
        return round_s(problem, SCHEMES[scheme], decision), decision.cut

    shortest, cut = length("c2p2sl", "makespan")
    bound_s = lower_bound_s(problem)
    return Draw(
        n,
        bandwidth_mhz,
        length("psl", "uniform")[0],
        length("c2p2sl", "uniform")[0],
        length("c2p2sl", "ao")[0],
        shortest,
        bound_s,
        bound_s > 1.001 * _compute_s(problem, cut),
    )


def _compute_s(problem: Instance, cut: int) -> float:
    """BS compute of a round (s): the bound is the air's where it is above this, as UEs have time to spare."""
    per = per_sample(problem, cut, problem.rate_up, problem.rate_down)
    return problem.batch * (per.bs_forward + per.bs_backward)


def plan_time(n: int, limit_s: float) -> list[Number]:
    """Wall time of one plan, and the most memory it took (MB)."""
    problem = table1(n, 0, 100, batch=32 * n)
    request = Request(problem, SCHEMES["c2p2sl"])
    start = time.perf_counter()
    PLANNERS["makespan"](request)
    lower_bound_s(problem)
    took_s = time.perf_counter() - start
    tracemalloc.start()
    PLANNERS["makespan"](request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [
        at_most(f"makespan and bound, n = {n}", limit_s, took_s, "s"),
        at_most(f"peak memory of it, n = {n}", 1000, peak / 1e6, "MB", 0),
    ]
