"""PiPar's parameter selection (PiPar paper, section III-C): a cut and a number of mini-batches for each UE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from controller.planners.capacity import even_batches, rooms
from controller.planners.pipar.recursion import epoch_s, parallel_batches, profile
from controller.planners.seam import Answer, Request, check
from controller.planners.uniform import equal_slots
from controller.predict.instance import Decision, Ints

SLACK = 0.005
MOST_PARALLEL = 100


@dataclass(frozen=True)
class Choice:
    """A UE's cut, its mini-batches per iteration, and how long its epoch is (s)."""

    cut: int
    parallel: int
    epoch_s: float


def pipar(request: Request) -> Answer:
    """For each UE the cut and N whose epoch is shortest by the paper's recursion; equal batches.

    N is searched, or what eq. 14 says where ``n_rule`` asks for that; it is 1 under a scheme that does not pipeline.
    InputError for schemes in which UEs do not have their own BS model, and where C2 cannot hold.
    """
    check(request, "pipar", "gives each UE its own cut and mini-batches, with a BS replica for each")
    batch = batches(request)
    chosen = [RULES[request.n_rule](request, ue, batch) for ue in range(request.instance.n)]
    warnings = tuple(
        f"{request.instance.ues[i]} is left out: C2 lets it hold fewer samples than its min_batch at any cut"
        for i in np.flatnonzero(batch == 0)
    )
    return Answer(_decision(request, batch, chosen), warnings=warnings)


def _decision(request: Request, batch: Ints, chosen: list[Choice]) -> Decision:
    cuts = np.array([choice.cut for choice in chosen], dtype=np.int64)
    parallel = np.array([choice.parallel for choice in chosen], dtype=np.int64)
    slots = equal_slots(request)
    common = int(np.bincount(cuts).argmax())
    return Decision(
        common, int(parallel.max()), batch, slots, slots, ue_cut=cuts, ue_micro_batches=parallel, steps=request.steps
    )


def batches(request: Request) -> Ints:
    """Equal batches (n,) within what each UE can hold at one cut or another (C2)."""
    instance = request.instance
    cap = np.max([instance.batch_cap(cut) for cut in request.cuts], axis=0)
    out = cap < instance.min_batch
    low, cap = np.where(out, 0, instance.min_batch), np.where(out, 0, cap)
    if cap.sum() < instance.batch or low.sum() > instance.batch:
        rooms(request)  # says what is missing, as no single cut can do what all together cannot
    return even_batches(low, cap, instance.batch)


def most_parallel(batch: int) -> int:
    """The most mini-batches of so many samples: two samples in each, and no more than 100 (the authors' code)."""
    return max(1, min(batch // 2, MOST_PARALLEL))


def by_eq_14(request: Request, ue: int, batch: Ints) -> Choice:
    """The paper's choice for one UE: N by eq. 14 at every cut, then the cut with the shortest epoch."""
    instance, replicas, found = request.instance, int((batch > 0).sum()), []
    for cut in _cuts(request, ue, batch):
        first = parallel_batches(profile(instance, ue, cut, replicas), most_parallel(int(batch[ue])))
        found += _choices(request, ue, batch, cut, [first])
    return min(found, key=_s)


def selected(request: Request, ue: int, batch: Ints) -> Choice:
    """The fewest mini-batches within 0.5 % of the shortest epoch of a UE, over all cuts and N.

    Eq. 14 fills the UE's own idle time while one mini-batch is away. Where the network or the server is the
    bottleneck, more mini-batches shorten what surrounds it, until the fixed cost of their passes outweighs that.
    """
    found = _every(request, ue, batch)
    best_s = min(found, key=_s).epoch_s
    return min((c for c in found if c.epoch_s <= best_s * (1 + SLACK)), key=lambda c: (c.parallel, c.epoch_s))


RULES: Mapping[str, Callable[[Request, int, Ints], Choice]] = {"search": selected, "eq14": by_eq_14}
"""How a UE's cut and N are chosen, by the topology's ``n_rule``."""


def exhaustive(request: Request, ue: int, batch: Ints) -> Choice:
    """The best of all cuts and all N: what the paper's choice is held against."""
    return min(_every(request, ue, batch), key=_s)


def _every(request: Request, ue: int, batch: Ints) -> list[Choice]:
    numbers = list(range(1, most_parallel(int(batch[ue])) + 1))
    return [choice for cut in _cuts(request, ue, batch) for choice in _choices(request, ue, batch, cut, numbers)]


def score(request: Request, choose: Callable[[Request, int, Ints], Choice] = selected) -> float:
    """Eq. 28: the shortest epoch over the chosen one's, between 0 and 1; an epoch ends with its slowest UE."""
    batch = batches(request)
    ues = np.flatnonzero(batch)
    best = max(exhaustive(request, int(ue), batch).epoch_s for ue in ues)
    return best / max(choose(request, int(ue), batch).epoch_s for ue in ues)


def _s(choice: Choice) -> float:
    return choice.epoch_s


def _cuts(request: Request, ue: int, batch: Ints) -> list[int]:
    """The cuts at which the UE can hold its batch."""
    instance = request.instance
    return [cut for cut in request.cuts if instance.batch_cap(cut)[ue] >= batch[ue]]


def _choices(request: Request, ue: int, batch: Ints, cut: int, numbers: list[int]) -> list[Choice]:
    """The epochs of a UE at one cut for each N, or for the N that is fixed or that the scheme allows."""
    instance, own = request.instance, int(batch[ue])
    stages = profile(instance, ue, cut, int((batch > 0).sum()))
    if not request.scheme.pipelined:
        numbers = [1]
    elif request.micro_batches is not None:
        numbers = [request.micro_batches]
    return [Choice(cut, n, epoch_s(stages, own, n, request.steps, instance.duplex)) for n in numbers]
