"""One turn of joint training: the recursion over micro-batches, vectorised over UEs and over many turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controller.predict.instance import Floats, Ints
from controller.predict.timing import PerSample, TaskTimes


@dataclass(frozen=True)
class TurnEnds:
    """When each task of a turn ends (s from the turn's start), shaped as ``TaskTimes``."""

    ue_forward: Floats
    uplink: Floats
    bs_forward: Floats
    bs_backward: Floats
    downlink: Floats
    ue_backward: Floats
    turn_s: float


def turn_ends(times: TaskTimes, duplex: str, begin: Floats | float = 0.0) -> TurnEnds:
    """End of each task of one turn, by recursion over micro-batches and vectorised over UEs.

    UE forwards run back to back; an uplink starts after its forward and the UE's previous
    uplink; the BS runs micro-batch m, forward then backward, once every UE that has one has
    sent it; with ``tdd`` no downlink starts before the last uplink of the turn; a UE's
    backwards run in order after its forwards. A UE with an empty micro-batch takes no time
    for it, and nobody waits. A transfer starts its ``latency`` after it could. ``begin`` (n,) is
    when each UE begins. Shared gradients are broadcast first, and a UE computes backward once it
    has them and its own.
    """
    has = times.samples > 0
    forward = np.broadcast_to(begin, len(has))[:, None] + np.cumsum(times.ue_forward, axis=1)
    uplink = _in_order(forward + times.latency.up_s(times.uplink), times.uplink, has)
    served = np.asarray(has.any(axis=0), dtype=np.bool_)
    ready = np.where(has, uplink, 0.0).max(axis=0, initial=0.0)
    bs_backward = _in_order(ready, times.bs_forward + times.bs_backward, served)
    bs_forward = bs_backward - times.bs_backward
    last_uplink = uplink[:, -1].max(initial=0.0) if duplex == "tdd" else 0.0
    free = np.maximum(bs_backward, last_uplink)[None, :] + times.latency.down_s(times.downlink) + times.broadcast_s
    alone = times.samples > times.shared
    downlink = np.where(alone, _in_order(free, times.downlink, alone), free)
    backward = _in_order(np.maximum(downlink, forward[:, -1:]), times.ue_backward, has)
    turn_s = max(float(backward.max(initial=0.0)), float(bs_backward.max(initial=0.0)))
    return TurnEnds(forward, uplink, bs_forward, bs_backward, downlink, backward, turn_s)


def _in_order(ready: Floats, duration: Floats, exists: npt.NDArray[np.bool_]) -> Floats:
    """End of each task along the last axis: it starts when it is ready and the one before it has ended.

    ``end_m = max(ready_m, end_{m-1}) + d_m``, unrolled: ``D_m + max_{j ≤ m} (ready_j − D_{j-1})`` with
    D the sums of d. A task that does not exist takes no time and waits for nothing.
    """
    duration = np.where(exists, duration, 0.0)
    done = np.cumsum(duration, axis=-1)
    earliest = np.where(exists, ready - (done - duration), 0.0)
    return done + np.maximum.accumulate(earliest, axis=-1)


def gradients_leave(per: PerSample, samples: Ints, duplex: str) -> Floats:
    """Earliest start (..., k) in seconds of each micro-batch's downlink, for turns of samples (..., n, k).

    The recursion of ``turn_ends`` written as running maxima, for as many turns at a time as
    there are leading axes; arrays of ``per`` are (..., n).
    """
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before = done - samples
    forward = per.ue_forward[..., None]
    own, sum_s = _on_air(per.uplink, per.message_up, samples, done)
    sent = sum_s + np.maximum.accumulate(forward * done + per.latency.up_s(own) - (sum_s - own), axis=-1)
    ready = np.where(samples > 0, sent, -np.inf).max(axis=-2)
    bs = per.bs_forward + per.bs_backward
    computed = bs * done.sum(axis=-2) + np.maximum.accumulate(ready - bs * before.sum(axis=-2), axis=-1)
    leave: Floats = np.maximum(computed, sent[..., -1].max(axis=-1)[..., None]) if duplex == "tdd" else computed
    return leave


def turn_s(per: PerSample, samples: Ints, leave: Floats) -> Floats:
    """Lengths (s) of turns of samples (..., n, k) whose gradients leave the BS at ``leave`` (..., k)."""
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before, batch = done - samples, done[..., -1:]
    backward = per.ue_backward[..., None]
    own, sum_s = _on_air(per.downlink, per.message_down, samples, done)
    waits = np.where(samples > 0, leave[..., None, :] + per.latency.down_s(own) - (sum_s - own), -np.inf)
    got = sum_s + np.maximum.accumulate(waits, axis=-1)
    last = np.maximum(
        (got + backward * (batch - before)).max(axis=-1), (per.ue_forward + per.ue_backward) * batch[..., 0]
    )
    ends: Floats = np.maximum(np.maximum(last.max(axis=-1), leave.max(axis=-1)), 0.0)
    return ends


def _on_air(seconds: Floats, message: Floats, samples: Ints, done: Floats) -> tuple[Floats, Floats]:
    """Of each transfer its time on its link, and that of all up to it (..., n, k).

    Nothing for a UE without samples: it may have no slot, and so an infinite time.
    """
    each = np.where(done[..., -1:] > 0, seconds[..., None], 0.0)
    if not message.any():
        return each * samples, each * done
    sent, fixed = samples > 0, message[..., None]
    return each * samples + fixed * sent, each * done + fixed * np.cumsum(sent, axis=-1)
