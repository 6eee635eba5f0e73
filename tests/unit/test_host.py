"""The set-up scripts leave the machine as they found it. The engine here is a ``sleep``."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "images/host/with-docker.sh"
STARTS = "sleep 100 >/dev/null 2>&1 & echo $! >pid; echo kill $!"
COMMAND = """trap 'sleep 0.3; kill -0 $(cat pid) && echo cleaned >cleaned; exit 9' INT; touch up; sleep 20 & wait"""


@pytest.fixture
def with_docker(tmp_path: Path) -> Path:
    """with-docker.sh in a folder of its own, beside a ``docker.sh`` that starts an "engine"."""
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "docker.sh").write_text(f"#!/bin/sh\n{STARTS}\n")
    (tmp_path / "docker.sh").chmod(0o755)
    return tmp_path / SCRIPT.name


def runs(folder: Path) -> bool:
    """Whether the engine still runs (a zombie does not)."""
    status = Path("/proc") / (folder / "pid").read_text().strip() / "stat"
    return status.exists() and status.read_text().split()[2] != "Z"


@pytest.mark.parametrize("command", ["true", "exit 7", "kill -KILL $$"])
def test_exits_as_the_command_does_and_stops_the_engine(with_docker: Path, command: str) -> None:
    folder = with_docker.parent
    done = subprocess.run([with_docker, "bash", "-c", command], cwd=folder, capture_output=True)
    assert done.returncode == {"true": 0, "exit 7": 7}.get(command, 128 + signal.SIGKILL)
    assert not runs(folder)


def test_an_engine_that_ran_before_goes_on(with_docker: Path) -> None:
    folder = with_docker.parent
    (folder / "docker.sh").write_text(f"#!/bin/sh\n{STARTS} >/dev/null\n")
    try:
        assert subprocess.run([with_docker, "true"], cwd=folder).returncode == 0
        assert runs(folder)
    finally:
        subprocess.run(["kill", (folder / "pid").read_text().strip()])


def test_no_engine_no_command(with_docker: Path) -> None:
    (with_docker.parent / "docker.sh").write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run([with_docker, "touch", "ran"], cwd=with_docker.parent).returncode == 1
    assert not (with_docker.parent / "ran").exists()


def test_interrupted_the_command_cleans_up_before_the_engine_goes(with_docker: Path) -> None:
    folder = with_docker.parent
    running = subprocess.Popen([with_docker, "bash", "-c", COMMAND], cwd=folder)
    deadline = time.monotonic() + 10
    while not (folder / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 9
    assert (folder / "cleaned").exists()
    assert not runs(folder)
