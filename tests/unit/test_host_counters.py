"""What an agent reads of its host, from files as kernels write them."""

from __future__ import annotations

import os

import pytest

from agents import host_counters

STAT = "cpu  100 0 50 800 50 0 0 20 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text(STAT)
    return tmp_path / "proc"


def test_the_hosts_cpu_time_without_counting_guests_twice(proc, tmp_path):
    seen = host_counters.read(proc, tmp_path)
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    assert (seen["cpu_s"], seen["idle_s"], seen["steal_s"]) == pytest.approx((1020 * tick, 850 * tick, 20 * tick))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cpu.stat", "usage_usec 9\nnr_periods 3\nthrottled_usec 2500000\n"),
        ("cpu/cpu.stat", "nr_periods 3\nnr_throttled 1\nthrottled_time 2500000000\n"),
        ("cpu,cpuacct/cpu.stat", "nr_periods 3\nnr_throttled 1\nthrottled_time 2500000000\n"),
    ],
)
def test_throttling_under_both_versions_of_cgroups(proc, tmp_path, path, text):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(text)
    assert host_counters.read(proc, tmp_path)["throttled_s"] == 2.5


def test_what_cannot_be_read_is_left_out(tmp_path):
    assert set(host_counters.read(tmp_path, tmp_path)) == {"monotonic_s", "realtime_s", "own_s"}


def test_counters_grow_between_two_looks():
    grown = host_counters.since(host_counters.read())
    assert grown["monotonic_s"] >= 0
    assert abs(grown["realtime_s"] - grown["monotonic_s"]) < 1
