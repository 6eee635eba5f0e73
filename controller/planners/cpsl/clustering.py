"""Which UEs share a cluster: Gibbs sampling (CPSL paper, Alg. 4), its benchmarks, and exhaustive search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from controller.planners.cpsl.greedy import exchanged, greedy
from controller.planners.cpsl.latency import Phases, cluster_s, members_of
from controller.planners.subcarriers import Bools
from controller.predict.instance import Floats, Ints
from testbed.topology import Gibbs

SMOOTH_S, ITERATIONS, CHAINS = Gibbs().smooth_s, Gibbs().iterations, Gibbs().chains
WARMER = 10.0
"""δ of a chain over that of the one before."""
MOST_STEPS = 200
"""While clusters are sought, shares are dealt in blocks so that a cluster takes at most about this many."""


@dataclass(frozen=True)
class Clustering:
    """A clustering of each of S problems: clusters and shares (S, n), latency (S,), and the best latency so far.

    ``trace`` (S, iterations + 2) starts with the start's, ends with ``latency_s`` and never rises.
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


def own_s(problem: Phases, size: int) -> Floats:
    """What each UE of stacked problems (S, n) would take for a turn with an equal part of the air."""
    equal = np.full((len(problem.fixed), problem.n), problem.shares // size)
    return np.asarray((problem.seconds(equal) * problem.weight[1][:, None]).sum(axis=-2))


def gibbs(
    problem: Phases,
    size: int,
    rng: np.random.Generator,
    iterations: int = ITERATIONS,
    smooth_s: float | Floats = SMOOTH_S,
    start: Ints | None = None,
) -> Clustering:
    """The best clustering that Alg. 4 meets from ``start`` (S, m, K), a random one where none is given.

    Two UEs of two random clusters change places; only those two clusters are dealt shares again. The new
    clustering is kept with the probability of eq. 35. Independent problems run side by side.
    """
    problem = problem.stacked()
    many = np.arange(len(problem.fixed))
    members = seated(random_order(len(many), problem.n, rng), size) if start is None else start.copy()
    latency_s = _Latency(problem)
    cost = latency_s(members, np.tile(np.arange(members.shape[1]), (len(many), 1)))
    best, best_s = members.copy(), cost.sum(axis=1)
    trace = [best_s]
    for _ in range(iterations if members.shape[1] > 1 else 0):
        pair, swapped = _swap(members, rng)
        new = latency_s(swapped, pair)
        change = new.sum(axis=1) - cost[many[:, None], pair].sum(axis=1)
        taken = rng.random(len(many)) < 1 / (1 + np.exp(np.minimum(change / smooth_s, 700)))
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
    smooth_s: float = SMOOTH_S,
) -> Clustering:
    """The best of several chains of Alg. 4 for each problem, the first from UEs alike, the others from random starts.

    With the paper's δ of 0.1 ms a chain climbs no hill, so one alone may end in a valley beside the best: each has a δ
    ten times that of the one before.
    """
    stacked = problem.stacked()
    many = stacked.repeated(chains)
    start = seated(random_order(len(many.fixed), problem.n, rng), size)
    if chains > 1:
        start[::chains] = seated(similar_order(-own_s(stacked, size)), size)
    smooth = np.tile(smooth_s * WARMER ** np.arange(chains), len(stacked.fixed))
    found = gibbs(many, size, rng, iterations, smooth, start)
    first = np.arange(len(stacked.fixed)) * chains
    best = first + found.latency_s.reshape(-1, chains).argmin(axis=1)
    return Clustering(found.cluster[best], found.shares[best], found.latency_s[best], found.trace[best])


class _Latency:
    """What ``clusters_s`` finds for stacked problems, computed once: a chain of a few UEs comes by the same clusters
    again and again."""

    def __init__(self, problem: Phases) -> None:
        self._problem = problem
        self._known: dict[tuple[int, int, bytes], float] = {}

    def __call__(self, members: Ints, turn: Ints) -> Floats:
        """Latency (s) of each cluster (S, C, K), whose turn is ``turn`` (S, C) → (S, C)."""
        keys = [
            (problem, min(int(at), 1), cluster.tobytes())
            for problem, (clusters, turns) in enumerate(zip(members, turn, strict=True))
            for cluster, at in zip(clusters, turns, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new:
            flat, at = members.reshape(len(keys), 1, -1)[new], turn.reshape(-1, 1)[new]
            those = self._problem.only([keys[i][0] for i in new])
            seconds = clusters_s(those, flat, at)[:, 0].tolist()
            self._known.update(zip((keys[i] for i in new), seconds, strict=True))
        return np.array([self._known[key] for key in keys]).reshape(turn.shape)


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


def clusters_s(problem: Phases, members: Ints, turn: Ints) -> Floats:
    """Latency (s) of each cluster (S, C, K), whose turn is ``turn`` (..., C), with shares by Alg. 3 → (S, C)."""
    part = members_of(problem, members, turn)
    return cluster_s(part, greedy(part, members >= 0, block=-(-problem.shares // MOST_STEPS)))


def dealt(problem: Phases, members: Ints, trace: Floats | None = None, by_greed: bool = True) -> Clustering:
    """The clustering (S, m, K) with shares by Alg. 3 and exchange, or equal ones, what does not divide to the first."""
    problem = problem.stacked()
    part, taken = members_of(problem, members, np.arange(members.shape[1])), members >= 0
    shares = exchanged(part, taken, greedy(part, taken)) if by_greed else _equal(problem.shares, taken)
    latency_s = cluster_s(part, shares).sum(axis=1)
    cluster = np.zeros((len(members), problem.n), dtype=np.int64)
    of_ue = np.zeros_like(cluster)
    problems, m, _ = np.nonzero(taken)
    cluster[problems, members[taken]] = m
    of_ue[problems, members[taken]] = shares[taken]
    last = latency_s[:, None]
    return Clustering(cluster, of_ue, latency_s, last if trace is None else np.hstack([trace, last]))


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
    turns = np.arange(members.shape[1])
    seconds = np.array([float(clusters_s(stacked, one[None], turns).sum()) for one in members])
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
