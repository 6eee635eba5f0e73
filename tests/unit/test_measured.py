"""From events to rounds, from metrics to numbers, from both to a verdict."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from agents.meter import Meter, Metrics
from agents.pace import Span
from agents.schedule.task import BROADCAST_PLACE, BS, Activations, Compute, Gradients, Key, Task, down, up
from agents.wire.frames import NOTHING
from agents.wire.inbox import Arrival
from controller.judge.measured import goodput_bps, happened, round_row, spread
from controller.trial.scrape import parse
from tests.unit.rows import row

S = 1_000_000_000
TASK = {"micro_batch": 0, "turn": 0, "step": 0}
EVENTS = [
    {**TASK, "task": "ue_forward", "ue": "ue1", "place": "ue1", "start_ns": 5 * S, "end_ns": 6 * S},
    {**TASK, "task": "uplink", "ue": "ue1", "place": "ue1/up", "start_ns": 6 * S, "end_ns": 8 * S, "bytes": 500},
    {**TASK, "task": "bs_forward", "ue": "ue1", "place": "bs", "start_ns": 8 * S, "end_ns": 9 * S},
    {**TASK, "task": "bs_backward", "ue": "ue1", "place": "bs", "start_ns": 9 * S, "end_ns": 11 * S},
    {**TASK, "task": "ue_backward", "ue": "ue1", "place": "ue1", "start_ns": 12 * S, "end_ns": 15 * S},
]


def test_a_round_is_reported_in_emulated_seconds():
    found = round_row(1, happened(1, EVENTS, start_ns=5 * S, dilation=2.0), train_loss=0.5)
    assert found.round_s == pytest.approx(5.0)
    assert found.bs_busy_s == pytest.approx(1.5)
    assert found.bubble_rate == pytest.approx(0.7)


def test_of_several_workers_each_is_its_share_of_the_bs():
    ue1, ue2 = ([{**event, "ue": ue, "place": f"bs/{ue}"} for event in EVENTS[2:4]] for ue in ("ue1", "ue2"))
    found = round_row(1, happened(1, [EVENTS[0], *ue1, *ue2[:1], EVENTS[4]], start_ns=5 * S, dilation=2.0), 0.5)
    assert found.bs_busy_s == pytest.approx((1.5 + 0.5) / 2)
    assert found.bs_idle_s == pytest.approx(5.0 - 1.0)


def test_goodput_is_the_median_of_bits_over_time_on_the_air():
    late = row(1, "uplink", "ue1", 3, 3.0, 5.0, bytes=1000)
    rows = [row(1, "uplink", "ue1", m, m, m + 0.5, bytes=1000) for m in range(3)]
    assert goodput_bps([*rows, late]) == pytest.approx(16000)
    assert goodput_bps([]) is None


def test_a_late_wake_up_between_two_transfers_of_a_burst_is_not_a_slow_link():
    late = [
        row(2, "uplink", "ue1", 0, 0.0, 1.4, bytes=1000),
        row(2, "uplink", "ue1", 1, 1.4, 2.0, bytes=1000),
        row(3, "uplink", "ue1", 0, 0.0, 1.0, bytes=10),
    ]
    assert goodput_bps(late) == pytest.approx(8000)


def test_spread_of_one_value():
    assert spread([2.0]).model_dump() == {"median": 2.0, "p5": 2.0, "p95": 2.0}


FORWARD = Task(Key(0, 0, 0, "bs_forward", BS), BS, Compute(BS, 1, 2, 4, 4))
UPLINK = Task(Key(0, 0, 0, "uplink", "ue1"), up("ue1"), Activations(1, 4, labels=True))
DOWNLINK = Task(Key(0, 0, 0, "downlink", "ue1"), down("ue1"), Gradients(1, 4))
BROADCAST = Task(Key(0, 0, 0, "broadcast", "all"), BROADCAST_PLACE, Gradients(1, 4))


def metered(owner: str, dilation: float = 1.0, delay_s: float = 0.0) -> Meter:
    """The meter of an agent, in a scheme."""
    meter = Meter(owner, Metrics())
    meter.begin_scheme("t", "psl", dilation, delay_s)
    return meter


def shown(meter: Meter, name: str, **labels: str) -> float:
    """What the agent's page of metrics says."""
    samples = parse(generate_latest(meter.metrics.registry).decode())
    return samples[f"testbed_{name}", frozenset({"trial": "t", "scheme": "psl", **labels}.items())]


def arrival(sent_s: int, arrived_s: int, size: int = 250, task: Task = UPLINK) -> Arrival:
    return Arrival(task.key, task.agent, NOTHING, size, sent_s * S, arrived_s * S)


def test_the_bs_publishes_busy_idle_and_bubble_in_emulated_seconds():
    meter = metered(BS, dilation=2.0)
    for _ in range(2):
        meter.begin_segment(first=True)
        meter.computed(FORWARD, Span(0, 4 * S))
        meter.end_round(10.0)
    assert shown(meter, "bs_busy_seconds_total") == pytest.approx(4.0)
    assert shown(meter, "bs_idle_seconds_total") == pytest.approx(16.0)
    assert shown(meter, "bs_bubble_ratio") == pytest.approx(0.8)
    assert shown(meter, "rounds_total") == 2
    assert shown(meter, "round_seconds") == 10.0


def test_a_round_of_several_segments_counts_once_and_reports_each_segments_tasks():
    meter = metered(BS)
    for first in (True, False):
        meter.begin_segment(first=first)
        meter.computed(FORWARD, Span(0, 4 * S))
        assert [e["task"] for e in meter.events] == ["bs_forward"]
    meter.end_round(10.0)
    assert shown(meter, "bs_busy_seconds_total") == pytest.approx(8.0)


def test_transfers_queue_behind_each_other_on_a_link():
    meter = metered(BS)
    meter.received(UPLINK, "ue1", arrival(1, 3))
    meter.received(UPLINK, "ue1", arrival(1, 5))
    assert [(e["start_ns"], e["end_ns"], e["place"]) for e in meter.events] == [
        (1 * S, 3 * S, "ue1/up"),
        (3 * S, 5 * S, "ue1/up"),
    ]
    meter.end_round(10.0)
    link = {"ue": "ue1", "direction": "up"}
    assert shown(meter, "link_bytes_total", **link) == 500
    assert shown(meter, "link_goodput_bytes_per_second", **link) == pytest.approx(125)


def test_what_all_were_sent_and_what_one_was_are_told_apart():
    meter = metered("ue1")
    meter.received(BROADCAST, "ue1", arrival(1, 2, 100, BROADCAST))
    meter.received(DOWNLINK, "ue1", arrival(1, 3, 300, DOWNLINK))
    meter.end_round(10.0)
    assert [(e["ue"], e["place"]) for e in meter.events] == [("ue1", BROADCAST_PLACE), ("ue1", "ue1/down")]
    assert shown(meter, "link_bytes_total", ue="ue1", direction="broadcast") == 100
    assert shown(meter, "link_bytes_total", ue="ue1", direction="down") == 300


def test_a_transfer_begins_when_its_first_bit_can_be_there():
    meter = metered(BS, dilation=2.0, delay_s=0.5)
    for arrived_s in (3, 5):
        meter.received(UPLINK, "ue1", arrival(1, arrived_s))
    assert [(e["start_ns"], e["end_ns"]) for e in meter.events] == [(2 * S, 3 * S), (3 * S, 5 * S)]


def test_overruns_are_counted_per_agent():
    meter = metered("ue2")
    meter.computed(Task(Key(0, 0, 0, "ue_forward", "ue2"), "ue2", Compute("ue2", 0, 1, 4, 4)), Span(0, S, overrun_ns=5))
    assert shown(meter, "cpu_overruns_total", ue="ue2") == 1


def test_what_has_not_happened_yet_is_none_not_missing():
    assert shown(metered(BS), "rounds_total") == shown(metered(BS), "bs_idle_seconds_total") == 0
    assert shown(metered("ue1"), "cpu_overruns_total", ue="ue1") == 0
    assert shown(metered("ue1"), "ue_busy_seconds_total", ue="ue1") == 0


def test_an_agent_tells_how_it_was_held_back_in_its_last_round():
    meter = metered(BS)
    for waited in (9 * S, 1 * S):
        meter.begin_segment(first=True)
        meter.computed(FORWARD, Span(0, 4 * S, cpu_ns=3 * S, wait_ns=waited))
        for throttled_s in (0.5, 0.0):
            meter.counted({"monotonic_s": 2.5, "throttled_s": throttled_s})
        meter.end_round(10.0)
    assert shown(meter, "agent_waited_ratio", ue=BS) == pytest.approx(0.25)
    assert shown(meter, "agent_throttled_ratio", ue=BS) == pytest.approx(0.1)
    samples = parse(generate_latest(meter.metrics.registry).decode())
    assert samples["testbed_agent_memory_bytes", frozenset({("trial", "t"), ("ue", BS)})] > 1e7
