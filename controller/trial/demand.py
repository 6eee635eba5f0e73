"""Plans and a calibrated host → what each agent needs of the host, and the dilation that gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agents.plan import Plan
from agents.scheme import SCHEMES, groups
from controller.planners.planning import Planned, decision_of
from controller.predict.instance import Instance
from controller.predict.timing import per_sample, stations
from testbed.compute import Calibration, Demand, dilation_that_fits, shares, tightness
from testbed.deploy import BS
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
    """What these plans need of the host."""
    turns: list[tuple[Demand, ...]] = []
    most_bps = 0.0
    for plan in (p.plan for p in planned):
        found = list(demands(problem, calibration, plan))
        for members in groups(SCHEMES[plan.scheme], plan.clusters):
            turns.append(tuple(task for task in found if task.agent in (BS, *members)))
            up, down = (sum(getattr(plan.ues[ue], key) for ue in members) for key in ("uplink_bps", "downlink_bps"))
            most_bps = max(most_bps, up + down if problem.duplex == "fdd" else max(up, down))
    return Need(tuple(turns), most_bps / calibration.transport.link_bps)


def pick_dilation(topology: Topology, needed: Need, cores: int) -> float:
    """The topology's dilation, or the smallest that fits the host when it says ``auto``."""
    if topology.time_dilation == "auto":
        tightest = max(tightness(turn, cores) for turn in needed.turns)
        return dilation_that_fits(needed.largest, needed.together, cores, tightest=tightest, air=needed.air)
    return float(topology.time_dilation)


def demands(problem: Instance, calibration: Calibration, plan: Plan) -> Iterator[Demand]:
    """Every distinct task of a plan: forward and backward, on each UE and on the BS."""
    last = len(problem.workload.units)
    each = stations(problem, decision_of(plan))
    for i, ue in enumerate(problem.ues):
        cut = plan.cut_of(ue)
        for size in sorted(set(plan.sizes(ue)) - {0}):
            yield Demand(ue, calibration.forward_s(1, cut, size), size * float(each[i].ue_forward[0]))
            yield Demand(ue, calibration.backward_s(1, cut, size), size * float(each[i].ue_backward[0]))
    for cut, size in sorted(plan.bs_tasks):
        per = per_sample(problem, cut, problem.rate_up, problem.rate_down)
        yield Demand(BS, calibration.forward_s(cut + 1, last, size), size * per.bs_forward)
        yield Demand(BS, calibration.backward_s(cut + 1, last, size), size * per.bs_backward)
