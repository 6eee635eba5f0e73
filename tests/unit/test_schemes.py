"""Every row of the scheme table trains what its paper says: three rounds equal single-process autograd, both halves."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from agents.models.catalog import UNITS
from agents.samples.shard import Order
from agents.schedule.task import Weights, goes_down, owner
from agents.schedule.vocabulary import replica
from agents.trainer import Trainer
from tests.unit.loopback import costs, job, samples, world
from tests.unit.references import REFERENCES, ROUNDS, centralised

BATCHES = (7, 4, 9)
LAST = len(UNITS["vgg5"])


@pytest.fixture(autouse=True)
def double_precision():
    """In single precision a rounding error can turn which of two values max pooling takes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def distance(half: nn.Module, reference: nn.Module) -> float:
    """Largest difference of any weight."""
    pairs = zip(half.parameters(), reference.parameters(), strict=True)
    return max((float((a - b).detach().abs().max()) for a, b in pairs), default=0.0)


def shards(count: int = 3) -> dict:
    """Private data of each UE."""
    return {f"ue{i + 1}": samples(20, i) for i in range(count)}


def holders(asked) -> set[str]:
    """The UEs that have the weights of the last turn; the others have those of an earlier one."""
    tasks = asked.schedule(1).tasks
    last = max(task.key.turn for task in tasks)
    got = {owner(t.place) for t in tasks if isinstance(t.work, Weights) and goes_down(t.place) and t.key.turn == last}
    return got or set(asked.plan.ues)


CASES = [(scheme, cut, 1, {}, ()) for cut in (1, 3) for scheme in ("sl", "sfl", "sfl-v2", "psl")]
CASES += [("fl", LAST, 1, {"steps": steps}, ()) for steps in (1, 3)]
CASES += [("sfl", 2, 1, {"steps": 3}, ())]
CASES += [(scheme, cut, k, {}, ()) for scheme in ("c2p2sl", "gpipe") for cut in (1, 3) for k in (3, 8)]
CASES += [("ushape", cut, k, {"head_cut": head}, ()) for cut, head in ((1, 4), (2, 3)) for k in (1, 3)]
CASES += [("c2p2sl", 2, 8, {"first_micro_batch": 3}, ())]
CASES += [("epsl", cut, 1, {"phi": phi}, ()) for cut in (1, 3) for phi in (0.4, 1.0)]
CASES += [("cpsl", cut, 1, {"steps": 2}, ({"cluster": 0}, {"cluster": 1}, {"cluster": 0})) for cut in (1, 3)]
OWN = ({"cut": 1, "micro_batches": 2}, {"cut": 3, "micro_batches": 4}, {"cut": 2, "micro_batches": 1})
CASES += [("pipar", 1, 1, {"steps": steps}, OWN) for steps in (1, 2)]
CASES += [("sfl", 2, 1, {"workers": "per_ue"}, ()), ("pipar", 1, 1, {"steps": 2, "workers": "per_ue"}, OWN)]


@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
@pytest.mark.parametrize(("scheme", "cut", "k", "plan", "ues"), CASES)
def test_three_rounds_equal_single_process_autograd(scheme, cut, k, plan, ues, duplex):
    asked = job(scheme, cut, k, BATCHES, plan, ues, duplex=duplex)
    reference = REFERENCES[scheme](asked, shards())
    with world(shards()) as agents:
        agents.configure(asked)
        for number in range(1, ROUNDS + 1):
            agents.round(number)
        for ue in holders(asked):
            assert distance(agents.half(ue).model, reference.fronts[ue]) < 1e-5
        for ue, head in reference.heads.items():
            assert distance(agents.ues[ue].trainer.of(ue)[1][1].model, head) < 1e-5
        for ue in agents.ues if cut < LAST else ():
            model = replica(ue) if replica(ue) in {key[0] for key in agents.bs.trainer.halves} else "bs"
            assert distance(agents.half("bs", model).model, reference.backs[ue]) < 1e-5


@pytest.mark.parametrize(("scheme", "plan", "ues"), [("psl", {}, ()), ("sfl", {}, ()), ("pipar", {"steps": 2}, OWN)])
def test_the_base_stations_half_has_a_learning_rate_of_its_own(scheme, plan, ues):
    asked = job(scheme, 1, 1, BATCHES, plan, ues, lr=0.02, bs_lr=0.1, momentum=0.5)
    reference = REFERENCES[scheme](asked, shards())
    with world(shards()) as agents:
        agents.configure(asked)
        for number in range(1, ROUNDS + 1):
            agents.round(number)
        for ue in agents.ues:
            assert distance(agents.half(ue).model, reference.fronts[ue]) < 1e-5
            model = replica(ue) if scheme != "psl" else "bs"
            assert distance(agents.half("bs", model).model, reference.backs[ue]) < 1e-5


def test_centralised_equals_training_on_one_machine():
    asked = job("centralised", 0, 1, (0, 0, 0), {"bs_batch": 20})
    with world(shards()) as agents:
        agents.configure(asked)
        for number in range(1, ROUNDS + 1):
            agents.round(number)
        assert distance(agents.half("bs").model, centralised(asked, samples(60, 98))) < 1e-5
        assert {e["task"] for e in agents.events} == {"bs_forward", "bs_backward"}
        assert set(agents.bs.evaluate({}, averaged=False)[0]) == {"bs"}


def ends(asked) -> list[torch.Tensor]:
    """All weights after two rounds."""
    with world(shards()) as agents:
        agents.configure(asked)
        for number in (1, 2):
            agents.round(number)
        trainers = [*(ue.trainer for ue in agents.ues.values()), agents.bs.trainer]
        return [w for trainer in trainers for half in trainer.halves.values() for w in half.weights()]


def test_epsl_without_phi_is_bit_equal_to_psl():
    a, b = (ends(job(scheme, 2, 1, BATCHES)) for scheme in ("epsl", "psl"))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("aggregate", ["virtual", "own", "cut"])
@pytest.mark.parametrize("phi", [0.5, 1.0])
def test_epsl_of_ues_with_the_same_data_is_psl(aggregate, phi):
    """Aggregating equal gradients changes nothing, whatever the reading."""
    results = []
    for scheme, plan in (("psl", {}), ("epsl", {"phi": phi, "aggregate": aggregate})):
        asked = job(scheme, 2, 1, (4, 4, 4), plan)
        same = {ue: samples(4, 0) for ue in asked.plan.ues}
        with world(same) as agents:
            agents.configure(asked)
            for ue in agents.ues.values():
                ue._order = Order(4, (0,))
            agents.round(1)
            halves = [*(agents.half(ue) for ue in agents.ues), agents.half("bs")]
            results.append([w for half in halves for w in half.weights()])
    assert all(torch.allclose(x, y, atol=1e-9) for x, y in zip(*results, strict=True))


def test_epsl_broadcasts_once_and_computes_fewer_rows_backward():
    asked = job("epsl", 3, 1, (6, 6, 6), {"phi": 0.5}, paced=True, costs=costs(bs_s=0.005))
    with world(shards()) as agents:
        agents.configure(asked)
        agents.round(1)
        seconds = {e["task"]: (e["end_ns"] - e["start_ns"]) / 1e9 for e in agents.events if e["place"] == "bs"}
        assert seconds["bs_forward"] > 0.99 * (18 + 3) * 0.01
        assert seconds["bs_backward"] > 0.99 * (3 + 3 * 3) * 0.02
        rows = {task.key.kind: task.work.rows for task in asked.schedule(1).at["bs"] if task.computes}
        assert rows == {"bs_forward": 18 + 3, "bs_backward": 3 + 3 * 3}
        assert sum(e["task"] == "broadcast" for e in agents.events) == 3
        assert sum(e["task"] == "downlink" for e in agents.events) == 3


def test_sequential_clusters_wait_for_the_weights():
    clusters = ({"cluster": 0}, {"cluster": 1}, {"cluster": 1})
    asked = job("cpsl", 2, 1, (8, 8, 8), {}, clusters, paced=True, costs=costs(ue_s=0.001))
    with world(shards()) as agents:
        agents.configure(asked)
        agents.round(1)
        first = max(e["end_ns"] for e in agents.events if e["turn"] == 0)
        assert min(e["start_ns"] for e in agents.events if e["turn"] == 1) >= first


def test_averages_weigh_what_was_trained_on_and_not_the_size_of_a_shard():
    unlike = {"ue1": 0.9, "ue2": 0.05, "ue3": 0.05}
    asked = job("sfl", 2, 1, BATCHES, shares=unlike)
    reference = REFERENCES["sfl"](asked, shards())
    with world(shards()) as agents:
        agents.configure(asked)
        for number in range(1, ROUNDS + 1):
            agents.round(number)
        assert distance(agents.half("ue1").model, reference.fronts["ue1"]) < 1e-5


def test_epsl_weighs_the_ues_that_take_part():
    """One of three is left out: the shares of the other two are of the two."""
    kept = {"ue1": 0.25, "ue3": 0.25}
    ends = []
    for batches, all_shares in (((7, 0, 9), {**kept, "ue2": 0.5}), ((7, 0, 9), {"ue1": 0.5, "ue3": 0.5, "ue2": 0.0})):
        with world(shards()) as agents:
            agents.configure(job("epsl", 2, 1, batches, {"phi": 0.5}, shares=all_shares))
            agents.round(1)
            ends.append([w for agent in ("bs", "ue1", "ue3") for w in agents.half(agent).weights()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_work_on_a_device_is_over_before_it_is_timed():
    asked = job("psl", 2, 1, (4, 4))
    with world(shards(2)) as agents:
        agents.configure(asked)
        agents.bs.trainer.settle_device = lambda: time.sleep(0.03)  # what is still on the device
        agents.round(1)
        passes = [e for e in agents.events if e["place"] == "bs"]
        downlinks = [e for e in agents.events if e["task"] == "downlink"]
    assert [e["task"] for e in passes] == ["bs_forward", "bs_backward"]
    assert all(e["end_ns"] - e["start_ns"] >= 30_000_000 for e in passes)
    assert min(e["start_ns"] for e in downlinks) >= passes[-1]["end_ns"]


def test_a_gpu_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    trainer = Trainer(job("psl", 2, 1, (4, 4)), "cpu")
    trainer.settle_device()
    assert not waited
    trainer._device = "cuda"
    trainer.settle_device()
    assert waited == ["cuda"]
