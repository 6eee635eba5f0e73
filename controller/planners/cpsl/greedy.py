"""Shares of the air in clusters by greed (CPSL paper, Alg. 3)."""

from __future__ import annotations

import numpy as np

from controller.planners.cpsl.latency import Phases
from controller.planners.subcarriers import Bools
from controller.predict.instance import Floats, Ints

TIE = 1e-12


def greedy(part: Phases, seats: Bools, block: int = 1) -> Ints:
    """Shares (..., K) of each leading cluster by Alg. 3: one each, then each to whom it shortens the cluster most.

    ``seats`` (..., K) says where a UE sits. Where no single share shortens anything (two
    UEs are equally slow) the printed algorithm gives all that is left to the first; here the slowest gets it.
    ``block`` shares are dealt at a time.
    """
    shares = seats.astype(np.int64)
    left = part.shares - shares.sum(axis=-1)
    empty = np.where(seats, 0.0, -np.inf)[..., None, :]
    now = part.fixed + part.per_share / np.maximum(shares, 1)[..., None, :] + empty
    rows = np.indices(left.shape, sparse=True)
    while (left > 0).any():
        more = np.minimum(block, left)
        then = part.fixed + part.per_share / np.maximum(shares + more[..., None], 1)[..., None, :] + empty
        chosen = _most_helped(now, then, part.weight, seats)
        shares[(*rows, chosen)] += more
        left = left - more
        at = (*rows, slice(None), chosen)
        now[at] = then[at]
    return shares


def _most_helped(now: Floats, then: Floats, weight: Floats, seats: Bools) -> Ints:
    """Of each cluster the UE whose next share gives the shortest cluster; among equals, the slowest."""
    order = np.sort(now, axis=-1)
    first = order[..., -1:]
    second = order[..., -2:-1] if now.shape[-1] > 1 else np.full_like(first, -np.inf)
    others = np.where(now == first, second, first)
    latency = (np.maximum(others, then) * weight[:, None]).sum(axis=-2)
    latency = np.where(seats, latency, np.inf)
    best = latency.min(axis=-1, keepdims=True)
    own = (np.where(seats[..., None, :], now, 0.0) * weight[:, None]).sum(axis=-2)
    return np.asarray(np.where(latency <= best * (1 + TIE), own, -np.inf).argmax(axis=-1), dtype=np.int64)
