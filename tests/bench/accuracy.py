"""What every scheme learns from the same number of samples: the real loops on loopback, as fast as they can."""

from __future__ import annotations

import math
from pathlib import Path
from unittest.mock import patch

import numpy as np

import agents.ue
from agents.bs import Bs
from agents.meter import Metrics
from agents.job import Job
from agents.samples.partition import partition
from agents.schemes import SCHEMES
from agents.ue import Ue
from agents.wire.air import Air
from controller.planners.planning import Planned, plan_all
from testbed import data
from testbed.loading import load
from tests.bench.number import Number, at_least
from tests.unit.loopback import World, free_port, job

TOPOLOGY = Path("topologies/schemes.yaml")
EPOCHS = 5
POINTS = 2.0
CEILING = "centralised"
EXCEPTED = "fl"


def numbers() -> list[Number]:
    """Accuracy of every row beside that of centralised training, in percent."""
    topology = load(TOPOLOGY)
    found = {planned.label: learn(planned, topology.training.lr) for planned in plan_all(topology)}
    rows = []
    for label, accuracy in found.items():
        limit = 0.0 if label == EXCEPTED else found[CEILING] - POINTS
        rows.append(at_least(f"accuracy of {label} after {EPOCHS} passes over MNIST", limit, accuracy, "%", 1))
    return rows


def learn(planned: Planned, lr: float) -> float:
    """Test accuracy (%) after the passes; the mean over UE halves where they never synchronise."""
    train, test = data.load(load(TOPOLOGY).data)
    plan = planned.plan
    names = list(plan.ues)
    shards = partition(train.labels, names, 7, {"kind": "iid"})
    asked = job(plan.scheme, plan.cut, plan.micro_batches, [p.batch for p in plan.ues.values()], lr=lr, duplex="fdd")
    made = Job(**{**vars(asked), "plan": plan, "shares": {ue: len(shards[ue]) / len(train) for ue in names}})
    rounds = math.ceil(EPOCHS * len(train) / (plan.batch * plan.steps))
    port, broadcast = free_port(), free_port()
    with patch.object(agents.ue, "AIR_PORT", port), patch.object(agents.ue, "BROADCAST_PORT", broadcast):
        air = Air.station("127.0.0.1", port, broadcast)
        ues = {name: Ue(name, train.take(shards[name]), Metrics()) for name in names}
        world = World(Bs(test, Metrics(), air, "cpu", lambda: train), ues)
        try:
            world.configure(made)
            for number in range(1, rounds + 1):
                world.round(number)
            return 100 * _accuracy(world, made)
        finally:
            air.close()
            for ue in ues.values():
                ue.air.close()


def _accuracy(world: World, made: Job) -> float:
    shared = SCHEMES[made.plan.scheme].ue_weights == "shared"
    holders = made.plan.phases(made.duplex)[-1].heirs[:1] if shared else tuple(made.plan.clusters)
    found = world.bs.evaluate({ue: world.ues[ue].weights() for ue in holders})
    return float(np.mean([accuracy for name, accuracy in found.items() if name != "average"]))
