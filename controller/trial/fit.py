"""Plans → the same plans as a host can emulate them: at which dilation, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agents.schedule.task import BS
from controller.planners.planning import Planned, plan_all
from controller.planners.replanning import foreseen
from controller.predict.channel import fastest
from controller.predict.instance import instance
from controller.predict.workload import workload
from controller.trial.demand import Dilation, fewest_cores, need, pick_dilation
from controller.trial.duration import Duration, duration
from testbed.calibration import NotMeasuredError, remembered
from testbed.compute import Calibration, Demand
from testbed.engine import Engine
from testbed.errors import EngineError, ImageError
from testbed.topology import Topology

WORTH_THREADS = 4.0
"""Beyond this dilation a BS that rules it computes on all cores: below, tasks are too short to be shared out."""

Calibrate = Callable[[int], Calibration]
"""The calibration of a host for so many threads of the BS."""


@dataclass(frozen=True)
class Fitted:
    """Plans at the dilation at which a host can emulate them, what their tasks need of it, and how long all takes.

    ``later``: plans that are known to be made anew between rounds. ``cores``: on so many the host can do all that.
    """

    planned: tuple[Planned, ...]
    dilation: Dilation
    tasks: tuple[Demand, ...]
    takes: Duration
    bs_threads: int = 1
    later: tuple[Planned, ...] = ()
    cores: int = 1

    def to_json(self) -> dict[str, Any]:
        """What ``testbed plan --json`` says of the emulation."""
        return {
            "time_dilation": self.dilation.value,
            "limited_by": self.dilation.limited_by,
            "bs_threads": self.bs_threads,
            "cores": self.cores,
            "wall_s": self.takes.wall_s,
            "schemes_s": dict(self.takes.schemes_s),
        }

    def __str__(self) -> str:
        d, why = self.dilation, self.dilation.limited_by
        return f"D = {d.value:g}{f', because of {why}' if why else ''}; the trial takes {self.takes}"


def fit(topology: Topology, first: Sequence[Planned], calibrate: Calibrate, cores: int) -> Fitted:
    """The plans that a host of so many ``cores`` will emulate; ``first`` are those that know of no host.

    What messages cost in emulated time is known only with the dilation, so the plans are made again. The BS computes
    on as many cores as the topology says, or on all where it is what keeps the dilation high.
    """
    asked = topology.base_station.threads
    calibration = calibrate(1 if asked == "auto" else asked)
    found = _fit(topology, first, calibration, cores)
    if asked == "auto" and found.dilation.agent == BS and found.dilation.value > WORTH_THREADS and cores > 1:
        shared = _fit(topology, first, calibrate(cores), cores)
        found = min(found, shared, key=lambda fitted: fitted.dilation.value)
    return found


def _fit(topology: Topology, first: Sequence[Planned], calibration: Calibration, cores: int) -> Fitted:
    problem = fastest(topology, instance(topology, workload(topology)), max(p.rounds for p in first))
    assumed = pick_dilation(topology, need(topology, problem, calibration, first), cores)
    planned = plan_all(topology, assumed.value, calibration.transport)
    later = tuple(one for first_plan in planned for one in foreseen(topology, first_plan))
    needed = need(topology, problem, calibration, [*planned, *later])
    dilation = pick_dilation(topology, needed, cores)
    dilated = tuple(one.at(dilation.value, calibration.transport) for one in planned)
    takes = duration(topology, dilated, dilation.value, calibration, cores)
    fewest = fewest_cores(topology, needed, cores, dilation.value)
    return Fitted(dilated, dilation, needed.tasks, takes, calibration.bs_threads, later, fewest)


def fit_if_calibrated(topology: Topology, first: Sequence[Planned]) -> Fitted | None:
    """``fit`` for the host of the engine, where there is one that has been calibrated for the model; nothing is run.

    None as well for a profile that no model is trained by.
    """
    if topology.group_sizes is None:
        return None
    try:
        engine = Engine.connect()
        return fit(topology, first, partial(remembered, engine, topology), int(engine.info()["NCPU"]))
    except (EngineError, ImageError, NotMeasuredError):
        return None
