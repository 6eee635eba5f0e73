"""When things break: nothing is left behind, and the cause is said in one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from docker.errors import APIError

from controller.trial import journal
from testbed.deploy import resource
from tests.trial.conftest import SMALL, TRIAL, call, command

pytestmark = pytest.mark.docker

LONG = ("--scheme", "psl", "--rounds", "500")
GREEDY = """
import sys
with open("/proc/1/oom_score_adj", "w") as agent:
    agent.write("1000")
taken = b"x" * int(sys.argv[1])
"""


def start(out: Path) -> subprocess.Popen[str]:
    """A trial that would run for minutes, and heeds a lost terminal even where the tests were started by nohup."""
    arguments = command("run", str(SMALL), "--out", str(out), *LONG)
    heed = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal lost"])
def test_an_end_during_rounds_leaves_nothing(tmp_path, leftovers, number):
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert leftovers() == []
    assert_partial(tmp_path, "Interrupted")


def test_a_trial_ends_when_no_ue_is_left(tmp_path, leftovers, engine):
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    for ue in ("ue1", "ue2"):
        engine.client.api.kill(resource(TRIAL, ue))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.match(r"no UE is left: ue[12] stopped with exit status 137", errors.splitlines()[-1])
    assert leftovers() == []
    assert_partial(tmp_path, "no UE is left")


def test_a_ue_out_of_memory_is_said_to_be_so(tmp_path, leftovers, engine):
    """Something beside it in its container takes all that is left: the agent is what the kernel ends."""
    process = start(tmp_path)
    wait_for_rounds(process, tmp_path)
    name = resource(TRIAL, "ue2")
    limit = engine.client.api.inspect_container(name)["HostConfig"]["MemorySwap"]
    with suppress(APIError):  # the container goes, and this with it
        engine.client.containers.get(name).exec_run(["python3", "-c", GREEDY, str(limit)])
    while not (found := [line for line in journal.read(tmp_path) if line["event"] == "fault"]):
        assert process.poll() is None, "the trial ended early"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert (found[0]["ue"], found[0]["kind"]) == ("ue2", "oom")
    assert re.match(r"ue2 ran out of its memory \(limit \d+ MB, predicted \d+ MB\)", found[0]["why"])
    assert leftovers() == []


def wait_for_rounds(process: subprocess.Popen[str], out: Path) -> None:
    """Returns once a round has been written."""
    wait_for(process, out, "limiting CPUs")
    while not rounds(out):
        assert process.poll() is None, "the trial ended early"
        time.sleep(0.05)


def rounds(out: Path) -> list[int]:
    """The rounds that the journal holds."""
    lines = journal.read(out) if (out / journal.FILE).exists() and (out / journal.FILE).stat().st_size else []
    return [line["round"] for line in lines if line["event"] == "round"]


def assert_partial(out: Path, why: str) -> None:
    """The results hold every round until the trial broke off, and say why it did."""
    results = json.loads((out / journal.RESULTS).read_text())
    measured = results["schemes"]["psl"]
    assert results["error"].startswith(why) and measured["partial"] is True
    assert [row["round"] for row in measured["rounds"]] == rounds(out) != []


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
