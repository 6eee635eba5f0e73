"""Whoever ends a trial, and however: one at a time works on a name, and ``down`` leaves nothing of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from testbed import deploy, lock
from testbed.container import LABEL
from testbed.deploy import MGMT, exists, resource
from tests.trial.conftest import SMALL, TRIAL, call
from tests.trial.test_failures import assert_partial, start, wait_for, wait_for_rounds

pytestmark = pytest.mark.docker


def test_a_second_of_a_name_is_refused_before_anything_is_planned(tmp_path: Path, leftovers) -> None:
    first = start(tmp_path / "first")
    wait_for(first, tmp_path, "starting containers")
    for arguments in (("run", str(SMALL), "--out", str(tmp_path / "second")), ("up", str(SMALL))):
        refused = call(*arguments)
        assert refused.returncode == 1
        hint = f"(hint: wait until it ends, or type: testbed down {TRIAL})"
        assert refused.stderr == f"{TRIAL} is in the hands of testbed run, process {first.pid} {hint}\n"
    assert not (tmp_path / "second").exists()
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert leftovers() == []


def test_down_ends_a_trial_that_runs(tmp_path: Path, leftovers, engine) -> None:
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    done = call("down", TRIAL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{TRIAL} is down (testbed run, process {process.pid} was told to end)\n"
    assert leftovers() == []
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == f"{TRIAL} was ended by testbed down (hint: run it again when you need it)"
    assert_partial(tmp_path, "Interrupted")
    assert lock.names(engine.id) == []


def test_down_all_removes_what_a_killed_testbed_left_by_label_alone(tmp_path: Path, leftovers, engine) -> None:
    """Whole trials, and what is left of one; a volume of nobody's stays."""
    if deploy.trials(engine):
        pytest.skip("other trials are up, and would be taken down")
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    process.kill()
    process.communicate()
    assert len(leftovers()) == 4 + 2 + 4  # the keys have a volume of their own
    engine.create_network(resource("half", MGMT), {LABEL: "half"}, internal=True)
    assert exists(engine, "half")
    engine.client.volumes.create("testbed-nobodys")
    try:
        refused = call("up", str(SMALL))
        assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
            1,
            f"{TRIAL} is already up (hint: type: testbed down {TRIAL})",
        )
        done = call("down", "--all")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"half is down (1 things removed)\n{TRIAL} is down (10 things removed)\n"
        assert leftovers() == [] and not exists(engine, "half") and lock.names(engine.id) == []
        assert call("down", "--all").stdout == "nothing was up\n"
    finally:
        engine.client.volumes.get("testbed-nobodys").remove()


def test_down_takes_a_name_or_all() -> None:
    for arguments in (("down",), ("down", TRIAL, "--all")):
        done = call(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("NAME: give the name of a trial, or --all, and not both")
