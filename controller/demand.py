"""Plans and a calibrated host → what each agent needs of the host, and the dilation that gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from agents.plan import Plan
from agents.scheme import SCHEMES, turns
from controller.instance import Instance
from controller.planning import Planned, decision_of
from controller.timing import decision_per_sample
from testbed.compute import Calibration, Demand, dilation_that_fits, shares
from testbed.topology import Topology


@dataclass(frozen=True)
class Need:
    """What plans need of the host.

    ``largest``: the largest share of a core that one agent needs at D = 1, for its tightest task
    under any plan. ``together``: the most that the agents of one turn and the BS need at the same
    time. ``tasks``: every distinct task.
    """

    largest: float
    together: float
    tasks: tuple[Demand, ...]


def need(problem: Instance, calibration: Calibration, planned: Iterable[Planned]) -> Need:
    """What these plans need of the host."""
    tasks: list[Demand] = []
    together = 0.0
    for plan in (p.plan for p in planned):
        found = list(demands(problem, calibration, plan))
        own = shares(found)
        tasks += found
        for members in turns(SCHEMES[plan.scheme], list(plan.ues)):
            together = max(together, own["bs"] + sum(own.get(ue, 0.0) for ue in members))
    return Need(max(shares(tasks).values()), together, tuple(tasks))


def pick_dilation(topology: Topology, needed: Need, cores: int) -> float:
    """The topology's dilation, or the smallest that fits the host when it says ``auto``."""
    if topology.time_dilation == "auto":
        return dilation_that_fits(needed.largest, needed.together, cores)
    return float(topology.time_dilation)


def demands(problem: Instance, calibration: Calibration, plan: Plan) -> Iterator[Demand]:
    """Every distinct task of a plan: forward and backward, on each UE and on the BS."""
    per = decision_per_sample(problem, decision_of(plan))
    last, cut = len(problem.workload.units), plan.cut
    sizes = {ue: plan.sizes(ue) for ue in plan.ues}
    for i, ue in enumerate(problem.ues):
        for size in sorted(set(sizes[ue]) - {0}):
            yield Demand(ue, calibration.forward_s(1, cut, size), size * float(per.ue_forward[i]))
            yield Demand(ue, calibration.backward_s(1, cut, size), size * float(per.ue_backward[i]))
    for size in sorted(_bs_sizes(plan, list(sizes.values()))):
        yield Demand("bs", calibration.forward_s(cut + 1, last, size), size * per.bs_forward)
        yield Demand("bs", calibration.backward_s(cut + 1, last, size), size * per.bs_backward)


def _bs_sizes(plan: Plan, sizes: Sequence[tuple[int, ...]]) -> set[int]:
    """Samples in the BS's micro-batches: of all UEs of a turn together."""
    by_ue = dict(zip(plan.ues, sizes, strict=True))
    totals = {
        sum(by_ue[ue][m] for ue in members)
        for members in turns(SCHEMES[plan.scheme], list(plan.ues))
        for m in range(plan.micro_batches)
    }
    return totals - {0}
