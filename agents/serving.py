"""In which groups, and in which order, the BS computes what the UEs send: one function per kind of BS model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.halves import BsHalf
from agents.scheme import Phase, order_of
from agents.wire.air import Arrival

if TYPE_CHECKING:
    from agents.bs import Bs


@dataclass(frozen=True)
class Served:
    """Micro-batches that go through the BS together.

    ``samples`` normalises the loss: all that the optimiser step will see. ``last``: the step follows.
    """

    half: BsHalf
    arrivals: Sequence[Arrival]
    samples: int
    step: int
    micro_batch: int
    last: bool


def joint(bs: Bs, phase: Phase, number: int) -> Iterator[Served]:
    """The m-th micro-batches of all members together; one optimiser step per batch."""
    samples = sum(sum(bs.sizes[ue]) for ue in phase.members)
    columns = [m for m in range(bs.job.plan.micro_batches) if any(bs.sizes[ue][m] for ue in phase.members)]
    for step in range(phase.steps):
        for m in columns:
            arrivals = bs.gather(step, m, [ue for ue in phase.members if bs.sizes[ue][m]])
            yield Served(bs.half, arrivals, samples, step, m, last=m == columns[-1])


def replicas(bs: Bs, phase: Phase, number: int) -> Iterator[Served]:
    """Each micro-batch as it arrives, through its UE's own replica."""
    filled = {ue: [m for m, size in enumerate(bs.sizes[ue]) if size] for ue in phase.members}
    for _ in range(phase.steps * sum(map(len, filled.values()))):
        arrival = bs.receive_uplink()
        ue, step, m = arrival.peer, arrival.header["step"], arrival.header["micro_batch"]
        yield Served(bs.half_of(ue), [arrival], sum(bs.sizes[ue]), step, m, last=m == filled[ue][-1])


def in_order(bs: Bs, phase: Phase, number: int) -> Iterator[Served]:
    """One UE's batch after another through the one model, a step after each, in this round's order."""
    for step in range(phase.steps):
        for ue in order_of(phase.members, bs.job.seed, number, step):
            filled = [m for m, size in enumerate(bs.sizes[ue]) if size]
            for m in filled:
                arrivals = bs.gather(step, m, [ue])
                yield Served(bs.half, arrivals, sum(bs.sizes[ue]), step, m, last=m == filled[-1])


def none(bs: Bs, phase: Phase, number: int) -> Iterator[Served]:
    """Nothing: the UEs train alone."""
    return iter(())


def own(bs: Bs, phase: Phase, number: int) -> Iterator[Served]:
    """Batches of the BS's own data."""
    for step in range(phase.steps):
        yield Served(bs.half, [], bs.job.plan.bs_batch, step, 0, last=True)


SERVING: dict[str, Callable[[Bs, Phase, int], Iterator[Served]]] = {
    "joint": joint,
    "replicas": replicas,
    "in_order": in_order,
    "none": none,
    "own": own,
}
