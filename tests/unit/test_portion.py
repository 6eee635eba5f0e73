"""Trials on one host: what is left for one, and what is said where nothing is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from testbed.container import LABEL
from testbed.deploy import resource
from testbed.errors import DeployError
from testbed.portion import Portion, Room, room

GB = 10**9


def engine(cores: int, **trials: Portion) -> Any:
    """An engine with these trials up."""
    states = [
        SimpleNamespace(name=resource(name, "shaper"), labels={LABEL: name, **portion.labels})
        for name, portion in trials.items()
    ]
    return SimpleNamespace(info=lambda: {"NCPU": cores, "MemTotal": 8 * GB}, containers=lambda **_: states)


def test_a_trial_has_what_the_others_leave() -> None:
    found = room(engine(8, one=Portion(3, 2 * GB), two=Portion(1, 1 * GB)), "mine")
    assert found.cores_for() == 4
    assert found.cores_for(most=2) == 2
    assert found.cores_for(most=7) == 4
    assert found.taken_bytes == {"one": 2.0 * GB, "two": 1.0 * GB}


def test_one_that_is_up_already_has_what_it_had() -> None:
    found = room(engine(8, other=Portion(5, GB), mine=Portion(2, GB, of_cores=3)), "mine")
    assert (found.mine, found.others) == (Portion(2, GB, of_cores=3), {"other": Portion(5, GB)})
    assert found.cores_for() == 3, "and is planned as before"


def test_where_no_core_is_left_the_others_are_named_with_the_way_out() -> None:
    with pytest.raises(DeployError) as refused:
        room(engine(2, one=Portion(2, GB)), "mine").cores_for(most=1)
    assert refused.value.message == "no core is left: one has 2 of the 2 cores of this host"
    assert refused.value.hint == "wait, or type: testbed down one; --cores N gives a trial no more than N"


@pytest.mark.parametrize("mine", [Portion(2, GB), Portion(1, 7 * GB)], ids=["cores", "memory"])
def test_of_two_that_planned_with_the_same_rest_one_is_refused(mine: Portion) -> None:
    others = {"fast": Portion(1, 2 * GB)}
    Room(2, 8 * GB, others).check(Portion(1, 6 * GB))
    with pytest.raises(DeployError, match=r"another trial was faster: fast has 1 of the 2 cores of this host"):
        Room(2, 8 * GB, others).check(mine)
    Room(2, 8 * GB).check(mine)
