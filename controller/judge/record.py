"""What a journal says of one scheme: its rounds, each with the plan, links, speeds and schedule that it went under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

from agents.plan import Plan
from agents.schedule.costs import Costs
from agents.schedule.task import Key, Schedule
from agents.schedule.without import without
from agents.schemes.own import scheme_named
from agents.schemes.seam import Rounds
from controller.judge.explain import Chain, Links, chain
from controller.judge.measured import Happened, by_round, round_row
from controller.judge.results import Replanned, Round
from controller.predict.channel import Change
from controller.predict.latency import Latency
from controller.predict.prediction import wait_s
from controller.predict.simulate import Timeline, simulate
from controller.trial.journal import Line
from testbed.topology import SchemeChoice

_TASK = tuple(f.name for f in fields(Happened))
_CHANGE = tuple(f.name for f in fields(Change))

Kind = Literal["plan", "channel", "device"]


@dataclass(frozen=True)
class Mark:
    """Something that was otherwise from ``at_s`` on: emulated seconds since the scheme began, when ``round`` did."""

    at_s: float
    round: int
    kind: Kind
    ue: str
    text: str


Events = Mapping[str, Sequence[Line]]
"""The lines of one scheme by their ``event``, each kind in order."""


def by_scheme(lines: Iterable[Line]) -> dict[str, Events]:
    """The lines of each scheme that began, by its label, in the order in which they began."""
    found: dict[str, dict[str, list[Line]]] = {}
    for line in lines:
        label = line.get("scheme")
        if label is not None:
            found.setdefault(label, {}).setdefault(line["event"], []).append(line)
    return {label: events for label, events in found.items() if "scheme" in events}


def asked(topology: Mapping[str, Any]) -> dict[str, int]:
    """The labels of the schemes that a topology in a journal asks for, and how many rounds of each."""
    rounds = topology.get("training", {}).get("rounds", 0)
    choices = [SchemeChoice.model_construct(**choice) for choice in topology.get("schemes", ())]
    return {choice.key: choice.rounds or rounds for choice in choices}


def records(lines: Iterable[Line]) -> dict[str, Record]:
    """The record of each scheme in a journal, by label."""
    return {label: Record(label, events) for label, events in by_scheme(lines).items()}


def happened_in(line: Line) -> Happened:
    """The task of a ``task`` line."""
    return Happened(**{name: line[name] for name in _TASK if name in line})


def round_of(end: Line, rows: Sequence[Happened]) -> Round:
    """The round of a ``round`` line, in which these tasks happened."""
    predicted = end["predicted_s"], end["predicted_bubble_rate"]
    worse = end.get("degraded", False), end.get("until_s", 0.0)
    return round_row(end["round"], rows, end["train_loss"], *predicted, end.get("charged_s", 0.0), *worse)


class Record:
    """One scheme of a trial. Rounds are asked for by number, from 1.

    OwnError where it is a scheme of the user's whose file is not there.
    """

    def __init__(self, label: str, events: Events) -> None:
        self.label = label
        (self.begin, *_) = events["scheme"]
        self.plan = Plan.from_json(self.begin["plan"])
        self.scheme = scheme_named(self.plan.scheme)
        self.ends: Mapping[int, Line] = {line["round"]: line for line in events.get("round", ())}
        self.evaluations = events.get("evaluation", ())
        self.injected = events.get("injected", ())
        self.finish: Line | None = next(iter(events.get("scheme_end", ())), None)
        self.made = events.get("plan", ())
        self._tasks, self._changes = events.get("task", ()), events.get("change", ())
        self._returned = events.get("returned", ())
        self._faults: dict[int, list[Line]] = {}
        for line in events.get("fault", ()):
            self._faults.setdefault(line["round"], []).append(line)
        self._in_force: dict[int, tuple[Plan, Links]] = {}
        self._schedules: dict[tuple[int, bool], Rounds] = {}
        self._foreseen: tuple[Schedule, Plan, Costs, Timeline] | None = None

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds that have ended, as measured."""
        return tuple(round_of(end, self.rows(number)) for number, end in self.ends.items())

    def faults(self, number: int) -> Sequence[Line]:
        """The UEs that were lost in a round, or before it."""
        return self._faults.get(number, ())

    def returned(self, number: int) -> Sequence[str]:
        """The UEs that took part again from a round on."""
        return [line["ue"] for line in self._returned if line["round"] == number]

    def rows(self, number: int) -> Sequence[Happened]:
        """The tasks of a round as measured, in order of start; as far as they are known."""
        return self._rows.get(number, ())

    def plan_of(self, number: int) -> Plan:
        """The plan of a round, with the link rates that it had; the plan's own for a round that has not ended."""
        return self._under(number)[0]

    def links(self, number: int) -> Links:
        """What the transfers of a round should take."""
        return self._under(number)[1]

    def schedule(self, number: int) -> Schedule:
        """What was left of the schedule of a round when UEs were lost in it, or all of it."""
        left = self.planned(number)
        for line in self.faults(number):
            left = without(left, line["ue"], [Key.of(key) for key in line["came"]])
        return left

    def planned(self, number: int) -> Schedule:
        """The schedule of a round, as planned; only the first under a plan begins with what moves."""
        line, begin = self._line(number), self.begin
        since = line.get("round", 1), line.get("round", 1) == number
        if since not in self._schedules:
            plan = Plan.from_json(line["plan"])
            plan = plan if since[1] else replace(plan, moving=None)
            self._schedules[since] = Rounds(self.scheme, plan, begin["units"], begin["duplex"], begin["seed"])
        return self._schedules[since](number)

    def costs(self, number: int) -> Costs | None:
        """What work costs in a round, on devices as fast as they then are; None where the journal does not say."""
        if "costs" not in self.begin:
            return None
        costs = Costs.from_json(self.begin["costs"])
        changed = {c.ue: c.flops for c in self.changes if c.flops is not None and c.round <= number}
        return replace(costs, ue_flops={**costs.ue_flops, **changed})

    def predicted(self, number: int) -> Timeline | None:
        """The timeline that a round was predicted to have; None where the journal does not say what work costs."""
        costs, links, schedule = self.costs(number), self.links(number), self.planned(number)
        if costs is None:
            return None
        before = self._foreseen
        if before is not None and before[0] is schedule and before[1:3] == (links.plan, costs):
            return before[3]
        waits = wait_s(links.plan, costs, links.waits)
        found = simulate(schedule, lambda task: costs.seconds(task, links.plan), waits)
        self._foreseen = schedule, links.plan, costs, found
        return found

    def chain(self, number: int) -> Chain:
        """The tasks that a round waited for, and what it took apart."""
        return chain(self.rows(number), self.schedule(number), self.links(number))

    @cached_property
    def begins_s(self) -> Mapping[int, float]:
        """When each round that has ended began (emulated s since the scheme did): after all rounds before."""
        before_s = accumulate((row.round_s for row in self.rounds), initial=0.0)
        return {row.round: begin_s for row, begin_s in zip(self.rounds, before_s, strict=False)}

    @cached_property
    def starts_s(self) -> Mapping[int, float]:
        """When the first task of each round could start: later by what is charged of the planner's time."""
        return {row.round: self.begins_s[row.round] + row.charged_s for row in self.rounds}

    @cached_property
    def emulated_s(self) -> float:
        """How long the rounds that have ended took together."""
        return sum(row.round_s for row in self.rounds)

    @cached_property
    def replanned(self) -> tuple[Replanned, ...]:
        """What came of planning anew, each time."""
        return tuple(
            Replanned(**{key: line[key] for key in Replanned.model_fields if key in line}) for line in self.made
        )

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What became otherwise of links and devices, round by round."""
        return tuple(Change(**{key: line[key] for key in _CHANGE if key in line}) for line in self._changes)

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """Plans that were made anew and changes of links and devices, on the emulated time axis."""
        found = [self._mark_of_plan(one) for one in self.replanned if one.plan]
        found += [self._mark_of_change(one) for one in self.changes]
        return tuple(sorted(found, key=lambda mark: mark.round))

    @cached_property
    def _rows(self) -> Mapping[int, Sequence[Happened]]:
        return by_round(map(happened_in, self._tasks))

    def _line(self, number: int) -> Line:
        """The line that holds the plan of a round."""
        return next((line for line in reversed(self.made) if line["plan"] and line["round"] <= number), self.begin)

    def _under(self, number: int) -> tuple[Plan, Links]:
        if number not in self._in_force:
            line, end = self._line(number), self.ends.get(number, {})
            plan, waits = _rates(Plan.from_json(line["plan"]), end), Latency.from_json(line["waits"])
            if "rates" in end and "frame_s" in self.begin:
                waits = waits.under(plan, self.begin["frame_s"])
            self._in_force[number] = plan, Links(plan, waits)
        return self._in_force[number]

    def _mark_of_plan(self, one: Replanned) -> Mark:
        plan = Plan.from_json(one.plan or {})
        text = one.why or f"cut {plan.cut}, k {plan.micro_batches}: {1e3 * one.gained_s:.4g} ms shorter"
        at_s = self.begins_s.get(one.round, self.emulated_s)
        return Mark(at_s, one.round, "plan", "", text)

    def _mark_of_change(self, one: Change) -> Mark:
        at_s = self.begins_s.get(one.round, self.emulated_s)  # of the round that has not ended: after those that have
        if one.flops is not None:
            return Mark(at_s, one.round, "device", one.ue, f"{one.flops / 1e9:.4g} GFLOP/s")
        up, down = ((bps or 0.0) / 1e6 for bps in (one.uplink_bps, one.downlink_bps))
        return Mark(at_s, one.round, "channel", one.ue, f"{up:.4g} Mbit/s up, {down:.4g} down")


def _rates(plan: Plan, end: Line) -> Plan:
    """The plan with the link rates of a round that ended."""
    rates: Mapping[str, Sequence[float]] = end.get("rates", {})
    ues = {
        name: replace(ue, uplink_bps=rates[name][0], downlink_bps=rates[name][1]) if name in rates else ue
        for name, ue in plan.ues.items()
    }
    return replace(plan, ues=ues, broadcast_bps=end.get("broadcast_bps", plan.broadcast_bps))
