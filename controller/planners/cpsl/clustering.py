"""Which UEs share a cluster: Gibbs sampling (CPSL paper, Alg. 4), its benchmarks, and exhaustive search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from controller.planners.cpsl.greedy import greedy
from controller.planners.cpsl.latency import Phases, cluster_s, members_of
from controller.planners.subcarriers import Bools
from controller.predict.instance import Floats, Ints

SMOOTH = 1e-4
"""δ of eq. 35, in seconds (Table II)."""
ITERATIONS = 1000
CHAINS = 4
MOST_STEPS = 200
"""While clusters are sought, shares are dealt in blocks so that a cluster takes at most about this many."""


@dataclass(frozen=True)
class Clustering:
    """A clustering of each of S problems: clusters and shares (S, n), latency (S,), and the best latency so far.

    ``trace`` (S, iterations + 1) starts with the start's and never rises.
    """

    cluster: Ints
    shares: Ints
    latency_s: Floats
    trace: Floats


def seats(n: int, size: int) -> Ints:
    """An empty seating (m, K): as few clusters as ``size`` allows, as equal as can be; −1 where a seat is closed."""
    count = -(-n // size)
    sizes = np.array([n // count + (m < n % count) for m in range(count)])
    open_seats = np.arange(sizes.max())[None, :] < sizes[:, None]
    return np.where(open_seats, 0, -1).astype(np.int64)


def seated(order: Ints, size: int) -> Ints:
    """UEs (S, n) in order into clusters (S, m, K), the first cluster first."""
    plan = seats(order.shape[1], size)
    found = np.repeat(plan[None], len(order), axis=0)
    found[:, plan >= 0] = order
    return found


def random_order(problems: int, n: int, rng: np.random.Generator) -> Ints:
    """A random clustering as an order of the UEs (S, n) (the paper's second benchmark)."""
    return np.stack([rng.permutation(n) for _ in range(problems)])


def similar_order(ue_flops: Floats) -> Ints:
    """UEs (S, n) by computing capability: neighbours share a cluster (the paper's first benchmark)."""
    return np.argsort(-ue_flops, axis=-1, kind="stable")


def gibbs(
    problem: Phases,
    size: int,
    rng: np.random.Generator,
    iterations: int = ITERATIONS,
    smooth: float = SMOOTH,
    start: Ints | None = None,
) -> Clustering:
    """The best clustering that Alg. 4 meets from ``start`` (S, m, K), a random one where none is given.

    Two UEs of two random clusters change places; only those two clusters are dealt shares again. The new
    clustering is kept with the probability of eq. 35. Independent problems run side by side.
    """
    problem = problem.stacked()
    many = np.arange(len(problem.fixed))
    members = seated(random_order(len(many), problem.n, rng), size) if start is None else start.copy()
    cost = clusters_s(problem, members)
    best, best_s = members.copy(), cost.sum(axis=1)
    trace = [best_s]
    for _ in range(iterations if members.shape[1] > 1 else 0):
        pair, swapped = _swap(members, rng)
        new = clusters_s(problem, swapped)
        change = new.sum(axis=1) - cost[many[:, None], pair].sum(axis=1)
        taken = rng.random(len(many)) < 1 / (1 + np.exp(np.minimum(change / smooth, 700)))
        rows = many[taken]
        members[rows[:, None], pair[taken]] = swapped[taken]
        cost[rows[:, None], pair[taken]] = new[taken]
        better = cost.sum(axis=1) < best_s
        best[better], best_s = members[better], np.where(better, cost.sum(axis=1), best_s)
        trace.append(best_s)
    return dealt(problem, best, np.stack(trace, axis=1))


def gibbs_chains(
    problem: Phases,
    size: int,
    rng: np.random.Generator,
    chains: int = CHAINS,
    iterations: int = ITERATIONS,
    smooth: float = SMOOTH,
) -> Clustering:
    """The best of several chains of Alg. 4 for each problem, from random starts of their own.

    With the printed δ of 0.1 ms a chain climbs no hill, so one alone may end in a valley beside the best.
    """
    stacked = problem.stacked()
    many = replace(
        stacked,
        fixed=np.repeat(stacked.fixed, chains, axis=0),
        per_share=np.repeat(stacked.per_share, chains, axis=0),
        server_s=np.repeat(stacked.server_s, chains, axis=0),
    )
    found = gibbs(many, size, rng, iterations, smooth)
    first = np.arange(len(stacked.fixed)) * chains
    best = first + found.latency_s.reshape(-1, chains).argmin(axis=1)
    return Clustering(found.cluster[best], found.shares[best], found.latency_s[best], found.trace[best])


def _swap(members: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Two clusters (S, 2) of each problem, and those clusters (S, 2, K) with one UE of each exchanged."""
    problems, count, _ = members.shape
    many = np.arange(problems)
    first = rng.integers(count, size=problems)
    pair = np.stack([first, (first + rng.integers(1, count, size=problems)) % count], axis=1)
    found = members[many[:, None], pair]
    seat = (rng.random((problems, 2)) * (found >= 0).sum(axis=2)).astype(np.int64)
    left, right = found[many, 0, seat[:, 0]], found[many, 1, seat[:, 1]]
    found[many, 0, seat[:, 0]], found[many, 1, seat[:, 1]] = right, left
    return pair, found


def clusters_s(problem: Phases, members: Ints) -> Floats:
    """Latency (s) of each cluster (S, C, K) with shares by Alg. 3 → (S, C)."""
    part = members_of(problem, members)
    return cluster_s(part, greedy(part, members >= 0, block=-(-problem.shares // MOST_STEPS)))


def dealt(problem: Phases, members: Ints, trace: Floats | None = None, by_greed: bool = True) -> Clustering:
    """The clustering (S, m, K) with shares by Alg. 3, or equal ones, what does not divide to the first."""
    problem = problem.stacked()
    part, taken = members_of(problem, members), members >= 0
    shares = greedy(part, taken) if by_greed else _equal(problem.shares, taken)
    latency_s = cluster_s(part, shares).sum(axis=1)
    cluster = np.zeros((len(members), problem.n), dtype=np.int64)
    of_ue = np.zeros_like(cluster)
    problems, m, _ = np.nonzero(taken)
    cluster[problems, members[taken]] = m
    of_ue[problems, members[taken]] = shares[taken]
    return Clustering(cluster, of_ue, latency_s, latency_s[:, None] if trace is None else trace)


def _equal(total: int, taken: Bools) -> Ints:
    size = taken.sum(axis=-1, keepdims=True)
    return np.where(taken, total // size + (np.arange(taken.shape[-1]) < total % size), 0).astype(np.int64)


def exhaustive(problem: Phases, size: int) -> Clustering:
    """The best of all clusterings of one problem, with shares by Alg. 3: for a few UEs, as a test of others."""
    plan = seats(problem.n, size)
    sizes = [int((row >= 0).sum()) for row in plan]
    every = [np.concatenate(parts) for parts in partitions(tuple(range(problem.n)), sizes)]
    members = seated(np.array(every, dtype=np.int64), size)
    stacked = problem.stacked()
    seconds = np.array([float(clusters_s(stacked, one[None]).sum()) for one in members])
    return dealt(problem, members[[int(seconds.argmin())]])


def partitions(items: tuple[int, ...], sizes: list[int]) -> Iterator[list[tuple[int, ...]]]:
    """All ways to split items into clusters of these sizes; clusters of one size are not told apart."""
    if not sizes:
        yield []
        return
    alone = sizes.count(sizes[0]) == len(sizes)
    for chosen in combinations(items, sizes[0]):
        if alone and items[0] not in chosen:
            continue
        rest = tuple(item for item in items if item not in chosen)
        for others in partitions(rest, sizes[1:]):
            yield [chosen, *others]
