"""How fast one core of this host runs each unit of a model: ``python3 -m agents.calibrate MODEL NORM DATASET``.

Prints JSON: per unit and number of samples, median seconds of a forward and a backward pass,
while every other core does the same, as in a trial: cores that share caches, or are two
threads of one, are slower together than alone.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import nn

from agents.catalog import DATASETS
from agents.models import build

SAMPLES = (2, 8, 32)
REPEATS = 7


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU seconds of ``work``, after one run that is not counted: other processes do not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def time_unit(unit: nn.Module, shape: torch.Size, first: bool) -> tuple[float, float]:
    """Forward and backward seconds of one unit on inputs of this shape.

    The first unit gets no gradient for its input, as in training.
    """
    inputs = torch.randn(shape, requires_grad=not first)
    output = unit(inputs)
    gradient = torch.ones_like(output)
    forward_s = median_s(lambda: unit(inputs))
    both_s = median_s(lambda: unit(inputs).backward(gradient))
    return forward_s, max(0.0, both_s - forward_s)


def measure(model: str, norm: str, dataset: str) -> list[dict[str, object]]:
    """One row per unit and number of samples."""
    info = DATASETS[dataset]
    rows: list[dict[str, object]] = []
    for samples in SAMPLES:
        values = torch.randn(samples, info.channels, info.height, info.width)
        for number, (name, unit) in enumerate(build(model, info, norm, seed=0).named_children()):
            forward_s, backward_s = time_unit(unit, values.shape, first=number == 0)
            rows.append({"unit": name, "samples": samples, "forward_s": forward_s, "backward_s": backward_s})
            with torch.no_grad():
                values = unit(values)
    return rows


def measure_everywhere(model: str, norm: str, dataset: str) -> list[dict[str, object]]:
    """``measure`` on all cores at once; of each row the slowest core's times."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        runs = list(pool.map(measure, [model] * cores, [norm] * cores, [dataset] * cores))
    return [max(rows, key=_seconds) for rows in zip(*runs, strict=True)]


def _seconds(row: dict[str, object]) -> float:
    return float(str(row["forward_s"])) + float(str(row["backward_s"]))


if __name__ == "__main__":
    json.dump(measure_everywhere(*sys.argv[1:4]), sys.stdout)
