"""Plans and a calibrated host → what each agent needs of the host, and the dilation that gives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agents.schedule.task import Compute, Schedule
from controller.planners.planning import Planned
from controller.predict.instance import Instance
from controller.predict.prediction import costs_of
from testbed.compute import Calibration, Demand, dilation_that_fits, shares, tightness
from testbed.topology import Topology


@dataclass(frozen=True)
class Need:
    """What plans need of the host.

    ``turns``: for each plan and group of UEs that train at the same time, every distinct task of theirs and of the
    BS. ``air``: the most that all links carry in one direction or, with fdd, in both, as a share of what the host
    can move.
    """

    turns: tuple[tuple[Demand, ...], ...]
    air: float = 0.0

    @property
    def tasks(self) -> list[Demand]:
        """All tasks; one may be there for several turns."""
        return [task for turn in self.turns for task in turn]

    @property
    def largest(self) -> float:
        """The largest share of a core that one agent needs at D = 1, for its tightest task under any plan."""
        return max(shares(self.tasks).values())

    @property
    def together(self) -> float:
        """The most cores that the agents of one turn and the BS need at the same time, at D = 1."""
        return max(sum(shares(turn).values()) for turn in self.turns)


def need(problem: Instance, calibration: Calibration, planned: Iterable[Planned]) -> Need:
    """What these plans need of the host; ``problem`` has the devices as fast as they get."""
    turns: list[tuple[Demand, ...]] = []
    most_bps = 0.0
    for one in planned:
        found = demands(problem, calibration, one.schedule(1))
        for tasks in found.values():
            turns.append(tuple(dict.fromkeys(tasks)))
            members = [one.plan.ues[task.agent] for task in turns[-1] if task.agent in one.plan.ues]
            up = sum(ue.uplink_bps for ue in {id(ue): ue for ue in members}.values())
            down = sum(ue.downlink_bps for ue in {id(ue): ue for ue in members}.values())
            most_bps = max(most_bps, up + down if problem.duplex == "fdd" else max(up, down))
    return Need(tuple(turns), most_bps / calibration.transport.link_bps)


def pick_dilation(topology: Topology, needed: Need, cores: int) -> float:
    """The topology's dilation, or the smallest that fits the host when it says ``auto``."""
    if topology.time_dilation == "auto":
        tightest = max(tightness(turn, cores) for turn in needed.turns)
        return dilation_that_fits(needed.largest, needed.together, cores, tightest=tightest, air=needed.air)
    return float(topology.time_dilation)


def demands(problem: Instance, calibration: Calibration, schedule: Schedule) -> dict[int, list[Demand]]:
    """Every computation of a round, by turn: at whom, how long the host takes, and how long the modelled device."""
    costs = costs_of(problem)
    found: dict[int, list[Demand]] = {}
    for task in schedule.tasks:
        if isinstance(work := task.work, Compute):
            host_s = calibration.backward_s if work.backward else calibration.forward_s
            seconds = host_s(work.first + 1, work.last, work.rows), costs.compute_s(work, task.place)
            found.setdefault(task.key.turn, []).append(Demand(task.agent, *seconds))
    return found
