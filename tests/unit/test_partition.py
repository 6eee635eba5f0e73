"""Partitions are disjoint, repeat with their seed, and leave nobody out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.samples.partition import PartitionError, describe, partition
from testbed.data import deal
from testbed.errors import InputError
from testbed.loading import digest, parse

SPECS: list[dict[str, Any]] = [
    {"kind": "iid"},
    {"kind": "proportional"},
    {"kind": "dirichlet", "alpha": 0.05},
    {"kind": "dirichlet", "alpha": 10.0},
    {"kind": "classes", "per_ue": 3},
    {"kind": "classes", "per_ue": 3, "samples_per_ue": 5},
]


def labels(count: int, classes: int = 10) -> np.ndarray:
    return np.random.default_rng(5).integers(0, classes, count).astype(np.uint8)


def names(count: int) -> list[str]:
    return [f"ue{i + 1}" for i in range(count)]


@given(
    spec=st.sampled_from(SPECS),
    count=st.integers(1, 400),
    seed=st.integers(0, 2**31),
    weights=st.lists(st.floats(0.1, 100), min_size=1, max_size=12),
)
def test_shards_are_disjoint_complete_repeatable_and_not_empty(spec, count, seed, weights):
    own, ues = labels(count), names(len(weights))
    try:
        shards = partition(own, ues, seed, spec, weights)
    except PartitionError as error:
        assert error.hint and (spec["kind"] == "classes" or any(ue in str(error) for ue in ues))
        return
    everything = np.concatenate(list(shards.values()))
    assert list(shards) == ues
    assert len(np.unique(everything)) == len(everything)
    assert all(len(shard) for shard in shards.values())
    if spec["kind"] != "classes":
        assert len(everything) == count
    again = partition(own, ues, seed, spec, weights)
    assert all(np.array_equal(shards[ue], again[ue]) for ue in ues)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_another_seed_deals_otherwise(spec):
    one, other = (partition(labels(3000), names(3), seed, spec, [1, 2, 3]) for seed in (1, 2))
    assert any(not np.array_equal(one[ue], other[ue]) for ue in one)


def test_sizes_are_proportional_to_the_weights_to_a_sample():
    shards = partition(labels(1000), names(3), 1, {"kind": "proportional"}, [1, 2.5, 6.5])
    assert [len(shard) for shard in shards.values()] == [100, 250, 650]


def test_each_ue_has_the_classes_and_samples_of_the_cpsl_paper():
    own = labels(30_000)
    spec = {"kind": "classes", "per_ue": 3, "samples_per_ue": 180}
    shards = partition(own, names(30), 1, spec)
    assert all(len(shard) == 180 and len(np.unique(own[shard])) == 3 for shard in shards.values())


def test_a_small_alpha_makes_shards_unlike_and_a_large_one_alike():
    own = labels(10_000)

    def largest_share(alpha: float) -> float:
        shards = partition(own, names(4), 3, {"kind": "dirichlet", "alpha": alpha})
        return float(np.mean([np.bincount(own[s]).max() / len(s) for s in shards.values()]))

    assert largest_share(0.1) > 0.3
    assert largest_share(1000) < 0.15


def test_an_alpha_near_zero_gives_whole_classes():
    own = labels(1000)
    shards = partition(own, names(2), 1, {"kind": "dirichlet", "alpha": 1e-300})
    assert not set(own[shards["ue1"]]) & set(own[shards["ue2"]])


def test_the_user_is_told_which_ue_would_be_empty():
    topology = parse("name: a\nues: {count: 30}\ndata: {partition: {kind: dirichlet, alpha: 0.001}}\n", "a.yaml")
    with pytest.raises(InputError, match=r"data\.partition: dirichlet leaves ue\d+.* without samples \(hint: "):
        deal(topology.data, labels(100), names(30), 1, [])


def test_weights_of_the_topology_come_before_the_batches():
    text = "name: a\nues: {{count: 2}}\ndata: {{partition: {{kind: proportional{}}}}}\n"
    sizes = [
        [len(shard) for shard in deal(parse(text.format(given), "a").data, labels(100), names(2), 1, [1, 3]).values()]
        for given in ("", ", weights: [4, 1]")
    ]
    assert sizes == [[25, 75], [80, 20]]


def test_what_is_deployed_depends_on_the_schemes_where_their_batches_decide_on_shards():
    text = "name: a\nues: {{count: 2}}\nschemes: [{}]\ndata: {{partition: {{kind: {}}}}}\n"
    digests = {
        kind: {digest(parse(text.format(scheme, kind), "a")) for scheme in ("psl", "sl")}
        for kind in ("iid", "proportional")
    }
    assert len(digests["iid"]) == 1 and len(digests["proportional"]) == 2


def test_the_description_says_who_has_what_and_can_be_checked():
    own = labels(60)
    shards = partition(own, names(2), 1, {"kind": "iid"})
    described = json.loads(json.dumps(describe(own, shards)))
    assert sum(ue["samples"] for ue in described.values()) == 60
    assert sum(ue["classes"].get("4", 0) for ue in described.values()) == (own == 4).sum()
    expected = hashlib.sha256(shards["ue2"].astype("<i8").tobytes()).hexdigest()
    assert described["ue2"]["positions_sha256"] == expected
