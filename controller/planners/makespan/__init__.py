"""The shortest predicted round over cut, k, batches and separate up and down slots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from controller.planners.ao import ao
from controller.planners.capacity import Room, rooms
from controller.planners.makespan.batches import MANY, Found, cheapest, improve, starts
from controller.planners.makespan.slots import Turn
from controller.planners.seam import Answer, Request, check
from controller.planners.uniform import attempted, uniform
from controller.planners.whole import linear, shortest, whole
from controller.predict.bounds import cut_lower_bound_s
from controller.predict.instance import Decision, Floats, Instance
from controller.predict.prediction import round_s
from controller.predict.timing import PerSample, per_sample

SLACK = 0.005
MOST_MICRO_BATCHES = 64
ALL_MICRO_BATCHES = 16  # up to here every k is looked at, beyond the smallest good one is bisected
AT_THE_BOUND = 1.0005
AO_IS_NOT_BELOW = 1.01
"""Nearer to the bound than this, ``ao``, which has one slot for both directions, need not be asked."""
AO_IS_QUICK = 64
LATE = (0.5, 0.625, 0.75)
"""Where UEs with fewer samples than micro-batches may begin, as a share of k."""


def makespan(request: Request) -> Answer:
    """The smallest k within 0.5 % of the shortest round found, never longer than ``uniform``'s or ``ao``'s.

    Under schemes in which UEs take turns the round is a sum that is linear in the batches, and
    exact. InputError when the batch cannot be carried.
    """
    instance = request.instance
    check(request, "makespan", "is for one BS model, and UEs that are on the air together or one by one")
    if request.scheme.group_size(instance.n, instance.n) == 1 < instance.n:
        return _in_turns(request, rooms(request))
    answer = _together(linear(request))
    if instance.snr_up is None:
        return answer
    rivals = (uniform, ao) if "ao" in request.scheme.planners and instance.n <= AO_IS_QUICK else (uniform,)
    return Answer(shortest(request, answer.decision, *rivals), warnings=answer.warnings)


def _together(request: Request) -> Answer:
    instance, cuts = request.instance, rooms(request)
    baseline, most_s = attempted(request, uniform)
    searches: list[_Search] = []
    best_s = float("inf")
    for plain in sorted((_Search(request, room) for room in cuts), key=lambda s: s.bound_s):
        if plain.bound_s < best_s:
            searches.append(_early_or_late(plain))
            best_s = min(best_s, searches[-1].best_s)
    limit_s = min(best_s * (1 + SLACK), most_s)
    quick = "ao" in request.scheme.planners and request.scheme.pipelined
    if quick and limit_s > searches[0].bound_s * AO_IS_NOT_BELOW and instance.n <= AO_IS_QUICK:
        rival, rival_s = attempted(request, ao)
        if rival_s < limit_s:
            baseline, limit_s = rival, rival_s
    found = [(*pick, search) for search in searches if (pick := search.smallest_within(limit_s))]
    if not found and baseline is not None:
        return Answer(baseline, warnings=cuts[0].warnings)
    k, _, search = min(found, key=lambda f: f[:2])
    decision = whole(request, search.decision(k), baseline)
    return Answer(decision, warnings=search.room.warnings)


def _early_or_late(plain: _Search) -> _Search:
    """The same cut with UEs of few samples beginning late, where that shortens a round that is not yet near its bound.

    A sample in micro-batch 1 is waited for at once and needs a large slot, kept all round. In the
    micro-batch that the BS computes as the uplinks end it needs a small one, and its gradient waits for nobody.
    """
    if plain.quick_s <= plain.bound_s * (1 + SLACK) or plain.ks[-1] == 1:
        return plain
    best = min((_Search(plain.request, plain.room, late) for late in LATE), key=lambda search: search.quick_s)
    return best if best.quick_s < plain.quick_s / (1 + SLACK / 2) else plain


@dataclass
class _Search:
    """The rounds of one cut, by k, each worked out once; UEs of few samples begin at a share ``late`` of k."""

    request: Request
    room: Room
    late: float = 0.0
    found: dict[int, Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        instance, cut = self.request.instance, self.room.cut
        self.turn = Turn(_whole_frame(instance, cut), instance.shared_air, instance.duplex)
        self.bound_s = cut_lower_bound_s(instance, cut)

    @cached_property
    def best_s(self) -> float:
        """The shortest round: of every k when there are few, else of the largest ones."""
        ks = self.ks
        if self.late:
            return self.quick_s
        if len(ks) <= ALL_MICRO_BATCHES:
            return min(self._at(k) for k in ks)
        ladder = sorted({ks[-1] >> halvings for halvings in range(ks[-1].bit_length())})
        for k in reversed(ladder):
            if self._at(k) <= self.bound_s * AT_THE_BOUND:
                break
        for _ in range(2):  # the round need not fall with k: small batches do not divide evenly
            tried = sorted(self.found)
            best = tried.index(min(tried, key=self._at))
            for other in {max(0, best - 1), min(len(tried) - 1, best + 1)}:
                self._at((tried[best] + tried[other]) // 2)
        return min(f.round_s for f in self.found.values())

    def smallest_within(self, limit_s: float) -> tuple[int, float] | None:
        """The smallest k whose round is within the limit, and that round (s)."""
        if self.bound_s > limit_s or self.best_s > limit_s:
            return None
        good = [k for k, f in self.found.items() if f.round_s <= limit_s]
        high = min(good)
        low = max((k for k in self.found if k < high), default=0) + 1
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) <= limit_s:
                high = middle
            else:
                low = middle + 1
        return high, self._at(high)

    def decision(self, k: int) -> Decision:
        """The decision behind the round of this k."""
        found, frame_s = self.found[k], self.request.instance.frame_s
        if not self.turn.shared:  # every share is 1, and only says that slots do not matter
            frame_s /= self.request.instance.n
        up, down = found.slots.up * frame_s, found.slots.down * frame_s
        return Decision(self.room.cut, k, found.batch, up, down, first_micro_batch=self._turn(k).first)

    @property
    def quick_s(self) -> float:
        """The shortest round when there are few k to look at, else that of the largest."""
        return min(self._at(k) for k in (self.ks if len(self.ks) <= ALL_MICRO_BATCHES else self.ks[-1:]))

    def _turn(self, k: int) -> Turn:
        return replace(self.turn, first=round(self.late * (k - 1)))

    @cached_property
    def ks(self) -> list[int]:
        """The numbers of micro-batches to consider, rising."""
        if self.request.micro_batches is not None:
            return [self.request.micro_batches]
        if not self.request.scheme.pipelined:
            return [1]
        return list(range(1, min(int(self.room.cap.max()), MOST_MICRO_BATCHES) + 1))

    def _at(self, k: int) -> float:
        """The round (s) with k micro-batches; the nearest k worked out before is a start."""
        if k not in self.found:
            air_s, samples = _own_s(self.turn.per), self.request.instance.batch
            begin = [self.found[near].batch for near in sorted(self.found, key=lambda other: abs(other - k))[:2]]
            if self.late:
                begin.append(cheapest(self.room, air_s, samples))
            elif not begin or self.request.instance.n * k <= MANY:
                begin += starts(self.room, air_s, k, samples)
            self.found[k] = improve(self._turn(k), self.room, k, begin, self.bound_s * AT_THE_BOUND)
            if not self.request.scheme.recursion:  # what was searched with is not what will happen
                length_s = round_s(self.request.instance, self.request.scheme, self.decision(k))
                slots = replace(self.found[k].slots, round_s=np.asarray(length_s))
                self.found[k] = replace(self.found[k], slots=slots)
        return self.found[k].round_s


def _in_turns(request: Request, cuts: list[Room]) -> Answer:
    """Turns one after another: the UEs that are quickest per sample hold all they may, with the whole frame each.

    With ``min_batch: 0`` a UE without samples has no turn and hands nothing on, which is not counted here.
    """
    instance, k = request.instance, request.micro_batches or 1
    slots = np.full(instance.n, instance.frame_s)
    decisions = {}
    for room in cuts:
        per = _whole_frame(instance, room.cut)
        batch = cheapest(room, _own_s(per) + per.ue_forward + per.ue_backward, instance.batch)
        decisions[room.cut] = Decision(room.cut, k, batch, slots, slots, steps=request.steps)
    lengths = {cut: round_s(instance, request.scheme, decision) for cut, decision in decisions.items()}
    best = min(cuts, key=lambda room: lengths[room.cut])
    return Answer(decisions[best.cut], warnings=best.warnings)


def _own_s(per: PerSample) -> Floats:
    """Air time per sample (s)."""
    return per.uplink + per.downlink


def _whole_frame(instance: Instance, cut: int) -> PerSample:
    return per_sample(instance, cut, instance.rate_up, instance.rate_down)
