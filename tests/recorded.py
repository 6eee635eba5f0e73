"""Run directories of trials that never ran: planned, timed and journalled as a trial is, with seeded noise if asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.schedule.costs import Costs
from agents.schedule.task import BROADCAST_PLACE, BS, Schedule
from agents.schedule.without import contributions
from controller.judge.derive import derive
from controller.judge.measured import Happened, round_row
from controller.planners.planning import Planned, plan_all
from controller.planners.replanning import Course, Step
from controller.predict.channel import Moment, changes
from controller.predict.prediction import costs_of, wait_s
from controller.predict.simulate import Seconds, Timeline, simulate
from controller.trial import lines
from controller.trial.journal import RESULTS, Journal, Line
from testbed.files import write_atomically
from testbed.topology import Topology

HOST = {"cores": 2, "memory_bytes": 8 << 30, "kernel": "6.1", "system": "a host", "docker": "28", "link_backend": "htb"}
DILATION = 1.0
AT = 1.79e9
"""When it began, in wall seconds since 1970."""


def write(out: Path, topology: Topology, *, noise: float = 0.0, rounds: int | None = None, whole: bool = True) -> Path:
    """The run directory of a trial of this topology; ``noise``: the relative deviation of each task's length.

    Where it is not ``whole`` it broke off in the last scheme, after all of its ``rounds``.
    """
    out.mkdir(parents=True, exist_ok=True)
    planned = plan_all(topology, DILATION)
    with Journal(out) as journal:
        coming = [{"label": one.label, "rounds": rounds or one.rounds, "wall_s": 1.0} for one in planned]
        journal.append("journal", [{**lines.head(topology, HOST, DILATION, {}), "coming": coming, "at": AT}])
        for one in planned:
            for event, line in scheme(topology, one, noise, rounds or one.rounds):
                if whole or one is not planned[-1] or event != "scheme_end":
                    journal.append(event, [{"scheme": one.label, **line}])
        broken = {"error": "ue1 stopped with exit status 137", "lost": ["ue1"]}
        journal.append("end", [{} if whole else broken])
    write_atomically(out / RESULTS, derive(journal.lines).model_dump_json(indent=1) + "\n")
    return out


def scheme(topology: Topology, planned: Planned, noise: float, rounds: int) -> Iterator[tuple[str, Line]]:
    """The lines of one scheme, each with its event, as ``controller.trial.rounds`` writes them."""
    rng, every = np.random.default_rng([topology.seed, 13]), topology.training.every(rounds)
    yield "scheme", lines.beginning(planned, topology.training.target_accuracy)
    course, clock_s, idle_s, busy_s = Course(topology, planned), 0.0, 0.0, 0.0
    before = Moment(planned.problem, planned.plan, planned.timeline)
    for number in range(1, rounds + 1):
        step = course.step(number, clock_s)
        yield from _told(number, before, step)
        yield "round_begins", {"round": number, **step.predicted, "at": AT + clock_s}
        before, happened = step.now, measured(number, step, noise, rng)
        yield from (("task", dataclasses.asdict(row)) for row in happened)
        row = round_row(number, happened, 2.3 * float(np.exp(-number / rounds)), charged_s=step.charged_s)
        clock_s, idle_s, busy_s = clock_s + row.round_s, idle_s + row.bs_idle_s, busy_s + row.bs_busy_s
        schedule, counted = step.planned.schedule(number), [_counted(planned, row.round_s)]
        ended = lines.ended(number, step, row.train_loss, counted, contributions(schedule, schedule), ())
        yield "round", {**ended, "at": AT + clock_s}
        if number % every == 0 or number == rounds:
            yield "evaluation", evaluation(planned, number, clock_s, number / rounds)
    yield "scheme_end", {"scraped_idle_s": idle_s, "scraped_busy_s": busy_s}


def measured(number: int, step: Step, noise: float, rng: np.random.Generator) -> list[Happened]:
    """A round as it would have been measured, had each task taken its time but for the noise."""
    plan, costs, schedule = step.now.plan, costs_of(step.now.instance), step.planned.schedule(number)
    took = {t.key: costs.seconds(t, plan) * (1 + noise * abs(rng.standard_normal())) for t in schedule.tasks}
    waits = wait_s(plan, costs, step.planned.latency.under(plan, step.now.instance.frame_s))
    timeline = simulate(schedule, lambda task: took[task.key], waits)
    return as_predicted(timeline, schedule, costs, number, lambda task: took[task.key] - costs.seconds(task, plan))


def as_predicted(
    timeline: Timeline, schedule: Schedule, costs: Costs, number: int = 2, over_s: Seconds = lambda task: 0.0
) -> list[Happened]:
    """The round as it would have been measured had it gone like this timeline. A broadcast arrives at each UE.

    ``over_s``: by how much each computation took longer than modelled.
    """
    found = []
    for event in timeline.events:
        task = schedule.by_key[event.key]
        turn, step, micro_batch, kind, ue = event.key
        size = costs.bytes(task)
        carried: Any = 0 if size is None else size + costs.message_bytes
        more = {"bytes": carried, "overrun_s": over_s(task) if task.computes else 0.0}
        for whose in schedule.receivers(task) if event.place == BROADCAST_PLACE else (ue,):
            spent = (turn, event.start_s, event.end_s, event.place, step)
            found.append(Happened(number, kind, whose, micro_batch, *spent, **more))
    return found


def evaluation(planned: Planned, number: int, clock_s: float, done: float) -> Line:
    """Accuracies that grow with what is done."""
    accuracies = {ue: 0.1 + 0.8 * done for ue in planned.plan.ues}
    return {"round": number, "emulated_s": clock_s, "accuracies": accuracies, "mean": None}


def _told(number: int, before: Moment, step: Step) -> Iterator[tuple[str, Line]]:
    if step.gained_s is not None:
        yield "plan", lines.made(number, step)
    yield from (("change", dataclasses.asdict(change)) for change in changes(number, before, step.now))


def _counted(planned: Planned, wall_s: float) -> Mapping[str, Any]:
    """What the agents counted on a calm host."""
    common = {"monotonic_s": wall_s, "realtime_s": wall_s, "cpu_s": 2 * wall_s, "idle_s": 1.5 * wall_s}
    one = {**common, "own_s": 0.05 * wall_s, "steal_s": 0.0, "throttled_s": 0.0, "kernel": "k"}
    return {agent: one for agent in (BS, *planned.plan.ues)}
