"""What planning anew saves in a world that changes, beside an oracle."""

from __future__ import annotations

import pytest

from controller.planners.regret import regrets
from testbed.loading import parse
from tests.unit.test_replanning import HEAD


def test_the_oracle_is_best_and_planning_anew_is_not_worse_than_the_first_plan():
    schemes = "[{scheme: c2p2sl, planner: ao, cut: 2}, {scheme: fl}]"
    first, anew, oracle = regrets(parse(f"{HEAD}\nschemes: {schemes}", "test"))
    assert [one["plan"] for one in (first, anew, oracle)] == ["first", "anew", "oracle"]
    assert oracle["mean_round_s"] <= anew["mean_round_s"] < first["mean_round_s"]
    assert 0 <= anew["regret"] <= anew["worst_regret"] and anew["regret"] < first["regret"]
    assert anew["saved"] == pytest.approx(1 - anew["mean_round_s"] / first["mean_round_s"])
    assert anew["changes"] > 0 and anew["planner_s"] > 0
