"""How many samples each UE should have, for one cut and one k.

With S and E held, a UE's slots are convex in its samples, and so is its price; the best
integer batches under these prices are then the cheapest samples of all UEs together. Batches
and prices are found in turn, with a step that only ever shortens the round; small problems
are polished by moving single samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from controller.planners.capacity import Room, even_batches
from controller.planners.makespan.slots import EASES, Slots, Turn, best_slots, eased_slots
from controller.predict.instance import Floats, Ints

TABLE = 2_000_000  # entries of the price table; beyond, samples are dealt in grains of several
ROUNDS = 12
STEPS = (1.0, 0.5, 0.25, 0.1)
TOLERANCE = 2e-4
CYCLES = 2
MANY = 2_000  # UEs × micro-batches beyond which candidates are tried one at a time, to save memory
SMALL = 60_000  # entries (neighbours × eases × UEs × micro-batches) that a step of local search may look at
SMALL_BATCH = 200  # samples: in larger batches a single one hardly matters


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
    found = _first_of(turn, starts, k)
    for _ in range(CYCLES):
        before = found.round_s
        found = _descended(turn, room, k, found, good_s)
        found = min(found, _judged(turn, found.batch, k, found.ease), key=lambda f: f.round_s)
        if found.round_s <= max(good_s, before * (1 - TOLERANCE)):
            break
    return found if found.round_s <= good_s else _polished(turn, room, k, found)


def _descended(turn: Turn, room: Room, k: int, found: Found, good_s: float) -> Found:
    """Batches and prices in turn, until a step no longer shortens the round."""
    for _ in range(ROUNDS):
        before = found
        for batch in _proposals(turn, room, k, found):
            if found.round_s > good_s and not np.array_equal(batch, found.batch):
                tried = _tried(turn, batch, k, found.ease)
                if tried.round_s < found.round_s * (1 - TOLERANCE):
                    found = tried
                    break
        if found is before:
            break
    return found


def starts(room: Room, air_s: Floats, k: int, samples: int) -> list[Ints]:
    """Where to begin: equal batches, and those of least air time with some fraction of k for everybody.

    A UE with fewer samples than k sends them in the first micro-batches, for which the BS
    waits; with k samples or more it keeps pace with the others, but takes more air time.
    """
    found = [even_batches(room.low, room.cap, samples)]
    for least in sorted({0, k // 4, k // 2, k - 1, k, 2 * k}):
        low = np.clip(least, room.low, room.cap)
        if low.sum() <= samples:
            found.append(cheapest(replace(room, low=low), air_s, samples))
    return found


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
    return np.asarray(np.diff(np.floor(edges + 1e-9), prepend=0.0), dtype=np.int64)


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
    return Found(batch, best_slots(turn, turn.split(batch, k), ease), ease)


def _first_of(turn: Turn, batches: list[Ints], k: int) -> Found:
    """The best of these batches, each with its best ease; for many UEs the first ease fits all."""
    if batches[0].size * k > MANY:
        return min((_tried(turn, batch, k, ease) for batch in batches for ease in (1.0, 0.3)), key=lambda f: f.round_s)
    slots, eases = eased_slots(turn, turn.split(np.array(batches), k))
    best, i = slots.best()
    return Found(batches[i], best, float(eases[i]))


def _judged(turn: Turn, batch: Ints, k: int, ease: float) -> Found:
    """With the best ease near the one given."""
    near = np.unique(np.clip(ease + np.array([-0.16, -0.08, -0.04, 0.04, 0.08, 0.16]), 0.0, 1.0))
    if batch.size * k > MANY:
        return min((_tried(turn, batch, k, float(e)) for e in near[::2]), key=lambda f: f.round_s)
    best, i = best_slots(turn, turn.split(batch, k), near).best()
    return Found(batch, best, float(near[i]))


def _proposals(turn: Turn, room: Room, k: int, found: Found) -> Iterator[Ints]:
    """Better batches under the prices of the last ones, then ever smaller steps towards them."""
    left = room.cap - room.low
    samples = int(found.batch.sum() - room.low.sum())
    grain = max(1, -(-int(left.max()) * left.size // TABLE))
    held = room.low[:, None] + np.arange(-(-int(left.max()) // grain) + 1) * grain
    if turn.shared:
        with np.errstate(invalid="ignore"):
            costs = [np.diff(_price(turn, found.slots, held.astype(np.float64), k), axis=1)]
    else:
        costs = _own_times(turn, held[:, 1:].astype(np.float64), k)
    aims = []
    for cost in costs:
        rising = np.maximum.accumulate(np.where(np.isnan(cost), np.inf, cost), axis=1)
        aims.append(room.low + deal(rising, left, samples, grain))
    for step in STEPS if turn.shared else (1.0,):
        yield from (blend(found.batch, aim, step) for aim in aims)


def blend(batch: Ints, aim: Ints, step: float) -> Ints:
    """Integer batches a ``step`` of the way from one to the other, with the same sum."""
    exact = batch + step * (aim - batch)
    rounded = np.floor(exact + 1e-9).astype(np.int64)
    missing = int(batch.sum() - rounded.sum())
    rounded[np.argsort(rounded - exact, kind="stable")[:missing]] += 1
    return rounded


def _price(turn: Turn, slots: Slots, held: Floats, k: int) -> Floats:
    """Seconds of round that ``held`` (n, m) samples of each UE cost by the slots they need.

    Micro-batches are taken as equal, but never smaller than a sample: a UE with fewer samples
    than k sends them one by one from micro-batch ``turn.first`` on.
    """
    per, early, leave = turn.per, slots.early_s, slots.leave_s
    up, down, forward, backward = (x[:, None] for x in (per.uplink, per.downlink, per.ue_forward, per.ue_backward))
    size, few, fixed = np.maximum(held / k, np.minimum(held, 1.0)), held < k, per.ue_pass[:, None]
    need_up, need_down = np.zeros_like(held), np.zeros_like(held)
    for m in {0, k // 8, k // 4, k // 2, int(np.argmin(early)), turn.first, k - 1}:
        due = float(slots.up_end_s) - float(early[m])
        done = np.where(few, np.clip(m + 1 - turn.first, 0, held), np.minimum(size * (m + 1), held))
        sent = np.where(few, done, m + 1)
        _raise(need_up, up * done, due - forward * size - fixed)
        _raise(need_up, up * size, due - forward * done - fixed * sent)
    for m in {0, turn.first, k // 2, k - 1}:
        due = float(slots.down_end_s) - float(leave[m])
        left = np.where(few, held - np.clip(m - turn.first, 0, held), np.maximum(held - size * m, 0.0))
        passes = np.where(few, left, k - m)
        _raise(need_down, down * left, due - backward * size - fixed)
        _raise(need_down, down * np.minimum(size, left), due - backward * left - fixed * passes)
    return float(slots.up_price) * need_up + float(slots.down_price) * need_down


def _raise(most: Floats, need: Floats, gap: Floats) -> None:
    """``most`` becomes at least ``need / gap``; samples that no slot could bring in time cost infinitely much."""
    with np.errstate(divide="ignore", invalid="ignore"):
        np.maximum(most, np.where(gap > 0, need / gap, np.where(need > 0, np.inf, 0.0)), out=most)


def _own_times(turn: Turn, held: Floats, k: int) -> list[Floats]:
    """On dedicated links: the end (s) of each UE's own pipeline, for several ends of the uplink phase."""
    per = turn.per
    f, a, d, g = (x[:, None] * held for x in (per.ue_forward, per.uplink, per.downlink, per.ue_backward))
    passes_s = per.ue_pass[:, None] * np.minimum(held, k)
    f, g = f + passes_s, g + passes_s
    sent = np.maximum(f / k + a, f + a / k)
    back = np.maximum(d + g / k, d / k + g)
    if turn.duplex == "fdd":
        slowest = np.max([f, a, d, g], axis=0)
        return [slowest + (f + a + d + g - slowest) / k, np.maximum(sent + (d + g) / k, f + g), sent, back]
    # the longest uplink phase and the longest downlink phase add up, in any ratio
    return [np.maximum(sent, back * ratio) for ratio in np.geomspace(0.05, 20.0, 25)]


def _polished(turn: Turn, room: Room, k: int, found: Found) -> Found:
    """Local search: one, two or four samples from one UE to another, as long as that helps."""
    n, total = found.batch.size, int(found.batch.sum())
    if total > SMALL_BATCH or 3 * n * (n - 1) * len(EASES) * n * k > SMALL:
        return found
    giver, taker = np.nonzero(~np.eye(n, dtype=bool))
    one = np.eye(n, dtype=np.int64)
    moves = np.concatenate([step * (one[taker] - one[giver]) for step in (1, 2, 4)])
    for _ in range(total):
        near = found.batch + moves
        near = near[((near >= room.low) & (near <= room.cap)).all(axis=1)]
        if not len(near):
            break
        slots, eases = eased_slots(turn, turn.split(near, k))
        best, i = slots.best()
        if best.round_s >= found.round_s * (1 - 1e-9):
            break
        found = Found(near[i], best, float(eases[i]))
    return found
