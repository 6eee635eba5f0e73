"""A UE that is lost in a round, on loopback: the others end with what plain autograd makes of the samples that came."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from agents.plan import Moving, Plan
from agents.schedule.task import Key
from agents.schedule.without import contributions, without
from tests.unit.loopback import World, job, samples, world
from tests.unit.references import Machine, whole_model

LOST = "ue1"


@pytest.fixture(autouse=True)
def double_precision():
    """In single precision a rounding error can turn which of two values max pooling takes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shards(asked):
    return {ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}


def away(plan: Plan, ue: str = LOST) -> Plan:
    """The plan of the rounds in which a UE takes no part."""
    return replace(plan, ues={**plan.ues, ue: replace(plan.ues[ue], batch=0)}, away=(ue,))


def back(agents: World, before: Plan, plan: Plan) -> Plan:
    """The plan of the round in which everybody is there again."""
    holders = agents.job.schedule(1).holders or tuple(plan.ues)
    return replace(plan, moving=Moving({ue: before.cut_of(ue) for ue in plan.ues}, holders, momentum=True))


def go_on(agents: World, plan: Plan) -> None:
    agents.change(agents.job.changed(plan, agents.job.costs, 20.0))


def same(agents: World, machine: Machine, ues) -> None:
    """Whether these UEs, and the BS for each, have the weights of the reference."""
    for ue in ues:
        halves = [agents.half(ue), agents.half("bs", f"bs/{ue}") if agents.bs.trainer.of(f"bs/{ue}") else None]
        halves[1] = halves[1] or (agents.half("bs") if agents.bs.trainer.of("bs") else None)
        found = [p for half in halves if half for p in half.model.parameters()]
        for ours, theirs in zip(found, machine.whole(ue), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-10), ue


def lose(agents: World, asked, number: int, at: Key) -> int:
    """Runs a round in which the UE is lost; how many of its samples came."""
    agents.round(number, dies=LOST, at=at)
    whole = asked.schedule(number)
    came = [arrival.key for arrival in agents.bs.air.arrivals if arrival.peer == LOST]
    return contributions(whole, without(whole, LOST, came))[LOST].came


@pytest.mark.parametrize(
    ("scheme", "k", "at", "came"),
    [
        ("psl", 1, Key(0, 0, 0, "ue_forward", LOST), 0),
        ("psl", 1, Key(0, 0, 0, "ue_backward", LOST), 9),
        ("c2p2sl", 3, Key(0, 0, 0, "ue_forward", LOST), 0),
        ("c2p2sl", 3, Key(0, 0, 1, "ue_forward", LOST), 3),
        ("c2p2sl", 3, Key(0, 0, 2, "ue_forward", LOST), 6),
        ("c2p2sl", 3, Key(0, 0, 1, "ue_backward", LOST), 9),
        ("gpipe", 3, Key(0, 0, 2, "ue_forward", LOST), 6),
    ],
)
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_a_joint_round_is_one_of_the_samples_that_came(scheme, k, at, came, duplex):
    asked = job(scheme, 2, k, (9, 4, 6), duplex=duplex)
    machine, others = Machine(asked, shards(asked)), [ue for ue in asked.plan.ues if ue != LOST]
    machine.train_joint([LOST, *others])
    taken = {ue: next(machine.data[ue]) for ue in (LOST, *others)}
    taken[LOST] = taken[LOST][0][:came], taken[LOST][1][:came]
    scores = machine.backs[LOST](torch.cat([machine.fronts[ue](x) for ue, (x, _) in taken.items() if len(x)]))
    machine.learn(functional.cross_entropy(scores, torch.cat([y for _, y in taken.values()])), others)
    machine.train_joint(others)
    with world(shards(asked)) as agents:
        agents.configure(asked)
        agents.round(1)
        assert lose(agents, asked, 2, at) == came
        assert agents.late == []
        go_on(agents, away(asked.plan))
        agents.round(3)
        same(agents, machine, others)


def test_where_labels_stay_with_a_ue_a_round_is_one_of_the_gradients_that_came():
    asked = job("ushape", 2, 3, (9, 4, 6), {"head_cut": 4}, duplex="fdd")
    parts = {ue: [copy.deepcopy(part) for part in in_three(asked)] for ue in asked.plan.ues}
    middle = in_three(asked)[1]
    machine = Machine(asked, shards(asked))
    taken = {ue: next(machine.data[ue]) for ue in parts}
    taken[LOST] = taken[LOST][0][:3], taken[LOST][1][:3]
    scores = [parts[ue][2](middle(parts[ue][0](x))) for ue, (x, _) in taken.items()]
    functional.cross_entropy(torch.cat(scores), torch.cat([y for _, y in taken.values()])).backward()
    others = [ue for ue in parts if ue != LOST]
    trained = [middle, *(parts[ue][i] for ue in others for i in (0, 2))]
    torch.optim.SGD([p for part in trained for p in part.parameters()], lr=asked.lr).step()
    with world(shards(asked)) as agents:
        agents.configure(asked)
        assert lose(agents, asked, 1, Key(0, 0, 1, "head_forward", LOST)) == 3
        halves = [agents.bs.trainer.of("bs"), *(agents.ues[ue].trainer.of(ue) for ue in others)]
        found = [p for each in halves for _, half in each for p in half.model.parameters()]
        for ours, theirs in zip(found, (p for part in trained for p in part.parameters()), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-10)


def in_three(asked) -> list[nn.Module]:
    """The model's first units, those in the middle, and the last ones."""
    units = list(whole_model(asked).children())
    return [nn.Sequential(*units[a:b]) for a, b in ((0, 2), (2, 4), (4, 5))]


@pytest.mark.parametrize("scheme", ["sfl", "pipar", "fl"])
@pytest.mark.parametrize("comes_back", ["as it was", "new"])
def test_an_average_goes_on_without_it_and_it_comes_back_with_the_newest(scheme, comes_back):
    cut = 5 if scheme == "fl" else 2
    asked = job(scheme, cut, 2 if scheme == "pipar" else 1, (6, 4, 5))
    ues = list(asked.plan.ues)
    machine, others = Machine(asked, shards(asked), replicas=True), ues[1:]

    def train(some):
        for ue in some:
            machine.train_alone(ue)
        machine.average(some, some, wholes=True)

    train(ues)
    train(others)
    if comes_back == "new" or scheme == "pipar":  # it had drawn its batch
        next(machine.data[LOST])
    train(others)
    with torch.no_grad():
        for ours, newest in zip(machine.whole(LOST), machine.whole(others[0]), strict=True):
            ours.copy_(newest)
    if comes_back == "new":
        machine.forget_momentum(LOST)
    train(ues)
    with world(shards(asked)) as agents:
        agents.configure(asked)
        agents.round(1)
        agents.round(2, dies=LOST, at=Key(0, 0, int(scheme == "pipar"), "ue_forward", LOST))
        go_on(agents, away(asked.plan))
        agents.round(3)
        if comes_back == "new":
            agents.renew(LOST)
        again = agents.job.changed(back(agents, asked.plan, asked.plan), asked.costs, 20.0)
        assert agents.rejoin(LOST, again, drawn=12) == (comes_back == "as it was")
        agents.round(4)
        same(agents, machine, ues)


@pytest.mark.parametrize("scheme", ["sl", "cpsl"])
@pytest.mark.parametrize("lost", ["ue1", "ue2", "ue3"])
def test_a_turn_is_skipped_and_the_next_one_goes_on_with_what_it_was_given(scheme, lost):
    places: tuple[dict[str, int], ...] = ({}, {"cluster": 1}, {"cluster": 2 if scheme == "sl" else 1})
    asked = job(scheme, 2, 1, (6, 4, 5), ues=places, momentum=0.0)
    ues = list(asked.plan.ues)
    machine, others = Machine(asked, shards(asked)), [ue for ue in ues if ue != lost]

    def turns(some):
        numbers = [asked.plan.ues[ue].cluster for ue in some]
        groups = [[ue for ue in some if asked.plan.ues[ue].cluster == one] for one in sorted(set(numbers))]
        for i, members in enumerate(groups):
            machine.train_joint(members)
            machine.average(members, groups[(i + 1) % len(groups)], wholes=False)
        return groups[0]

    def give(heirs, newest):
        with torch.no_grad():
            for ue in heirs:
                for ours, theirs in zip(
                    machine.fronts[ue].parameters(), machine.fronts[newest].parameters(), strict=True
                ):
                    ours.copy_(theirs)

    turns(ues)
    if lost == "ue1":  # it was to begin, and had the newest weights
        give(("ue2",) if scheme == "sl" else others, "ue1")
    turns(others)
    first = turns(others)
    with world(shards(asked)) as agents:
        agents.configure(asked)
        agents.round(1)
        agents.round(2, dies=lost, at=Key(asked.plan.ues[lost].cluster, 0, 0, "ue_forward", lost))
        moving = Moving(dict.fromkeys(ues, 2), agents.bs._executor.schedule.holders, momentum=False)
        go_on(agents, replace(away(asked.plan, lost), moving=moving))
        agents.round(3)
        same(agents, machine, first)
        again = Moving(dict.fromkeys(ues, 2), agents.job.schedule(3).holders, momentum=False)
        agents.rejoin(lost, agents.job.changed(replace(asked.plan, moving=again), asked.costs, 20.0))
        give(["ue1"], first[0])  # who begins gets the newest weights
        agents.round(4)
        same(agents, machine, turns(ues))
