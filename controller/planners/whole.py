"""For planners whose searches know slots that are continuous, and rates that are linear in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controller.planners.seam import Planner, Request
from controller.planners.subcarriers import on_subcarriers
from controller.planners.uniform import attempted
from controller.predict.instance import Decision, link_rates
from controller.predict.prediction import round_s


def linear(request: Request) -> Request:
    """The request with uplinks that are linear in slots, as they are about equal ones; itself where they are so anyway.

    Under FDMA with powers known they are not: all power on fewer subcarriers is worth more than their share.
    """
    instance = request.instance
    if instance.snr_up is None:
        return request
    n, equal = instance.n, np.full(instance.n, instance.frame_s / instance.n)
    about = Decision(0, 1, np.ones(n, dtype=np.int64), equal, equal)
    rate_up = link_rates(instance, about)[0] * n
    return replace(request, instance=replace(instance, rate_up=rate_up, tx_power_w=None, power_budget_w=None))


def shortest(request: Request, decision: Decision, *planners: Planner) -> Decision:
    """The decision, or that of one of these planners where the round is then shorter: for rates as they are."""
    best, best_s = decision, round_s(request.instance, request.scheme, decision)
    for planner in planners:
        rival, rival_s = attempted(request, planner)
        if rival is not None and rival_s < best_s:
            best, best_s = rival, rival_s
    return best


def whole(request: Request, decision: Decision, baseline: Decision | None) -> Decision:
    """The decision on whole subcarriers, or the baseline where rounding has made it the slower one."""
    instance = request.instance
    if instance.subcarriers is None:
        return decision
    found = on_subcarriers(instance, decision)
    if baseline is None or round_s(instance, request.scheme, found) <= round_s(instance, request.scheme, baseline):
        return found
    return baseline
