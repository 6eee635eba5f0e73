"""Training latency of a round of clusters (CPSL paper, eqs 14–25): pure functions of clusters and shares.

In a cluster all wait for the slowest UE at the end of each phase. A UE's part of a phase is a number of seconds and
a transfer at its share of the air, so everything below is arithmetic on arrays. ``corrected`` is the latency of what
the agents do, by the scheme's schedule: with ``tdd`` a phase for each of the model's way down, forward and uplink,
downlink and backward, and the model's way up, all at a UE's own shares; with ``fdd`` a UE goes on as soon as it can.
``printed`` are eqs 15–25 as the paper's own numbers have them: the gradient (eq. 20) without the batch, no labels, the
model's way down and up over the whole band, and one phase from a UE's gradient to its next smashed data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from controller.predict.instance import Floats, Instance, Ints
from controller.predict.prediction import weights_noise_s
from controller.predict.timing import BITS

Reading = Literal["printed", "corrected"]


@dataclass(frozen=True)
class Phases:
    """The P phases of a turn as seconds per UE, (..., P, n): ``fixed + per_share / x`` on x ``shares`` of the air.

    ``dense`` is what the uplinks of a UE with power of its own would take on the whole band: with all its power on x
    shares its rate is not linear in x (``snr`` (..., n), spread over the band); None where all are linear. ``weight``
    says how often each phase happens: (2, P) in the turn of the first cluster and in another, (..., P) once it is known
    which. ``server_s`` (..., n) is what the server computes for a UE in a round, all local epochs together. Leading
    axes are independent problems of the same size.
    """

    fixed: Floats
    per_share: Floats
    weight: Floats
    server_s: Floats
    shares: int
    dense: Floats | None = None
    snr: Floats | None = None

    @property
    def n(self) -> int:
        """Number of UEs."""
        return int(self.fixed.shape[-1])

    def seconds(self, shares: Ints) -> Floats:
        """How long UEs with so many shares (..., n) take in each phase (..., P, n); an empty seat as if with one."""
        held = np.maximum(shares, 1)[..., None, :]
        found: Floats = self.fixed + self.per_share / held
        if self.dense is not None and self.snr is not None:
            part, snr = held / self.shares, self.snr[..., None, :]
            found = found + self.dense * np.log1p(snr) / (part * np.log1p(snr / part))
        return found

    def stacked(self) -> Phases:
        """The same with exactly one leading axis."""
        return self._each(lambda values, axes: values.reshape(-1, *values.shape[-axes:]))

    def repeated(self, times: int) -> Phases:
        """Each of the stacked problems so many times in a row."""
        return self._each(lambda values, axes: np.repeat(values, times, axis=0))

    def only(self, problems: Sequence[int]) -> Phases:
        """Some of the stacked problems, in this order."""
        return self._each(lambda values, axes: values[list(problems)])

    def widened(self) -> Phases:
        """Of clusters (...), the same with one axis more behind the others, for several deals of each."""
        wide = self._each(lambda values, axes: np.expand_dims(values, -1 - axes))
        return replace(wide, weight=self.weight[..., None, :])

    def _each(self, change: Callable[[Floats, int], Floats]) -> Phases:
        """The same with its arrays changed, which have so many axes of their own."""
        return replace(
            self,
            fixed=change(self.fixed, 2),
            per_share=change(self.per_share, 2),
            server_s=change(self.server_s, 1),
            dense=None if self.dense is None else change(self.dense, 2),
            snr=None if self.snr is None else change(self.snr, 1),
        )


def side_by_side(problems: Sequence[Phases]) -> Phases:
    """Problems of one size as one with a leading axis."""
    first = problems[0]

    def stack(name: str) -> Floats:
        return np.stack([getattr(one, name) for one in problems])

    found = replace(first, fixed=stack("fixed"), per_share=stack("per_share"), server_s=stack("server_s"))
    return found if first.dense is None else replace(found, dense=stack("dense"), snr=stack("snr"))


@dataclass(frozen=True)
class _Part:
    """What UEs do in a phase, or in a part of it: seconds, and bits up and down, (n,) or one number for all."""

    seconds: Floats | float
    up_bits: Floats | float = 0.0
    down_bits: Floats | float = 0.0

    def __add__(self, then: _Part) -> _Part:
        return _Part(self.seconds + then.seconds, self.up_bits + then.up_bits, self.down_bits + then.down_bits)


_Row = tuple[_Part, float, float]
"""A phase, and how often it happens in the turn of the first cluster and of another."""


def phases(
    instance: Instance, cut: int, batch: Ints, steps: int, shares: int, reading: Reading = "corrected"
) -> Phases:
    """The phases of a round of all UEs at this cut, with ``batch`` (n,) samples per step and ``steps`` local epochs.

    What gated links wait for slots is left out.
    """
    listed = _printed(instance, cut, batch, steps) if reading == "printed" else _scheduled(instance, cut, batch, steps)
    rows = [row for row in listed if row[1] or row[2]]
    fixed, up, down = (
        np.stack([np.broadcast_to(values, instance.n) for values in column])
        for column in zip(*((part.seconds, part.up_bits, part.down_bits) for part, _, _ in rows), strict=True)
    )
    up, down = up / instance.rate_up, down / instance.rate_down
    work = instance.workload
    server_s = batch * work.bs_forward_flops(cut) * (1 + work.backward_ratio) / instance.bs_flops
    weight = np.array([row[1:] for row in rows], dtype=np.float64).T
    found = Phases(fixed, np.zeros_like(fixed), weight, np.asarray(steps * server_s), shares)
    if not instance.shared_air:
        return replace(found, fixed=fixed + up + down)
    snr = instance.snr_up
    if reading == "printed" or snr is None or np.isnan(snr).all():
        return replace(found, per_share=(up + down) * shares)
    linear = np.isnan(snr)
    per_share, dense = (np.where(linear, up, 0.0) + down) * shares, np.where(linear, 0.0, up)
    return replace(found, per_share=per_share, dense=dense, snr=np.where(linear, 1.0, snr))


def _scheduled(instance: Instance, cut: int, batch: Ints, steps: int) -> list[_Row]:
    """The phases of the scheme's schedule, with what messages and passes cost; a single UE shares no weights."""
    work, message_bits = instance.workload, instance.message_bytes * BITS
    wait_s = np.full(instance.n, instance.message_s + instance.delay_s)
    model_bits = np.full(instance.n, work.ue_weight_bytes(cut) * BITS + message_bits)
    passes_s = wait_s + instance.ue_pass_s
    forward_s = passes_s + batch * instance.ue_forward_s(cut) + 2 * instance.bs_pass_s
    backward_s = passes_s + batch * work.ue_forward_flops(cut) * work.backward_ratio / instance.ue_flops
    given, taken = _Part(wait_s, down_bits=model_bits), _Part(wait_s, up_bits=model_bits)
    forward = _Part(forward_s, up_bits=np.asarray(batch * work.up_bytes(cut) * BITS + message_bits))
    backward = _Part(backward_s, down_bits=np.asarray(batch * work.down_bytes(cut) * BITS + message_bits))
    last = backward + _Part(weights_noise_s(instance, cut))
    if instance.n == 1:
        given = taken = _Part(0.0)
        last = backward
    if instance.duplex == "tdd":
        more = steps - 1.0
        return [(given, 1, 1), (forward, steps, steps), (backward, more, more), (last, 1, 1), (taken, 1, 1)]
    # the first cluster has its weights from the round before
    turn = [(backward + forward, steps - 1.0, steps - 1.0), (last + taken, 1, 1)]
    return [(given, 1, 0), (forward, 1, 0), (given + forward, 0, 1), *turn]


def _printed(instance: Instance, cut: int, batch: Ints, steps: int) -> list[_Row]:
    """The starting, inner and ending phases (eqs 19, 22, 24) as the paper's numbers have them."""
    work = instance.workload
    model_bits, gradient_bits = work.ue_weight_bytes(cut) * BITS, np.full(instance.n, work.down_bytes(cut) * BITS)
    forward_s = batch * work.ue_forward_flops(cut) / instance.ue_flops
    given, taken = _Part(model_bits / instance.rate_down), _Part(model_bits / instance.rate_up)
    forward = _Part(forward_s, up_bits=np.asarray(batch * gradient_bits))
    backward = _Part(forward_s * work.backward_ratio, down_bits=gradient_bits)
    rows = ((given + forward, 1.0), (backward + forward, steps - 1.0), (backward + taken, 1.0))
    return [(part, often, often) for part, often in rows]


def cluster_s(part: Phases, shares: Ints) -> Floats:
    """Latency D_m (s) of each leading cluster of ``part`` (..., P, K) with ``shares`` (..., K).

    A seat with no share is empty: nobody waits for it.
    """
    taken = shares > 0
    slowest = np.where(taken[..., None, :], part.seconds(shares), -np.inf).max(axis=-1)
    return np.asarray((slowest * part.weight).sum(axis=-1) + np.where(taken, part.server_s, 0.0).sum(axis=-1))


def round_s(all_phases: Phases, cluster: Ints, shares: Ints) -> float:
    """Latency (s) of a round (eq. 25): the clusters one after another. ``cluster`` and ``shares`` are (n,)."""
    found = 0.0
    for turn, m in enumerate(np.unique(cluster)):
        rows = np.flatnonzero(cluster == m)
        found += float(cluster_s(members_of(all_phases, rows, np.asarray(turn)), shares[rows]))
    return found


def members_of(all_phases: Phases, rows: Ints, turn: Ints) -> Phases:
    """The phases of some UEs: ``rows`` (K,) of a single problem, or (S, C, K) of S stacked ones → (S, C, P, K).

    ``turn`` () or (..., C) is when each cluster has its turn, the first in 0. A row of −1 is an empty seat; what it
    holds is never looked at.
    """
    known = replace(all_phases, weight=all_phases.weight[np.minimum(turn, 1)])
    if all_phases.fixed.ndim == 2:
        return known._each(lambda values, axes: values[..., rows])
    problem = np.arange(len(rows))[:, None, None]

    def taken(values: Floats, axes: int) -> Floats:
        if axes == 1:
            return values[problem, rows]
        return np.moveaxis(np.moveaxis(values, -1, 1)[problem, rows], -1, -2)

    return known._each(taken)
