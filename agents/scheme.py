"""The schemes as rows of one table: one UE loop and one BS loop interpret the row.

The columns say who computes together and what happens to weights; nothing else in the
testbed may ask for a scheme by its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

BsModel = Literal["joint", "replicas", "in_order", "none", "own"]
Turn = Literal["one", "all", "cluster", "none"]
MicroBatches = Literal["one", "k", "each"]
UeWeights = Literal["kept", "shared"]
LocalEpoch = Literal["batch", "epoch"]


@dataclass(frozen=True)
class Scheme:
    """One row.

    ``turn``: which UEs compute and transmit at the same time: one after another, all, a cluster, or none.
    ``bs_model``: ``joint`` is one BS model on the concatenated batch of a turn, one optimiser step per
    batch; ``replicas`` is one BS model per UE, served as its micro-batches arrive; ``in_order`` is one BS
    model that steps once per UE, in an order drawn anew every round; ``none`` leaves the whole model on
    the UE, ``own`` trains it on the BS with all the data.
    ``micro_batches``: whether a batch flows as ``one``, as the plan's ``k``, or as a number for ``each`` UE.
    ``ue_weights``: ``kept`` by each UE, or ``shared``: after a turn its UE halves (and the BS replicas) are
    averaged, weighted by samples, and go to the UEs whose turn is next.
    ``local_epoch``: what a UE trains between two synchronisations, in batches or in passes over its data.
    ``aggregates``: whether a share φ of last-layer gradients is aggregated (EPSL).
    """

    name: str
    turn: Turn
    bs_model: BsModel
    micro_batches: MicroBatches
    ue_weights: UeWeights
    title: str
    local_epoch: LocalEpoch = "batch"
    aggregates: bool = False

    @property
    def pipelined(self) -> bool:
        """Whether the plan may choose more than one micro-batch."""
        return self.micro_batches != "one"


@dataclass(frozen=True)
class Aggregate:
    """A reading of EPSL: whether paired rows go backward as one, and whether a UE takes its λ_i of the gradient."""

    merges: bool
    weighted: bool


AGGREGATES: dict[str, Aggregate] = {
    "virtual": Aggregate(merges=True, weighted=True),
    "own": Aggregate(merges=False, weighted=False),
    "cut": Aggregate(merges=False, weighted=False),
}


_ROWS = (
    Scheme("sl", "one", "joint", "one", "shared", "SL: split learning, one UE after another"),
    Scheme("fl", "all", "none", "one", "shared", "FL: federated learning, the whole model on the UE", "epoch"),
    Scheme("sfl", "all", "replicas", "one", "shared", "SFL V1: a BS replica per UE, both halves averaged"),
    Scheme("sfl-v2", "all", "in_order", "one", "shared", "SFL V2: one BS model, one step per UE"),
    Scheme("psl", "all", "joint", "one", "kept", "PSL: parallel split learning"),
    Scheme("epsl", "all", "joint", "one", "kept", "EPSL: PSL with aggregated last-layer gradients", aggregates=True),
    Scheme("cpsl", "cluster", "joint", "one", "shared", "CPSL: cluster after cluster, PSL within"),
    Scheme("pipar", "all", "replicas", "each", "shared", "PiPar: pipelined SFL, a cut and N for each UE", "epoch"),
    Scheme("c2p2sl", "all", "joint", "k", "kept", "C²P²SL: pipelined parallel split learning"),
    Scheme("centralised", "none", "own", "one", "kept", "Centralised: all data at the BS, no network"),
)

SCHEMES: dict[str, Scheme] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class Phase:
    """What agents do from one common start: ``members`` train ``steps`` batches, then weights move.

    With ``syncs`` the members' halves go up when each is done, and their average goes down to ``heirs``.
    """

    turn: int
    members: tuple[str, ...]
    steps: int
    syncs: bool = False
    heirs: tuple[str, ...] = ()


def groups(scheme: Scheme, clusters: Mapping[str, int]) -> tuple[tuple[str, ...], ...]:
    """The UEs of each turn of a round, in order; ``clusters`` maps the UEs that take part to their cluster."""
    match scheme.turn:
        case "none":
            return ((),)
        case "one":
            return tuple((ue,) for ue in clusters)
        case "all":
            return (tuple(clusters),)
        case "cluster":
            return tuple(tuple(ue for ue in clusters if clusters[ue] == c) for c in sorted(set(clusters.values())))


def cuts(scheme: Scheme, units: int) -> range:
    """The cuts that a scheme allows for a model of so many units (C1; all or nothing where one side trains alone)."""
    return {"none": range(units, units + 1), "own": range(1)}.get(scheme.bs_model, range(1, units))


def phases(scheme: Scheme, clusters: Mapping[str, int], steps: int, duplex: str) -> tuple[Phase, ...]:
    """A round as phases.

    With ``tdd`` the air is for uplinks or for downlinks: every batch is a phase of its own, and weights
    go up once all downlinks are in. Where both directions may be on the air, or there is only one, a UE
    goes on as soon as it can.
    """
    order = groups(scheme, clusters)
    alone = len(clusters) <= 1
    free = duplex == "fdd" or scheme.bs_model == "none"
    found: list[Phase] = []
    for turn, members in enumerate(order):
        heirs = order[(turn + 1) % len(order)]
        syncs = scheme.ue_weights == "shared" and not alone
        if free and syncs:
            found.append(Phase(turn, members, steps, True, heirs))
        elif free:
            found.append(Phase(turn, members, steps))
        else:
            found += [Phase(turn, members, 1)] * steps
            found += [Phase(turn, members, 0, True, heirs)] * syncs
    return tuple(found)


def order_of(members: Sequence[str], seed: int, number: int, step: int) -> list[str]:
    """The UEs in the random order of this round and step, drawn from the seed (SFL V2)."""
    order = np.random.default_rng([seed, 4, number, step]).permutation(len(members))
    return [members[i] for i in order]


def shared_rows(phi: float, batches: Sequence[int]) -> int:
    """Rows of each UE's batch whose gradients are aggregated: ``m = ⌈φ b⌉``, b of the smallest (EPSL)."""
    return math.ceil(phi * min(batches, default=0) - 1e-9)
