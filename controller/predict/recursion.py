"""The planners' fast path: one turn of joint training by recursion, vectorised over UEs and over many turns."""

from __future__ import annotations

import numpy as np

from controller.predict.instance import Floats, Ints
from controller.predict.timing import PerSample


def gradients_leave(per: PerSample, samples: Ints, duplex: str) -> Floats:
    """Earliest start (..., k) in seconds of each micro-batch's downlink, for turns of samples (..., n, k).

    UE forwards run back to back; an uplink starts after its forward and the UE's previous
    uplink; the BS runs micro-batch m, forward then backward, once every UE that has one has
    sent it; with ``tdd`` no downlink starts before the last uplink of the turn. Written as
    running maxima, for as many turns at a time as there are leading axes; arrays of ``per``
    are (..., n). It equals ``controller.predict.simulate`` for schemes of that order.
    """
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before = done - samples
    forward_s = per.ue_forward[..., None] * done
    own, sum_s = _on_air(per.uplink, per.message_up, samples, done)
    served_s = (per.bs_forward + per.bs_backward) * done.sum(axis=-2)
    served_before_s = (per.bs_forward + per.bs_backward) * before.sum(axis=-2)
    if per.passes:
        forward_s = forward_s + per.ue_pass[..., None] * passes(samples)
        served = passes(samples.sum(axis=-2))
        served_s = served_s + 2 * per.bs_pass * served
        served_before_s = served_before_s + 2 * per.bs_pass * (served - (samples.sum(axis=-2) > 0))
    handed = np.where(samples > 0, forward_s + per.latency.up_s(own) - (sum_s - own), -np.inf)
    sent = sum_s + np.maximum.accumulate(handed, axis=-1)
    ready = np.where(samples > 0, sent, -np.inf).max(axis=-2)
    computed = served_s + np.maximum.accumulate(ready - served_before_s, axis=-1)
    leave: Floats = np.maximum(computed, sent[..., -1].max(axis=-1)[..., None]) if duplex == "tdd" else computed
    return leave


def turn_s(per: PerSample, samples: Ints, leave: Floats) -> Floats:
    """Lengths (s) of turns of samples (..., n, k) whose gradients leave the BS at ``leave`` (..., k)."""
    done = np.cumsum(samples, axis=-1, dtype=np.float64)
    before, batch = done - samples, done[..., -1:]
    left_s = per.ue_backward[..., None] * (batch - before)
    ue_s = (per.ue_forward + per.ue_backward) * batch[..., 0]
    if per.passes:
        left_s = left_s + per.ue_pass[..., None] * passes_left(samples)
        ue_s = ue_s + 2 * per.ue_pass * passes(samples)[..., -1]
    own, sum_s = _on_air(per.downlink, per.message_down, samples, done)
    waits = np.where(samples > 0, leave[..., None, :] + per.latency.down_s(own) - (sum_s - own), -np.inf)
    got = sum_s + np.maximum.accumulate(waits, axis=-1)
    last = np.maximum((got + left_s).max(axis=-1), ue_s)
    ends: Floats = np.maximum(np.maximum(last.max(axis=-1), leave.max(axis=-1)), 0.0)
    return ends


def passes(samples: Ints) -> Ints:
    """How many passes the micro-batches up to each one (..., k) are, itself included; an empty one is none."""
    return np.cumsum(samples > 0, axis=-1)


def passes_left(samples: Ints) -> Ints:
    """How many passes the micro-batches from each one (..., k) on are, itself included."""
    done = passes(samples)
    return np.asarray(done[..., -1:] - done + (samples > 0))


def _on_air(seconds: Floats, message: Floats, samples: Ints, done: Floats) -> tuple[Floats, Floats]:
    """Of each transfer its time on its link, and that of all up to it (..., n, k).

    Nothing for a UE without samples: it may have no slot, and so an infinite time.
    """
    each = np.where(done[..., -1:] > 0, seconds[..., None], 0.0)
    if not message.any():
        return each * samples, each * done
    sent, fixed = samples > 0, message[..., None]
    return each * samples + fixed * sent, each * done + fixed * np.cumsum(sent, axis=-1)
