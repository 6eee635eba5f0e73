"""A base station or a controller that dies costs nothing but time: the end is the same, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from controller.trial import journal
from testbed.deploy import resource
from tests.trial.conftest import SMALL, TRIAL, call, command

pytestmark = pytest.mark.docker

ROUNDS, EVERY = 12, 4
SCHEMES = "psl,sfl"


@pytest.fixture(scope="module")
def topology(tmp_path_factory) -> Path:
    """The small topology with a checkpoint every few rounds."""
    path = tmp_path_factory.mktemp("topology") / "small.yaml"
    path.write_text(f"{SMALL.read_text()}checkpoint_every: {EVERY}\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(topology, tmp_path_factory) -> dict[str, object]:
    """What every scheme ends with when nothing happens: digests of weights, and losses."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert call(*arguments(topology, out)).returncode == 0
    return ends(out)


def arguments(topology: Path, out: Path) -> tuple[str, ...]:
    return ("run", str(topology), "--out", str(out), "--scheme", SCHEMES, "--rounds", str(ROUNDS))


def ends(out: Path) -> dict[str, object]:
    lines = journal.read(out)
    weights = {line["scheme"]: line["weights"] for line in lines if line["event"] == "scheme_end"}
    results = json.loads((out / journal.RESULTS).read_text())
    losses = {label: [row["train_loss"] for row in one["rounds"]] for label, one in results["schemes"].items()}
    return {"weights": weights, "losses": losses}


def wait_for(process: subprocess.Popen[str], out: Path, scheme: str, number: int) -> None:
    """Returns when a round of a scheme has begun."""
    path, wanted = out / journal.FILE, f'"event": "round_begins", "scheme": "{scheme}", "round": {number},'
    while not path.exists() or wanted not in path.read_text():
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.02)


def start(*given: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_base_station_that_is_killed_is_started_again(topology, tmp_path, leftovers, engine, undisturbed):
    process = start(*arguments(topology, tmp_path))
    for scheme, number in (("psl", 2), ("sfl", 7)):  # before there is a checkpoint, and after one
        wait_for(process, tmp_path, scheme, number)
        engine.client.api.kill(resource(TRIAL, "bs"))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-2000:]
    again = [line for line in journal.read(tmp_path) if line["event"] == "restart"]
    assert [(line["scheme"], line["from_round"]) for line in again] == [("psl", 0), ("sfl", EVERY)]
    assert all(line["why"].startswith("bs stopped with exit status 137") for line in again)
    assert ends(tmp_path) == undisturbed
    assert leftovers() == []


def test_a_trial_whose_controller_is_killed_goes_on(topology, tmp_path, leftovers, undisturbed):
    process = start(*arguments(topology, tmp_path))
    wait_for(process, tmp_path, "sfl", 7)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert leftovers() != []
    before = journal.read(tmp_path)
    done = call("run", "--resume", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    lines = journal.read(tmp_path)
    (resumed,) = [line for line in lines if line["event"] == "resume"]
    assert (resumed["scheme"], resumed["from_round"]) == ("sfl", EVERY)
    kept = [line for line in before if line.get("scheme") == "psl" or line.get("round", 0) <= EVERY]
    assert lines[: len(kept)] == kept, "what was finished is kept as it was"
    assert ends(tmp_path) == undisturbed
    assert leftovers() == []
    again = call("run", "--resume", str(tmp_path))
    assert again.returncode == 2
    assert "nothing to resume" in again.stderr
