"""Batch statistics: k micro-batches leave what one batch would."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from agents.evaluation import Part
from agents.halves import Half
from agents.models import norm
from agents.passes import Rows, plain
from agents.plan import micro_batch_sizes
from tests.unit.loopback import job, samples, world

BATCH = 13


def batches() -> list[torch.Tensor]:
    """Three batches far from zero mean, where naive sums of squares would cancel."""
    generator = torch.Generator().manual_seed(0)
    return [30.0 + torch.randn(BATCH, 3, 5, 4, generator=generator) for _ in range(3)]


def chain(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(norm.layer("batch")(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 10))


def half(units: nn.Sequential) -> Half:
    """Units with a learning rate of 0: only their statistics move, so that one full batch is the reference."""
    return Half(units, 0.0, 0.0)


def train(front: Half, back: Half, batch: torch.Tensor, k: int) -> None:
    """One optimiser step by k micro-batches."""
    outputs = [front.model(part) for part in torch.split(batch, [s for s in micro_batch_sizes(len(batch), k) if s])]
    for out in outputs:
        ending = plain(back.model, Rows([out], [torch.zeros(len(out))], len(batch)))
        out.backward(ending.backward()[0][0])
    front.step()
    back.step()


def statistics(of: Half) -> list[torch.Tensor]:
    return [b for m in of.model.modules() if isinstance(m, nn.BatchNorm2d) for b in m.buffers()]


def largest(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("k", (1, 2, 3, 8, 13, 20))
def test_k_micro_batches_leave_the_running_statistics_of_one_batch_on_both_halves(k):
    front, back = half(chain(0)[:1]), half(nn.Sequential(norm.layer("batch")(3), *chain(0)[1:]))
    plain = nn.BatchNorm2d(3)
    seen = nn.BatchNorm2d(3)
    for batch in batches():
        train(front, back, batch, k)
        plain(batch)
        parts = torch.split(batch, [s for s in micro_batch_sizes(BATCH, k) if s])
        own = [nn.functional.batch_norm(part, None, None, training=True) for part in parts]
        seen(torch.cat(own))
    assert largest(statistics(front), list(plain.buffers())) < 1e-6
    assert largest(statistics(back), list(seen.buffers())) < 1e-6
    assert all(int(m.num_batches_tracked) == 3 for m in (front.model[0], back.model[0]))


def test_one_micro_batch_trains_exactly_as_torchs_batch_norm():
    ours, theirs = norm.layer("batch")(3), nn.BatchNorm2d(3)
    for batch in batches():
        outputs = [module(batch) for module in (ours, theirs)]
        norm.settle(ours)
        assert torch.equal(*outputs)
        for out in outputs:
            out.square().sum().backward()
        assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert largest(list(ours.buffers()), list(theirs.buffers())) < 1e-6


def test_warm_up_and_evaluation_disturb_nothing():
    batch, other = batches()[:2]
    disturbed, undisturbed = half(chain(0)[:1]), half(chain(0)[:1])
    warm = half(copy.deepcopy(disturbed.model))
    out = warm.model(other)
    out.backward(torch.zeros_like(out))
    disturbed.model(batch[:5])
    with torch.no_grad():
        disturbed.model(other)
    disturbed.model.eval()
    with torch.inference_mode():
        disturbed.model(other)
    disturbed.model.train()
    disturbed.model(batch[5:])
    disturbed.step()
    undisturbed.model(batch[:5])
    undisturbed.model(batch[5:])
    undisturbed.step()
    assert all(torch.equal(a, b) for a, b in zip(statistics(disturbed), statistics(undisturbed), strict=True))


def test_a_batch_that_is_given_up_leaves_no_trace():
    given_up = half(chain(0)[:1])
    before = [value.clone() for value in statistics(given_up)]
    given_up.model(batches()[0])
    given_up.zero()
    given_up.step()
    assert all(torch.equal(a, b) for a, b in zip(statistics(given_up), before, strict=True))


def test_a_micro_batch_with_one_value_per_channel_trains():
    layer = norm.layer("batch")(3)
    layer(torch.ones(1, 3, 1, 1)).sum().backward()
    layer(torch.full((1, 3, 1, 1), 3.0))
    norm.settle(layer)
    assert torch.allclose(layer.running_mean, torch.full((3,), 0.2))  # a tenth of the way to 2
    assert torch.allclose(layer.running_var, torch.full((3,), 1.1))  # and to (1 + 1) / (2 − 1)


def test_agents_that_warm_up_and_train_in_micro_batches_keep_the_statistics_of_whole_batches():
    shards = {ue: samples(20, i) for i, ue in enumerate(("ue1", "ue2"))}
    ends = []
    for scheme, k in (("psl", 1), ("c2p2sl", 4)):
        # Learning rate 0: then what reaches the first norm layer does not depend on how gradients were computed.
        asked = job(scheme, 1, k, batches=(9, 6), norm="batch", lr=0.0)
        with world(shards) as agents:
            agents.configure(asked)
            for number in (1, 2):
                agents.round(number)
            agents.bs.evaluate({"ue1": [Part(*one) for one in agents.ues["ue1"].parts()]}, averaged=False)
            ends.append([statistics(agents.half(ue)) for ue in shards])
            modules = agents.half("bs").model.modules()
            assert {int(m.num_batches_tracked) for m in modules if isinstance(m, nn.BatchNorm2d)} == {2}
    assert all(largest(split, whole) < 1e-6 for split, whole in zip(*reversed(ends), strict=True))
