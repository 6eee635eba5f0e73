"""The managers of CPSL, EPSL and PiPar: how near the best, how far below their benchmarks, how fast."""

from __future__ import annotations

import time

import numpy as np

from controller.planners.cpsl.clustering import (
    Clustering,
    dealt,
    exhaustive,
    gibbs_chains,
    random_order,
    seated,
    similar_order,
)
from controller.planners.cpsl.latency import Phases, cluster_s, members_of, side_by_side
from controller.planners.pipar import batches, by_eq_14, score, selected
from tests.bench.number import Number, at_least, at_most
from tests.bench.profiles import TABLE_VII, cpsl_draw, cpsl_phases, table_vii_request

DRAWS, UES, SIZE = 50, 30, 5
BANDS_MHZ = (10, 20, 30)


def numbers() -> list[Number]:
    """Gibbs against exhaustive search, against its benchmarks, its time, and PiPar's Table VII."""
    return [_gap(), *_savings(), *_times(), *_table_vii()]


def _gap() -> Number:
    """8 devices in clusters of 4 at 10, 20 and 30 MHz: the worst of 50 draws each."""
    gaps: list[float] = []
    for band in BANDS_MHZ:
        found = gibbs_chains(draws(8, band), 4, np.random.default_rng(0)).latency_s
        best = [exhaustive(cpsl_phases(cpsl_draw(8, band, seed)), 4).latency_s[0] for seed in range(DRAWS)]
        gaps += list(100 * (found / np.array(best) - 1))
    return at_most(f"cpsl: worst gap to exhaustive clustering, 8 UEs, {len(gaps)} draws", 2, max(gaps), "%")


def _savings() -> list[Number]:
    """Mean over 50 draws of 30 devices of the latency saved, per benchmark and bandwidth."""
    saved: dict[str, list[float]] = {}
    for band in BANDS_MHZ:
        problem = draws(UES, band)
        best = gibbs_chains(problem, SIZE, np.random.default_rng(0)).latency_s
        for name, latency_s in benchmarks(problem, band).items():
            saved.setdefault(name, []).append(100 * float(np.mean(1 - best / latency_s)))
    asked = "random clusters, equal subcarriers"
    lines = [at_least(f"cpsl: saved against {asked}, 10 to 30 MHz", 30, float(np.mean(saved[asked])), "%", 1)]
    for name, each in saved.items():
        shown = ", ".join(f"{value:.1f}" for value in each)
        lines.append(Number(f"cpsl: saved against {name}, at 10, 20, 30 MHz", "-", f"{shown} %", True))
    return lines


def draws(ues: int, band_mhz: int) -> Phases:
    """50 draws as problems side by side."""
    return side_by_side([cpsl_phases(cpsl_draw(ues, band_mhz, seed)) for seed in range(DRAWS)])


def benchmarks(problem: Phases, band_mhz: int) -> dict[str, np.ndarray]:
    """Latency (s) of each draw: random clusters and clusters of similar UEs, subcarriers dealt in several ways."""
    rng = np.random.default_rng(1)
    at_random = seated(random_order(DRAWS, UES, rng), SIZE)
    flops = np.stack([cpsl_draw(UES, band_mhz, seed).ue_flops for seed in range(DRAWS)])
    similar = seated(similar_order(flops), SIZE)
    anyhow = 1 + rng.multinomial(band_mhz - SIZE, [1 / SIZE] * SIZE, size=at_random.shape[:2])

    def latency(found: Clustering) -> np.ndarray:
        return found.latency_s

    return {
        "random clusters, equal subcarriers": latency(dealt(problem, at_random, by_greed=False)),
        "random clusters, greedy subcarriers": latency(dealt(problem, at_random)),
        "random clusters, random subcarriers": cluster_s(
            members_of(problem, at_random, np.arange(at_random.shape[1])), anyhow
        ).sum(axis=1),
        "similar clusters, equal subcarriers": latency(dealt(problem, similar, by_greed=False)),
        "similar clusters, greedy subcarriers": latency(dealt(problem, similar)),
    }


def _times() -> list[Number]:
    found = []
    for band in (30, 60):
        problem = cpsl_phases(cpsl_draw(UES, band, 0))
        start = time.perf_counter()
        gibbs_chains(problem, SIZE, np.random.default_rng(0))
        took_s = time.perf_counter() - start
        found.append(at_most(f"cpsl: 4 chains of 1000 Gibbs iterations, 30 UEs, {band} subcarriers", 10, took_s, "s"))
    return found


def _table_vii() -> list[Number]:
    """P and N of the manager beside the paper's, and eq. 28: of the choice, and of eq. 14 alone."""
    found, right = [], 0
    for row, (cut, parallel) in TABLE_VII.items():
        request, name = table_vii_request(*row), ", ".join(row)
        chosen, alone = (choose(request, 0, batches(request)) for choose in (selected, by_eq_14))
        right += chosen.cut == cut
        said = f"{(chosen.cut, chosen.parallel)}, by eq. 14 alone {(alone.cut, alone.parallel)}"
        found.append(Number(f"pipar: (P, N), {name}", f"the paper's {(cut, parallel)}", said, chosen.cut == cut))
        found.append(at_least(f"pipar: score, {name}", 0.96, score(request), "", 3))
        eq_14 = f"{score(request, by_eq_14):.3f}"
        found.append(Number(f"pipar: score of eq. 14 alone, {name}", "-", eq_14, True))
    return [at_least("pipar: rows of Table VII with the paper's P, of 12", 11, right, "", 0), *found]
