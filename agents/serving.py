"""In which groups, and in which order, the BS computes what the UEs send: one function per kind of BS model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.halves import BsHalf
from agents.plan import Job
from agents.scheme import Phase, order_of
from agents.wire.air import Arrival


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


class Station(Protocol):
    """What serving needs of the BS."""

    job: Job
    sizes: dict[str, tuple[int, ...]]

    @property
    def half(self) -> BsHalf:
        """The one half."""

    def half_of(self, ue: str) -> BsHalf:
        """The half that trains with this UE."""

    def gather(self, step: int, m: int, members: Sequence[str]) -> list[Arrival]:
        """The m-th micro-batches of these UEs, once all are here."""

    def receive_uplink(self) -> Arrival:
        """The next micro-batch to arrive."""


def joint(bs: Station, phase: Phase, number: int) -> Iterator[Served]:
    """The m-th micro-batches of all members together; one optimiser step per batch."""
    samples = sum(sum(bs.sizes[ue]) for ue in phase.members)
    columns = [m for m in range(bs.job.plan.micro_batches) if any(bs.sizes[ue][m] for ue in phase.members)]
    for step in range(phase.steps):
        for m in columns:
            arrivals = bs.gather(step, m, [ue for ue in phase.members if bs.sizes[ue][m]])
            yield Served(bs.half, arrivals, samples, step, m, last=m == columns[-1])


def replicas(bs: Station, phase: Phase, number: int) -> Iterator[Served]:
    """Each micro-batch as it arrives, through its UE's own replica."""
    filled = {ue: [m for m, size in enumerate(bs.sizes[ue]) if size] for ue in phase.members}
    for _ in range(phase.steps * sum(map(len, filled.values()))):
        arrival = bs.receive_uplink()
        ue, step, m = arrival.peer, arrival.header["step"], arrival.header["micro_batch"]
        yield Served(bs.half_of(ue), [arrival], sum(bs.sizes[ue]), step, m, last=m == filled[ue][-1])


def in_order(bs: Station, phase: Phase, number: int) -> Iterator[Served]:
    """One UE's batch after another through the one model, a step after each, in this round's order."""
    for step in range(phase.steps):
        for ue in order_of(phase.members, bs.job.seed, number, step):
            filled = [m for m, size in enumerate(bs.sizes[ue]) if size]
            for m in filled:
                arrivals = bs.gather(step, m, [ue])
                yield Served(bs.half, arrivals, sum(bs.sizes[ue]), step, m, last=m == filled[-1])


def none(bs: Station, phase: Phase, number: int) -> Iterator[Served]:
    """Nothing: the UEs train alone."""
    return iter(())


def own(bs: Station, phase: Phase, number: int) -> Iterator[Served]:
    """Batches of the BS's own data."""
    for step in range(phase.steps):
        yield Served(bs.half, [], bs.job.plan.bs_batch, step, 0, last=True)


SERVING: dict[str, Callable[[Station, Phase, int], Iterator[Served]]] = {
    "joint": joint,
    "replicas": replicas,
    "in_order": in_order,
    "none": none,
    "own": own,
}
