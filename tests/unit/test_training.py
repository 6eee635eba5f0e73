"""The agents' training equals single-process autograd on the whole model, on both halves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from agents.halves import to_inputs
from agents.job import Job
from agents.models.build import build, split
from agents.models.catalog import UNITS
from agents.passes import Rows
from agents.samples.shard import Order, Samples
from agents.wire.air import AirError
from tests.unit.loopback import costs, job, samples, world


@pytest.fixture(autouse=True)
def double_precision():
    """In single precision a rounding error can turn which of two values max pooling takes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CUTS = range(1, len(UNITS["vgg5"]))
ROUNDS = 3


def whole_model(job: Job) -> nn.Sequential:
    """The model as every agent builds it."""
    return build(job.model, job.dataset_info, job.norm, job.seed)


def streams(job: Job, shards: dict[str, Samples]) -> dict[str, Iterator[tuple[torch.Tensor, torch.Tensor]]]:
    """The batches each UE will take, as tensors."""

    def stream(i: int, ue: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = Order(len(shards[ue]), (job.seed, 2, i))
        while True:
            taken = shards[ue].take(order.take(job.plan.ues[ue].batch))
            yield (to_inputs(torch.from_numpy(taken.images)), torch.from_numpy(taken.labels).long())

    return {ue: stream(i, ue) for i, ue in enumerate(job.plan.ues)}


def parallel_reference(job: Job, shards: dict[str, Samples]) -> tuple[dict[str, nn.Module], nn.Module]:
    """PSL on one machine: a UE half each, one BS half, one backward pass over the whole batch."""
    fronts = {ue: split(whole_model(job), job.plan.cut)[0] for ue in job.plan.ues}
    back = split(whole_model(job), job.plan.cut)[1]
    parameters = [p for half in (*fronts.values(), back) for p in half.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=job.lr, momentum=job.momentum)
    data = streams(job, shards)
    for _ in range(ROUNDS):
        taken = {ue: next(data[ue]) for ue in fronts}
        scores = back(torch.cat([fronts[ue](x) for ue, (x, _) in taken.items()]))
        optimiser.zero_grad()
        functional.cross_entropy(scores, torch.cat([y for _, y in taken.values()])).backward()
        optimiser.step()
    return fronts, back


def sequential_reference(job: Job, shards: dict[str, Samples]) -> tuple[dict[str, nn.Module], nn.Module]:
    """SL on one machine: one model; each UE in turn makes a step, with its own momentum for the UE half."""
    front, back = split(whole_model(job), job.plan.cut)
    data = streams(job, shards)
    momenta = {ue: torch.optim.SGD(front.parameters(), lr=job.lr, momentum=job.momentum) for ue in job.plan.ues}
    back_optimiser = torch.optim.SGD(back.parameters(), lr=job.lr, momentum=job.momentum)
    for _ in range(ROUNDS):
        for ue, stream in data.items():
            x, y = next(stream)
            momenta[ue].zero_grad()
            back_optimiser.zero_grad()
            functional.cross_entropy(back(front(x)), y).backward()
            momenta[ue].step()
            back_optimiser.step()
    return {next(iter(data)): front}, back


REFERENCES = {"psl": parallel_reference, "c2p2sl": parallel_reference, "sl": sequential_reference}
CASES = [("psl", cut, 1) for cut in CUTS] + [("sl", cut, 1) for cut in CUTS]
CASES += [("c2p2sl", cut, k) for cut in CUTS for k in (2, 3, 8)]


def distance(half: nn.Module, reference: nn.Module) -> float:
    """Largest difference of any weight."""
    pairs = zip(half.parameters(), reference.parameters(), strict=True)
    return max((float((a - b).detach().abs().max()) for a, b in pairs), default=0.0)


@pytest.mark.parametrize(("scheme", "cut", "k"), CASES)
def test_three_rounds_equal_single_process_autograd(scheme, cut, k):
    asked = job(scheme, cut, k, batches=(7, 4, 9))
    shards = {ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}
    fronts, back = REFERENCES[scheme](asked, shards)
    with world(shards) as agents:
        agents.configure(asked)
        for number in range(1, ROUNDS + 1):
            agents.round(number)
        assert distance(agents.half("bs").model, back) < 1e-5
        for ue, front in fronts.items():
            assert distance(agents.half(ue).model, front) < 1e-5


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("k", (2, 5, 8))
def test_micro_batched_gradients_equal_full_batch_gradients(cut, k):
    from agents.halves import Half
    from agents.passes import plain
    from agents.plan import micro_batch_sizes

    asked = job("c2p2sl", cut, k, batches=(13,))
    reference = whole_model(asked)
    shard = samples(13, 1)
    x, y = (to_inputs(torch.from_numpy(shard.images)), torch.from_numpy(shard.labels).long())
    functional.cross_entropy(reference(x), y).backward()
    front, back = split(whole_model(asked), cut)
    ue, bs = Half(front, 0.1, 0.0), Half(back, 0.1, 0.0)
    for part in np.split(np.arange(13), np.cumsum(micro_batch_sizes(13, k))[:-1]):
        if len(part):
            out = ue.model(x[part])
            out.backward(plain(bs.model, Rows([out], [y[part]], samples=13)).backward()[0][0])
    for half, whole in ((front, reference[:cut]), (back, reference[cut:])):
        for a, b in zip(half.parameters(), whole.parameters(), strict=True):
            assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_agents_repeat_bit_for_bit():
    asked = job("c2p2sl", 2, 4, batches=(6, 5))
    shards = {ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}
    ends = []
    for _ in range(2):
        with world(shards) as agents:
            agents.configure(asked)
            for number in (1, 2):
                agents.round(number)
            ends.append([w for agent in ("bs", *agents.ues) for w in agents.half(agent).weights()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_second_job_holds_its_downlinks_as_the_first_did():
    asked = job("c2p2sl", 2, 4, batches=(8, 8), paced=True, costs=costs(ue_s=0.005))
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        for _ in range(2):
            agents.configure(asked)
            agents.round(1)
            last_uplink = max(e["end_ns"] for e in agents.events if e["task"] == "uplink")
            downlinks = [e for e in agents.events if e["task"] == "downlink"]
            assert min(e["start_ns"] for e in downlinks) >= last_uplink


def test_in_sl_a_ue_computes_only_after_the_weights_have_reached_it():
    asked = job("sl", 2, 1, batches=(8, 8), paced=True, costs=costs(ue_s=0.001))
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        agents.configure(asked)
        agents.round(1)
        events = {e["task"]: e for e in agents.events if e["ue"] == "ue2"}
    assert events["ue_forward"]["start_ns"] >= events["weights_down"]["end_ns"]
    assert events["ue_forward"]["end_ns"] - events["ue_forward"]["start_ns"] >= 16_000_000


def test_a_ue_without_samples_trains_nothing_and_delays_nobody():
    asked = job("c2p2sl", 2, 4, batches=(8, 0, 5))
    shards = {ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}
    with world(shards) as agents:
        agents.configure(asked)
        agents.round(1)
        assert not agents.ues["ue2"].trainer.halves
        assert not [e for e in agents.events if e["ue"] == "ue2"]
        assert {e["ue"] for e in agents.events if e["task"] == "uplink"} == {"ue1", "ue3"}


def test_workers_of_the_bs_compute_at_the_same_time_and_each_is_its_share_of_the_bs():
    asked = job("sfl", 2, 1, batches=(8, 8), plan={"workers": "per_ue"}, paced=True, costs=costs(bs_s=0.002))
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        agents.configure(asked)
        agents.round(1)
        forward, backward = ([e for e in agents.events if e["task"] == f"bs_{way}"] for way in ("forward", "backward"))
        busy_s = agents.bs.meter.busy_s
    assert {e["place"] for e in forward} == {"bs/ue1", "bs/ue2"}
    assert max(e["start_ns"] for e in forward) < min(e["end_ns"] for e in backward)
    assert busy_s == pytest.approx(sum(e["end_ns"] - e["start_ns"] for e in [*forward, *backward]) / 1e9 / 2)
    assert all(e["end_ns"] - e["start_ns"] >= 8 * 3 * 2 * 2_000_000 for e in forward)


def test_a_worker_that_fails_ends_the_segment_for_all(monkeypatch):
    asked = job("sfl", 2, 1, batches=(8, 8), plan={"workers": "per_ue"}, deadline_s=1000.0)
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        agents.configure(asked)
        forward = agents.bs.trainer.forward

        def failing(key, *others):
            if key.ue == "ue2":
                raise RuntimeError("the worker is gone")
            return forward(key, *others)

        monkeypatch.setattr(agents.bs.trainer, "forward", failing)
        agents.bs.begin_round(1)
        for ue in agents.ues.values():
            ue.begin_round(1)
        with pytest.raises(Exception, match="the worker is gone"):
            while_ues_send(agents)


def while_ues_send(agents):
    """The BS's segment; the UEs' are in threads of their own, and end with it."""

    def quietly(ue):
        with contextlib.suppress(AirError):
            ue.segment(0, 0)

    threads = [Thread(target=quietly, args=(ue,)) for ue in agents.ues.values()]
    for thread in threads:
        thread.start()
    try:
        agents.bs.segment(0, 0)
    finally:
        for ue in agents.ues.values():
            ue.air.fail("the BS is gone")
        for thread in threads:
            thread.join()
