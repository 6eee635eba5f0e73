"""Whether a schedule can be done and loses nothing; what is wrong is said with the task's key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from agents.plan import Plan
from agents.schedule.task import (
    Activations,
    Compute,
    Gradients,
    Key,
    Schedule,
    ScheduleError,
    Step,
    Task,
    Transfer,
    Weights,
    at_the_bs,
    goes_up,
    owner,
)


def checked(schedule: Schedule, plan: Plan) -> Schedule:
    """The schedule itself. ScheduleError when keys repeat, tasks wait in a cycle, or samples or messages are lost."""
    twice = [key for key, count in Counter(task.key for task in schedule.tasks).items() if count > 1]
    if twice:
        raise ScheduleError(f"{twice[0]} is there twice", "begin(turn=…, step=…) tells batches apart")
    _processors(schedule.tasks, plan)
    _ = schedule.ordered
    _own_processor(schedule)
    _both_ends(schedule)
    _both_ways(schedule)
    _gradients(schedule)
    _whole_batches(schedule, plan)
    _steps(schedule)
    return schedule


def _processors(tasks: Iterable[Task], plan: Plan) -> None:
    for task in tasks:
        if owner(task.place) not in (*plan.ues, "bs", "air"):
            raise ScheduleError(f"{task.key} is at {task.place}, which is no UE of the plan", "use the plan's names")
        if task.transfers != isinstance(task.work, Transfer):
            raise ScheduleError(f"{task.key} is no work for {task.place}", "links transfer, processors compute")


def _own_processor(schedule: Schedule) -> None:
    """What a processor needs of its own agent it does itself: workers know of each other by what is sent, if at all."""
    for task in schedule.tasks:
        for one in () if task.transfers else (schedule.by_key[key] for key in task.needs):
            if not one.transfers and one.agent == task.agent and one.place != task.place:
                message = f"{task.key} is done at {task.place}, and what it needs at {one.place}: {one.key}"
                raise ScheduleError(message, "give both to the same worker")


def _both_ends(schedule: Schedule) -> None:
    """Every transfer is of something that its sender has made, and is needed where it arrives."""
    needed: dict[Key, set[str]] = {}
    for task in schedule.tasks:
        for key in task.needs:
            needed.setdefault(key, set()).add(task.agent)
    for task in schedule.tasks:
        if not task.transfers:
            continue
        if not needed.get(task.key, set()).intersection(schedule.receivers(task)):
            raise ScheduleError(f"nobody waits for what arrives by {task.key}", "let a task there need it")
        made = [schedule.by_key[key] for key in task.needs]
        here = [one for one in made if not one.transfers and one.agent == task.agent]
        if not here and not isinstance(task.work, Weights):
            raise ScheduleError(f"{task.key} has nothing to send", f"compute it at {task.agent} first")


def _both_ways(schedule: Schedule) -> None:
    """What goes forward goes backward once, in the same part of the same model and the same samples."""
    forward, backward = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    tasks: dict[tuple[object, ...], Key] = {}
    for task in schedule.tasks:
        if isinstance(work := task.work, Compute):
            key = task.key
            same: tuple[object, ...] = (
                key.turn,
                key.step,
                key.micro_batch,
                key.ue,
                work.model,
                work.first,
                work.last,
                work.samples,
            )
            (backward if work.backward else forward)[same] += 1
            tasks.setdefault(same, key)
    for same in tasks:
        if forward[same] != 1 or backward[same] != 1:
            ways = f"forward {forward[same]} times and backward {backward[same]} times"
            raise ScheduleError(f"{tasks[same]}: these samples go {ways}", "every pass has its way back, once")


def _steps(schedule: Schedule) -> None:
    """Every model that goes backward makes optimiser steps on all that it has gone."""
    stepped = {key for task in schedule.tasks if isinstance(task.work, Step) for key in task.needs}
    for task in schedule.tasks:
        if isinstance(task.work, Compute) and task.work.backward and task.key not in stepped:
            raise ScheduleError(f"{task.key} is followed by no optimiser step", f"write: r.step({task.work.model!r})")


def _gradients(schedule: Schedule) -> None:
    """A pass that does not end in the loss goes back from gradients that have come, of each sample."""
    ends_in_loss = {
        (key[:3], key.ue, work.model, work.last)
        for key, task in schedule.by_key.items()
        if isinstance(work := task.work, Compute) and work.mean_over
    }
    for key, task in schedule.by_key.items():
        work = task.work
        if not isinstance(work, Compute) or not work.backward:
            continue
        if (key[:3], key.ue, work.model, work.last) in ends_in_loss:
            continue
        came = [one for need in task.needs if isinstance(one := schedule.by_key[need].work, Gradients)]
        samples = sum(one.samples for one in came)
        if samples != work.samples:
            raise ScheduleError(f"{key}: gradients of {samples} samples come, of {work.samples}", "send them all down")


def _whole_batches(schedule: Schedule, plan: Plan) -> None:
    """In every turn and step a UE trains its whole batch, and all that it sends up is trained at the BS."""
    trained, arrived, sent = Counter[tuple[int, int, str]](), Counter[Key](), dict[Key, Task]()
    for task in schedule.tasks:
        work = task.work
        if isinstance(work, Compute) and not work.backward:
            if work.first == 0 and not at_the_bs(task.place):
                trained[task.key.turn, task.key.step, task.place] += work.samples
            arrived.update(key for key in task.needs if schedule.by_key[key].transfers)
            _as_many_as_came(schedule, task, work)
        elif isinstance(work, Activations) and goes_up(task.place):
            sent[task.key] = task
    idle = [ue for ue in plan.clusters if ue not in {ue for *_, ue in trained}]
    if idle and trained:
        raise ScheduleError(f"{idle[0]} has a batch and never trains it", "go through all of r.ues")
    for (turn, step, ue), samples in trained.items():
        if samples != plan.ues[ue].batch:
            said = f"{ue} trains {samples} samples in turn {turn}, step {step}"
            raise ScheduleError(f"{said}, and its batch has {plan.ues[ue].batch}", "go through all its micro_batches")
    for key in sent:
        if arrived[key] != 1:
            raise ScheduleError(f"{key} goes {arrived[key]} times through the BS", "serve it once")


def _as_many_as_came(schedule: Schedule, task: Task, work: Compute) -> None:
    came = [schedule.by_key[key].work for key in task.needs if schedule.by_key[key].transfers]
    samples = sum(one.samples for one in came if isinstance(one, Activations | Gradients))
    if came and work.first > 0 and samples != work.samples:
        raise ScheduleError(f"{task.key} is of {work.samples} samples, and {samples} come", "join all that it is of")
