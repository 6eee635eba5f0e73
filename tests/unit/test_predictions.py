"""Predictions as they were before rounds became schedules: the same to a billionth, but for one change on purpose.

``golden/predictions.json`` holds them, with the plans that they are of.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agents.plan import Plan
from agents.schemes import SCHEMES
from controller.predict.instance import Instance, instance
from controller.predict.prediction import decision_of, timeline
from controller.predict.simulate import Event
from controller.predict.workload import workload
from testbed.loading import load
from testbed.topology import Topology

COSTS = {
    "free": {"message_s": 0.0, "message_bytes": 0.0, "delay_s": 0.0},
    "costly": {"message_s": 0.0007, "message_bytes": 130.0, "delay_s": 0.002},
}
GOLDEN = json.loads((Path(__file__).parent / "golden/predictions.json").read_text())
EARLIER = [("cpsl", "fdd")]
"""A UE of the next cluster begins as soon as it has its weights, and not when all of the cluster have theirs."""
Row = tuple[str, str, int, int, float, float]


@cache
def written(name: str) -> tuple[Topology, Instance]:
    """A topology that ships, and its problem."""
    topology = load(Path(f"topologies/{name}.yaml"))
    return topology, instance(topology, workload(topology))


def label(golden: dict[str, Any]) -> str:
    return "-".join(str(golden[key]) for key in ("topology", "label", "duplex", "cost", "number"))


def row(event: Event, ues: tuple[str, ...]) -> list[Row]:
    """An event as it was told then: the BS's are the BS's, whoever they were for; a broadcast one for each UE."""
    kind, micro_batch, turn = event.key.kind, event.key.micro_batch, event.key.turn
    whose = ues if kind == "broadcast" else ("bs",) if event.place == "bs" else (event.key.ue,)
    return [(kind, ue, micro_batch, turn, event.start_s, event.end_s) for ue in whose]


def in_order(rows: list[Row]) -> list[Row]:
    """By what they are, and then by time: rounding must not decide."""
    return sorted(rows, key=lambda one: (*one[:4], round(one[4], 7), round(one[5], 7)))


@pytest.mark.parametrize("golden", GOLDEN, ids=label)
def test_predictions_are_what_they_were(golden):
    topology, problem = written(golden["topology"])
    plan = Plan.from_json(golden["plan"])
    problem = replace(problem, duplex=golden["duplex"], **COSTS[golden["cost"]])
    units = len(problem.workload.units)
    schedule = SCHEMES[plan.scheme].schedule(plan, units, problem.duplex, topology.seed, golden["number"])
    found = timeline(problem, plan, schedule, decision_of(plan))
    assert found.round_s == pytest.approx(golden["round_s"], rel=1e-9)
    assert found.bs_busy_s == pytest.approx(golden["bs_busy_s"], rel=1e-9)
    want = in_order([tuple(event) for event in golden["events"]])
    have = in_order([one for event in found.events for one in row(event, tuple(plan.ues))])
    assert [one[:4] for one in have] == [one[:4] for one in want]
    if (plan.scheme, golden["duplex"]) not in EARLIER:
        assert [time for one in have for time in one[4:]] == pytest.approx(
            [time for one in want for time in one[4:]], rel=0, abs=2e-9
        )
