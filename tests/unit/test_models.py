"""The models are the published ones, cut into chains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from agents.models import norm
from agents.models.build import build, split
from agents.models.catalog import UNITS, DatasetInfo
from agents.samples.vision import torchvision
from controller.predict.workload import measure

CIFAR = DatasetInfo(channels=3, height=32, width=32, classes=10, train=1, test=1)
MNIST = DatasetInfo(channels=1, height=28, width=28, classes=10, train=1, test=1)
THEIRS = {
    "resnet18": "resnet18",
    "resnet101": "resnet101",
    "vgg16": "vgg16_bn",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mobilenet_v3_large": "mobilenet_v3_large",
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads do not repeat bit for bit
    yield
    torch.set_num_threads(before)


def theirs(name: str, kind: str) -> nn.Module:
    """torchvision's own model for CIFAR-10, its weights random."""
    torch.manual_seed(1)
    chosen = {} if kind == "batch" or name == "vgg16" else {"norm_layer": norm.layer(kind)}
    model = getattr(torchvision().models, THEIRS[name])(num_classes=10, **chosen)
    if name == "resnet18":
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.to(memory_format=torch.channels_last)


# torchvision's VGG knows batch norm only.
PAIRS = [(name, kind) for name in THEIRS for kind in ("batch", "group") if (name, kind) != ("vgg16", "group")]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_chain_with_torchvisions_weights_gives_torchvisions_outputs_to_the_bit(name, kind):
    reference, ours = theirs(name, kind), build(name, CIFAR, kind, seed=0)
    # Both list the same weights in the same order, under other names.
    ours.load_state_dict(dict(zip(ours.state_dict(), reference.state_dict().values(), strict=True)))
    images = torch.randn(3, 3, 32, 32)
    for training in (False, True):
        ours.train(training)
        reference.train(training)
        with torch.no_grad():
            assert torch.equal(ours(images), reference(images))


@pytest.mark.parametrize("info", (MNIST, CIFAR), ids=("1x28x28", "3x32x32"))
@pytest.mark.parametrize("name", UNITS)
def test_every_model_takes_small_images_and_its_costs_can_be_measured(name, info):
    assert tuple(unit for unit, _ in build(name, info, "group", seed=0).named_children()) == UNITS[name]
    flops, outputs, weights = measure(name, "group", info)
    assert len(flops) == len(outputs) == len(weights) == len(UNITS[name])
    assert (outputs > 0).all()
    assert flops[-1] > 0 and outputs[-1] == 4 * info.classes


@pytest.mark.parametrize("name", [name for name in UNITS if name not in ("vgg16", "resnet101")])
@pytest.mark.parametrize("kind", ("group", "batch"))
def test_halves_at_any_cut_compute_what_the_whole_does_and_leave_what_was_sent_alone(name, kind):
    whole, images = build(name, MNIST, kind, seed=0), torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        expected = whole(images)
        for cut in range(1, len(UNITS[name])):
            front, back = split(whole, cut)
            sent = front(images)
            before = sent.clone()
            assert torch.equal(back(sent), expected)
            assert torch.equal(sent, before), "the unit after the cut works in place"


def test_a_seed_gives_the_same_weights_again_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    one, again, other = (build("resnet18", CIFAR, "group", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.values(), again.values(), strict=True))
    assert not torch.equal(one["stem.0.weight"], other["stem.0.weight"])
    assert torch.equal(torch.get_rng_state(), state)


def test_lenet12_has_the_4_3_million_weights_of_the_cpsl_paper_at_72_pixels():
    # 16.49 MB there; no smaller image gives its dense layers that many inputs.
    model = build("lenet12", DatasetInfo(1, 72, 72, 10, 1, 1), "group", seed=0)
    weights = sum(p.numel() for p in model.parameters())
    assert weights == 4_322_856
    assert round(4 * weights / 2**20, 2) == 16.49


def test_resnet18_costs_what_table_ii_of_the_c2p2sl_paper_says():
    flops, outputs, weights = measure("resnet18", "group", CIFAR)
    stages = [[0], [1, 2], [3, 4], [5, 6], [7, 8], [9]]
    mflop = [flops[stage].sum() / 1e6 for stage in stages]
    parameters = [weights[stage].sum() / 4e6 for stage in stages]
    traffic = [outputs[stage[-1]] / 2**20 for stage in stages]
    # The paper counts norm, ReLU and pooling too, about four operations per value; we do not.
    assert mflop == pytest.approx([3.802, 303.0, 269.1, 268.8, 268.6, 0.026], rel=0.01, abs=0.27)
    assert parameters == pytest.approx([0.002, 0.148, 0.526, 2.100, 8.394, 0.005], abs=6e-4)
    assert traffic == pytest.approx([0.250, 0.250, 0.125, 0.063, 0.031, 3.81e-05], rel=0.02)
