"""Plans and a calibrated host → what each agent needs of the host, and the dilation that gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from agents.schedule.task import Compute, Key, Schedule, Task
from controller.planners.planning import Planned
from controller.predict.instance import Instance
from controller.predict.prediction import costs_of, wait_s
from controller.predict.simulate import simulate
from testbed.compute import Calibration, Demand, dilation_that_fits, shares, tightness
from testbed.topology import Topology

MATTERS = 0.02
"""Tasks of a kind at a place that take less of a round than this are left out of what the host must keep up with."""
WAKE_UP_S = 0.0005
"""Wall seconds that such a task may take beside its computing."""
ROUND_ERROR = 0.005
"""By so much all of them together may make a round longer."""
_STEP = 1.1


@dataclass(frozen=True)
class Need:
    """What plans need of the host.

    ``turns``: for each plan and group of UEs that train at the same time, every distinct task of theirs and of the
    BS that matters for the round; ``tasks`` are all of them. ``air``: the most that all links carry in one direction
    or, with fdd, in both, as a share of what the host can move. ``errors``: for each plan by which share of it the
    tasks that do not matter make its round longer, at a dilation.
    """

    turns: tuple[tuple[Demand, ...], ...]
    tasks: tuple[Demand, ...]
    air: float = 0.0
    errors: tuple[Callable[[float], float], ...] = ()

    @property
    def largest(self) -> float:
        """The largest share of a core that one agent needs at D = 1, for its tightest task under any plan."""
        return max(shares(task for turn in self.turns for task in turn).values(), default=0.0)

    @property
    def together(self) -> float:
        """The most cores that the agents of one turn and the BS need at the same time, at D = 1."""
        return max((sum(shares(turn).values()) for turn in self.turns), default=0.0)


def need(problem: Instance, calibration: Calibration, planned: Iterable[Planned]) -> Need:
    """What these plans need of the host; ``problem`` has the devices as fast as they get."""
    turns: list[tuple[Demand, ...]] = []
    tasks: dict[Demand, None] = {}
    errors: list[Callable[[float], float]] = []
    most_bps = 0.0
    for one in planned:
        schedule = one.schedule(1)
        found = demands(problem, calibration, schedule)
        tasks.update(dict.fromkeys(found.values()))
        small = _small(found, one.timeline.round_s)
        if small:
            errors.append(partial(_longer, one, schedule, {key: found[key].host_s + WAKE_UP_S for key in small}))
        for turn in sorted({key.turn for key in found}):
            members = {found[key].agent for key in found if key.turn == turn}.intersection(one.plan.ues)
            turns.append(tuple(dict.fromkeys(found[k] for k in found if k.turn == turn and k not in small)))
            up, down = (sum(getattr(one.plan.ues[ue], way) for ue in members) for way in ("uplink_bps", "downlink_bps"))
            most_bps = max(most_bps, up + down if problem.duplex == "fdd" else max(up, down))
    return Need(tuple(turns), tuple(tasks), most_bps / calibration.transport.link_bps, tuple(errors))


def pick_dilation(topology: Topology, needed: Need, cores: int) -> float:
    """The topology's dilation, or the smallest that fits the host when it says ``auto``."""
    if topology.time_dilation != "auto":
        return float(topology.time_dilation)
    tightest = max((tightness(turn, cores) for turn in needed.turns), default=0.0)
    while True:
        found = dilation_that_fits(needed.largest, needed.together, cores, tightest=tightest, air=needed.air)
        if all(error(found) <= ROUND_ERROR for error in needed.errors):
            return found
        tightest = found * _STEP


def demands(problem: Instance, calibration: Calibration, schedule: Schedule) -> dict[Key, Demand]:
    """Every computation of a round: at whom, how long the host takes, and how long the modelled device."""
    costs = costs_of(problem)
    found: dict[Key, Demand] = {}
    for task in schedule.tasks:
        if isinstance(work := task.work, Compute):
            host_s = calibration.backward_s if work.backward else calibration.forward_s
            seconds = host_s(work.first + 1, work.last, work.rows), costs.compute_s(work, task.place)
            found[task.key] = Demand(task.agent, *seconds)
    return found


def _small(found: Mapping[Key, Demand], round_s: float) -> set[Key]:
    """The tasks that hardly matter: all of their kind at their agent take next to nothing of a round."""
    taken: dict[tuple[str, str], float] = {}
    for key, demand in found.items():
        taken[key.kind, demand.agent] = taken.get((key.kind, demand.agent), 0.0) + demand.model_s
    return {key for key, demand in found.items() if taken[key.kind, demand.agent] < MATTERS * round_s}


def _longer(one: Planned, schedule: Schedule, host_s: Mapping[Key, float], dilation: float) -> float:
    """By which share of it a round is longer when these tasks take at least so long on the host."""
    costs = costs_of(one.problem)

    def seconds(task: Task) -> float:
        return max(costs.seconds(task, one.plan), host_s.get(task.key, 0.0) / dilation)

    predicted_s = simulate(
        schedule, partial(costs.seconds, plan=one.plan), wait_s(one.plan, costs, one.latency)
    ).round_s
    return simulate(schedule, seconds, wait_s(one.plan, costs, one.latency)).round_s / predicted_s - 1.0
