"""The paper's planner: Algorithm 1, alternating optimisation of (l, k), batches (P3) and slots (P5).

As printed it needs C3 and C4, under which eq. 17 is the idle time of the BS. Where they cannot hold
(Table I is such a place) it relaxes C3, then C4, and minimises what eq. 17 stands for, the predicted
round; then k is chosen by the timeline.

Three things are ours. No step is taken that raises the objective or breaks a constraint that held, so the
objective never rises and there is no cycle to fall into. The alternation is run from several starts, as it
ends in the valley where it began. And the answer is never predicted slower than ``uniform``: a result of
the paper's constraints that is slower counts as "cannot hold" too, and the uniform plan is one of the starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.planners.ao import p3, p5
from controller.planners.ao.lemma import Extremum, air_limit_s, most_micro_batches
from controller.planners.ao.starts import fitting, starts
from controller.planners.capacity import room, rooms
from controller.planners.seam import Answer, Request, check
from controller.planners.uniform import MOST_MICRO_BATCHES, attempted, uniform
from controller.planners.whole import linear, shortest, whole
from controller.predict.instance import Decision, Instance
from controller.predict.paper import broken, bubble_rate, round_times
from controller.predict.prediction import round_s

BOTH = frozenset({"C3", "C4"})
LEVELS = (BOTH, frozenset({"C4"}), frozenset[str]())

# Micro-batches are not free, and a constraint is not given up for nothing: below this share of the round
# fewer micro-batches, or fewer relaxed constraints, are worth more.
SLACK = 0.005
MOST_ITERATIONS = 100

# Numbers of micro-batches to try besides the present one's neighbours: the round is nearly flat in between.
LADDER = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)


@dataclass(frozen=True)
class Options:
    """How Algorithm 1 is read: Lemma 1's extremum, P3 by MILP or by rounding, and the tolerance ε."""

    extremum: Extremum = "corrected"
    integer: bool = False
    epsilon: float = 1e-4


@dataclass(frozen=True)
class Trace:
    """Where an alternation ended, and its objective after every iteration, the start first."""

    decision: Decision
    objective: tuple[float, ...]


def ao(request: Request, options: Options | None = None) -> Answer:
    """The plan of Algorithm 1, with what had to be relaxed and who is left out.

    InputError for a scheme that takes UEs one by one, and where C2 cannot hold.
    """
    check(request, "ao", "divides the air among UEs that train one BS model together")
    answer = _alternated(linear(request), options)
    if request.instance.snr_up is None:
        return answer
    decision = shortest(request, answer.decision, uniform)
    return Answer(decision, _relaxed(request, decision), answer.warnings)


def _alternated(request: Request, options: Options | None) -> Answer:
    cuts = tuple(r.cut for r in rooms(request))
    baseline, baseline_s = attempted(request, uniform)
    found = []
    for held in LEVELS:
        search = Search(request, held, options or Options(request.lemma, request.p3 == "milp"))
        begin = [*starts(request, cuts, "C3" in held), *([baseline] if baseline else [])]
        traces = [trace for start in begin if (trace := alternate(search, start)) is not None]
        if not traces:
            continue
        trace = min(traces, key=lambda trace: trace.objective[-1])
        decision = trace.decision if held == BOTH else search.fewest_micro_batches(trace.decision, baseline_s)
        found.append((_seconds(request, decision), decision))
        if held == BOTH and found[0][0] <= baseline_s:
            break
    best_s = min(seconds for seconds, _ in found)
    good = max(best_s, min(baseline_s, best_s * (1 + SLACK)))
    decision = next(decision for seconds, decision in found if seconds <= good)
    decision = whole(request, decision, baseline)
    return Answer(decision, _relaxed(request, decision), room(request.instance, cuts[0]).warnings)


def _relaxed(request: Request, decision: Decision) -> tuple[str, ...]:
    return tuple(name for name in broken(request.instance, decision) if name in BOTH)


def alternate(search: Search, start: Decision) -> Trace | None:
    """Algorithm 1 from these batches and slots; None where no (l, k) is feasible with them."""
    state = search.split(start, None)
    if state is None:
        return None
    values = [search.objective(state)]
    for _ in range(MOST_ITERATIONS):
        state = search.split(state, state) or state
        state = search.better(state, search.with_batches(state))
        state = search.better(state, search.with_slots(state))
        values.append(search.objective(state))
        if values[-2] - values[-1] <= search.options.epsilon * values[-1]:
            break
    return Trace(state, tuple(values))


@dataclass(frozen=True)
class Search:
    """The three steps of an iteration under the constraints that are held."""

    request: Request
    held: frozenset[str]
    options: Options

    @property
    def instance(self) -> Instance:
        """The instance that is planned."""
        return self.request.instance

    def objective(self, decision: Decision) -> float:
        """Eq. 16 where eq. 17 is the idle time, that is under C3 and C4; else the predicted round (s)."""
        if self.held == BOTH:
            return bubble_rate(round_times(self.instance, decision), decision.micro_batches)
        return _seconds(self.request, decision)

    def better(self, old: Decision, new: Decision | None) -> Decision:
        """The new decision, unless it raises the objective or breaks a held constraint that held."""
        if new is None or self.objective(new) >= self.objective(old):
            return old
        return old if self._broken(new) - self._broken(old) else new

    def split(self, at: Decision, current: Decision | None) -> Decision | None:
        """Lines 4 to 9: the best (l, k) for these batches and slots; ``current`` if none is better."""
        best, value = current, self.objective(current) if current else float("inf")
        for cut in sorted(self.request.cuts, key=lambda cut: abs(cut - at.cut)):
            if self.held != BOTH and round_times(self.instance, replace(at, cut=cut)).least(self.instance) >= value:
                continue  # no k can help: this spares the timeline most of its work
            for k in sorted(self._counts(at, cut)):
                option = replace(at, cut=cut, micro_batches=k)
                if (found := self.objective(option)) < value:
                    best, value = option, found
        return best if current is None or best is None else self.better(current, best)

    def with_batches(self, at: Decision) -> Decision | None:
        """Line 10: batches by P3; None when it is infeasible."""
        problem = self.batch_problem(at)
        batch = p3.batches(problem, self.options.integer)
        return None if batch is None else replace(at, batch=batch)

    def with_slots(self, at: Decision) -> Decision | None:
        """Line 11: slots by P5; None when it is infeasible, or links are dedicated and there are no slots."""
        if not self.instance.shared_air:
            return None
        share = p5.shares(self.slot_problem(at))
        if share is None:
            return None
        slots = share * self.instance.frame_s
        return replace(at, slot_up_s=slots, slot_down_s=slots)

    def batch_problem(self, at: Decision) -> p3.BatchProblem:
        """P3 at this decision, without what passes take however few their samples. No slot, no samples."""
        instance, k = self.instance, at.micro_batches
        free = replace(instance, ue_pass_s=np.zeros(instance.n), bs_pass_s=0.0)
        whole = round_times(free, replace(at, batch=np.ones_like(at.batch)))
        low, high = room(instance, at.cut).limits
        sends = np.isfinite(whole.up + whole.down)
        up, down = np.where(sends, whole.up, 0.0), np.where(sends, whole.down, 0.0)
        work = whole.work / instance.n * instance.batch + 2 * k * instance.bs_pass_s
        if "C3" in self.held:
            high = fitting(high, work, np.maximum(whole.forward, up))
        high = np.where(sends, high, 0)
        limit = air_limit_s(work, k) if "C4" in self.held else None
        return p3.BatchProblem(whole.forward, up, down, whole.backward, low, high, instance.batch, limit)

    def slot_problem(self, at: Decision) -> p5.SlotProblem:
        """P5 at this decision."""
        frame = np.full(self.instance.n, self.instance.frame_s)
        times = round_times(self.instance, replace(at, slot_up_s=frame, slot_down_s=frame))
        limit = air_limit_s(times.work, at.micro_batches) if "C4" in self.held else None
        up_limit = times.work if "C3" in self.held else None
        return p5.SlotProblem(times.forward, times.up, times.down, times.backward, up_limit, limit)

    def fewest_micro_batches(self, decision: Decision, limit_s: float) -> Decision:
        """The same with the fewest micro-batches within ``SLACK`` of the best round and within the limit."""
        if self.request.micro_batches is not None:
            return decision
        good_s = min(limit_s, _seconds(self.request, decision) * (1 + SLACK))
        fewer = (replace(decision, micro_batches=k) for k in range(1, decision.micro_batches))
        return next((option for option in fewer if _seconds(self.request, option) <= good_s), decision)

    def _counts(self, at: Decision, cut: int) -> set[int]:
        """The numbers of micro-batches to try at this cut; none where a held constraint cannot be met by any.

        With both constraints held it is Lemma 1's alone, as the idle time falls with k. Every UE's
        micro-batch then has a sample; the timeline also knows what empty ones cost, that is nothing.
        """
        least = replace(at, cut=cut, micro_batches=1)
        if self._broken(least):
            return set()
        bound = float("inf")
        if "C4" in self.held:
            bound = most_micro_batches(round_times(self.instance, least), self.options.extremum)
        fixed = self.request.micro_batches if self.request.scheme.pipelined else 1
        if fixed is not None:
            return {fixed} if fixed <= bound else set()
        samples = at.batch[at.batch > 0]
        most = int(min(samples.min() if self.held == BOTH else samples.max(), MOST_MICRO_BATCHES, bound))
        k = at.micro_batches
        return {most} if self.held == BOTH else {c for c in (*LADDER, k - 1, k, k + 1, most) if 1 <= c <= most}

    def _broken(self, decision: Decision) -> set[str]:
        return set(broken(self.instance, decision)) & (self.held | {"C2"})


def _seconds(request: Request, decision: Decision) -> float:
    return round_s(request.instance, request.scheme, decision)
