"""How fast one core of this host runs each unit of a model: ``python3 -m agents.calibrate MODEL NORM DATASET``.

Prints JSON: per unit and number of samples, median seconds of a forward and a backward pass.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from agents.catalog import DATASETS
from agents.models import build

SAMPLES = (2, 8, 32)
REPEATS = 7


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall seconds of ``work``, after one run that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump(measure(*sys.argv[1:4]), sys.stdout)
