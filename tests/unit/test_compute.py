"""Shares of a core, the dilation that fits, and quotas."""

from __future__ import annotations

import pytest

from testbed.compute import (
    Calibration,
    Demand,
    UnitSpeed,
    fit,
    quotas_us,
    shares,
    shares_as_quotas_us,
    two_digits,
    weights,
)


def test_an_agents_share_is_that_of_its_tightest_task():
    found = shares([Demand("ue1", 0.01, 0.1), Demand("ue1", 0.03, 0.1), Demand("bs", 0.2, 0.4)])
    assert found == {"ue1": pytest.approx(0.3), "bs": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("least", "rounded"), [(0.3, 1.0), (1.0, 1.0), (1.21, 1.3), (2.0, 2.0), (61.3, 62), (68_001, 69_000)]
)
def test_a_dilation_has_two_digits_and_is_not_less_than_it_must(least, rounded):
    assert two_digits(least) == pytest.approx(rounded)


def quota(host_s: float, model_s: float, dilation: float = 1.0) -> int:
    return quotas_us([Demand("ue1", host_s, model_s)], dilation)["ue1"]


def test_the_quota_of_a_long_task_is_four_times_its_share():
    assert quota(0.020, 0.100) == 4000
    assert quota(0.020, 0.100, dilation=2.0) == 2000


def test_a_short_task_gets_four_times_its_cpu_time_in_the_whole_periods_it_sees():
    assert quota(0.0008, 0.0064) == 3200  # one whole period of 5 ms
    assert quota(0.0008, 0.0120) == 1600  # two
    assert quota(0.0003, 0.0030) == 2000  # none: as many follow in one as have their time in it


def test_without_pacing_a_quota_is_the_share_of_the_tightest_task():
    tasks = [Demand("bs", 0.04, 0.1), Demand("bs", 0.01, 0.1), Demand("ue1", 0.001, 1.0), Demand("ue2", 0.9, 0.3)]
    assert shares_as_quotas_us(tasks, 1.0) == {"bs": 2000, "ue1": 1000, "ue2": 5000}
    assert shares_as_quotas_us(tasks, 1.6)["bs"] == 1250


def test_a_quota_is_never_less_than_the_kernel_takes_nor_more_than_a_core():
    assert quota(0.0001, 0.1) == 1000
    assert quota(0.1, 0.1) == 5000


def test_threads_that_wait_for_each_other_have_no_quota():
    assert quotas_us([Demand("bs", 0.04, 0.1, threads=2), Demand("ue1", 0.01, 0.1)], 1.0) == {"bs": -1, "ue1": 2000}


def test_a_base_station_of_many_workers_has_no_quota_and_weighs_as_much_as_they():
    tasks = [Demand("bs", 0.04, 0.1, processors=3), Demand("ue1", 0.01, 0.1)]
    assert quotas_us(tasks, 1.0) == {"bs": -1, "ue1": 2000}
    assert weights(tasks) == {"bs": 3, "ue1": 1}
    assert weights([Demand("bs", 0.04, 0.1, threads=2)]) == {"bs": 20}


def test_an_agent_gets_the_quota_of_its_tightest_task():
    assert quotas_us([Demand("bs", 0.02, 0.1), Demand("bs", 0.01, 0.1)], 1.0) == {"bs": 4000}


def test_calibration_lies_on_or_above_what_was_measured():
    rows = [
        {"unit": "a", "samples": s, "forward_s": f, "backward_s": 2 * f} for s, f in ((2, 0.5), (8, 1.4), (32, 3.5))
    ]
    line = fit(rows)
    assert all(line.forward_s(1, 1, int(r["samples"])) >= r["forward_s"] - 1e-12 for r in rows)
    assert line.forward_s(1, 1, 32) == pytest.approx(3.8)
    assert line.backward_s(1, 1, 32) == pytest.approx(7.6)


def test_a_base_station_may_have_speeds_of_its_own():
    slow, fast = UnitSpeed("a", 0.0, 1.0, 0.0, 2.0), UnitSpeed("a", 0.0, 0.5, 0.0, 1.0)
    found = Calibration((slow,), bs_units=(fast,), bs_threads=2)
    assert (found.forward_s(1, 1, 4), found.forward_s(1, 1, 4, bs=True)) == (4.0, 2.0)
    assert Calibration((slow,)).backward_s(1, 1, 4, bs=True) == 8.0


def test_calibration_adds_up_units():
    speed = UnitSpeed("a", 1.0, 0.1, 2.0, 0.2)
    assert Calibration((speed, speed)).forward_s(1, 2, 10) == pytest.approx(4.0)
    assert Calibration((speed, speed)).backward_s(2, 2, 10) == pytest.approx(4.0)
