"""What is left of a round when a UE is lost in it: pure, from the keys of what had come of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from agents.schedule.pieces import pass_of
from agents.schedule.task import (
    BS,
    Activations,
    Average,
    Compute,
    Gradients,
    Key,
    Schedule,
    Step,
    Take,
    Task,
    owner,
)


def without(schedule: Schedule, ue: str, came: Collection[Key]) -> Schedule:
    """The schedule without what a UE does not do any more; ``came``: those of its transfers that the BS has.

    Nobody waits for anything else of it. Joint passes, averages and optimiser steps go on with what came, but for those
    of its replica at the BS; an average of nobody is what was averaged before, so that whose turn is next gets the
    weights that the lost UE was given. Tasks keep their keys and their segments.
    """
    did = _did(schedule, ue, came)
    left = _Left(schedule)
    for task in schedule.ordered:
        if owner(task.place) == ue:
            if task.key in did:
                left.keep(task, task)
        else:
            left.rest(task)
    return left.schedule()


def _did(schedule: Schedule, ue: str, came: Collection[Key]) -> set[Key]:
    """What a UE must have done, and got, before it could send what came of it."""
    found: set[Key] = set()
    queue = [key for key in came if key in schedule.by_key]
    while queue:
        key = queue.pop()
        if key not in found and owner(schedule.by_key[key].place) == ue:
            found.add(key)
            queue += schedule.before[key]
    return found


class _Left:
    """The tasks that are left, found in the order in which they must be done."""

    def __init__(self, schedule: Schedule) -> None:
        self._whole = schedule
        self._kept: dict[Key, Task] = {}
        self._forward: dict[tuple[object, ...], Task] = {}

    def keep(self, whole: Task, task: Task) -> None:
        """Keeps a task, with those of its needs that are kept."""
        found = replace(task, needs=self._needs(whole))
        self._kept[task.key] = found
        if isinstance(work := found.work, Compute) and not work.backward:
            self._forward[pass_of(found.key, work)] = found

    def rest(self, task: Task) -> None:
        """Keeps as much of another's task as what is left has a use for."""
        work = task.work
        match work:
            case Compute(backward=False):
                found = self._forwards(task, work)
            case Compute():
                found = self._backwards(task, work)
            case Average():
                found = replace(task, work=self._averages(task, work))
            case Take():
                found = self._takes(task, work)
            case Step(model=model):
                needs = self._needs(task)
                whole = needs == task.needs or model in (BS, task.place)  # a replica of half a batch is worth nothing
                found = task if needs and whole else None
            case _:
                found = task if self._made(task) else None
        if found is not None:
            self.keep(task, found)

    def schedule(self) -> Schedule:
        """What is left, in the order in which it was listed."""
        before: dict[str, tuple[Key | None, Key | None]] = {}
        tasks = []
        for whole in self._whole.tasks:
            listed, there = before.get(whole.place, (None, None))
            task = self._kept.get(whole.key)
            if task is not None:
                if task.continues and there != listed and there not in task.needs:
                    task = replace(task, continues=False)
                tasks.append(task)
                there = task.key
            before[whole.place] = whole.key, there
        segments = {task.key: self._whole.segment_of[task.key] for task in tasks}
        return Schedule(tuple(tasks), self._whole.first_ready, self._whole.drawn, segments)

    def _needs(self, task: Task) -> tuple[Key, ...]:
        return tuple(key for key in task.needs if key in self._kept)

    def _came(self, task: Task, *kinds: type) -> tuple[list[Task], list[Task]]:
        """What a task needs of transfers of these kinds, and what of it is left."""
        asked = [one for one in map(self._whole.by_key.__getitem__, task.needs) if isinstance(one.work, kinds)]
        return asked, [self._kept[one.key] for one in asked if one.key in self._kept]

    def _made(self, task: Task) -> bool:
        """Whether what a transfer carries is still made, or what a task takes over still comes."""
        needs = (self._whole.by_key[key] for key in task.needs)
        return all(one.key in self._kept for one in needs if one.transfers != task.transfers)

    def _forwards(self, task: Task, work: Compute) -> Task | None:
        asked, came = self._came(task, Activations)
        if work.first == 0 or not asked:
            return task
        samples = _samples(came)
        rows = samples + work.rows - work.samples
        return replace(task, work=replace(work, samples=samples, rows=rows)) if came else None

    def _backwards(self, task: Task, work: Compute) -> Task | None:
        forward = self._forward.get(pass_of(task.key, work))
        asked, came = self._came(task, Gradients)
        if forward is None or (asked and not came):
            return None
        assert isinstance(forward.work, Compute)
        samples = forward.work.samples
        rows = work.rows - work.samples + samples
        if work.paired and rows != samples:  # the paired rows of all go back as those of one
            rows = samples - work.paired * (len(self._came(forward, Activations)[1]) - 1)
        return replace(task, work=replace(work, samples=samples, rows=rows))

    def _averages(self, task: Task, work: Average) -> Average:
        came = {self._kept[key].key.ue for key in self._needs(task) if self._kept[key].transfers}
        members = [(ue, size) for ue, size in zip(work.members, work.samples, strict=True) if ue in came]
        return replace(work, members=tuple(ue for ue, _ in members), samples=tuple(size for _, size in members))

    def _takes(self, task: Task, work: Take) -> Task | None:
        sent = [key for key in task.needs if self._whole.by_key[key].transfers]
        if not sent or all(key in self._kept for key in sent):
            return task
        if task.key.ue != BS:
            return None
        samples = tuple(size for key, size in zip(sent, work.samples, strict=True) if key in self._kept)
        return replace(task, work=replace(work, samples=samples))


def _samples(sent: Iterable[Task]) -> int:
    return sum(one.work.samples for one in sent if isinstance(one.work, Activations | Gradients))


def scales(whole: Schedule, left: Schedule) -> dict[Key, float]:
    """What the gradients of each optimiser step that is left are to be multiplied by, where that is not 1.

    They are of a loss that is a mean over all the samples of a batch; it becomes one over those that came.
    """
    found = {}
    for losses, steps in _batches(whole):
        asked, came = _losses(whole, losses), _losses(left, losses)
        if came and came != asked:
            found.update(dict.fromkeys((key for key in steps if key in left.by_key), asked / came))
    return found


def _losses(schedule: Schedule, keys: Iterable[Key]) -> int:
    """Of how many samples these passes are, as far as they are there."""
    works = [schedule.by_key[key].work for key in keys if key in schedule.by_key]
    return sum(work.samples for work in works if isinstance(work, Compute))


def _batches(schedule: Schedule) -> list[tuple[set[Key], set[Key]]]:
    """The passes that share a loss, and the optimiser steps that are made on it: those that hang together."""
    ends = {pass_of(key, work): key for key, work in _passes(schedule) if not work.backward and work.mean_over}
    behind: dict[Key, frozenset[Key]] = {}
    found: list[tuple[set[Key], set[Key]]] = []
    for task in schedule.ordered:
        work = task.work
        of_needs = frozenset[Key]().union(*(behind.get(key, ()) for key in task.needs))
        if isinstance(work, Compute) and work.backward:
            own = ends.get(pass_of(task.key, work))
            behind[task.key] = of_needs if own is None else frozenset([own])
        elif isinstance(work, Gradients):
            made = [key for key in task.needs if isinstance(schedule.by_key[key].work, Compute)]
            behind[task.key] = frozenset[Key]().union(*(behind.get(key, ()) for key in made))
        elif isinstance(work, Step):
            losses, steps = set(of_needs), {task.key}
            for one in [one for one in found if one[0] & losses]:
                found.remove(one)
                losses, steps = losses | one[0], steps | one[1]
            found.append((losses, steps))
    return found


def _passes(schedule: Schedule) -> list[tuple[Key, Compute]]:
    return [(key, task.work) for key, task in schedule.by_key.items() if isinstance(task.work, Compute)]


@dataclass(frozen=True)
class Contribution:
    """Of the samples that a UE was to train in a round, how many the models have learnt from, and how many not."""

    came: int
    lost: int


def contributions(whole: Schedule, left: Schedule) -> Mapping[str, Contribution]:
    """What each UE has contributed to a round of which so much was ``left``.

    A sample came when its loss was computed. Where models are averaged whole, those of a UE came if its model is in
    the last average.
    """
    asked, came = dict[str, int](), dict[str, int]()
    reached = _reached(left)
    for key, work in _passes(whole):
        ue = whole.by_key[key].agent
        if not work.backward and work.first == 0 and ue != BS:
            asked[ue] = asked.get(ue, 0) + work.samples
            came[ue] = came.get(ue, 0) + work.samples * ((*key[:3], ue) in reached)
    averages = [task for task in left.tasks if isinstance(task.work, Average) and _of_wholes(task.work, whole)]
    if averages:
        last = averages[-1].work
        assert isinstance(last, Average)
        came = {ue: count if ue in last.members else 0 for ue, count in came.items()}
    return {ue: Contribution(came[ue], count - came[ue]) for ue, count in asked.items()}


def _of_wholes(average: Average, schedule: Schedule) -> bool:
    """Whether an average is of whole models: of both halves, or where UEs have all of it."""
    return average.replicas or not any(isinstance(task.work, Activations) for task in schedule.tasks)


def _reached(schedule: Schedule) -> set[tuple[object, ...]]:
    """Turn, step, micro-batch and UE of the samples that go as far as the loss: at the UE, or as what it sent up."""
    found = set[tuple[object, ...]]()
    for key, work in _passes(schedule):
        task = schedule.by_key[key]
        if work.mean_over and task.agent != BS:
            found.add((*key[:3], task.agent))
        elif work.mean_over:
            found.update(
                (*need[:3], need.ue) for need in task.needs if isinstance(schedule.by_key[need].work, Activations)
            )
    return found
