"""How many samples each UE should have, for one cut and one k.

With S and E held, a UE's slots are convex in its samples, and so is its price; the best
integer batches under these prices are then the cheapest samples of all UEs together. Batches
and prices are found in turn, with a step that only ever shortens the round; small problems
are polished by moving single samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.instance import Floats, Ints
from controller.planners.capacity import Room
from controller.planners.slots import Slots, Turn, best_slots, eased_slots
from controller.timing import split_batches

TABLE = 2_000_000  # entries of the price table; beyond, samples are dealt in grains of several
ROUNDS = 12
STEPS = (1.0, 0.5, 0.25, 0.1)
TOLERANCE = 2e-4
SMALL = 60_000  # entries (neighbours × eases × UEs × micro-batches) that a local search may look at


@dataclass(frozen=True)
class Found:
    """Batches with their slots, and the ease of ``best_slots`` that suits them."""

    batch: Ints
    slots: Slots
    ease: float

    @property
    def round_s(self) -> float:
        """Length of the round, s."""
        return float(self.slots.round_s)


def improve(turn: Turn, room: Room, k: int, starts: list[Ints], good_s: float) -> Found:
    """The best batches found from these starts; a round of ``good_s`` (s) needs no polish."""
    found = min((_judged(turn, batch, k) for batch in starts), key=lambda f: f.round_s)
    total = int(found.batch.sum())
    for _ in range(ROUNDS):
        if found.round_s <= good_s:
            return found
        before = found.round_s
        for batch in _proposals(turn, room, k, found, total):
            tried = _tried(turn, batch, k, found.ease)
            if tried.round_s < found.round_s * (1 - TOLERANCE):
                found = tried
                break
        if found.round_s >= before * (1 - TOLERANCE):
            break
    found = min(found, _judged(turn, found.batch, k), key=lambda f: f.round_s)
    return found if found.round_s <= good_s else _polished(turn, room, k, found)


def deal(cost: Floats, room_left: Ints, samples: int, grain: int) -> Ints:
    """Samples for each UE: the cheapest ones, where ``cost`` (n, m) is that of its m-th grain (s)."""
    offered = np.arange(cost.shape[1]) * grain < room_left[:, None]
    flat = np.where(offered, cost, np.inf).ravel()
    count = min(samples // grain, int(offered.sum()))
    picked = np.argpartition(flat, count - 1)[:count] if 0 < count < flat.size else np.arange(count)
    dealt = np.minimum(np.bincount(picked // cost.shape[1], minlength=len(cost)) * grain, room_left)
    return np.asarray(dealt + spread(room_left - dealt, samples - int(dealt.sum())), dtype=np.int64)


def spread(room_left: Ints, samples: int) -> Ints:
    """``samples`` dealt in proportion to the room, each UE within its own."""
    if samples <= 0:
        return np.zeros_like(room_left)
    edges = np.cumsum(room_left) * min(1.0, samples / max(1, int(room_left.sum())))
    return np.diff(np.floor(edges + 1e-9), prepend=0.0).astype(np.int64)


def equal_within(room: Room, samples: int) -> Ints:
    """Batches as equal as least and most allow."""
    low, high = 0, int(room.cap.max())
    while low < high:
        middle = (low + high) // 2
        if np.clip(middle, room.low, room.cap).sum() >= samples:
            high = middle
        else:
            low = middle + 1
    batch = np.clip(high - 1, room.low, room.cap)
    return np.asarray(batch + _first(np.minimum(room.cap - batch, 1), samples - int(batch.sum())))


def cheapest(room: Room, cost: Floats, samples: int) -> Ints:
    """Batches that give the UEs of least ``cost`` per sample all they may hold."""
    order = np.argsort(cost, kind="stable")
    batch = room.low.copy()
    batch[order] += _first((room.cap - room.low)[order], samples - int(room.low.sum()))
    return batch


def _first(room_left: Ints, samples: int) -> Ints:
    before = np.cumsum(room_left) - room_left
    return np.asarray(np.clip(samples - before, 0, room_left), dtype=np.int64)


def _tried(turn: Turn, batch: Ints, k: int, ease: float) -> Found:
    return Found(batch, best_slots(turn, split_batches(batch, k), ease), ease)


def _judged(turn: Turn, batch: Ints, k: int) -> Found:
    """With the best ease of the grid; for many UEs the ends of it, one at a time."""
    if batch.size * k * 8 <= 20 * SMALL:
        slots, ease = eased_slots(turn, split_batches(batch, k)[None])
        return Found(batch, slots.best()[0], float(ease[0]))
    return min((_tried(turn, batch, k, ease) for ease in (1.0, 0.3, 0.0)), key=lambda f: f.round_s)


def _proposals(turn: Turn, room: Room, k: int, found: Found, total: int) -> list[Ints]:
    """Better batches under the prices of the last ones, then ever smaller steps towards them."""
    left = room.cap - room.low
    grain = max(1, -(-int(left.max()) * left.size // TABLE))
    held = room.low[:, None] + np.arange(-(-int(left.max()) // grain) + 1) * grain
    if turn.shared:
        costs = [np.diff(_price(turn, found.slots, held.astype(np.float64), k), axis=1)]
    else:
        costs = _own_times(turn, held[:, 1:].astype(np.float64), k)
    costs = [np.maximum.accumulate(np.where(np.isnan(cost), np.inf, cost), axis=1) for cost in costs]
    aims = [room.low + deal(cost, left, total - int(room.low.sum()), grain) for cost in costs]
    return [blend(found.batch, aim, step) for step in (STEPS if turn.shared else (1.0,)) for aim in aims]


def blend(batch: Ints, aim: Ints, step: float) -> Ints:
    """Integer batches a ``step`` of the way from one to the other, with the same sum."""
    exact = batch + step * (aim - batch)
    rounded = np.floor(exact + 1e-9).astype(np.int64)
    missing = int(batch.sum() - rounded.sum())
    rounded[np.argsort(rounded - exact, kind="stable")[:missing]] += 1
    return rounded


def _price(turn: Turn, slots: Slots, held: Floats, k: int) -> Floats:
    """Seconds of round that ``held`` (n, m) samples of each UE cost by the slots they need."""
    per, early, leave = turn.per, slots.early_s, slots.leave_s
    up, down = per.uplink[:, None] * held, per.downlink[:, None] * held
    forward, backward = per.ue_forward[:, None] * held, per.ue_backward[:, None] * held
    need_up, need_down = np.zeros_like(held), np.zeros_like(held)
    for m in {0, int(np.argmin(early)), k - 1}:
        due = float(slots.up_end_s) - float(early[m])
        share = (m + 1) / k
        _raise(need_up, up * share, due - forward / k)
        _raise(need_up, up / k, due - forward * share)
    for m in {0, k - 1}:
        due = float(slots.down_end_s) - float(leave[m])
        share = (k - m) / k
        _raise(need_down, down * share, due - backward / k)
        _raise(need_down, down / k, due - backward * share)
    return float(slots.up_price) * need_up + float(slots.down_price) * need_down


def _raise(most: Floats, need: Floats, gap: Floats) -> None:
    """``most`` becomes at least ``need / gap``; samples that no slot could bring in time cost infinitely much."""
    with np.errstate(divide="ignore", invalid="ignore"):
        np.maximum(most, np.where(gap > 0, need / gap, np.where(need > 0, np.inf, 0.0)), out=most)


def _own_times(turn: Turn, held: Floats, k: int) -> list[Floats]:
    """On dedicated links: the end (s) of each UE's own pipeline, for several ends of the uplink phase."""
    per = turn.per
    f, a, d, g = (x[:, None] * held for x in (per.ue_forward, per.uplink, per.downlink, per.ue_backward))
    sent = np.maximum(f / k + a, f + a / k)
    back = np.maximum(d + g / k, d / k + g)
    if turn.duplex == "fdd":
        slowest = np.max([f, a, d, g], axis=0)
        return [slowest + (f + a + d + g - slowest) / k, np.maximum(sent + (d + g) / k, f + g), sent, back]
    # the longest uplink phase and the longest downlink phase add up, in any ratio
    return [np.maximum(sent, back * ratio) for ratio in np.geomspace(0.05, 20.0, 25)]


def _polished(turn: Turn, room: Room, k: int, found: Found) -> Found:
    """Local search: one, two or four samples from one UE to another, as long as that helps."""
    n = found.batch.size
    pairs = ~np.eye(n, dtype=bool)
    giver, taker = np.nonzero(pairs)
    if giver.size * 3 * len(found.slots.leave_s) * n * 8 > 8 * SMALL:
        return found
    moves = np.concatenate([step * (np.eye(n, dtype=np.int64)[taker] - np.eye(n, dtype=np.int64)[giver]) for step in (1, 2, 4)])
    for _ in range(int(found.batch.sum())):
        near = found.batch + moves
        near = near[((near >= room.low) & (near <= room.cap)).all(axis=1)]
        if not len(near):
            break
        slots, eases = eased_slots(turn, split_many(near, k))
        best, i = slots.best()
        if best.round_s >= found.round_s * (1 - 1e-9):
            break
        found = Found(near[i], best, float(eases[i]))
    return found


def split_many(batches: Ints, k: int) -> Ints:
    """``split_batches`` for batches (m, n)."""
    return split_batches(batches.ravel(), k).reshape(*batches.shape, k)
