"""Training latency of CPSL (CPSL paper, eqs 14–25): pure functions of clusters and shares.

In a cluster the server waits for its slowest UE at the end of each phase (starting, inner, ending). A UE's
part of a phase is ``fixed + shared / x`` seconds, x the shares of the air that it holds, so a phase is two
numbers per UE and everything below is arithmetic on arrays.

Two readings. The gradient (eq. 20) is multiplied by the batch, as the smashed data (eq. 17) is: the printed
equation leaves B out, while text and tables give sizes per sample. And a UE's batch may differ from others'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.predict.instance import Floats, Instance, Ints
from controller.predict.timing import BITS


@dataclass(frozen=True)
class Phases:
    """The three phases as seconds per UE: ``fixed + per_share / x``, each (..., 3, n).

    ``weight`` (3,) says how often each phase happens in a round: 1, L − 1, 1. ``server_s`` (..., n) is what
    the server computes for a UE in a round, all local epochs together. There are ``shares`` of the air.
    Leading axes are independent problems of the same size.
    """

    fixed: Floats
    per_share: Floats
    weight: Floats
    server_s: Floats
    shares: int

    @property
    def n(self) -> int:
        """Number of UEs."""
        return int(self.fixed.shape[-1])

    def stacked(self) -> Phases:
        """The same with exactly one leading axis."""
        return replace(
            self,
            fixed=self.fixed.reshape(-1, *self.fixed.shape[-2:]),
            per_share=self.per_share.reshape(-1, *self.per_share.shape[-2:]),
            server_s=self.server_s.reshape(-1, self.n),
        )


def phases(instance: Instance, cut: int, batch: Ints, steps: int, shares: int) -> Phases:
    """Eqs 15–24 for every UE at this cut, with ``batch`` (n,) samples per step and ``steps`` local epochs.

    On dedicated links a UE's rate does not depend on shares.
    """
    work = instance.workload
    weights_bits = work.ue_weight_bytes(cut) * BITS
    forward = batch * work.ue_forward_flops(cut) / instance.ue_flops
    backward = forward * work.backward_ratio
    up, down = instance.rate_up, instance.rate_down
    if instance.shared_air:
        up, down = up / shares, down / shares
    smashed = batch * work.up_bytes(cut) * BITS / up
    gradient = batch * work.down_bytes(cut) * BITS / down
    distribution = weights_bits / instance.rate_down
    fixed = np.stack([distribution + forward, backward + forward, backward])
    on_air = np.stack([smashed, gradient + smashed, gradient + weights_bits / up])
    if not instance.shared_air:
        fixed, on_air = fixed + on_air, np.zeros_like(on_air)
    server = batch * work.bs_forward_flops(cut) * (1 + work.backward_ratio) / instance.bs_flops
    return Phases(fixed, on_air, np.array([1.0, steps - 1.0, 1.0]), np.asarray(steps * server), shares)


def cluster_s(part: Phases, shares: Ints) -> Floats:
    """Latency D_m (s) of each leading cluster of ``part`` (..., 3, K) with ``shares`` (..., K) (eqs 19, 22, 24).

    A seat with no share is empty: nobody waits for it.
    """
    taken = shares > 0
    seconds = part.fixed + part.per_share / np.maximum(shares, 1)[..., None, :]
    slowest = np.where(taken[..., None, :], seconds, -np.inf).max(axis=-1)
    return np.asarray((slowest * part.weight).sum(axis=-1) + np.where(taken, part.server_s, 0.0).sum(axis=-1))


def round_s(all_phases: Phases, cluster: Ints, shares: Ints) -> float:
    """Latency (s) of a round (eq. 25): the clusters one after another. ``cluster`` and ``shares`` are (n,)."""
    found = 0.0
    for m in np.unique(cluster):
        rows = np.flatnonzero(cluster == m)
        found += float(cluster_s(members_of(all_phases, rows), shares[rows]))
    return found


def members_of(all_phases: Phases, rows: Ints) -> Phases:
    """The phases of some UEs: ``rows`` (K,) of a single problem, or (S, C, K) of S stacked ones → (S, C, 3, K).

    A row of −1 is an empty seat; what it holds is never looked at.
    """
    if all_phases.fixed.ndim == 2:
        return replace(
            all_phases,
            fixed=all_phases.fixed[:, rows],
            per_share=all_phases.per_share[:, rows],
            server_s=all_phases.server_s[rows],
        )
    problem = np.arange(len(rows))[:, None, None]
    return replace(
        all_phases,
        fixed=np.moveaxis(np.moveaxis(all_phases.fixed, -1, 1)[problem, rows], -1, -2),
        per_share=np.moveaxis(np.moveaxis(all_phases.per_share, -1, 1)[problem, rows], -1, -2),
        server_s=all_phases.server_s[problem, rows],
    )
