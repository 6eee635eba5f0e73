"""What a trial writes of plans and rounds into its journal: pure functions to lines that results are derived from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from agents.schedule.without import Contribution
from controller.planners.planning import Planned
from controller.planners.replanning import Step
from controller.predict.prediction import costs_of
from controller.trial.journal import VERSION, Line
from controller.trial.losses import Loss
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
    why = {"why": step.why} if step.why else {}
    return {"round": number, "plan": plan, **waits, "planner_s": step.planner_s, "gained_s": step.gained_s, **why}


@dataclasses.dataclass(frozen=True)
class Clock:
    """The emulated clock of a segment: when it began, in monotonic ns and in a round's own emulated seconds."""

    start_ns: int
    begin_s: float
    dilation: float

    def at_s(self, monotonic_ns: int) -> float:
        """The emulated second of the round; that at which the segment began for what was before."""
        return self.begin_s + max(0.0, (monotonic_ns - self.start_ns) / 1e9 / self.dilation)


def fault(number: int, loss: Loss, clock: Clock | None) -> Line:
    """A UE that was lost in a round, or before it: then the clock stands at 0."""
    began_s = clock.at_s(loss.began_ns) if clock and loss.began_ns is not None else None
    return {
        "round": number,
        "ue": loss.ue,
        "kind": loss.kind,
        "at_s": began_s if clock else 0.0,
        "detected_s": clock.at_s(loss.found_ns) if clock else 0.0,
        "why": loss.why,
        "came": [list(key) for key in loss.came],
        "late": [list(key) for key in loss.late],
    }


def ended(
    number: int,
    step: Step,
    train_loss: float,
    host: Sequence[Any],
    samples: Mapping[str, Contribution],
    faults: Sequence[Line],
) -> Line:
    """A round that is over, against which prediction and with which link rates; ``host``: counters by segment.

    ``samples``: what each UE contributed; with ``faults`` in it the round is degraded, and lasted at least until the
    last was detected.
    """
    plan = step.now.plan
    rates = {name: [ue.uplink_bps, ue.downlink_bps] for name, ue in plan.ues.items()}
    changed = {"rates": rates, "broadcast_bps": plan.broadcast_bps} if plan != step.planned.plan else {}
    charged = {"charged_s": step.charged_s} if step.charged_s else {}
    shares = {"samples": {ue: [one.came, one.lost] for ue, one in samples.items()}}
    worse = {"degraded": True, "until_s": max(line["detected_s"] for line in faults)} if faults else {}
    line = {"round": number, "train_loss": train_loss, **step.predicted, **charged, **changed}
    return {**line, **shares, **worse, "host": host}
