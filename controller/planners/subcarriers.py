"""Dealing the air in whole shares: equally, and by rounding what others decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from controller.predict.instance import Decision, Floats, Instance, Ints

Bools = npt.NDArray[np.bool_]

SHARES = 100
"""Equal parts into which a frame is dealt where there are no subcarriers."""


def shares_of(instance: Instance, together: int) -> int:
    """Parts into which the air is dealt: the subcarriers, else 100 or more parts of the frame."""
    return instance.subcarriers or max(SHARES, 4 * together)


def equal_shares(total: int, rates: Floats) -> Ints:
    """``total`` shares dealt evenly among UEs (n,); what does not divide goes to the slowest, then the first."""
    n = len(rates)
    share, rest = divmod(total, n)
    found = np.full(n, share, dtype=np.int64)
    found[np.argsort(rates, kind="stable")[:rest]] += 1
    return found


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
