"""Plans that change between rounds, on loopback: training goes on as if the model had never been cut elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.plan import Moving
from tests.unit.loopback import World, job, samples, world

ROUNDS = 4


def losses(asked, plans=None, rounds=ROUNDS):
    """The training loss of each round, as bits; ``plans`` says from which round on another plan is in force."""
    found = []
    with world({ue: samples(20, i) for i, ue in enumerate(asked.plan.ues)}) as agents:
        agents.configure(asked)
        for number in range(1, rounds + 1):
            if plans and number in plans:
                change(agents, plans[number])
            agents.round(number)
            found.append([meter.loss_sum for meter in (agents.bs.meter, *(ue.meter for ue in agents.ues.values()))])
            if agents.job.plan.moving:  # what moved has moved
                agents.change(agents.job.changed(replace(agents.job.plan, moving=None), asked.costs, 20.0))
    return found


def change(agents: World, plan):
    """Another plan from the next round on."""
    before = agents.job
    cuts = {ue: before.plan.cut_of(ue) for ue in before.plan.ues}
    holders = before.schedule(1).holders or tuple(before.plan.ues)
    moving = Moving(cuts, holders, before.momentum > 0)
    agents.change(before.changed(replace(plan, moving=moving), before.costs, 20.0))


@pytest.mark.parametrize(
    ("scheme", "batches", "momentum"),
    [("sl", (6,), 0.9), ("sl", (6, 5, 7), 0.0), ("psl", (6,), 0.9), ("sfl", (6, 5, 7), 0.9), ("pipar", (6, 5), 0.9)],
)
@pytest.mark.parametrize(("cut", "later"), [(1, 3), (3, 1), (2, 4)])
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_a_cut_that_changes_leaves_every_loss_as_it_was(scheme, batches, momentum, cut, later, duplex):
    asked = job(scheme, cut, 1, batches, momentum=momentum, duplex=duplex)
    moved = losses(asked, {2: replace(asked.plan, cut=later), 4: replace(asked.plan, cut=cut)})
    still = losses(asked)
    assert [[x.hex() for x in one] for one in moved] == [[x.hex() for x in one] for one in still]
