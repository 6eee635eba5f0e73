"""What a calibration says to its user, and to the planner."""

from __future__ import annotations

import pytest

from agents import message_cost
from agents.schemes import SCHEMES
from controller.planners.seam import Request
from controller.planners.uniform import uniform
from controller.report.calibration import costs, speeds
from testbed.compute import Calibration, Transport, UnitSpeed
from tests.unit.problems import problem, workload


def test_speed_is_flops_over_seconds_of_one_more_sample():
    found = Calibration((UnitSpeed("a", 0.5, 0.001, 0.5, 0.004), UnitSpeed("b", 0.0, 0.0, 0.0, 0.003)))
    rows = speeds(found, workload())
    assert [row["forward_gflops"] for row in rows] == [pytest.approx(1.0), None]  # 1 MFLOP in 1 ms
    assert [row["backward_gflops"] for row in rows] == [pytest.approx(0.5), pytest.approx(2.0)]


def test_every_cost_has_a_name():
    rows = costs(Calibration((), Transport(message_s=0.0003)))
    assert len(rows) == 5
    assert 0.0003 in [row["measured"] for row in rows]


def test_messages_are_measured_on_real_sockets():
    found = Transport(**message_cost.measure())
    assert 0 < found.message_s < 1
    assert 50 < found.message_bytes < 300
    assert found.link_bps > 1e6


def test_the_dearer_a_message_the_fewer_micro_batches():
    found = [
        uniform(Request(problem(batch=64, message_bytes=size), SCHEMES["c2p2sl"])).decision.micro_batches
        for size in (1, 1000, 20_000)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]
