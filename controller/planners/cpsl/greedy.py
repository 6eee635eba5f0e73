"""Shares of the air in clusters by greed (CPSL paper, Alg. 3), and by exchange."""

from __future__ import annotations

import numpy as np

from controller.planners.cpsl.latency import Phases, cluster_s
from controller.planners.subcarriers import Bools
from controller.predict.instance import Floats, Ints

TIE = 1e-12
SOFT = 8
"""The norm that stands in for the slowest UE of a phase."""


def greedy(part: Phases, seats: Bools, block: int = 1) -> Ints:
    """Shares (..., K) of each leading cluster by Alg. 3: one each, then each to whom it shortens the cluster most.

    ``seats`` (..., K) says where a UE sits. No single share shortens a phase whose two slowest UEs are equally slow,
    and as printed the algorithm is blind then: so the slowest of a phase is read as the 8-norm of its UEs' times.
    ``block`` shares are dealt at a time.
    """
    shares = seats.astype(np.int64)
    left = part.shares - shares.sum(axis=-1)
    now = _powers(part, shares, seats)
    rows = np.indices(left.shape, sparse=True)
    while (left > 0).any():
        more = np.minimum(block, left)
        then = _powers(part, shares + more[..., None], seats)
        together = now.sum(axis=-1, keepdims=True)
        after = np.maximum(together - now + then, 0.0)
        saved = ((_root(together) - _root(after)) * part.weight[..., None]).sum(axis=-2)
        chosen = np.where(seats, saved, -np.inf).argmax(axis=-1)
        shares[(*rows, chosen)] += more
        left = left - more
        at = (*rows, slice(None), chosen)
        now[at] = then[at]
    return shares


def exchanged(part: Phases, seats: Bools, shares: Ints) -> Ints:
    """The shares (..., K) of each leading cluster when no exchange of a single one shortens it, by the best first."""
    size = shares.shape[-1]
    unit = np.eye(size, dtype=np.int64)
    moves = np.array([unit[i] - unit[j] for i in range(size) for j in range(size) if i != j], dtype=np.int64)
    if not len(moves):
        return shares
    each = part.widened()
    found, now = shares.copy(), cluster_s(part, shares)
    while True:
        tried = found[..., None, :] + moves
        allowed = (np.where(seats[..., None, :], tried, 1) >= 1).all(axis=-1)
        allowed &= ~(moves.astype(np.bool_) & ~seats[..., None, :]).any(axis=-1)
        seconds = np.where(allowed, cluster_s(each, tried), np.inf)
        best = seconds.argmin(axis=-1)
        then = np.take_along_axis(seconds, best[..., None], axis=-1)[..., 0]
        better = then < now * (1 - TIE)
        if not better.any():
            return found
        found, now = found + moves[best] * better[..., None], np.where(better, then, now)


def _powers(part: Phases, shares: Ints, seats: Bools) -> Floats:
    """Seconds of each UE in each phase (..., P, K) to the power of the norm; nothing for an empty seat."""
    return np.asarray(np.where(seats[..., None, :], part.seconds(shares), 0.0) ** SOFT)


def _root(values: Floats) -> Floats:
    return np.asarray(np.sqrt(np.sqrt(np.sqrt(values))))
