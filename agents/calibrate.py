"""How fast one core of this host runs each unit of a model: ``python3 -m agents.calibrate MODEL NORM SHAPE``.

SHAPE is a ``DatasetInfo`` as JSON. For a model of the user's, one more argument holds the text of its file.

Prints JSON. ``units``: per unit and number of samples, its bytes (``output_bytes`` of one sample, ``weight_bytes``)
and the CPU seconds of a forward and a backward pass, while several processes per core do the same, as in a trial:
cores that share caches, or are two threads of one, are slower together than alone. ``transport``: see
``agents.message_cost``. ``noise_s``: CPU seconds for clipping a value and adding noise to it. With
``TESTBED_THREADS`` in the environment: while as many do the same as one agent has threads, and units only.
With ``TESTBED_DEVICE`` likewise, on that device, with what it takes to copy to it and back; no units where torch finds
no GPU.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import nn

from agents import message_cost
from agents.device import CPU, compute_exactly, pick_device, settle
from agents.models.build import build, weight_bytes
from agents.models.catalog import DatasetInfo
from agents.own import file_of, is_own, set_folder
from agents.plan import Privacy
from agents.privacy import MECHANISMS, privatise

Row = dict[str, str | float]

SAMPLES = (2, 8, 32)
REPEATS = 9
# On an emulated processor one pass can take seconds; what takes long needs few repeats to be told from noise.
FEWEST, ENOUGH_S = 3, 0.3
PAUSE_S = 0.005
PROCESSES_PER_CORE = 2


def typical_s(work: Callable[[], object], repeats: int = REPEATS, device: str = CPU) -> float:
    """Seconds that ``work`` takes in three of four cases, each after a pause.

    An agent sleeps between its tasks, and wakes up to cold caches. Of one thread on a CPU it is CPU time: time of
    other processes does not count.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 and device == CPU else time.monotonic
    work()
    times: list[float] = []
    while len(times) < repeats and (len(times) < FEWEST or sum(times) < ENOUGH_S):
        time.sleep(PAUSE_S)
        start = clock()
        work()
        times.append(clock() - start)
    return sorted(times)[3 * len(times) // 4]


def time_unit(unit: nn.Module, shape: torch.Size, first: bool, device: str = CPU) -> tuple[float, float]:
    """Forward and backward seconds of one unit, which is moved to the device, on inputs of this shape.

    The first unit gets no gradient for its input, as in training. Inputs come from the CPU and their gradients go
    back there: of units that follow each other on a GPU that is counted for each, and so more than it takes.
    """
    inputs = torch.randn(shape, requires_grad=not first)
    gradient = torch.ones_like(unit.to(device)(inputs.to(device)))

    def forward() -> torch.Tensor:
        output: torch.Tensor = unit(inputs.to(device))
        settle(device)
        return output

    def both() -> None:
        torch.autograd.backward(unit(inputs.to(device)), gradient)
        settle(device)

    forward_s = typical_s(forward, device=device)
    return forward_s, max(0.0, typical_s(both, device=device) - forward_s)


def measure(model: str, norm: str, info: DatasetInfo, device: str = CPU) -> list[Row]:
    """One row per unit and number of samples.

    Units that follow each other find less of what they need in the caches than one that is measured again and again:
    all together take as long as the whole model does, or as each does alone, if that is more.
    """
    compute_exactly(device)
    rows = _alone(model, norm, info, device)
    shape = torch.Size((max(SAMPLES), info.channels, info.height, info.width))
    whole_s = sum(time_unit(build(model, info, norm, seed=0), shape, True, device))
    most = (row for row in rows if row["samples"] == max(SAMPLES))
    more = max(1.0, whole_s / sum(float(row["forward_s"]) + float(row["backward_s"]) for row in most))
    return [
        {**row, "forward_s": more * float(row["forward_s"]), "backward_s": more * float(row["backward_s"])}
        for row in rows
    ]


def _alone(model: str, norm: str, info: DatasetInfo, device: str) -> list[Row]:
    rows: list[Row] = []
    for samples in SAMPLES:
        values = torch.randn(samples, info.channels, info.height, info.width)
        for number, (name, unit) in enumerate(build(model, info, norm, seed=0).named_children()):
            forward_s, backward_s = time_unit(unit, values.shape, number == 0, device)
            with torch.no_grad():
                values = unit.to(CPU)(values)
            row: Row = {"unit": name, "samples": samples, "forward_s": forward_s, "backward_s": backward_s}
            rows.append({**row, "output_bytes": values.nbytes / samples, "weight_bytes": weight_bytes(unit)})
    return rows


def noise_s(info: DatasetInfo) -> float:
    """CPU seconds per value for clipped samples with noise, of the slower mechanism."""
    samples, generator = torch.randn(max(SAMPLES), info.channels, info.height, info.width), torch.Generator()
    each = [Privacy("input", mechanism, epsilon=1.0, clip=1.0, delta=1e-5) for mechanism in MECHANISMS]
    return max(typical_s(partial(privatise, samples, one, generator)) for one in each) / samples.numel()


def measure_together(model: str, norm: str, info: DatasetInfo, count: int) -> list[Row]:
    """``measure`` in so many processes at once; of each row the mean of all."""
    with ProcessPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        runs = list(pool.map(measure, [model] * count, [norm] * count, [info] * count))
    return [_mean(rows) for rows in zip(*runs, strict=True)]


def _mean(rows: Sequence[Row]) -> Row:
    forward_s, backward_s = (sum(float(row[key]) for row in rows) / len(rows) for key in ("forward_s", "backward_s"))
    return {**rows[0], "forward_s": forward_s, "backward_s": backward_s}


if __name__ == "__main__":
    if is_own(sys.argv[1]):
        set_folder(Path(tempfile.gettempdir()))
        (Path(tempfile.gettempdir()) / file_of(sys.argv[1])).write_text(sys.argv[4])
    what = sys.argv[1], sys.argv[2], DatasetInfo(**json.loads(sys.argv[3]))
    if "TESTBED_DEVICE" in os.environ:
        device = pick_device(os.environ["TESTBED_DEVICE"])
        json.dump({"units": [] if device == CPU else measure(*what, device)}, sys.stdout)
    elif "TESTBED_THREADS" in os.environ:
        json.dump({"units": measure_together(*what, int(os.environ["TESTBED_THREADS"]))}, sys.stdout)
    else:
        count = PROCESSES_PER_CORE * len(os.sched_getaffinity(0))
        found = {
            "units": measure_together(*what, count),
            "transport": message_cost.measure(),
            "noise_s": noise_s(what[2]),
        }
        json.dump(found, sys.stdout)
