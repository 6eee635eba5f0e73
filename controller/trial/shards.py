"""Who gets which samples: the files of each agent, each UE's share, and a description to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.plan import Plan
from agents.samples.partition import describe
from testbed import data
from testbed.deploy import BS
from testbed.loading import own_files
from testbed.topology import Topology


@dataclass(frozen=True)
class Dealt:
    """``files``: by agent and file name; ``shares``: of all training samples, per UE (λ_i = D_i / D)."""

    files: Mapping[str, Mapping[str, bytes]]
    shares: Mapping[str, float]
    description: Mapping[str, Any]


def deal(topology: Topology, plan: Plan) -> Dealt:
    """A private shard for each UE; the test set for the BS, and all training data for schemes that leave it there.

    A partition that is proportional to batches takes those of ``plan``.
    """
    train, test = data.load(topology.data)
    names = [ue.name for ue in topology.ues]
    batches = [max(1, plan.ues[name].batch) for name in names]  # one that trains nothing gets a shard too
    shards = data.deal(topology.data, train.labels, names, topology.seed, batches)
    files = {ue: {"samples.npz": train.take(part).to_bytes()} for ue, part in shards.items()}
    total = sum(len(part) for part in shards.values())
    own = own_files(topology)
    files = {BS: {"samples.npz": test.to_bytes(), "own.npz": train.to_bytes()}, **files}
    return Dealt(
        files={agent: {**mine, **own} for agent, mine in files.items()},
        shares={ue: len(part) / total for ue, part in shards.items()},
        description=describe(train.labels, shards),
    )
