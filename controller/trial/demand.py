"""Plans and a calibrated host → what each agent needs of the host, and the least dilation that gives it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median

from agents.schedule.footprint import chunks
from agents.schedule.pieces import at_once, groups, pieces
from agents.schedule.task import BS, Compute, Key, Noise, Schedule, Task, is_link, workers
from controller.planners.planning import Planned
from controller.predict.channel import Moment, moment
from controller.predict.cores import Host
from controller.predict.instance import Instance
from controller.predict.prediction import costs_of, wait_s
from controller.predict.simulate import Seconds, Timeline, simulate
from testbed.compute import HOST_MARGIN, Calibration, Demand, shares, two_digits
from testbed.topology import Topology

MARGIN, SHARED_MARGIN, TOGETHER_MARGIN = 0.25, 0.4, 0.75
"""By this much of its computing a task costs a core more, or by the agent's own work around it, if that is more.

Who computes on all cores pays for what else is done on them, be it a packet's way through the shaper: while tensors
were on the air, Table I's base station took a third more CPU time for a sample. Where threads wait for each other in
every operation, one that is held up holds up all: without chunks of its own on each core it took 1.3 to 1.7 times as
long as calibrated; and of PiPar's workers, which are threads of one process, one task in twenty was late.
"""
OVERHEAD_S, OVERHEAD_OF_AGENTS_S = 0.0005, 0.0001
"""That work, and what each agent for every core adds to it: waking up, packing and sending, and caches that are cold.

With 4 agents on two cores it was 0.7 ms, with 48 it was 2.9.
"""
LATE_S = 0.0003
"""Wall seconds after the cores are done with a task until its agent goes on."""
ROUND_ERROR, BUBBLE_ERROR = 0.005, 0.01
"""By so much of it the host may make a round longer, and by so much the typical bubble rate of a scheme another one.

Less than the verdict allows: a host that speeds up and slows down within seconds would be over it every other time.
"""
SHAPED_BPS = 5e8
"""All links together: HTB keeps a rate up to 1 Gbit/s, but five tensors of 160 KB at once were 10 to 40 % late then."""
LOOKED_AT = 8
"""Rounds of a changing world in which the host is looked at."""
_STEPS = 7  # of bisection: to 1 %


@dataclass(frozen=True)
class Case:
    """A round of a plan as it is predicted, and what its computations need of the host: core-seconds and threads.

    ``margin``: by this much of it the work is more. Those in ``goes_on`` are done together with the next one.
    """

    label: str
    schedule: Schedule
    seconds: Seconds
    wait_s: Seconds
    work_s: Mapping[Key, float]
    threads: Mapping[Key, int]
    margin: Mapping[Key, float]
    goes_on: frozenset[Key]

    def on_host(self, cores: int, dilation: float) -> Timeline:
        """The round (emulated s) that so many cores give at a dilation."""
        host = Host(
            cores,
            lambda task: self._costs_s(task, cores) / dilation,
            lambda task: 0.0 if task.key in self.goes_on else LATE_S / dilation,
            lambda task: self.threads[task.key],
        )
        return simulate(self.schedule, self.seconds, self.wait_s, host)

    def _costs_s(self, task: Task, cores: int) -> float:
        """Core-seconds of a computation, with what is beside it."""
        overhead_s = OVERHEAD_S + OVERHEAD_OF_AGENTS_S * (len(self.schedule.ues) + 1) / cores
        alone_s = overhead_s if task.key not in self.goes_on else 0.0
        return self.work_s[task.key] + max(self.margin[task.key] * self.work_s[task.key], alone_s)

    @cached_property
    def predicted(self) -> Timeline:
        """The round that is predicted."""
        return simulate(self.schedule, self.seconds, self.wait_s)

    def longer(self, cores: int, dilation: float) -> float:
        """By which share of it the host makes the round longer."""
        return self.on_host(cores, dilation).round_s / self.predicted.round_s - 1.0

    def bubbles_off(self, cores: int, dilation: float) -> float:
        """How far the host makes the bubble rate another one."""
        return abs(self.on_host(cores, dilation).bubble_rate - self.predicted.bubble_rate)

    def limit(self, cores: int, dilation: float) -> tuple[str, str]:
        """The agent whose computing is late by most in a round, and that in words."""
        late: dict[str, float] = {}
        for event in self.on_host(cores, dilation).events:
            task = self.schedule.by_key[event.key]
            if task.computes:
                late[task.agent] = late.get(task.agent, 0.0) + event.end_s - event.start_s - self.seconds(task)
        agent = max(late, key=lambda of: late[of])
        mine = [t for t in self.schedule.tasks if t.computes and t.agent == agent]
        host_s, model_s = sum(self.work_s[t.key] / self.threads[t.key] for t in mine), sum(map(self.seconds, mine))
        return agent, f"what {agent} computes under {self.label}: {host_s:.3g} s a round here, {model_s:.3g} s modelled"


@dataclass(frozen=True)
class Dilation:
    """D, what does not let it be less (None where it is 1, or given), and whose computing that is, if it is that."""

    value: float
    limited_by: str | None = None
    agent: str | None = None


@dataclass(frozen=True)
class Need:
    """What plans need of the host.

    ``tasks``: every distinct computation of any agent. ``turns``: those of agents that compute at the same time, for
    each plan and group of UEs that train together. ``air``: the most that all links carry in one direction or, with
    fdd, in both, as a share of what the host can move. ``cases``: rounds of each plan.
    """

    tasks: tuple[Demand, ...]
    turns: tuple[tuple[Demand, ...], ...]
    cases: tuple[Case, ...]
    air: float = 0.0


def need(topology: Topology, problem: Instance, calibration: Calibration, planned: Iterable[Planned]) -> Need:
    """What these plans need of the host; ``problem`` has the devices as fast as they get."""
    tasks: dict[Demand, None] = {}
    turns: list[tuple[Demand, ...]] = []
    cases: list[Case] = []
    most_bps = 0.0
    for one in planned:
        found = demands(problem, calibration, one.schedule(1))
        tasks.update(dict.fromkeys(found.values()))
        for turn in sorted({key.turn for key in found}):
            members = {found[key].agent for key in found if key.turn == turn}.intersection(one.plan.ues)
            turns.append(tuple(dict.fromkeys(demand for key, demand in found.items() if key.turn == turn)))
            up, down = (sum(getattr(one.plan.ues[ue], way) for ue in members) for way in ("uplink_bps", "downlink_bps"))
            down = max(down, one.plan.broadcast_bps * len(members))  # a copy for each, at the same time
            most_bps = max(most_bps, up + down if problem.duplex == "fdd" else max(up, down))
        cases += _cases(topology, calibration, one)
    return Need(tuple(tasks), tuple(turns), tuple(cases), most_bps / min(calibration.transport.link_bps, SHAPED_BPS))


def demands(problem: Instance, calibration: Calibration, schedule: Schedule) -> dict[Key, Demand]:
    """Every computation of a round: at whom, how long the host takes, and how long the modelled device."""
    costs, footprint = costs_of(problem), problem.workload.footprint
    workers_of_bs = workers(task.place for task in schedule.tasks if task.computes)
    with_way_back = at_once(schedule, BS) if calibration.bs_threads > 1 else {}
    in_chunks = {*with_way_back, *with_way_back.values()}
    found: dict[Key, Demand] = {}
    for task in schedule.tasks:
        if isinstance(work := task.work, Compute | Noise):
            bs, model_s = task.agent == BS, costs.compute_s(work, task.place)
            threads, processors = (calibration.bs_threads, workers_of_bs) if bs else (1, 1)
            chunk = None
            if task.key in in_chunks and isinstance(work, Compute) and footprint.tears(work.first, work.last):
                chunk = footprint.chunk_rows(work.first, work.last, work.rows, threads)
            host_s = _pass_s(calibration, work, bs, chunk) + calibration.noise_s * costs.noised_values(work)
            together = processors > 1 or (threads > 1 and chunk is None)
            found[task.key] = Demand(task.agent, host_s / threads, model_s, threads, processors, together)
    return found


def _pass_s(calibration: Calibration, work: Compute | Noise, bs: bool, chunk: int | None) -> float:
    """Core-seconds of the pass in a task, in chunks of so many rows or in one go."""
    if isinstance(work, Noise):
        return 0.0
    host_s = calibration.backward_s if work.backward else calibration.forward_s
    return sum(host_s(work.first + 1, work.last, rows, bs=bs) for rows in chunks(work.rows, chunk or work.rows))


def _cases(topology: Topology, calibration: Calibration, one: Planned) -> Iterator[Case]:
    """The round of a plan; where the world changes, some of its rounds."""
    for number, now in _moments(topology, one):
        schedule, costs = one.schedule(number), costs_of(now.instance)
        found = demands(now.instance, calibration, schedule)
        yield Case(
            one.label,
            schedule,
            partial(costs.seconds, plan=now.plan),
            wait_s(now.plan, costs, one.latency),
            _shared_out(schedule, found),
            {key: demand.threads for key, demand in found.items()},
            {key: _margin(demand) for key, demand in found.items()},
            frozenset(task.key for group in _passes(schedule) for task in group[:-1]),
        )


def _margin(demand: Demand) -> float:
    """By how much of it a task's work is more."""
    if demand.together:
        return TOGETHER_MARGIN
    return SHARED_MARGIN if demand.threads > 1 else MARGIN


def _moments(topology: Topology, one: Planned) -> Iterator[tuple[int, Moment]]:
    if topology.dynamics.still:
        yield 1, Moment(one.problem, one.plan, one.timeline)
        return
    every, clock_s = max(1, one.rounds // LOOKED_AT), 0.0
    for number in range(1, one.rounds + 1):
        now = moment(topology, one, number, clock_s)
        clock_s += now.timeline.round_s
        if number % every == 0:
            yield number, now


def _shared_out(schedule: Schedule, found: Mapping[Key, Demand]) -> dict[Key, float]:
    """Core-seconds of each computation. What follows at once is done together with what it follows, in their time."""
    work = {key: demand.host_s * demand.threads for key, demand in found.items()}
    for group in _passes(schedule):
        host_s, model_s = sum(work[t.key] for t in group), sum(found[t.key].model_s for t in group)
        work.update({t.key: host_s * found[t.key].model_s / model_s for t in group if model_s > 0})
    return work


def _passes(schedule: Schedule) -> Iterator[list[Task]]:
    """The computations of each piece of work that agents do as one."""
    for place, tasks in schedule.at.items():
        for group in () if is_link(place) else groups(tasks):
            yield from ([task for task in piece if task.computes] for piece in pieces(schedule, group))


def pick_dilation(topology: Topology, needed: Need, cores: int) -> Dilation:
    """The topology's dilation, or the least at which the host keeps up with every plan when it says ``auto``."""
    if topology.time_dilation != "auto":
        return Dilation(float(topology.time_dilation))
    found = Dilation(1.0)
    if needed.air > HOST_MARGIN:
        found = Dilation(two_digits(needed.air / HOST_MARGIN), "all links together carry more than this host can move")
    if topology.compute == "quota":
        least = max((_of_shares(turn, cores) for turn in needed.turns), default=1.0)
        return max(found, Dilation(two_digits(least), "the shares of a core that agents need"), key=lambda d: d.value)
    for label in dict.fromkeys(case.label for case in needed.cases):
        cases = [case for case in needed.cases if case.label == label]
        if not keeps(cases, cores, found.value):
            least = _least(partial(keeps, cases, cores), found.value)
            worst = max(cases, key=lambda case: case.longer(cores, found.value))
            agent, why = worst.limit(cores, found.value)
            found = Dilation(two_digits(least), why, agent)
    return found


def fewest_cores(topology: Topology, needed: Need, cores: int, dilation: float) -> int:
    """On how many of so many ``cores`` the host keeps up as well at a dilation; on all of them where it does not."""

    def enough(cores: int) -> bool:
        if topology.compute == "quota":
            return all(_of_shares(turn, cores) <= dilation for turn in needed.turns)
        by_label: dict[str, list[Case]] = {}
        for case in needed.cases:
            by_label.setdefault(case.label, []).append(case)
        return all(keeps(cases, cores, dilation) for cases in by_label.values())

    tried = range(min(cores, max((task.threads for task in needed.tasks), default=1)), cores)
    return tried.start + bisect_left(tried, True, key=enough)


def keeps(cases: Sequence[Case], cores: int, dilation: float) -> bool:
    """Whether the host keeps the length of each of these rounds, and their typical bubble rate, at a dilation."""
    if any(case.longer(cores, dilation) > ROUND_ERROR for case in cases):
        return False
    return median(case.bubbles_off(cores, dilation) for case in cases) <= BUBBLE_ERROR


def _least(enough: Callable[[float], bool], low: float) -> float:
    """The least dilation above ``low`` that is enough, as any larger one is."""
    high = 2.0 * low
    while not enough(high):
        low, high = high, 2.0 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _of_shares(turn: Iterable[Demand], cores: int) -> float:
    """The dilation at which no agent needs more than its core, and all together no more than there are."""
    found = shares(turn).values()
    return max(1.0, max(found, default=0.0) / HOST_MARGIN, sum(found) / (cores * HOST_MARGIN))
