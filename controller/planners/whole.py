"""Continuous slots as whole subcarriers, for planners that know no subcarriers."""

from __future__ import annotations

from controller.planners.seam import Request
from controller.planners.subcarriers import on_subcarriers
from controller.predict.instance import Decision
from controller.predict.prediction import round_s


def whole(request: Request, decision: Decision, baseline: Decision | None) -> Decision:
    """The decision on whole subcarriers, or the baseline where rounding has made it the slower one."""
    instance = request.instance
    if instance.subcarriers is None:
        return decision
    found = on_subcarriers(instance, decision)
    if baseline is None or round_s(instance, request.scheme, found) <= round_s(instance, request.scheme, baseline):
        return found
    return baseline
