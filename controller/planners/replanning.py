"""The rounds of a scheme one after another, each under the plan that is then in force: made anew at round boundaries.

At a boundary the planner knows what links and devices will be in the round that begins, as CPSL's Algorithm 1 and
PiPar's Fig. 14 assume. What it finds competes with the plan in force and with the first one. Each is judged by the
round as predicted, with all that has to be moved for it, and by what going back to the first plan would then take: who
goes has paid for the way back, so that all rounds together are not longer than under the first plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from agents.plan import Moving, Plan
from agents.schedule.task import Give, Schedule
from controller.planners import CUT_STAYS
from controller.planners.absence import made_without, with_batches_of
from controller.planners.planning import Planned, entry, plan_one
from controller.predict.channel import Moment, instance_at, moment
from controller.predict.instance import Instance
from testbed.errors import InputError
from testbed.replanning import replans
from testbed.topology import Topology

WORTH = 1e-9
"""A plan that is not shorter by this share of the round is not another one."""
FORESEEN = 3
"""Rounds whose plans are looked at before a trial."""


@dataclass(frozen=True)
class Step:
    """A round as it will be: under which plan, and what planning anew for it took and gained, where that was done.

    ``kept``: the plan is that of the round before. ``planner_s``: wall seconds. ``gained_s``: by how much the predicted
    round is shorter than under the plan that was in force (going back may cost a round something); None where nothing
    was planned. ``why``: which UEs were lost or are back, where that is the reason.
    """

    now: Moment
    planned: Planned
    kept: bool = True
    planner_s: float = 0.0
    gained_s: float | None = None
    charged_s: float = 0.0
    why: str = ""

    @property
    def predicted_s(self) -> float:
        """The predicted round, with what is charged of the planner's time."""
        return self.now.timeline.round_s + self.charged_s

    @property
    def predicted_bubble_rate(self) -> float:
        """The share of it in which the BS does not compute."""
        return 1.0 - self.now.timeline.bs_busy_s / self.predicted_s

    @property
    def predicted(self) -> dict[str, float]:
        """Both, under the names that a journal, events and results have for them."""
        return {"predicted_s": self.predicted_s, "predicted_bubble_rate": self.predicted_bubble_rate}


class Course:
    """The rounds of one scheme of a topology, which are asked for in order."""

    def __init__(
        self, topology: Topology, planned: Planned, fits: Callable[[Planned], bool] = lambda planned: True
    ) -> None:
        """``fits``: whether the agents have the memory that a plan without some UEs asks of the others."""
        self._topology, self._first, self._in_force = topology, planned, planned
        self._index, self._choice = entry(topology, planned)
        self.replans = replans(topology.replan, self._choice, planned.scheme)
        self._trained: frozenset[str] = frozenset()
        self._holders: tuple[str, ...] = ()
        self._seen: Instance | None = None
        self.away: tuple[str, ...] = ()
        self._back: tuple[str, ...] = ()
        self._fits = fits

    def step(self, number: int, clock_s: float) -> Step:
        """Round ``number``, which begins ``clock_s`` emulated seconds after the scheme did."""
        if self.away != self._in_force.plan.away or self._back:
            step = self._for_those_there(number, clock_s)
        elif self.replans and not self.away and self._due(number, clock_s):
            step = self._anew(number, clock_s)
        else:
            step = self._as_it_is(number, clock_s)
        self._in_force = replace(step.planned, plan=replace(step.planned.plan, moving=None))
        self._trained |= set(step.planned.plan.clusters)
        self._holders = _holders(step.planned, number)
        return step

    def lose(self, ue: str) -> None:
        """From the next round on a UE takes no part."""
        self.away = tuple(one for one in self._first.plan.ues if one == ue or one in self.away)
        if self._first.schedule(1).shares_weights:
            self._holders = tuple(one for one in self._holders if one != ue)

    def join(self, ue: str) -> None:
        """From the next round on a UE takes part again, with the newest weights where they are shared."""
        self.away = tuple(one for one in self.away if one != ue)
        self._back = (*self._back, ue)

    def degraded(self, left: Schedule) -> None:
        """What is left of the round that has just been: who was given the shared weights last."""
        if left.shares_weights:
            self._holders = left.holders

    def _for_those_there(self, number: int, clock_s: float) -> Step:
        """A round under another plan, since UEs were lost or have come back."""
        began, before = time.perf_counter(), self._in_force
        now = instance_at(self._topology, self._first.problem, number, clock_s)
        orders = list(_orders(self._of_those_there(now), self._holders))
        if self._trained:
            orders = [self._moved(one, number, before.plan, self._holders) for one in orders]
        options = ((moment(self._topology, one, number, clock_s), one) for one in orders)
        step = Step(*min(options, key=lambda option: option[0].timeline.round_s), kept=False, gained_s=0.0)
        lost = [ue for ue in self.away if ue not in before.plan.away]
        said = [f"without {', '.join(lost)}"] if lost else []
        said += [f"{', '.join(self._back)} back"] if self._back else []
        self._back = ()
        return replace(step, planner_s=time.perf_counter() - began, why=", ".join(said))

    def _of_those_there(self, now: Instance) -> Planned:
        """The plan of those who take part, at the cut in force; the batches in force where there is none, or no memory.

        With everybody there it is the first one again.
        """
        before, first = self._in_force, self._first
        if self.away == before.plan.away:
            return before
        if not self.away:
            same = before.plan.cut == first.plan.cut or first.scheme.halves not in ("same", "different")
            return first if same else made_for(self._topology, first, now, before.plan.cut) or first
        cut = before.plan.cut if first.scheme.cuts in ("inside", "twice") and first.decision.ue_cut is None else None
        found = made_without(self._topology, first, now, self.away, cut)
        return found if found is not None and self._fits(found) else with_batches_of(before, self.away)

    def _as_it_is(self, number: int, clock_s: float) -> Step:
        return Step(moment(self._topology, self._in_force, number, clock_s), self._in_force)

    def _due(self, number: int, clock_s: float) -> bool:
        replan = self._topology.replan
        assert replan is not None
        if (number - 1) % replan.every:
            return False
        now, seen = instance_at(self._topology, self._first.problem, number, clock_s), self._seen
        if replan.when == "rates" and seen is not None and _same_rates(now, seen):
            return False
        self._seen = now
        return True

    def _anew(self, number: int, clock_s: float) -> Step:
        assert self._topology.replan is not None
        began = time.perf_counter()
        kept = self._as_it_is(number, clock_s)
        best, least_s = (
            (kept.now, self._in_force),
            kept.now.timeline.round_s + self._way_back_s(self._in_force, number, clock_s),
        )
        for candidate in self._candidates(kept.now.instance):
            moved = self._moved(candidate, number, self._in_force.plan, self._holders) if self._trained else candidate
            now = moment(self._topology, moved, number, clock_s)
            seconds = now.timeline.round_s + self._way_back_s(candidate, number, clock_s)
            if seconds < least_s * (1 - WORTH):
                best, least_s = (now, moved), seconds
        planner_s = time.perf_counter() - began
        return Step(
            *best,
            kept=best[1] is self._in_force,
            planner_s=planner_s,
            gained_s=kept.now.timeline.round_s - best[0].timeline.round_s,
            charged_s=planner_s if self._topology.replan.charge else 0.0,
        )

    def _candidates(self, now: Instance) -> Iterator[Planned]:
        """What the planner finds for the round that begins, at any cut and at the present one, and the first plan."""
        plan = self._in_force.plan
        stays = plan.planner in CUT_STAYS or self._choice.privacy is not None
        fresh = None if stays else made_for(self._topology, self._first, now)
        if fresh is None or _cuts(fresh.plan) != _cuts(plan):
            here = made_for(self._topology, self._first, now, plan.cut)
        else:
            here = None
        for found in (fresh, here, self._first):
            for candidate in () if found is None else _orders(found, self._holders):
                if candidate.plan != plan and self._may_follow(candidate.plan):
                    yield candidate

    def _may_follow(self, plan: Plan) -> bool:
        """Whether everybody can have what a plan asks for.

        Who takes part may change only where UE halves are each UE's own, and not while units change sides.
        """
        if not self._trained:
            return True
        before, after = self._in_force.plan, frozenset(plan.clusters)
        if self._first.scheme.halves == "different" and plan.cut == before.cut:
            return True
        return after == frozenset(before.clusters) == self._trained

    def _moved(self, planned: Planned, number: int, before: Plan, holders: tuple[str, ...]) -> Planned:
        """The plan with what a round has to begin with after another plan."""
        momentum = self._first.sgd.get("momentum", self._topology.training.momentum)
        moving = Moving({ue: before.cut_of(ue) for ue in before.ues}, holders, momentum > 0)
        found = replace(planned, plan=replace(planned.plan, moving=moving))
        moves = any(isinstance(task.work, Give) for task in found.schedule(number).tasks)
        return found if moves else planned

    def _way_back_s(self, planned: Planned, number: int, clock_s: float) -> float:
        """By how much a round under the first plan is longer if it follows one under this plan."""
        holders = _holders(planned, number)
        return min(
            self._takes_longer_s(self._moved(first, number, planned.plan, holders), number, clock_s)
            for first in _orders(self._first, holders)
        )

    def _takes_longer_s(self, moved: Planned, number: int, clock_s: float) -> float:
        """By how much a round is longer for what has to be moved before it."""
        if moved.plan.moving is None:
            return 0.0
        there = replace(moved, plan=replace(moved.plan, moving=None))
        with_it, without = (moment(self._topology, one, number, clock_s).timeline.round_s for one in (moved, there))
        return max(0.0, with_it - without)


def foreseen(topology: Topology, planned: Planned) -> list[Planned]:
    """The plans of the first rounds, as far as they are other ones: what else a host must be able to emulate."""
    course, clock_s, found = Course(topology, planned), 0.0, []
    for number in range(1, FORESEEN + 1) if course.replans else ():
        step = course.step(number, clock_s)
        clock_s += step.now.timeline.round_s
        if not step.kept:
            found.append(step.planned)
    return found


def made_for(topology: Topology, planned: Planned, now: Instance, cut: int | None = None) -> Planned | None:
    """What the planner of a scheme finds for an instance, for the problem of its first plan; None where nothing fits.

    ``cut`` is fixed if it is given.
    """
    index, choice = entry(topology, planned)
    choice = choice.model_copy(update={"cut": choice.cut if cut is None else cut})
    try:
        found = plan_one(topology, now, index, choice, planned.plan.time_dilation)
    except InputError:
        return None
    return replace(found, problem=planned.problem)


def _cuts(plan: Plan) -> list[int]:
    return [plan.cut_of(ue) for ue in plan.ues]


def _orders(planned: Planned, holders: tuple[str, ...]) -> Iterator[Planned]:
    """The same plan, its first cluster any of those in which somebody holds the weights: the order changes nothing
    else."""
    cluster = planned.decision.cluster
    groups = planned.scheme.groups(planned.plan.clusters) if planned.scheme.turns == "cluster" else ()
    leads = [i for i, group in enumerate(groups) if set(group).intersection(holders)]
    if cluster is None or not leads:
        yield planned
        return
    numbers = sorted(set(planned.plan.clusters.values()))
    for i in leads:
        other = {numbers[i]: numbers[0], numbers[0]: numbers[i]}
        ues = {name: replace(ue, cluster=other.get(ue.cluster, ue.cluster)) for name, ue in planned.plan.ues.items()}
        moved = np.array([other.get(int(number), int(number)) for number in cluster], dtype=np.int64)
        yield replace(planned, plan=replace(planned.plan, ues=ues), decision=replace(planned.decision, cluster=moved))


def _holders(planned: Planned, number: int) -> tuple[str, ...]:
    """Who has the newest weights after a round: those who got them last, or all where nobody shares."""
    schedule = planned.schedule(number)
    return schedule.holders if schedule.shares_weights else tuple(planned.plan.ues)


def _same_rates(one: Instance, other: Instance) -> bool:
    return np.array_equal(one.rate_up, other.rate_up) and np.array_equal(one.rate_down, other.rate_down)
