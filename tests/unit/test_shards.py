"""Each scheme's UEs have the samples that its own plan asks for."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from controller.trial.shards import deal, write_partition
from testbed.loading import digest, parse
from tests.unit.loopback import job, samples, world

TEXT = "name: a\nues: {{count: 2}}\ndata: {{train_samples: 400, test_samples: 50, partition: {{kind: {}}}}}\n"
BATCHES = {"psl": (20, 20), "ao": (10, 30), "sl": (20, 20), "one": (40, 0)}
PLANS = {
    label: SimpleNamespace(ues={f"ue{i + 1}": SimpleNamespace(batch=b) for i, b in enumerate(batches)})
    for label, batches in BATCHES.items()
}


def topology(kind):
    return parse(TEXT.format(kind), "a.yaml")


def labels_in(content):
    with np.load(io.BytesIO(content)) as file:
        return file["labels"]


def test_every_plan_is_dealt_in_proportion_to_its_own_batches():
    dealt = deal(topology("proportional"), PLANS)
    sizes = {
        label: [one["samples"] for one in dealing.description.values()] for label, dealing in dealt.dealings.items()
    }
    assert sizes == {"psl": [200, 200], "ao": [100, 300], "sl": [200, 200], "one": [390, 10]}
    assert [dealing.number for dealing in dealt.dealings.values()] == [0, 1, 0, 2], "what is dealt alike is one file"
    assert dealt.dealings["ao"].shares == {"ue1": 0.25, "ue2": 0.75}
    for number, label in enumerate(("psl", "ao", "one")):
        held = [len(labels_in(dealt.files[ue][f"shard-{number}.npz"])) for ue in ("ue1", "ue2")]
        assert held == sizes[label]
    assert set(dealt.files["ue1"]) == {f"shard-{number}.npz" for number in range(3)}
    assert set(dealt.files["bs"]) == {"samples.npz", "own.npz"}


@pytest.mark.parametrize("kind", ["iid", "proportional, weights: [3, 1]", "dirichlet, alpha: 1", "classes, per_ue: 3"])
def test_other_partitions_deal_once_for_all_plans(kind):
    dealt = deal(topology(kind), PLANS)
    assert {dealing.number for dealing in dealt.dealings.values()} == {0}
    assert set(dealt.files["ue1"]) == {"shard-0.npz"}


def test_the_description_lies_with_what_decided_on_it(tmp_path):
    for kind in ("iid", "proportional"):
        (tmp_path / kind).mkdir()
        asked = topology(kind)
        write_partition(tmp_path / kind, asked, deal(asked, PLANS).dealings)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")) == [
        "iid/partition.json",
        *(f"proportional/{label}/partition.json" for label in sorted(PLANS)),
    ]
    assert json.loads((tmp_path / "proportional/ao/partition.json").read_text())["ue2"]["samples"] == 300


@pytest.mark.parametrize(("kind", "another"), [("proportional", True), ("iid", False)])
def test_what_is_up_is_known_by_the_shards_that_plans_decided_on(kind, another):
    """The same file may be planned otherwise when the host is calibrated anew."""
    asked = topology(kind)
    then = deal(asked, {"psl": PLANS["psl"]}).files
    now = deal(asked, {"psl": PLANS["ao"]}).files
    assert (digest(asked, then) != digest(asked, now)) == another
    assert digest(asked, then) == digest(asked, deal(asked, {"psl": PLANS["sl"]}).files)


def weights_after(agents, asked):
    """Weights of every agent when a scheme has begun anew and done a round."""
    agents.configure(asked)
    agents.round(1)
    return [value for agent in ("ue1", "ue2", "bs") for value in agents.half(agent).weights()]


def test_agents_train_on_the_shard_that_the_job_names():
    shards = {f"ue{i}": [samples(12, i), samples(30, 10 + i)] for i in (1, 2)}
    alone = []
    for number in (0, 1):
        with world({ue: two[number] for ue, two in shards.items()}) as agents:
            alone.append(weights_after(agents, job("psl", 2, 1, (6, 4))))
    with world(shards) as agents:
        for number in (1, 0, 1):  # a scheme may go back to what an earlier one had
            found = weights_after(agents, job("psl", 2, 1, (6, 4), dealing=number))
            assert all(torch.equal(a, b) for a, b in zip(found, alone[number], strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])
