"""The command line as a whole: its verbs, how fast it starts, and how it ends when it is told to."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

START = """
import sys, time
from pathlib import Path
from controller import cli

@cli.app.command()
def wait(marker: Path) -> None:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("taking everything down", file=sys.stderr, flush=True)
        time.sleep(0.5)
        marker.write_text("clean")

cli.main(["wait", sys.argv[1]])
"""
HEEDING = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n{START}"
"""The same, as from a terminal, even where the tests themselves were started by nohup."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_ending_cleans_up_whatever_comes_after_it(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", HEEDING, str(tmp_path / "marker")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.2)
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(again)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert (tmp_path / "marker").read_text() == "clean"
    assert errors.splitlines()[0] == "taking everything down"
    assert errors.splitlines()[-1].startswith("interrupted;")


def test_a_terminal_that_is_closed_does_not_keep_it_from_cleaning_up(tmp_path: Path) -> None:
    """It can print no more, and a clean-up says what it does."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", HEEDING, str(tmp_path / "marker")])
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert (tmp_path / "marker").exists()
    assert os.waitstatus_to_exitcode(status) == 1


def test_under_nohup_it_goes_on_without_its_terminal(tmp_path: Path) -> None:
    command = ["nohup", sys.executable, "-c", START.replace("60", "1"), str(tmp_path / "marker")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_every_verb_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from controller.cli import main; main()", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    verbs = ("validate", "topology", "plan", "images", "calibrate", "doctor", "up", "run", "ps", "links", "down")
    assert all(f" {verb} " in done.stdout for verb in verbs)


def test_it_starts_without_what_only_some_verbs_need() -> None:
    heavy = {"torch", "docker", "cvxpy", "numpy", "altair", "vl_convert", "pydantic"}
    code = f"import sys, controller.cli; print(*({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
