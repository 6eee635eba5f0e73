"""An agent's state between two rounds: whoever takes it over goes on bit for bit, and takes nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from agents.plan import Moving, Privacy
from agents.state import Given, StateError, digest
from agents.wire.frames import decode, encode
from tests.unit.loopback import World, job, samples, world
from tests.unit.test_moving import change

BEFORE, AFTER = 2, 2
BATCHES = (6, 5, 7)
LOUD = Privacy("weights", "gaussian", epsilon=5.0, clip=1.0, delta=1e-5)
JOBS = {
    **{name: job(name, 2, 1, BATCHES) for name in ("sl", "psl", "sfl", "sfl-v2")},
    "fl": job("fl", 5, 1, BATCHES, {"steps": 3}),
    "c2p2sl": job("c2p2sl", 2, 3, BATCHES),
    "gpipe": job("gpipe", 2, 2, BATCHES),
    "epsl": job("epsl", 2, 1, BATCHES, {"phi": 0.5}),
    "cpsl": job("cpsl", 2, 1, BATCHES, {"steps": 2}, ues=[{"cluster": 0}, {"cluster": 0}, {"cluster": 1}]),
    "pipar": job("pipar", 2, 3, BATCHES, {"steps": 2}),
    "ushape": job("ushape", 2, 2, BATCHES, {"head_cut": 4}),
    "centralised": job("centralised", 0, 1, (0, 0, 0), {"bs_batch": 9}),
    "no momentum": job("psl", 2, 1, BATCHES, momentum=0.0),
    "batch norm": job("c2p2sl", 2, 3, BATCHES, norm="batch"),
    "batch norm of replicas": job("sfl", 2, 1, BATCHES, norm="batch"),
    "workers": job("pipar", 2, 3, BATCHES, {"workers": "per_ue"}),
    "noise on weights": job("sfl", 2, 1, BATCHES, {"privacy": LOUD}),
    "noise on samples": job("pipar", 2, 2, BATCHES, {"privacy": replace(LOUD, method="input")}),
    "one trains nothing": job("psl", 2, 1, (6, 0, 7)),
}


def agents_of(agents: World):
    return {"bs": agents.bs, **agents.ues}


def states(agents: World):
    """What each agent is, as it travels."""
    kept = {name: agent.state() for name, agent in agents_of(agents).items()}
    return {name: [bytes(frame) for frame in encode(one.header, one.tensors)] for name, one in kept.items()}


def restore(agents: World, taken):
    for name, agent in agents_of(agents).items():
        agent.restore(Given(*decode(taken[name])))


def rounds(agents: World, numbers):
    """The losses of these rounds as bits, and the weights that all agents end with."""
    found = []
    for number in numbers:
        agents.round(number)
        found.append([agent.meter.loss_sum.hex() for agent in agents_of(agents).values()])
    return found, {name: digest(agent.trainer) for name, agent in agents_of(agents).items()}


def cell(asked):
    return world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)})


@pytest.mark.parametrize("name", JOBS)
def test_agents_that_take_over_states_go_on_bit_for_bit(name):
    asked = JOBS[name]
    with cell(asked) as agents:
        agents.configure(asked)
        rounds(agents, range(1, BEFORE + 1))
        taken = states(agents)
        undisturbed = rounds(agents, range(BEFORE + 1, BEFORE + AFTER + 1))
        agents.configure(asked)  # the same processes, which have gone on meanwhile
        restore(agents, taken)
        assert rounds(agents, range(BEFORE + 1, BEFORE + AFTER + 1)) == undisturbed
    with cell(asked) as others:
        others.configure(asked)
        restore(others, taken)
        assert states(others) == taken
        assert rounds(others, range(BEFORE + 1, BEFORE + AFTER + 1)) == undisturbed


@pytest.mark.parametrize(("scheme", "cut"), [("sfl", 3), ("psl", 1), ("cpsl", 3), ("sl", 1)])
def test_a_state_after_a_change_of_the_cut_is_taken_over_under_the_plan_in_force(scheme, cut):
    batches = (6,) if scheme == "psl" else BATCHES
    asked = job(scheme, 2, 1, batches)
    later, back = replace(asked.plan, cut=cut), asked.plan

    def before_round(agents, number):
        if number in (2, 3):
            change(agents, later if number == 2 else back)
            agents.round(number)
            agents.change(agents.job.changed(replace(agents.job.plan, moving=None), asked.costs, 20.0))
        else:
            agents.round(number)

    with cell(asked) as agents:
        agents.configure(asked)
        before_round(agents, 1)
        change(agents, later)
        agents.round(2)  # what moved has moved, and nobody was told another plan yet
        taken, in_force = states(agents), replace(later, moving=None)
        undisturbed = []
        for number in (3, 4):
            before_round(agents, number)
            undisturbed.append({name: digest(agent.trainer) for name, agent in agents_of(agents).items()})
    with cell(asked) as others:
        others.configure(asked.changed(in_force, asked.costs, 20.0))
        restore(others, taken)
        for number, weights in zip((3, 4), undisturbed, strict=True):
            before_round(others, number)
            assert {name: digest(agent.trainer) for name, agent in agents_of(others).items()} == weights


@pytest.mark.parametrize("scheme", ["sl", "cpsl", "sfl"])
def test_a_state_after_one_who_was_lost_got_the_newest_weights_is_taken_over(scheme):
    """Who trains first was not given them after the last round: the BS gives what it averaged."""
    asked = job(scheme, 2, 1, BATCHES, {"steps": 2} if scheme == "cpsl" else {})
    moving = Moving({ue: 2 for ue in asked.plan.ues}, (list(asked.plan.ues)[-1],), True)
    with cell(asked) as agents:
        agents.configure(asked)
        agents.round(1)
        agents.change(asked.changed(replace(asked.plan, moving=moving), asked.costs, 20.0))
        agents.round(2)
        agents.change(asked)
        taken = states(agents)
        undisturbed = rounds(agents, (3, 4))
    with cell(asked) as others:
        others.configure(asked)
        restore(others, taken)
        assert rounds(others, (3, 4)) == undisturbed


def test_what_a_model_draws_goes_on_too():
    asked = JOBS["psl"]
    with cell(asked) as agents:
        agents.configure(asked)
        agents.round(1)
        taken = states(agents)
        expected = torch.rand(3)
        torch.rand(100)
        restore(agents, taken)
        assert torch.equal(torch.rand(3), expected)


@pytest.fixture(scope="module")
def one():
    """Agents of a scheme whose states have everything that a state can have, and those after a round."""
    asked = JOBS["noise on weights"]
    with cell(asked) as agents:
        agents.configure(asked)
        agents.round(1)
        yield agents, states(agents)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda header, tensors: (header, tensors[1:]), "tensor 1 is"),
        (lambda header, tensors: (header, [*tensors, tensors[0]]), "1 tensors more than it names"),
        (lambda header, tensors: (header, [tensors[0].double(), *tensors[1:]]), "float64"),
        (lambda header, tensors: (header, [tensors[0][:1], *tensors[1:]]), "parts: units 1 to 2 of ue1: tensor 1 is"),
        (lambda header, tensors: ({**header, "parts": []}, tensors), "units 1 to 2 of ue1 are missing"),
        (lambda header, tensors: ({**header, "parts": [["ue2", 0, 2, []]]}, tensors), "units 0 to 2 of ue2"),
        (lambda header, tensors: ({**header, "parts": [["ue1", 0, 9, []]]}, tensors), "units 0 to 9 of ue1"),
        (lambda header, tensors: ({**header, "parts": [["ue1", 0, 2, [99]]]}, tensors), "momentum of 99"),
        (lambda header, tensors: ({**header, "order_drawn": "{}"}, tensors), "order: 'state'"),
        (lambda header, tensors: ({**header, "noise": 2}, tensors), "noise: 2 tensors instead of 1"),
    ],
)
def test_what_is_no_state_is_refused_with_its_name(one, what, words):
    agents, taken = one
    with pytest.raises(StateError) as refused:
        agents.ues["ue1"].restore(Given(*what(*decode(taken["ue1"]))))
    assert words in str(refused.value)
    restore(agents, taken)


def test_the_state_of_another_agent_is_refused(one):
    agents, taken = one
    with pytest.raises(StateError, match="of ue2"):
        agents.ues["ue1"].restore(Given(*decode(taken["ue2"])))
    with pytest.raises(StateError):
        agents.ues["ue1"].restore(Given(*decode(taken["bs"])))
    restore(agents, taken)


VALUES = st.recursive(st.none() | st.integers() | st.text() | st.floats(), lambda one: st.lists(one, max_size=4))


@settings(max_examples=60, deadline=None)
@drawn(data=st.data())
def test_a_header_of_anything_is_a_state_or_refused(one, data):
    agents, taken = one
    header, tensors = decode(taken["ue1"])
    key = data.draw(st.sampled_from(sorted(header)))
    changed = {**header, key: data.draw(VALUES)}
    try:
        agents.ues["ue1"].restore(Given(changed, tensors))
    except StateError:
        pass
    finally:
        agents.ues["ue1"].restore(Given(header, tensors))
