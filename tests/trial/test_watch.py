"""A trial that is watched from another process: what that shows, and that the trial does not notice."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.trial.conftest import SMALL, TRIAL, call, command

pytestmark = pytest.mark.docker


def until(process: subprocess.Popen[str], begin: str) -> None:
    """Returns when a process has printed a line that begins so."""
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith(begin):
        assert line, "it ended early"


def rounds_on(lines: list[str]) -> list[str]:
    """The lines from the first scheme on, but those of stages."""
    begin = next(i for i, line in enumerate(lines) if line.startswith("scheme: "))
    return [line for line in lines[begin:] if not line.startswith("stage: ")]


def test_a_trial_is_shown_by_name_as_its_own_process_shows_it(tmp_path, leftovers):
    run = command("run", str(SMALL), "--out", str(tmp_path), "--scheme", "psl,pipelined", "--rounds", "3")
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trial:
        assert trial.stderr is not None
        first = trial.stderr.readline()
        watched = call("watch", TRIAL)
        shown, told = trial.communicate(timeout=60)
    assert trial.returncode == 0, told
    assert watched.returncode == 0, watched.stderr
    assert first == "stage: planning\n"
    assert watched.stderr.startswith(first)
    mine, its = rounds_on(watched.stderr.splitlines()), rounds_on(told.splitlines())
    assert mine == its
    assert sum(line.startswith("round: ") for line in mine) == 6
    assert shown.startswith(watched.stdout.rstrip()), "and the same table"
    assert leftovers() == []


def test_a_watcher_that_leaves_does_not_disturb_the_trial(tmp_path):
    run = command("run", str(SMALL), "--out", str(tmp_path), "--scheme", "psl", "--rounds", "3")
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trial:
        until(trial, "trial: ")
        with subprocess.Popen(command("watch", str(tmp_path)), stderr=subprocess.PIPE, text=True) as watcher:
            until(watcher, "trial: ")
            watcher.send_signal(signal.SIGINT)
            _, last = watcher.communicate(timeout=30)
        assert (watcher.returncode, last.splitlines()[-1]) == (0, f"{tmp_path} is left alone")
        shown, told = trial.communicate(timeout=60)
    assert trial.returncode == 0, told
    assert "results: " in shown
