"""Who gets which samples: the files of each agent, each UE's share, and a description to keep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.plan import Plan
from agents.samples.partition import Labels, Shards, describe
from agents.samples.shard import OWN, TEST, shard_file
from testbed import data
from testbed.deploy import BS
from testbed.files import storing, write_atomically
from testbed.loading import own_files
from testbed.topology import Topology


@dataclass(frozen=True)
class Dealing:
    """Samples as they are dealt to the UEs, and its ``number`` among those of a trial.

    ``samples`` of each UE, and its ``shares`` of all that are dealt (λ_i = D_i / D).
    """

    number: int
    samples: Mapping[str, int]
    shares: Mapping[str, float]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Dealt:
    """``files``: by agent and file name; ``dealings``: by the plans' labels."""

    files: Mapping[str, Mapping[str, bytes]]
    dealings: Mapping[str, Dealing]


def deal(topology: Topology, plans: Mapping[str, Plan]) -> Dealt:
    """A private shard for each UE under each plan; the test set for the BS, and all training data for schemes that
    leave it there.

    A partition that is proportional to batches takes those of each plan; what is dealt alike is one dealing.
    """
    train, test = data.load(topology.data)
    names = [ue.name for ue in topology.ues]
    files: dict[str, dict[str, bytes]] = {
        BS: {TEST: test.to_bytes(), OWN: train.to_bytes()},
        **{ue: {} for ue in names},
    }
    dealings: dict[str, Dealing] = {}
    by_batches: dict[tuple[int, ...], Dealing] = {}
    for label, plan in plans.items():
        batches = _batches(topology, plan)
        if batches not in by_batches:
            shards = data.deal(topology.data, train.labels, names, topology.seed, batches)
            number = len(by_batches)
            by_batches[batches] = _dealing(number, train.labels, shards)
            for ue, part in shards.items():
                files[ue][shard_file(number)] = train.take(part).to_bytes()
        dealings[label] = by_batches[batches]
    own = own_files(topology)
    return Dealt({agent: {**mine, **own} for agent, mine in files.items()}, dealings)


def write_partition(out: Path, topology: Topology, dealings: Mapping[str, Dealing]) -> None:
    """``partition.json``: one for all schemes, or one in the folder of each whose plan decides on its shards."""
    for label, dealing in dealings.items():
        file = partition_file(out, topology, label)
        with storing(file):
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, json.dumps(dealing.description, indent=1) + "\n")


def partition_file(out: Path, topology: Topology, label: str) -> Path:
    """Where the partition of a scheme is described."""
    return (out / label if data.depends_on_plan(topology.data) else out) / "partition.json"


def _batches(topology: Topology, plan: Plan) -> tuple[int, ...]:
    """What shards follow from besides the topology; of a UE that trains nothing, a batch of one."""
    if not data.depends_on_plan(topology.data):
        return ()
    return tuple(max(1, plan.ues[ue.name].batch) for ue in topology.ues)


def _dealing(number: int, labels: Labels, shards: Shards) -> Dealing:
    samples = {ue: len(part) for ue, part in shards.items()}
    total = sum(samples.values())
    shares = {ue: count / total for ue, count in samples.items()}
    return Dealing(number, samples, shares, describe(labels, shards))
