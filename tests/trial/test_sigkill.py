"""A testbed that is killed: ``down`` leaves nothing of its trial, which goes on. ``make bench`` tries more moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.killed import Killed, Moment

pytestmark = pytest.mark.docker


def test_whatever_is_killed_leaves_nothing_after_down_and_goes_on(engine, tmp_path: Path) -> None:
    killed = Killed(tmp_path, engine, rounds=2)
    assert [killed.at(Moment(verb, 0.6)) for verb in ("up", "run", "down")] == [[], [], []]
