"""How long a large round takes to write, to check and to time: 100 UEs, 64 micro-batches."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import numpy as np

from agents.schemes import SCHEMES
from controller.predict.instance import Decision, Instance
from controller.predict.prediction import predict
from tests.bench.number import Number, at_most
from tests.bench.planning_makespan import table1

UES, MICRO_BATCHES, SAMPLES = 100, 64, 128
TIMES = 5
MOST_S = 3.0


def numbers() -> list[Number]:
    """Seconds, the median of five, in either duplex."""
    problem, slots = table1(UES, 0, 100, batch=UES * SAMPLES), np.full(UES, 0.01 / UES)
    decision = Decision(1, MICRO_BATCHES, np.full(UES, SAMPLES, dtype=np.int64), slots, slots)
    return [
        at_most(
            f"{UES} UEs, k = {MICRO_BATCHES}, {duplex}: written and simulated, median of {TIMES}",
            MOST_S,
            median(_seconds(replace(problem, duplex=duplex), decision) for _ in range(TIMES)),
            "s",
        )
        for duplex in ("tdd", "fdd")
    ]


def _seconds(problem: Instance, decision: Decision) -> float:
    start = time.perf_counter()
    predict(problem, SCHEMES["c2p2sl"], decision)
    return time.perf_counter() - start
