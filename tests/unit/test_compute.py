"""Shares of a core, the dilation that fits, and quotas."""

from __future__ import annotations

import pytest

from testbed.compute import Calibration, Demand, UnitSpeed, dilation_that_fits, fit, quota_us, shares


def test_an_agents_share_is_that_of_its_tightest_task():
    found = shares([Demand("ue1", 0.01, 0.1), Demand("ue1", 0.03, 0.1), Demand("bs", 0.2, 0.4)])
    assert found == {"ue1": pytest.approx(0.3), "bs": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("largest", "together", "cores", "dilation"),
    [
        (0.5, 1.0, 2, 1.0),
        (1.0, 1.0, 8, 1.3),  # one agent cannot use more than one core
        (1.2, 3.2, 2, 2.0),
        (80.0, 80.0, 2, 100.0),
    ],
)
def test_dilation_is_the_smallest_that_fits(largest, together, cores, dilation):
    assert dilation_that_fits(largest, together, cores) == pytest.approx(dilation)


def test_quota_is_a_quarter_more_and_never_less_than_the_kernel_takes():
    assert quota_us(0.4) == 2500
    assert quota_us(0.01) == 1000


def test_calibration_lies_on_or_above_what_was_measured():
    rows = [
        {"unit": "a", "samples": s, "forward_s": f, "backward_s": 2 * f} for s, f in ((2, 0.5), (8, 1.4), (32, 3.5))
    ]
    line = fit(rows)
    assert all(line.forward_s(1, 1, int(r["samples"])) >= r["forward_s"] - 1e-12 for r in rows)
    assert line.forward_s(1, 1, 32) == pytest.approx(3.8)
    assert line.backward_s(1, 1, 32) == pytest.approx(7.6)


def test_calibration_adds_up_units():
    speed = UnitSpeed("a", 1.0, 0.1, 2.0, 0.2)
    assert Calibration((speed, speed)).forward_s(1, 2, 10) == pytest.approx(4.0)
    assert Calibration((speed, speed)).backward_s(2, 2, 10) == pytest.approx(4.0)
