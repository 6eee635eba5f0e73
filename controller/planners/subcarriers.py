"""Dealing the air in whole shares: equally, greedily (CPSL paper, Alg. 3), and by rounding what others decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controller.instance import Decision, Floats, Instance, Ints
from controller.planners.cpsl_latency import Bools, Phases

TIE = 1e-12


def equal_shares(total: int, rates: Floats) -> Ints:
    """``total`` shares dealt evenly among UEs (n,); what does not divide goes to the slowest, then the first."""
    n = len(rates)
    share, rest = divmod(total, n)
    found = np.full(n, share, dtype=np.int64)
    found[np.argsort(rates, kind="stable")[:rest]] += 1
    return found


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


def on_subcarriers(instance: Instance, decision: Decision) -> Decision:
    """The decision with its slots rounded to whole subcarriers, for UEs that are all on the air together.

    Largest remainders, and at least one for a UE that has samples. Without subcarriers the decision itself.
    """
    if instance.subcarriers is None:
        return decision
    unit_s = instance.frame_s / instance.subcarriers
    needs = decision.batch > 0
    up = rounded(decision.slot_up_s / unit_s, needs, instance.subcarriers) * unit_s
    down = rounded(decision.slot_down_s / unit_s, needs, instance.subcarriers) * unit_s
    return replace(decision, slot_up_s=np.asarray(up), slot_down_s=np.asarray(down))


def rounded(wanted: Floats, needs: Bools, total: int) -> Ints:
    """Whole shares near ``wanted`` (n,), at least one where needed, ``total`` or fewer in sum."""
    found = np.maximum(np.floor(wanted + 1e-9), needs).astype(np.int64)
    while found.sum() > total:  # those raised to one were paid for by nobody yet
        found[np.argmax(np.where(found > 1, found - wanted, -np.inf))] -= 1
    rest = min(total, round(float(wanted.sum()))) - int(found.sum())
    if rest > 0:
        found[np.argsort(found - wanted, kind="stable")[:rest]] += 1
    return found
