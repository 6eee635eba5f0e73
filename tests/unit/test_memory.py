"""What agents take of memory: as it follows from the schedule, as it is bounded by chunks, and as hosts refuse it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from agents.halves import Half
from agents.models.build import build, units_of
from agents.models.catalog import DATASETS
from agents.passes import Rows, in_chunks, plain
from agents.plan import Plan
from agents.schedule.footprint import CHUNK_BYTES, Footprint, chunks
from agents.schedule.memory import Keeps, container_bytes, parts_of, round_bytes, sockets_bytes
from agents.schedule.task import BS, Compute, Schedule
from agents.schemes import SCHEMES
from controller.planners.planning import plan_all
from controller.predict import footprint as measuring
from controller.predict.device import DEVICE_RUNTIME_BYTES, device_bytes, most_samples
from controller.trial.memory import limits, needed_bytes, peaks
from testbed.errors import InputError
from testbed.loading import load, parse
from tests.unit.loopback import job, samples, world
from tests.unit.plans import any_plan, plan


@pytest.fixture
def double_precision():
    """In single precision a rounding error can turn which of two values max pooling takes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def footprint(units: int = 5, kept: float = 100.0, mixes: bool = False) -> Footprint:
    """A model of equal units that keep so much of a sample each."""
    each = (kept,) * units
    return Footprint(10.0, (1000.0,) * units, tuple(kept / 4 for _ in each), each, each, (mixes,) * units)


TORN = footprint(kept=CHUNK_BYTES / 9)
"""With this one no part of a model takes more than a few rows at a time."""


# Chunks


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("most", (1, 3, 5, 100))
def test_a_pass_in_chunks_gives_the_gradients_of_all_rows_at_once(cut, most):
    model = units_of(build("vgg5", DATASETS["mnist5k"], "group", 3), cut, 5)
    before = units_of(build("vgg5", DATASETS["mnist5k"], "group", 3), 0, cut)
    images = torch.rand(13, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    values, labels = before(images).detach(), torch.arange(13) % 10
    whole = values.clone().requires_grad_()
    loss = functional.cross_entropy(model(whole), labels, reduction="sum") / 20
    wanted = torch.autograd.grad(loss, [whole, *model.parameters()])
    parts = (values[:6], values[6:7], values[7:])
    made = in_chunks([model], Rows(parts, (labels[:6], labels[6:7], labels[7:]), 20, inner=cut > 0), most)
    rows, _ = made.backward()
    assert made.loss == pytest.approx(loss.item(), rel=1e-12)
    assert [len(part) for part in rows] == ([6, 1, 6] if cut else [])
    found = [*([torch.cat(rows)] if cut else []), *(parameter.grad for parameter in model.parameters())]
    for one, other in zip(found, wanted[0 if cut else 1 :], strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_threads_share_a_pass_and_always_in_the_same_way():
    torch.manual_seed(1)
    values, labels = torch.randn(50, 1, 28, 28), torch.arange(50) % 10

    def trained(twins: int) -> list[torch.Tensor]:
        half = Half(build("vgg5", DATASETS["mnist5k"], "group", 3), lr=0.1, momentum=0.9)
        for _ in range(2):
            in_chunks(half.twins(twins), Rows([values], [labels], 50, inner=False), 3)
            half.step()
        return half.weights()

    alone, shared = trained(1), trained(3)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(alone, shared, strict=True))
    assert all(all(map(torch.equal, trained(3), shared)) for _ in range(3))


@given(rows=st.integers(1, 3000), threads=st.integers(1, 16))
def test_each_thread_gets_its_share_of_a_pass(rows, threads):
    found = TORN.chunk_rows(2, 5, rows, threads)
    assert 1 <= found <= rows and found * TORN.held_bytes(2, 5) * threads <= max(
        CHUNK_BYTES, threads * TORN.held_bytes(2, 5)
    )
    if threads > 1:
        assert found <= 32 and len(chunks(rows, found)) >= min(rows, 2 * threads)


@given(rows=st.integers(1, 500), most=st.integers(1, 100))
def test_chunks_hold_all_rows_and_none_too_many(rows, most):
    found = chunks(rows, most)
    assert sum(found) == rows and max(found) <= most and max(found) - min(found) <= 1


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("scheme", "more"),
    [
        *((name, {}) for name in ("psl", "sfl", "fl", "gpipe")),
        ("ushape", {"head_cut": 3}),
        ("centralised", {"bs_batch": 11}),
        *(("epsl", {"phi": phi, "aggregate": reading}) for phi in (0.5, 1.0) for reading in ("virtual", "own", "cut")),
    ],
)
def test_rounds_in_chunks_train_as_rounds_without(scheme, more):
    cut = SCHEMES[scheme].allowed_cuts(5)[0]
    asked = job(scheme, cut, 1, (0, 0) if scheme == "centralised" else (7, 6), more)
    ends = []
    for each in (asked, replace(asked, footprint=TORN)):
        with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
            agents.configure(each)
            for number in (1, 2):
                agents.round(number)
            trainers = [agents.bs.trainer, *(ue.trainer for ue in agents.ues.values())]
            ends.append([w for t in trainers for half in t.halves.values() for w in half.weights()])
    assert all(torch.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(*ends, strict=True))


def test_a_model_that_mixes_samples_is_not_torn_apart(monkeypatch):
    torn = []
    monkeypatch.setattr("agents.passes.in_chunks", lambda twins, rows, most: torn.append(most) or plain(twins[0], rows))
    asked = job("psl", 2, 1, (7, 6), norm="batch")
    for mixes in (True, False):
        with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
            agents.configure(replace(asked, footprint=replace(TORN, mixes=(mixes,) * 5)))
            agents.round(1)
        assert bool(torn) != mixes


def test_what_has_come_is_let_go_of_when_it_has_been_used():
    asked = job("c2p2sl", 2, 3, (7, 6))
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        agents.configure(asked)
        agents.round(1)
        for agent in (agents.bs, *agents.ues.values()):
            assert agent.air.arrivals and not any(len(arrival.sealed) for arrival in agent.air.arrivals)


# The footprint of a model


def test_what_a_unit_keeps_is_counted_once_and_without_its_weights():
    unit = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
    out, sizes = measuring._forward(unit, torch.rand(2, 3, 16, 16, requires_grad=True))
    tensor = 2 * 8 * 16 * 16 * 4
    assert sorted(sizes)[-2:] == [tensor, tensor]  # what the norm takes, and what ReLU gives
    assert sum(sizes) < 2.01 * tensor
    assert out.nbytes == tensor


def test_batch_norm_is_seen_where_it_is():
    found = measuring._measured("vgg5", "batch", DATASETS["mnist5k"])
    assert found.mixes == (True, True, True, False, False)
    assert not found.tears(2, 5) and found.tears(3, 5)
    assert not any(measuring._measured("vgg5", "group", DATASETS["mnist5k"]).mixes)


def test_rows_that_stand_for_several_units_keep_what_they_do():
    found = measuring._measured("vgg5", "group", DATASETS["mnist5k"])
    two = found.grouped((2, 3))
    assert two.weight_bytes == (sum(found.weight_bytes[:2]), sum(found.weight_bytes[2:]))
    assert two.held_bytes(0, 2) == pytest.approx(found.held_bytes(0, 5))
    assert two.held_bytes(1, 2) == pytest.approx(found.held_bytes(2, 5))
    assert Footprint.from_json(two.to_json()) == two


# The peak of a schedule


def alone(schedule: Schedule, agent: str, f: Footprint) -> float:
    """The most that any one pass of an agent takes with its own part of the model."""
    works = [t.work for t in schedule.tasks if t.agent == agent and isinstance(t.work, Compute) and t.work.backward]
    return max(
        (f.chunk_rows(w.first, w.last, w.rows) * f.held_bytes(w.first, w.last)
         + sum(f.weight_bytes[w.first : w.last]) * 2 for w in works),
        default=0.0,
    )  # fmt: skip


def schedule_of(name: str, asked: Plan, units: int, duplex: str) -> Schedule:
    return SCHEMES[name].schedule(asked, units, duplex)


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), duplex=st.sampled_from(["tdd", "fdd"]), mixes=st.booleans())
def test_the_peak_of_a_round_is_at_least_that_of_each_task_and_grows_with_the_batch(name, data, duplex, mixes):
    _, asked, times = data.draw(any_plan(name))
    asked = replace(asked, phi=0.0, first_micro_batch=0)
    units = len(times.forward_flops)
    f = footprint(units, data.draw(st.sampled_from([100.0, CHUNK_BYTES / 5])), mixes)
    more = replace(
        asked, bs_batch=2 * asked.bs_batch, ues={n: replace(u, batch=2 * u.batch) for n, u in asked.ues.items()}
    )
    once, twice = (schedule_of(name, one, units, duplex) for one in (asked, more))
    for agent in (BS, *asked.ues):
        found = round_bytes(once, agent, f, momentum=True)
        assert found >= alone(once, agent, f)
        assert round_bytes(twice, agent, f, momentum=True) >= found
        assert round_bytes(once, agent, f, momentum=False) <= found <= round_bytes(once, agent, f, True, threads=None)
        assert container_bytes(once, agent, f, Keeps(5, momentum=True)) > found


def test_only_what_may_leave_at_the_same_time_is_in_sockets_together():
    """Of clusters that take turns one sends at a time, however many there are."""
    f = footprint(2)
    asked = plan("cpsl", *[40] * 6)
    turns = replace(asked, ues={name: replace(ue, cluster=i) for i, (name, ue) in enumerate(asked.ues.items())})
    together, in_turns = (sockets_bytes(schedule_of("cpsl", one, 2, "tdd"), BS, f) for one in (asked, turns))
    assert 0 < in_turns <= together / 3


def test_micro_batches_that_wait_for_their_way_back_are_all_alive():
    f = footprint(2)
    one, many = (
        round_bytes(schedule_of("c2p2sl", plan("c2p2sl", 40, micro_batches=k), 2, "tdd"), "ue1", f, False)
        for k in (1, 4)
    )
    held = 40 * f.held_bytes(0, 1)
    assert min(one, many) > held
    assert abs(one - many) < 40 * 4 * f.largest_bytes[0]


def test_chunks_bound_the_bs_whatever_the_batch():
    f = replace(footprint(2), kept_bytes=(CHUNK_BYTES / 10,) * 2)
    small, large = (round_bytes(schedule_of("psl", plan("psl", batch), 2, "tdd"), BS, f, True) for batch in (20, 2000))
    unbounded = round_bytes(schedule_of("psl", plan("psl", 2000), 2, "tdd"), BS, f, True, threads=None)
    assert large - small < 2000 * 3 * f.output_bytes[0] < unbounded / 10


def test_replicas_take_memory_each():
    f = footprint(2)
    two, four = (round_bytes(schedule_of("sfl", plan("sfl", *(5,) * n), 2, "tdd"), BS, f, True) for n in (2, 4))
    assert four - two >= 2 * 3 * f.weight_bytes[1]
    assert len(parts_of(schedule_of("sfl", plan("sfl", 5, 5), 2, "tdd"), BS)) == 2


# What hosts have


def test_limits_are_the_predicted_peaks_of_all_schemes_and_a_little_more():
    topology = load(Path("topologies/schemes.yaml"))
    planned = plan_all(topology)
    found, each = limits(topology, planned, 64e9), [peaks(topology, [one]) for one in planned]
    for agent, limit in found.items():
        assert limit.peak_bytes == max(one[agent] for one in each) < limit.limit_bytes < 1.1 * limit.peak_bytes
    assert set(found) == {BS, *(ue.name for ue in topology.ues)}


def test_where_plans_will_be_made_anew_there_is_more_room():
    topology = load(Path("topologies/moving-replan.yaml"))
    planned = plan_all(topology)
    found = limits(topology, planned, 64e9)
    still = limits(topology.model_copy(update={"replan": None}), planned, 64e9)
    assert all(found[agent].limit_bytes > 1.2 * still[agent].limit_bytes for agent in found)


MANY = "name: a\nues: {count: 100, memory_mb: null}\n"
LARGE = """
name: a
model: {name: resnet18, norm: batch}
training: {batch: 4000}
ues: [{name: ue1, capacity_gflop: 1e9}]
schemes: [psl]
"""


@pytest.mark.parametrize(
    ("text", "host_gb", "path", "hint"),
    [
        (MANY, 24, "ues", "use fewer ues, or a smaller model than vgg5"),
        (
            LARGE,
            16,
            "training.batch",
            r"use a batch of about \d\d\d\d, or model.norm: group, which is computed in chunks",
        ),
        (LARGE.replace("norm: batch", "norm: group"), 7, "training.batch", r"use a batch of about \d+, or fewer ues"),
    ],
)
def test_what_does_not_fit_the_host_is_refused_with_the_numbers(text, host_gb, path, hint):
    topology = parse(text, "test")
    with pytest.raises(InputError) as refused:
        limits(topology, plan_all(topology), host_gb * 1e9)
    size, ues = r"[\d.]+ GB", len(topology.ues)
    needs = rf"the containers need {size} of memory \(bs {size}, {ues} UEs up to {size} each\)"
    has = f"this host has {host_gb} GB, of which 2 GB are its own"
    assert re.fullmatch(rf"{path}: {needs}, and {has} \(hint: {hint}\)", str(refused.value))
    assert refused.value.exit_status == 2


def test_what_other_trials_have_is_not_there_for_this_one():
    topology = load(Path("topologies/quickstart.yaml"))
    planned = plan_all(topology)
    need = needed_bytes(limits(topology, planned, 24e9))
    limits(topology, planned, 24e9, others={"other": 22e9 - need})
    with pytest.raises(InputError) as refused:
        limits(topology, planned, 24e9, others={"other": 22.001e9 - need})
    assert "this host has 24 GB, of which 2 GB are its own and 20" in refused.value.message
    assert refused.value.message.endswith(" GB those of other")
    assert refused.value.hint.startswith("testbed down other, or use a batch of about ")


PI = """
name: pi
model: {{name: {model}}}
data: {{name: mnist5k, size: 32, channels: 3}}
training: {{batch: 100}}
ues: [{{name: pi1, memory_mb: 1000, capacity_gflop: 1e9}}]
schemes: [{scheme}]
"""


@pytest.mark.parametrize("model", ["vgg16", "resnet101"])
def test_a_raspberry_pi_of_1_gb_trains_no_large_model_under_fl_but_a_part_of_it(model):
    """PiPar, section V-A: the large DNNs cannot be trained using FL as the entire model needs to fit on the device."""
    with pytest.raises(InputError, match=r"ues\.0\.memory_mb: pi1 has 1e\+03 MB and needs [\d.e+]+ to train"):
        plan_all(parse(PI.format(model=model, scheme="fl"), "test"))
    assert plan_all(parse(PI.format(model=model, scheme="sfl"), "test"))[0].plan.batch == 100


@pytest.mark.parametrize("model", ["vgg5", "resnet18", "mobilenet_v3_small"])
def test_a_raspberry_pi_of_1_gb_trains_the_small_models_under_fl(model):
    assert plan_all(parse(PI.format(model=model, scheme="fl"), "test"))[0].plan.batch == 100


@given(cut=st.integers(1, 5), samples=st.integers(1, 300), memory=st.floats(3e8, 4e8))
@settings(max_examples=50, deadline=None)
def test_a_device_is_given_the_most_samples_that_fit(cut, samples, memory):
    f = footprint(5, kept=1e5)
    most = most_samples(f, cut, None, memory, samples)
    assert not most or device_bytes(f, cut, None, most) <= memory
    assert most == samples or device_bytes(f, cut, None, most + 1) > memory


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), duplex=st.sampled_from(["tdd", "fdd"]))
def test_no_schedule_takes_more_of_a_ue_than_planners_reckon_with(name, data, duplex):
    _, asked, times = data.draw(any_plan(name))
    units = len(times.forward_flops)
    f = footprint(units)
    schedule = schedule_of(name, replace(asked, privacy=None), units, duplex)
    for ue, part in asked.ues.items():
        if part.batch:
            found = round_bytes(schedule, ue, f, momentum=True, threads=None)
            assert found + DEVICE_RUNTIME_BYTES <= device_bytes(f, asked.cut_of(ue), asked.head_cut, part.batch)


def test_memory_of_ones_own_is_the_limit_and_refused_where_a_container_takes_more():
    text = "name: a\nbase_station: {{memory_mb: {bs}}}\nues: [{{name: ue1, memory_mb: {ue}}}]\nschemes: [psl]\n"
    topology = parse(text.format(bs=900, ue=600), "test")
    found = limits(topology, plan_all(topology), 64e9)
    assert (found[BS].limit_bytes, found["ue1"].limit_bytes) == (900_000_000, 600_000_000)
    assert found["ue1"].keys == "raise ues.0.memory_mb, or lower training.batch"
    topology = parse(text.format(bs=900, ue=600), "test")
    planned = plan_all(topology)
    small = topology.model_copy(update={"ues": (topology.ues[0].model_copy(update={"memory_mb": 200.0}),)})
    words = r"ues\.0\.memory_mb: 200 MB, but the container of ue1 takes \d+ MB on a host, \d+ MB of them before it has"
    with pytest.raises(InputError, match=words):
        limits(small, planned, 64e9)


def test_a_bs_that_cannot_hold_a_plan_is_refused():
    text = "name: a\nbase_station: {memory_mb: 240}\nues: [{name: ue1}]\nschemes: [psl]\n"
    with pytest.raises(InputError, match=r"base_station\.memory_mb: bs has 240 MB, and psl takes \d+"):
        plan_all(parse(text, "test"))


def test_a_batch_that_is_not_computed_in_chunks_is_warned_of():
    text = LARGE.replace("batch: 4000", "batch: 400")
    (batch_norm,) = plan_all(parse(text, "test"))
    assert any("bs computes 400 samples in one go" in warning for warning in batch_norm.warnings)
    (group_norm,) = plan_all(parse(text.replace("norm: batch", "norm: group"), "test"))
    assert not any("in one go" in warning for warning in group_norm.warnings)
