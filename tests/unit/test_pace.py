"""The modelled processor keeps modelled time and owns up to overruns."""

from __future__ import annotations

import itertools
import time

from agents.pace import Pacer


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


def test_without_a_duration_work_takes_as_long_as_it_takes():
    pacer = Pacer()
    pacer.start_round(time.monotonic_ns())
    result, span = pacer.run(lambda: "done", 0, None)
    assert result == "done"
    assert span.overrun_ns == 0
