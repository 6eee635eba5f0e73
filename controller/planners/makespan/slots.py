"""The best slots for given batches, when all UEs compute in one turn.

A UE's slot must be just large enough for its micro-batches to reach the BS by their deadlines.
All deadlines hang on one number, the end S of the last uplink, so the shortest uplink phase
is the S at which the slots just fill the frame; the downlinks likewise, with the end E of the
round. Both are roots of a concave increasing function, which Newton reaches from below.
Arrays may have leading axes: many batches are solved at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from controller.predict.instance import Floats, Ints
from controller.predict.recursion import gradients_leave, passes, passes_left, turn_s
from controller.predict.timing import PerSample, split_batches

EASES = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)
NEWTON_STEPS = 25
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Turn:
    """One cut: seconds per sample with the whole frame to oneself, whether the air is shared, the duplex.

    ``first``: the micro-batch at which UEs with fewer samples than micro-batches begin.
    """

    per: PerSample
    shared: bool
    duplex: str
    first: int = 0

    def split(self, batch: Ints, micro_batches: int) -> Ints:
        """(..., n, k) samples per micro-batch of batches (..., n)."""
        return split_batches(batch, micro_batches, self.first)

    def pace_s(self, samples: Ints) -> Floats:
        """Seconds per sample at which gradients should come: the BS's, or with ``fdd`` the downlink's if slower."""
        bs = np.asarray(self.per.bs_forward + self.per.bs_backward)
        if self.duplex == "tdd":
            return bs
        batch = samples.sum(axis=-1)
        down = (batch * self.per.downlink).sum(axis=-1) / np.maximum(batch.sum(axis=-1), 1)
        return np.asarray(np.maximum(bs, down))


@dataclass(frozen=True)
class Slots:
    """Shares of the frame (..., n), the round (s) they give (...), and what pricing a sample needs.

    ``early_s`` (..., k) is how long before ``up_end_s`` each micro-batch must arrive, ``leave_s`` when its
    gradient can leave the BS; a ``price`` is the seconds of round that one more frame of slots would save.
    """

    up: Floats
    down: Floats
    round_s: Floats
    up_end_s: Floats
    early_s: Floats
    leave_s: Floats
    down_end_s: Floats
    up_price: Floats
    down_price: Floats

    def best(self) -> tuple[Slots, int]:
        """The shortest along the first axis, and its index there."""
        i = int(np.argmin(self.round_s))
        return Slots(**{key: np.asarray(value)[i] for key, value in vars(self).items()}), i


def best_slots(turn: Turn, samples: Ints, ease: float | Floats = 1.0) -> Slots:
    """Slots for micro-batches of ``samples`` (..., n, k).

    ``ease`` in 0…1 trades the two ends of the uplink phase: at 1 only its last arrival counts,
    at 0 micro-batches must arrive early enough to keep the BS busy up to the end.
    """
    per, duplex = turn.per, turn.duplex
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    early = _early_s(turn, samples, done, np.asarray(ease))
    up_need, up_pole = _up_terms(per, samples, done, early)
    up_end, up, up_price = _level(up_need, up_pole, np.zeros(()), turn.shared)
    per = replace(per, uplink=_over(per.uplink, up))
    leave = gradients_leave(per, samples, duplex)
    need, pole = _down_terms(per, samples, done, leave)
    own_s = (per.ue_forward + per.ue_backward) * done[..., -1] + 2 * per.ue_pass * passes(samples)[..., -1]
    floor = own_s.max(axis=-1)
    down_end, down, down_price = _level(need, pole, np.maximum(floor, leave.max(axis=-1)), turn.shared)
    length = turn_s(replace(per, downlink=_over(per.downlink, down)), samples, leave)
    return Slots(up, down, length, up_end, early, leave, down_end, up_price, down_price)


def eased_slots(turn: Turn, samples: Ints) -> tuple[Slots, Floats]:
    """``best_slots`` for samples (m, n, k) at the best of a grid of eases, and that ease, each (m,)."""
    eases = np.array(EASES)
    if samples.shape[-1] == 1:
        eases = eases[:1]
    tried = best_slots(turn, samples[:, None], eases)
    pick = np.argmin(tried.round_s, axis=1)
    rows = np.arange(len(samples))
    return Slots(**{key: np.asarray(value)[rows, pick] for key, value in vars(tried).items()}), eases[pick]


def _early_s(turn: Turn, samples: Ints, done: Floats, ease: Floats) -> Floats:
    pace = turn.pace_s(samples)[..., None]
    together, total = samples.sum(axis=-2), done.sum(axis=-2)
    fixed = 2 * turn.per.bs_pass
    left = pace * (total[..., -1:] - total + together) + fixed * passes_left(together)
    last = pace * np.where(together > 0, together, _NEVER).min(axis=-1, keepdims=True) + fixed
    slack = last + ease[..., None] * (left[..., :1] - last)
    return np.asarray(np.maximum(left - slack, 0.0))


def _up_terms(per: PerSample, samples: Ints, done: Floats, early: Floats) -> tuple[Floats, Floats]:
    """A UE sends from its first forward on, or from the micro-batch's own: ``need / (S - pole)`` of the frame."""
    up, forward, fixed = per.uplink[:, None], per.ue_forward[:, None], per.ue_pass[:, None]
    early = np.broadcast_to(early[..., None, :], np.broadcast_shapes(early[..., None, :].shape, done.shape))
    columns = _columns(samples, early == 0.0)
    since = _take(done, columns), _take(early, columns) + forward * samples.max(axis=-1, keepdims=True) + fixed
    own = _own_terms(samples, early + forward * done + fixed * passes(samples))
    return up * np.concatenate([since[0], own[0]], axis=-1), np.concatenate([since[1], own[1]], axis=-1)


def _down_terms(per: PerSample, samples: Ints, done: Floats, leave: Floats) -> tuple[Floats, Floats]:
    """A gradient may be followed on the air by all later ones and the last backward, or by all its backwards."""
    down, backward, fixed = per.downlink[:, None], per.ue_backward[:, None], per.ue_pass[:, None]
    left = np.where(samples > 0, done[..., -1:] - done + samples, 0.0)
    last = np.where(samples > 0, samples, _NEVER).min(axis=-1, keepdims=True)
    last = np.where(done[..., -1:] > 0, last, 0)
    leave = np.broadcast_to(leave[..., None, :], np.broadcast_shapes(leave[..., None, :].shape, done.shape))
    columns = _columns(samples, leave > leave[..., :1])
    since = _take(left, columns), _take(leave, columns) + backward * last + fixed
    own = _own_terms(samples, leave + backward * left + fixed * passes_left(samples))
    return down * np.concatenate([since[0], own[0]], axis=-1), np.concatenate([since[1], own[1]], axis=-1)


def _columns(samples: Ints, after: npt.NDArray[np.bool_]) -> Ints:
    """The micro-batches (..., n, 6) at which a deadline can be tightest.

    Deadlines and samples are linear in the micro-batch but for two kinks: where deadlines
    flatten (``after``), and where the UE's micro-batches become smaller by one. Between kinks a
    ratio of linear functions is monotone, so the kinks and the ends are enough.
    """
    k = samples.shape[-1]
    first = (samples > 0).argmax(axis=-1)[..., None]
    smaller = first + (samples == samples.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)
    flat = np.where(after.any(axis=-1, keepdims=True), after.argmax(axis=-1)[..., None], k)
    picks = np.broadcast_arrays(first, smaller - 1, smaller, flat - 1, flat, np.full_like(flat, k - 1))
    return np.asarray(np.clip(np.stack(picks, axis=-1)[..., 0, :], 0, k - 1))


def _own_terms(samples: Ints, pole: Floats) -> tuple[Floats, Floats]:
    """Of the micro-batches of each of the two sizes, the one with the latest start."""
    size = samples.max(axis=-1, keepdims=True)
    larger = samples == size
    sizes = np.broadcast_arrays(size, size - 1, pole[..., :1])[:2]
    poles = (np.where(mask, pole, 0.0).max(axis=-1, keepdims=True) for mask in (larger, ~larger & (samples > 0)))
    return np.maximum(np.concatenate(sizes, axis=-1), 0), np.concatenate(list(poles), axis=-1)


def _take(values: Floats, columns: Ints) -> Floats:
    """``values`` (..., n, k) at these columns, both broadcast to the same leading axes."""
    lead = np.broadcast_shapes(values.shape[:-1], columns.shape[:-1])
    values = np.broadcast_to(values, (*lead, values.shape[-1]))
    return np.take_along_axis(values, np.broadcast_to(columns, (*lead, columns.shape[-1])), axis=-1)


def _level(need: Floats, pole: Floats, floor: Floats, shared: bool) -> tuple[Floats, Floats, Floats]:
    """Least t with Σ_i max_m need/(t - pole) ≤ 1, the shares of the frame, and -dt/d(frame).

    The reciprocal of the sum is concave in t, so Newton from the left never overshoots. On
    dedicated links every UE has a frame of its own.
    """
    pole = np.where(need > 0, pole, -1.0)
    level = np.maximum(np.where(need > 0, need + pole, 0.0).max(axis=(-2, -1)), floor)
    if not shared:
        return level, np.ones(need.shape[:-1]), np.ones_like(level)
    for _ in range(NEWTON_STEPS):
        gap = level[..., None, None] - pole
        term = need / gap
        tight = term.argmax(axis=-1)[..., None]
        share = np.take_along_axis(term, tight, -1)[..., 0]
        total = share.sum(axis=-1)
        slope = np.maximum((share / np.take_along_axis(gap, tight, -1)[..., 0]).sum(axis=-1), 1e-300)
        step = np.maximum(total * (total - 1.0) / slope, 0.0)
        if (step <= 1e-9 * level).all():
            break
        level = level + step
    # what Newton left unfilled, or overfilled by rounding, is dealt in proportion
    return level, share / np.maximum(total, 1e-300)[..., None], 1.0 / slope


def _over(seconds: Floats, share: Floats) -> Floats:
    return np.where(share > 0, seconds / np.where(share > 0, share, 1.0), 0.0)
