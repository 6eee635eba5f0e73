"""A UE that is cut off, with the controller's real conversation on loopback: it is found, missed, and back."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from agents.__main__ import BESIDE, handle, handle_beside
from agents.wire.keys import CONTROLLER
from agents.wire.mgmt import ControlServer
from controller.trial import session as module
from controller.trial.session import Session
from tests.unit.loopback import MOST_BYTES, free_port, job, samples, world

LOST = "ue2"


@pytest.fixture
def talk(monkeypatch):
    """A session with agents on loopback, and these."""
    asked = job("c2p2sl", 2, 2, (4, 4, 4))
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        port, all_agents = free_port(), {"bs": agents.bs, **agents.ues}
        addresses = {name: f"127.0.0.{i}" for i, name in enumerate(all_agents, 1)}
        for name, agent in all_agents.items():
            server = ControlServer(agents.keys[name], addresses[name], port, BESIDE, partial(handle_beside, agent))
            threading.Thread(target=server.serve, args=(partial(handle, agent),), daemon=True).start()
        monkeypatch.setattr(module, "controller_keys", lambda engine, trial: agents.keys[CONTROLLER])
        monkeypatch.setattr(module, "CONTROL_PORT", port)
        states = {name: SimpleNamespace(name=name, pid=1, status="running") for name in all_agents}
        events = SimpleNamespace(take=list, close=lambda: None)
        engine = SimpleNamespace(watch=lambda trial: events, inspect=states.__getitem__)
        deployment = SimpleNamespace(
            trial="t", agents=states, ues=tuple(agents.ues), addresses=lambda network: addresses
        )
        with Session(engine, deployment) as talking:
            talking.configure(asked, MOST_BYTES)
            yield talking, agents, asked


def round_of(talking: Session, asked, number: int):
    talking.begin_round(number, asked.schedule(number).ues)
    report = talking.segment(0, 0.2, 60.0)
    talking.end_round(1.0)
    return report


def test_it_is_found_and_missed_and_takes_part_again(talk):
    talking, agents, asked = talk
    round_of(talking, asked, 1)
    assert talking.take_losses() == []
    puts = agents.ues[LOST].air._put
    agents.ues[LOST].air._put = lambda departure: puts(departure) if departure.task.key.micro_batch == 0 else None
    report = round_of(talking, asked, 2)
    (loss,) = talking.take_losses()
    assert (loss.ue, loss.kind) == (LOST, "cut") and [key.micro_batch for key in loss.came] == [0]
    assert report.host.keys() == {"bs", "ue1", "ue3"}
    without = {**asked.plan.ues, LOST: replace(asked.plan.ues[LOST], batch=0)}
    alone = asked.changed(replace(asked.plan, ues=without, away=(LOST,)), asked.costs, 60.0)
    talking.change(alone)
    round_of(talking, alone, 3)
    assert talking.answers_again(LOST)
    assert talking.back(LOST, alone, MOST_BYTES, 8) is True, "it has the weights that it had"
    talking.change(asked)
    report = round_of(talking, asked, 4)
    assert report.host.keys() == {"bs", "ue1", LOST, "ue3"} and talking.take_losses() == []
