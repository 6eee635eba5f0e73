"""A plan → what each of its agents takes of the host's memory at the most, and whether the host has that much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.schedule.footprint import Footprint
from agents.schedule.memory import RUNTIME_BYTES, Keeps, container_bytes
from agents.schedule.task import BS
from controller.planners.planning import Planned
from controller.trial.shards import Dealing
from testbed import data
from testbed.errors import InputError
from testbed.topology import Topology

GPU_RUNTIME_BYTES = 4e9
"""What a process takes of the host's memory besides when it uses a GPU."""
MARGIN, REPLANNED = 1.05, 1.3
"""A container's limit is this times the predicted peak: more where plans will be made that nobody knows yet."""
RESERVE_BYTES = 2e9
"""What is left to the host itself, the engine, and the controller."""


NOBODY: Mapping[str, float] = {}
Dealings = Mapping[str, Dealing]
"""By the labels of plans."""


def peaks(
    topology: Topology,
    planned: Sequence[Planned],
    dealings: Dealings | None = None,
    bs_threads: int = 1,
    weights_only: bool = False,
) -> dict[str, float]:
    """The most bytes that each agent takes under any of these plans, or would take if samples took none.

    Where samples have not been dealt yet, they are taken to be dealt evenly, or as a partition says. The BS computes
    on so many threads.
    """
    found = dict.fromkeys((BS, *(ue.name for ue in topology.ues)), RUNTIME_BYTES)
    for one in planned:
        footprint = one.problem.workload.footprint
        samples = dealings[one.label].samples if dealings else dealt_about(topology, one)
        footprint = footprint.without_samples() if weights_only else footprint
        each = agent_peaks(topology, one, footprint, samples, bs_threads)
        found.update({agent: max(found[agent], size) for agent, size in each.items()})
    return found


def agent_peaks(
    topology: Topology, planned: Planned, footprint: Footprint, samples: Mapping[str, int], bs_threads: int
) -> dict[str, float]:
    """The most bytes that each agent takes under a plan, with so many ``samples`` at each UE.

    UEs with the same work and data take the same.
    """
    plan, schedule, info = planned.plan, planned.schedule(1), data.info(topology.data)
    momentum = planned.sgd.get("momentum", topology.training.momentum) > 0
    held = info.test + (info.train if plan.bs_batch else 0)
    found = {BS: container_bytes(schedule, BS, footprint, Keeps(held, momentum, whole=True, threads=bs_threads))}
    known: dict[tuple[object, ...], float] = {}
    for ue, part in plan.ues.items():
        like = (plan.sizes(ue) if part.batch else (), plan.cut_of(ue), samples[ue])
        if like not in known:
            known[like] = container_bytes(schedule, ue, footprint, Keeps(samples[ue], momentum))
        found[ue] = known[like]
    return found


def dealt_about(topology: Topology, planned: Planned) -> dict[str, int]:
    """How many samples each UE will hold: as many as the others, or in proportion to batches where these decide."""
    names = [ue.name for ue in topology.ues]
    total = data.dealt_samples(topology.data, names, topology.seed)
    by_batch = data.depends_on_plan(topology.data)
    weights = {name: max(1, planned.plan.ues[name].batch) if by_batch else 1 for name in names}
    return {name: math.ceil(total * weight / sum(weights.values())) for name, weight in weights.items()}


@dataclass(frozen=True)
class Memory:
    """The predicted peak of an agent, the limit of its container, and which keys lower the one or raise the other."""

    peak_bytes: float
    limit_bytes: int
    keys: str


def limits(
    topology: Topology,
    planned: Sequence[Planned],
    host_bytes: float,
    dealings: Dealings | None = None,
    bs_threads: int = 1,
    gpu: bool = False,
    others: Mapping[str, float] = NOBODY,
) -> dict[str, Memory]:
    """The memory of each agent. InputError when an agent's own ``memory_mb``, or the host, has less than they need.

    ``others``: what other trials have of the host's, by their names.
    """
    found = peaks(topology, planned, dealings, bs_threads)
    fixed = sum(peaks(topology, planned, dealings, bs_threads, weights_only=True).values()) + GPU_RUNTIME_BYTES * gpu
    found[BS] += GPU_RUNTIME_BYTES * gpu
    own = {BS: ("base_station.memory_mb", topology.base_station.memory_mb)}
    own.update({ue.name: (f"ues.{i}.memory_mb", ue.memory_mb) for i, ue in enumerate(topology.ues)})
    margin = MARGIN if topology.replan is None else REPLANNED
    memory = {agent: _memory(agent, size, margin, *own[agent]) for agent, size in found.items()}
    have = host_bytes - RESERVE_BYTES - sum(others.values())
    if needed_bytes(memory) > have:
        share = (have / MARGIN - fixed) / (sum(found.values()) - fixed)
        raise _too_large(topology, found, host_bytes, others, share)
    return memory


def needed_bytes(memory: Mapping[str, Memory]) -> float:
    """What the host must have for all agents."""
    return MARGIN * sum(one.peak_bytes for one in memory.values())


def _memory(agent: str, peak_bytes: float, margin: float, path: str, memory_mb: float | None) -> Memory:
    """What an agent gets: all that its topology gives it, or its peak and a little more."""
    lower = "lower training.batch, or use fewer ues" if agent == BS else "lower training.batch, or cut earlier"
    if memory_mb is None:
        return Memory(peak_bytes, int(peak_bytes * margin), lower)
    if peak_bytes > memory_mb * 1e6:
        message = f"{memory_mb:g} MB, but the container of {agent} takes {_mb(peak_bytes)} on a host"
        message += f", {_mb(RUNTIME_BYTES)} of them before it has a model"
        raise InputError(path, message, "raise it, or lower training.batch")
    return Memory(peak_bytes, int(memory_mb * 1e6), f"raise {path}, or lower training.batch")


def _too_large(
    topology: Topology, found: Mapping[str, float], host_bytes: float, others: Mapping[str, float], share: float
) -> InputError:
    """Who needs how much, and what helps; only so large a ``share`` of what samples take fits."""
    ues = [size for name, size in found.items() if name != BS]
    message = (
        f"the containers need {_gb(MARGIN * sum(found.values()))} of memory (bs {_gb(found[BS])}, {len(ues)} UEs up to "
        f"{_gb(max(ues))} each), and this host has {_gb(host_bytes)}, of which {_gb(RESERVE_BYTES)} are its own"
    )
    message += "".join(f" and {_gb(size)} those of {name}" for name, size in others.items())
    down = f"testbed down {next(iter(others))}, or " if others else ""
    batch = int(share * topology.training.batch)
    if batch < len(ues):
        return InputError("ues", message, f"{down}use fewer ues, or a smaller model than {topology.model.name}")
    other = "model.norm: group, which is computed in chunks" if topology.model.norm == "batch" else "fewer ues"
    return InputError("training.batch", message, f"{down}use a batch of about {batch}, or {other}")


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
