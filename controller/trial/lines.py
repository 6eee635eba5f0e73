"""What a trial writes of plans and rounds into its journal: pure functions to lines that results are derived from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from controller.planners.planning import Planned
from controller.planners.replanning import Step
from controller.predict.prediction import costs_of
from controller.trial.journal import VERSION, Line
from testbed.built import code_digest
from testbed.compute import Calibration
from testbed.topology import Topology


def head(
    topology: Topology,
    host: Mapping[str, Any],
    dilation: float,
    calibrations: Mapping[int, Calibration],
    cores: int | None = None,
) -> Line:
    """The first line: what is run, on what, and what plans were made with, so that they can be made again."""
    return {
        "version": VERSION,
        "topology": topology.model_dump(mode="json"),
        "host": dict(host),
        "time_dilation": dilation,
        "code": code_digest(),
        "cores": cores,
        "calibrations": {str(threads): one.to_json() for threads, one in calibrations.items()},
    }


def beginning(planned: Planned, target_accuracy: float | None) -> Line:
    """All of a plan that its results are derived from."""
    return {
        "plan": planned.plan.to_json(),
        "predicted": dataclasses.asdict(planned.predicted),
        "costs": costs_of(planned.problem).to_json(),
        "paper": planned.paper,
        "units": len(planned.problem.workload.units),
        "duplex": planned.problem.duplex,
        "seed": planned.seed,
        "waits": planned.latency.to_json(),
        "frame_s": planned.problem.frame_s,
        "target_accuracy": target_accuracy,
    }


def made(number: int, step: Step) -> Line:
    """What planning anew came to: all of the plan that results are derived from, if it is another one."""
    waits = {} if step.kept else {"waits": step.planned.latency.to_json()}
    plan = None if step.kept else step.planned.plan.to_json()
    return {"round": number, "plan": plan, **waits, "planner_s": step.planner_s, "gained_s": step.gained_s}


def ended(number: int, step: Step, train_loss: float, host: Sequence[Any]) -> Line:
    """A round that is over, against which prediction and with which link rates; ``host``: counters by segment."""
    plan = step.now.plan
    rates = {name: [ue.uplink_bps, ue.downlink_bps] for name, ue in plan.ues.items()}
    changed = {"rates": rates, "broadcast_bps": plan.broadcast_bps} if plan != step.planned.plan else {}
    charged = {"charged_s": step.charged_s} if step.charged_s else {}
    return {"round": number, "train_loss": train_loss, **step.predicted, **charged, **changed, "host": host}
