"""What every scheme learns from the same number of samples: the real loops on loopback, as fast as they can."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from agents.bs import Bs
from agents.evaluation import Part
from agents.job import Job
from agents.meter import Metrics
from agents.samples.partition import partition
from agents.schedule.task import BS, Load
from agents.ue import Ue
from agents.wire.air import Air
from agents.wire.keys import new_keyrings
from controller.planners.planning import Planned, plan_all
from testbed import data
from testbed.loading import load
from tests.bench.number import Number, at_least
from tests.unit.loopback import World, free_port, job

TOPOLOGY = Path("topologies/schemes.yaml")
EPOCHS = 5
POINTS = 2.0
CEILING = "centralised"


def numbers() -> list[Number]:
    """Accuracy of every scheme beside that of centralised training, in percent."""
    topology = load(TOPOLOGY)
    found = {planned.label: learn(planned, topology.training.lr) for planned in plan_all(topology)}
    rows = []
    for label, accuracy in found.items():
        what = f"accuracy of {label} after {EPOCHS} passes over MNIST"
        rows.append(at_least(what, found[CEILING] - POINTS, accuracy, "%", 1))
    return rows


def learn(planned: Planned, lr: float) -> float:
    """Test accuracy (%) after the passes; the mean over UE halves where they never synchronise."""
    train, test = data.load(load(TOPOLOGY).data)
    plan = planned.plan
    names = list(plan.ues)
    shards = partition(train.labels, names, 7, {"kind": "iid"})
    asked = job(plan.scheme, plan.cut, plan.micro_batches, [p.batch for p in plan.ues.values()], lr=lr, duplex="fdd")
    made = replace(asked, plan=plan, shares={ue: len(shards[ue]) / len(train) for ue in names})
    rounds = math.ceil(EPOCHS * len(train) / (plan.batch * plan.steps))
    port, broadcast = free_port(), free_port()

    keys = new_keyrings(names)

    def device(name: str, address: str, most_bytes: int) -> Air:
        return Air.device(keys[name], address, port, broadcast, most_bytes)

    station = partial(Air.station, keys[BS], "127.0.0.1", port, broadcast)
    bs = Bs(test, Metrics(), station, "cpu", lambda: train)
    ues = {name: Ue(name, train.take(shards[name]), Metrics(), partial(device, name)) for name in names}
    world = World(bs, ues, port, keys)
    try:
        world.configure(made)
        for number in range(1, rounds + 1):
            world.round(number)
        return 100 * _accuracy(world, made)
    finally:
        bs.close()
        for ue in ues.values():
            ue.close()


def _accuracy(world: World, made: Job) -> float:
    """Of whoever got shared weights last; where none are shared the mean of all."""
    loads = [task for task in made.schedule(1).tasks if isinstance(task.work, Load)]
    last = max((task.key.turn for task in loads), default=0)
    holders = [task.place for task in loads if task.key.turn == last][:1] or list(made.schedule(1).ues)
    parts = {ue: [Part(*part) for part in world.ues[ue].parts()] for ue in holders}
    return float(np.mean(list(world.bs.evaluate(parts, averaged=False)[0].values())))
