"""From events to rounds, from metrics to numbers, from both to a verdict."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from agents.meter import Meter, Metrics
from agents.pace import Span
from controller.judge.measured import Happened, goodput_bps, happened, round_row, spread
from controller.trial.scrape import parse

S = 1_000_000_000
EVENTS = [
    {"task": "ue_forward", "ue": "ue1", "micro_batch": 0, "turn": 0, "start_ns": 5 * S, "end_ns": 6 * S},
    {"task": "uplink", "ue": "ue1", "micro_batch": 0, "turn": 0, "start_ns": 6 * S, "end_ns": 8 * S, "bytes": 500},
    {"task": "bs_forward", "ue": "bs", "micro_batch": 0, "turn": 0, "start_ns": 8 * S, "end_ns": 9 * S},
    {"task": "bs_backward", "ue": "bs", "micro_batch": 0, "turn": 0, "start_ns": 9 * S, "end_ns": 11 * S},
    {"task": "ue_backward", "ue": "ue1", "micro_batch": 0, "turn": 0, "start_ns": 12 * S, "end_ns": 15 * S},
]  # fmt: skip


def test_a_round_is_reported_in_emulated_seconds():
    row = round_row(1, happened(1, EVENTS, start_ns=5 * S, dilation=2.0), train_loss=0.5)
    assert row.round_s == pytest.approx(5.0)
    assert row.bs_busy_s == pytest.approx(1.5)
    assert row.bubble_rate == pytest.approx(0.7)


def test_goodput_is_the_median_of_bits_over_time_on_the_air():
    late = Happened(1, "uplink", "ue1", 3, 0, 3, 5.0, bytes=1000)
    rows = [Happened(1, "uplink", "ue1", m, 0, m, m + 0.5, bytes=1000) for m in range(3)]
    assert goodput_bps([*rows, late]) == pytest.approx(16000)
    assert goodput_bps([]) is None


def test_a_late_wake_up_between_two_transfers_of_a_burst_is_not_a_slow_link():
    late = [
        Happened(2, "uplink", "ue1", 0, 0, 0.0, 1.4, bytes=1000),
        Happened(2, "uplink", "ue1", 1, 0, 1.4, 2.0, bytes=1000),
        Happened(3, "uplink", "ue1", 0, 0, 0.0, 1.0, bytes=10),
    ]
    assert goodput_bps(late) == pytest.approx(8000)


def test_spread_of_one_value():
    assert spread([2.0]).model_dump() == {"median": 2.0, "p5": 2.0, "p95": 2.0}


def test_the_bs_publishes_busy_idle_and_bubble_in_emulated_seconds():
    meter = Meter("bs", Metrics())
    meter.begin_scheme("t", "psl", dilation=2.0)
    for _ in range(2):
        meter.begin_phase(first=True)
        meter.computed("bs_forward", Span(0, 4 * S), 0, 0)
        meter.end_round(10.0)
    samples = parse(generate_latest(meter.metrics.registry).decode())
    labels = frozenset({"trial": "t", "scheme": "psl"}.items())
    assert samples["testbed_bs_busy_seconds_total", labels] == pytest.approx(4.0)
    assert samples["testbed_bs_idle_seconds_total", labels] == pytest.approx(16.0)
    assert samples["testbed_bs_bubble_ratio", labels] == pytest.approx(0.8)
    assert samples["testbed_rounds_total", labels] == 2
    assert samples["testbed_round_seconds", labels] == 10.0


def test_transfers_queue_behind_each_other_on_a_link():
    meter = Meter("bs", Metrics())
    meter.begin_scheme("t", "psl", dilation=1.0)
    header = {"sent_ns": 1 * S, "micro_batch": 0, "turn": 0}
    meter.received("uplink", "ue1", header, 250, 3 * S)
    meter.received("uplink", "ue1", header, 250, 5 * S)
    assert [(e["start_ns"], e["end_ns"]) for e in meter.events] == [(1 * S, 3 * S), (3 * S, 5 * S)]
    meter.end_round(10.0)
    samples = parse(generate_latest(meter.metrics.registry).decode())
    labels = frozenset({"trial": "t", "scheme": "psl", "ue": "ue1", "direction": "up"}.items())
    assert samples["testbed_link_bytes_total", labels] == 500
    assert samples["testbed_link_goodput_bits_per_second", labels] == pytest.approx(1000)


def test_a_transfer_begins_when_its_first_bit_can_be_there():
    meter = Meter("bs", Metrics())
    meter.begin_scheme("t", "psl", dilation=2.0, delay_s=0.5)
    header = {"sent_ns": 1 * S, "micro_batch": 0, "turn": 0}
    for arrived_ns in (3 * S, 5 * S):
        meter.received("uplink", "ue1", header, 250, arrived_ns)
    assert [(e["start_ns"], e["end_ns"]) for e in meter.events] == [(2 * S, 3 * S), (3 * S, 5 * S)]


def test_overruns_are_counted_per_agent():
    meter = Meter("ue2", Metrics())
    meter.begin_scheme("t", "psl", dilation=1.0)
    meter.computed("ue_forward", Span(0, S, overrun_ns=5), 0, 0)
    samples = parse(generate_latest(meter.metrics.registry).decode())
    labels = frozenset({"trial": "t", "scheme": "psl", "ue": "ue2"}.items())
    assert samples["testbed_cpu_overruns_total", labels] == 1
