"""Lemma 1: the most micro-batches for which C4 holds, cut, batches and slots being fixed."""

from __future__ import annotations

import math
from typing import Literal

from controller.predict.paper import RoundTimes

Extremum = Literal["corrected", "printed"]


def most_micro_batches(times: RoundTimes, extremum: Extremum = "corrected") -> float:
    """``⌊1 / (1 − η)⌋``, or infinity where η ≥ 1: then C4 holds for every k and gives no bound.

    C4 is ``(k − 1)/k · (max_i tU_i + max_i tD_i) ≤ work`` with the times of a whole round, so
    η = work / (max_i tU_i + max_i tD_i): the *least* ratio, over the slowest uplink and the slowest
    downlink, which may be two UEs'. ``printed`` is the paper's maximum over UEs of work / (tU_i + tD_i),
    which looks at the fastest UE alone and returns a k that breaks C4 for the others. (The minimum
    over UEs of that ratio is exact only when one UE is the slowest in both directions.)
    """
    if extremum == "printed":
        sending = times.up > 0
        air_s = float((times.up + times.down)[sending].min())
    else:
        air_s = float(times.up.max() + times.down.max())
    eta = times.work / air_s
    # The nudge keeps the k for which C4 holds with equality from being lost to rounding.
    return math.inf if eta >= 1 else math.floor(1 / (1 - eta) * (1 + 1e-12))


def air_limit_s(times_work_s: float, micro_batches: int) -> float | None:
    """Right side of C̃4 for the times of a whole round: ``max tU + max tD ≤ k/(k−1) · work``; None for k = 1."""
    return None if micro_batches == 1 else micro_batches / (micro_batches - 1) * times_work_s
