"""When things break: nothing is left behind, and the cause is said in one line."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.deploy import resource
from tests.trial.conftest import SMALL, TRIAL, call, command

pytestmark = pytest.mark.docker

LONG = ("--scheme", "psl", "--rounds", "500")


def start(out: Path) -> subprocess.Popen[str]:
    """A trial that would run for minutes."""
    arguments = command("run", str(SMALL), "--out", str(out), *LONG)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], out: Path, stage: str) -> None:
    """Returns when the trial has reached a stage that it prints, or the rounds."""
    assert process.stderr is not None
    while stage not in process.stderr.readline():
        assert process.poll() is None, "the trial ended early"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
@pytest.mark.parametrize("stage", ["starting containers", "waiting for the agents", "limiting CPUs"])
def test_an_interrupted_trial_leaves_nothing(tmp_path, leftovers, stage, number):
    process = start(tmp_path)
    wait_for(process, tmp_path, stage)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert leftovers() == []


@pytest.mark.parametrize("stage", ["starting containers", "waiting for the agents"])
def test_an_impatient_user_leaves_nothing(tmp_path, leftovers, stage):
    process = start(tmp_path)
    wait_for(process, tmp_path, stage)
    for _ in range(200):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.3)
            break
    assert process.returncode == 1
    assert leftovers() == []


def test_ctrl_c_during_rounds_leaves_nothing(tmp_path, leftovers, engine):
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert leftovers() == []


@pytest.mark.parametrize("agent", ["ue2", "bs"])
def test_a_crashing_agent_ends_the_trial_with_its_name(tmp_path, leftovers, engine, agent):
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    engine.client.api.kill(resource(TRIAL, agent))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{agent} stopped with exit status 137" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert leftovers() == []
    assert (tmp_path / "logs" / f"{agent}.log").exists()


def wait_for_rounds(process: subprocess.Popen[str], out: Path) -> None:
    """Returns once the first events of a round have been written."""
    wait_for(process, out, "limiting CPUs")
    events = out / "events.jsonl"
    while not (events.exists() and events.stat().st_size):
        assert process.poll() is None, "the trial ended early"
        time.sleep(0.05)


def test_a_missing_image_is_named_with_the_next_command(tmp_path, leftovers, monkeypatch, capsys):
    from controller import cli
    from testbed import calibration, deploy

    monkeypatch.setattr(deploy, "AGENT_IMAGE", "testbed-nosuch:latest")
    monkeypatch.setattr(calibration, "AGENT_IMAGE", "testbed-nosuch:latest")
    with pytest.raises(SystemExit) as stop:
        cli.main(["up", str(SMALL)])
    assert stop.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "image testbed-nosuch:latest is missing (hint: type: testbed images build)"
    assert leftovers() == []


def test_out_that_cannot_be_written_is_bad_input(leftovers):
    done = call("run", str(SMALL), "--out", "/proc/nowhere")
    assert done.returncode == 2
    assert "--out: /proc/nowhere" in done.stderr
    assert leftovers() == []
