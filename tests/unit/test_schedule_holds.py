"""What always holds of a schedule, whatever the scheme, the plan and the model: drawn at random."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schedule.task import (
    BS,
    Compute,
    Key,
    Schedule,
    goes_down,
    goes_up,
)
from agents.schemes import SCHEMES
from controller.predict.simulate import simulate
from tests.unit import alone
from tests.unit.plans import any_plan


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_sample_goes_forward_and_backward_exactly_once_on_each_side(name, data):
    scheme, asked, costs = data.draw(any_plan(name))
    schedule = scheme.schedule(asked, len(costs.forward_flops), data.draw(st.sampled_from(["tdd", "fdd"])))
    samples = Counter[tuple[bool, str, str, int, int]]()
    for task in schedule.tasks:
        if isinstance(work := task.work, Compute):
            part = "head" if work.first and task.agent != BS else "own"
            samples[work.backward, task.agent, part, task.key.turn, task.key.step] += work.samples
    turns = list(enumerate(scheme.groups(asked.clusters)))
    expected = Counter[tuple[bool, str, str, int, int]]()
    for turn, members in turns:
        for step in range(asked.steps):
            for backward in (False, True):
                for ue in members:
                    for part in ("own", "head") if scheme.cuts == "twice" else ("own",):
                        expected[backward, ue, part, turn, step] += asked.ues[ue].batch
                if scheme.cuts != "nowhere":
                    joined = sum(asked.ues[ue].batch for ue in members) + asked.bs_batch
                    expected[backward, BS, "own", turn, step] += joined
    assert samples == expected


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_on_the_predicted_timeline_nothing_overlaps_and_all_that_is_needed_is_done(name, data):
    scheme, asked, costs = data.draw(any_plan(name))
    duplex, wait_s = data.draw(st.sampled_from(["tdd", "fdd"])), data.draw(st.sampled_from([0.0, 0.02]))
    schedule = scheme.schedule(asked, len(costs.forward_flops), duplex, number=data.draw(st.integers(1, 5)))
    timeline = simulate(schedule, lambda task: costs.seconds(task, asked), lambda task: wait_s)
    spans = {event.key: (event.start_s, event.end_s) for event in timeline.events}
    assert spans.keys() == {task.key for task in schedule.tasks if task.computes or task.transfers}
    holds(schedule, spans, duplex)
    for key, (start_s, end_s) in spans.items():
        assert end_s - start_s == pytest.approx(costs.seconds(schedule.by_key[key], asked), rel=1e-9, abs=1e-12)


def holds(schedule: Schedule, spans: dict[Key, tuple[float, float]], duplex: str) -> None:
    """No place does two things at a time, and each task starts when all it needs is done; under tdd the air is up or
    down."""
    slack_s = 1e-9
    for tasks in schedule.at.values():
        busy = sorted(spans[task.key] for task in tasks if task.key in spans)
        assert all(end_s <= start_s + slack_s for (_, end_s), (start_s, _) in pairwise(busy))
    done_s: dict[Key, float] = {}
    for task in schedule.ordered:  # what takes no time is done when all before it is
        ready_s = max((done_s[key] for key in task.needs), default=0.0)
        start_s, done_s[task.key] = spans.get(task.key, (ready_s, ready_s))
        assert ready_s <= start_s + slack_s
    if duplex == "tdd":
        ups, downs = (
            [spans[t.key] for t in schedule.tasks if t.transfers and way(t.place)] for way in (goes_up, goes_down)
        )
        assert all(a[1] <= b[0] + slack_s or b[1] <= a[0] + slack_s for a in ups for b in downs)


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_agents_that_know_only_messages_and_segments_keep_every_need(name, data):
    """Whatever tasks take: what no agent can know of is over before the segment starts."""
    scheme, asked, costs = data.draw(any_plan(name))
    duplex, rng = data.draw(st.sampled_from(["tdd", "fdd"])), np.random.default_rng(data.draw(st.integers(0, 2**32)))
    schedule = scheme.schedule(asked, len(costs.forward_flops), duplex)
    lasts = {t.key: 10 ** rng.uniform(-2, 2) if t.computes or t.transfers else 0.0 for t in schedule.tasks}
    spans = alone.Round(schedule, lambda task: lasts[task.key]).run()
    assert spans.keys() == schedule.by_key.keys()
    holds(schedule, spans, duplex)
