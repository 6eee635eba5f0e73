"""What training takes of the memory of a real device or base station; what planners may give them follows from it."""

from __future__ import annotations

from functools import cache

from agents.plan import Plan, UePlan
from agents.schedule.footprint import CHUNK_BYTES, Footprint
from agents.schedule.memory import RUNTIME_BYTES, round_bytes
from agents.schedule.pieces import at_once
from agents.schedule.task import BS, Compute, Schedule
from agents.schemes import SCHEMES
from testbed.errors import InputError
from testbed.topology import Topology

DEVICE_RUNTIME_BYTES = 300e6
"""What a device's system and a process with a training framework take of its memory, before a model is there.

Chosen from the PiPar paper (section V-A): its Raspberry Pi 3B of 1 GB cannot hold VGG-16 and ResNet-101 under FL with
batches of 100, and holds VGG-5, ResNet-18 and MobileNetV3-Small. Between 150 and 340 MB do. MobileNetV3-Large, which
the paper names too, takes 150 MB, and no constant that leaves ResNet-18 its 650 MB keeps it out.
"""


@cache
def device_bytes(footprint: Footprint, cut: int, head_cut: int | None, samples: int) -> float:
    """The most that a device takes to train units 1 … ``cut`` (and those after ``head_cut``) on a batch.

    By the schedule of a round, as containers' limits are (``agents.schedule.memory``), but in one go: a device is not
    taken to compute in chunks. Micro-batches take no more.
    """
    units = len(footprint.weight_bytes)
    like = "fl" if cut == units else "sfl" if head_cut is None else "ushape"  # what takes most of such cuts
    each = UePlan(samples, 1.0, 1.0, 1.0, 1.0)
    plan = Plan("", like, "", cut, 1, 1.0, {"ue1": each, "ue2": each}, head_cut=head_cut)
    schedule = SCHEMES[like].schedule(plan, units, "tdd")
    return DEVICE_RUNTIME_BYTES + round_bytes(schedule, "ue1", footprint, momentum=True, threads=None)


@cache
def most_samples(footprint: Footprint, cut: int, head_cut: int | None, memory_bytes: float, most: int) -> int:
    """How many samples, up to ``most``, a device of so much memory can train at a cut."""
    if device_bytes(footprint, cut, head_cut, 1) > memory_bytes:
        return 0
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        fits = device_bytes(footprint, cut, head_cut, middle) <= memory_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def check_memory(topology: Topology, label: str, schedule: Schedule, footprint: Footprint) -> None:
    """InputError when the BS or a UE of a topology has less memory than a schedule asks of it."""
    bs_mb = topology.base_station.memory_mb
    if bs_mb is not None:
        _check("base_station.memory_mb", BS, bs_mb, RUNTIME_BYTES, round_bytes(schedule, BS, footprint, True), label)
    for i, ue in enumerate(topology.ues):
        if ue.memory_mb is not None:
            round_takes = round_bytes(schedule, ue.name, footprint, momentum=True, threads=None)
            _check(f"ues.{i}.memory_mb", ue.name, ue.memory_mb, DEVICE_RUNTIME_BYTES, round_takes, label)


def _check(path: str, agent: str, memory_mb: float, runtime_bytes: float, round_takes: float, label: str) -> None:
    needs_mb, runtime_mb = (runtime_bytes + round_takes) / 1e6, runtime_bytes / 1e6
    if round_takes and needs_mb > memory_mb:
        message = f"{agent} has {memory_mb:.4g} MB, and {label} takes {needs_mb:.4g} there, {runtime_mb:.4g} without it"
        raise InputError(path, message, "raise it, or lower training.batch")


def in_one_go(schedule: Schedule, footprint: Footprint) -> str | None:
    """A warning of the largest pass that is not computed in chunks because its units mix samples, if it is large."""
    found: list[tuple[float, str, int]] = []
    for agent in (BS, *schedule.ues):
        for key in at_once(schedule, agent):
            work = schedule.by_key[key].work
            if isinstance(work, Compute) and not footprint.tears(work.first, work.last):
                found.append((work.rows * footprint.held_bytes(work.first, work.last), agent, work.rows))
    size, agent, rows = max(found, default=(0.0, "", 0))
    if size <= CHUNK_BYTES:
        return None
    return (
        f"batch norm: {agent} computes {rows} samples in one go, which takes {size / 1e9:.2g} GB; "
        "with model.norm: group it does so in chunks"
    )
