"""The modelled processor keeps modelled time and owns up to overruns."""

from __future__ import annotations

import itertools
import time

from agents.pace import Pacer, Span


def test_tasks_follow_each_other_in_modelled_time():
    pacer = Pacer()
    start = time.monotonic_ns()
    pacer.start_round(start)
    spans = [pacer.run(lambda: None, 0, 0.02)[1] for _ in range(5)]
    assert spans[0].start_ns == start
    assert spans[-1].end_ns >= start + 100_000_000
    assert all(a.end_ns <= b.start_ns for a, b in itertools.pairwise(spans))
    assert not any(span.overrun_ns for span in spans)


def test_a_task_starts_when_its_input_was_there_and_not_when_it_was_looked_at():
    pacer = Pacer()
    now = time.monotonic_ns()
    pacer.start_round(now - 50_000_000)
    _, span = pacer.run(lambda: None, ready_ns=now - 10_000_000, duration_s=0.2)
    assert span.start_ns == now - 10_000_000
    assert span.end_ns >= now + 190_000_000


def test_work_that_does_not_fit_is_counted_and_not_hidden():
    pacer = Pacer()
    pacer.start_round(time.monotonic_ns())
    _, span = pacer.run(lambda: time.sleep(0.03), 0, 0.01)
    assert span.overrun_ns >= 20_000_000
    assert span.seconds >= 0.03
    _, after = pacer.run(lambda: None, 0, 0.01)
    assert after.start_ns == span.end_ns


def test_waits_for_a_core_are_those_of_all_threads(monkeypatch):
    clock = {"wall": 0, "cpu": 0}
    for name, which in (("monotonic_ns", "wall"), ("thread_time_ns", "cpu"), ("process_time_ns", "cpu")):
        monkeypatch.setattr(time, name, lambda which=which: clock[which])

    def work() -> None:
        clock["wall"] += 100
        clock["cpu"] += 60

    for threads, waited_ns in ((1, 40), (2, 140)):
        pacer = Pacer(threads)
        pacer.start_round(clock["wall"])
        _, span = pacer.run(work, 0, None)
        assert (span.cpu_ns, span.wait_ns) == (60, waited_ns)


def test_without_a_duration_work_takes_as_long_as_it_takes():
    pacer = Pacer()
    pacer.start_round(time.monotonic_ns())
    result, span = pacer.run(lambda: "done", 0, None)
    assert result == "done"
    assert span.overrun_ns == 0


def test_what_was_done_as_one_is_told_apart_by_modelled_times_and_runs_over_at_its_end():
    first, last = Span(0, 100, overrun_ns=30, cpu_ns=60, wait_ns=9, late_ns=10).split([1.0, 2.0])
    assert (first.start_ns, first.end_ns, last.start_ns, last.end_ns) == (0, 20, 20, 100)
    assert (first.overrun_ns, first.late_ns, last.overrun_ns, last.late_ns) == (0, 0, 30, 10)
    assert (first.cpu_ns, last.cpu_ns, first.wait_ns, last.wait_ns) == (20, 40, 3, 6)


def test_parts_that_take_no_modelled_time_share_what_was_measured():
    assert [(span.start_ns, span.end_ns) for span in Span(0, 100).split([0.0, 0.0])] == [(0, 50), (50, 100)]
