"""How long ``ao`` takes for one plan of Table I, over all cuts that C2 allows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.predict.instance import Instance, instance
from controller.predict.workload import workload
from testbed.loading import parse
from tests.bench.number import Number, at_most

TABLE_I = Path("topologies/papers/c2p2sl-table1.yaml")


def numbers() -> list[Number]:
    """Cold is the first plan of the process: importing and compiling with CVXPY is in it."""
    cold_s = plan_s(drawn(16, 512, 1.0))
    sizes = [(16, 512, 1.0, 1.0), (16, 512, 1000.0, 1.0), (200, 512, 1.0, 20.0), (200, 6400, 1000.0, 20.0)]
    found = [Number("ao, n = 16, the first plan of a process", "-", f"{cold_s:.2f} s", True)]
    for n, batch, capacity, limit_s in sizes:
        cuts = "C2 of Table I" if capacity == 1 else "C2 loose, every cut"
        found.append(at_most(f"ao, n = {n}, {batch} samples, {cuts}", limit_s, plan_s(drawn(n, batch, capacity)), "s"))
    return found


def drawn(n: int, batch: int, capacity: float) -> Instance:
    """Table I with ``n`` UEs; their capacities of C2 times ``capacity``."""
    text = TABLE_I.read_text(encoding="utf-8")
    for key, value, new in (("count", 8, n), ("batch", 512, batch), ("min_batch", 8, 1)):
        text = text.replace(f" {key}: {value}", f" {key}: {new}").replace(f"{{{key}: {value}", f"{{{key}: {new}")
    topology = parse(text, TABLE_I.name)
    found = instance(topology, workload(topology))
    return replace(found, capacity_flop=np.asarray(found.capacity_flop * capacity, dtype=np.float64))


def plan_s(problem: Instance) -> float:
    """Wall seconds of one plan."""
    start = time.perf_counter()
    PLANNERS["ao"](Request(problem, SCHEMES["c2p2sl"]))
    return time.perf_counter() - start
